// SPDX-License-Identifier: Apache-2.0
//
// The command line as values. Everything that can be known to be wrong before a target or the
// machine is looked at is refused here.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "userspace/cli/outputs.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {

// Who is recorded.
struct TargetSelector {
  enum class Kind { kPids, kComm, kCgroup, kAll, kCommand };
  Kind kind = Kind::kAll;
  std::vector<uint32_t> pids;        // kPids: as typed; threads are not yet their processes
  std::string comm;                  // kComm, at most 15 bytes, as the kernel keeps them
  std::string cgroup;                // kCgroup: a directory, or a path below the cgroup root
  std::vector<std::string> command;  // kCommand: the words after --
};

inline constexpr uint64_t kDefaultDurationNs = 30'000'000'000;
inline constexpr uint32_t kDefaultStacks = 16384;

struct RecordOptions {
  TargetSelector target;
  std::vector<std::string> events;  // as -e names them; empty: by the kind of each process
  uint64_t duration_ns = kDefaultDurationNs;  // 0: until Ctrl-C
  bool duration_given = false;
  std::vector<Output> outputs;   // as typed, before PlanOutputs; empty: DefaultOutputs
  std::optional<Format> format;  // -f, which DefaultOutputs wants
  uint64_t min_ns = 0;
  uint64_t max_ns = ~uint64_t{0};
  bool children = false;
  bool threads = false;
  ProfileOptions view;  // --idle --reason-root --kernel --user -I -X; the expressions compile
  uint32_t stacks = kDefaultStacks;
  double budget = 0.01;  // CPU time of snapshots, or of --exact's probe, over wall time
  bool exact = false;    // goroutines' waits measured by a probe, not estimated from snapshots
  bool strict = false;
  bool quiet = false;
  bool verbose = false;
  bool json = false;  // the summary as one object on stdout
};

struct ConvertOptions {
  std::string input;
  std::vector<Output> outputs;  // at least one
  ProfileOptions view;
  bool resymbolize = false;
  bool quiet = false;
};

struct DumpOptions {
  uint32_t pid = 0;
  bool all = false;    // each goroutine by itself, not equal ones as a group
  bool idle = false;   // also those that are idle by design
  std::string output;  // a file; empty: stdout
  bool json = false;   // by the file's ending, or --json
  bool raw = false;    // a capture, by the file's ending
};

struct DiffOptions {
  std::vector<std::string> inputs;  // two or more, in the order of time
  std::vector<Output> outputs;      // folded
  ProfileOptions view;              // -I -X; the expressions compile
  bool quiet = false;
};

struct TopOptions {
  uint32_t pid = 0;
  uint64_t interval_ns = 1'000'000'000;
  uint64_t duration_ns = 0;  // 0: until Ctrl-C
  double budget = 0.01;      // CPU time of snapshots over wall time
  bool idle = false;         // also what is idle by design
};

struct NetOptions {
  TargetSelector target;                  // pids, a cgroup or all
  uint64_t duration_ns = 10'000'000'000;  // 0: until Ctrl-C
  uint32_t stacks = kDefaultStacks;
  bool quiet = false;
  bool verbose = false;
  bool json = false;
};

struct DoctorOptions {
  std::optional<uint32_t> pid;
  bool json = false;
};

struct ListOptions {
  std::optional<uint32_t> pid;
  bool json = false;
};

struct VersionRequest {};
struct HelpRequest {
  std::string text;  // for stdout
};

using Command = std::variant<RecordOptions, ConvertOptions, DumpOptions, TopOptions, NetOptions,
                             DiffOptions, DoctorOptions, ListOptions, VersionRequest, HelpRequest>;

// `arguments` without the program's name. Fails with a UsageError.
absl::StatusOr<Command> ParseCommandLine(const std::vector<std::string>& arguments);

// The events that -e takes.
std::vector<std::string> EventNames();

// The text of --help: of the program (""), or of a command.
std::string HelpText(std::string_view command);

}  // namespace stallscope
