// SPDX-License-Identifier: Apache-2.0
//
// Where results go: which file in which format, whether it can be written, and writing it whole or
// not at all.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/profile/make_profile.h"
#include "userspace/profile/profile.h"
#include "userspace/profile/recording.h"

namespace stallscope {

enum class Format { kFolded, kHtml, kJson, kPprof, kRaw };

// "folded", "html", "json", "pprof", "raw": the names that -f takes, in this order.
std::vector<std::string> FormatNames();
// What the names of their files end in, without the first dot: "pb.gz" for kPprof, else the name.
std::vector<std::string> FormatEndings();
std::string FormatEnding(Format format);
std::optional<Format> FormatNamed(std::string_view name);
// By the ending of the path; nullopt when it has none of ours.
std::optional<Format> FormatOfPath(std::string_view path);

struct Output {
  std::string path;  // "-" is stdout
  Format format = Format::kFolded;
  std::string
      event;  // where a file holds one event (HoldsOneEvent): which; empty until PlanOutputs
  bool operator==(const Output&) const = default;
};

// A file of this format holds one event: kFolded and kPprof.
bool HoldsOneEvent(Format format);

// "-", or another name of file descriptor 1.
bool IsStdout(std::string_view path);

// "x.folded" and "offcpu" give "x.offcpu.folded", "x.pb.gz" gives "x.offcpu.pb.gz"; without such an
// ending the event is appended.
std::string PathOfEvent(std::string_view path, std::string_view event);

// One Output a file: with several events each output that holds one becomes one an event.
std::vector<Output> PlanOutputs(const std::vector<Output>& wanted,
                                const std::vector<std::string>& events);

// What is written when no -o is given: stallscope-<name>-<pid>-<UTC time>.html and .folded, or only
// `format`. Without a pid (-a, several processes) that part is left out.
std::vector<Output> DefaultOutputs(std::string_view name, std::optional<uint32_t> pid,
                                   int64_t start_unix_ns, std::optional<Format> format);

// Fails (exit 1) with the path and the errno's words when a file could not be put there now. Leaves
// nothing behind.
absl::Status CheckWritable(const Output& output);
absl::Status CheckWritable(const std::vector<Output>& outputs);

// Fails (exit 2) when several events of a format that cannot be joined want stdout. `outputs` as
// planned.
absl::Status CheckStdout(const std::vector<Output>& outputs);

// Puts `bytes` at `path`: a temporary file beside it, then a rename, so that a reader sees the old
// file or the new one. The new file has the mode and, where we may, the owner of the old one. A
// symbolic link to a regular file stays, and its target is written; what is no regular file (a
// FIFO, /dev/null) is written to directly. Fails with the path and the errno's words; then no
// temporary file is left and an old file is untouched.
absl::Status WriteWhole(const std::string& path, std::string_view bytes);

// The directories that take a result whose own place fails at the end: $TMPDIR, then /dev/shm.
std::vector<std::string> FallbackDirectories();

struct WriteReport {
  std::vector<std::string> paths;  // where the results lie, stdout left out
  absl::Status status;             // the first failure: exit 1, and where the result lies instead
};

// `profile` in a format, or the recording itself as kRaw. For kPprof the profile should be one by
// address.
absl::StatusOr<std::string> Render(const Recording& recording, const Profile& profile,
                                   const Output& output);

// Renders and writes all of them; `profile` is the recording seen by `view`, and a format that
// tells addresses gets another one, made for it. What cannot be written goes to the first of
// `fallbacks` that takes it.
WriteReport WriteOutputs(const Recording& recording, const Profile& profile,
                         const ProfileOptions& view, const std::vector<Output>& outputs,
                         const std::vector<std::string>& fallbacks = FallbackDirectories());

}  // namespace stallscope
