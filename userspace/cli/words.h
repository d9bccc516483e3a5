// SPDX-License-Identifier: Apache-2.0
//
// What is said to the user and how it is read from them: errors of two lines, durations, the word
// that was probably meant.
#pragma once

#include <absl/status/status.h>
#include <stdio.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope {

// Exit codes of the program, as docs and scripts rely on them.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitMachine = 3,  // this machine lacks something
  kExitTarget = 4,   // the target is gone or does not fit
  kExitLoss = 5,     // --strict
  kExitAbandoned = 130,
};

// An error of two lines: `what` went wrong and why, and the `remedy`. Both go into the message,
// with a newline between.
absl::Status UsageError(std::string_view what, std::string_view remedy);    // exit 2
absl::Status MachineError(std::string_view what, std::string_view remedy);  // exit 3
absl::Status TargetError(std::string_view what, std::string_view remedy);   // exit 4
absl::Status RunError(std::string_view what, std::string_view remedy);      // exit 1

// The exit code that a status asks for; kExitFailed for one that was not made by the functions
// above.
ExitCode ExitCodeOf(const absl::Status& status);

// Why the goroutines of a process cannot be read, in two lines. `status`: of FindGoRuntimes() and
// what calls it. `command` is ours, for the line to type.
absl::Status ExplainGoroutineFailure(const absl::Status& status, std::string_view comm,
                                     uint32_t pid, std::string_view command);

// Prints a line; a stream that is closed or broken is no reason to stop.
void PrintLine(FILE* stream, std::string_view line);

// Prints the lines of the error to stderr and returns its exit code.
int ReportError(const absl::Status& status);

// Insertions, deletions, changes and swaps of neighbours that turn one word into the other.
size_t EditDistance(std::string_view a, std::string_view b);

// The candidate that is nearest to `word`; the first of them where several are. Empty when there
// are no candidates.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

// "30" (seconds), "30s", "2m", "1h", "500ms", "10us", "1.5s", in ns. nullopt when it is none or
// does not fit.
std::optional<uint64_t> ParseDuration(std::string_view text);

// The valid duration that was probably meant: "10sec" gives "10s".
std::string NearestDuration(std::string_view text);

// A duration as ParseDuration reads it, in the largest unit that keeps it whole: "30s", "1500ms".
std::string DurationText(uint64_t duration_ns);

std::string Joined(const std::vector<std::string>& words, std::string_view separator);

// `text` with control bytes replaced by '?', for a terminal.
std::string Printable(std::string_view text);

}  // namespace stallscope
