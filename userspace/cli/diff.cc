// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/diff.h"

#include <fmt/format.h>
#include <stdio.h>

#include <string>
#include <utility>
#include <vector>

#include "userspace/cli/capture_input.h"
#include "userspace/cli/words.h"
#include "userspace/format/diff.h"
#include "userspace/profile/compare.h"
#include "userspace/profile/make_profile.h"

namespace stallscope {
namespace {

// The events that two-column files are written of. The counts of a recording say nothing that its
// times do not.
std::vector<const EventComparison*> FoldedEvents(const Comparison& comparison) {
  std::vector<const EventComparison*> events;
  bool has_times = false;
  for (const EventComparison& event : comparison.rates) {
    has_times |= event.name == "goroutine";
    events.push_back(&event);
  }
  if (comparison.counts && !has_times) events.push_back(&*comparison.counts);
  return events;
}

std::string InputLine(const std::string& path, const Profile& profile) {
  std::string text = fmt::format("{}: {}", Printable(path), Printable(profile.target));
  if (profile.duration_ns > 0) {
    text += fmt::format(", {:.2f} s", static_cast<double>(profile.duration_ns) / 1e9);
  }
  return text;
}

absl::StatusOr<std::vector<Profile>> ReadProfiles(const DiffOptions& options) {
  ProfileOptions view = options.view;
  view.idle = true;
  view.created_by = true;
  std::vector<Profile> profiles;
  for (const std::string& path : options.inputs) {
    auto recording = ReadCaptureFile(path);
    if (!recording.ok()) return recording.status();
    auto profile = MakeProfile(*recording, view);
    if (!profile.ok()) return profile.status();
    const bool earlier = !profiles.empty() && profile->start_unix_ns != 0 &&
                         profile->start_unix_ns < profiles.back().start_unix_ns;
    if (earlier) {
      PrintLine(stderr, fmt::format("WARNING {} was recorded before the file in front of it",
                                    Printable(path)));
    }
    profiles.push_back(*std::move(profile));
  }
  return profiles;
}

// Writes the two-column files; reports the first that fails and goes on with the others.
int WriteFolded(const DiffOptions& options, const Comparison& comparison) {
  const std::vector<const EventComparison*> events = FoldedEvents(comparison);
  std::vector<std::string> names;
  for (const EventComparison* event : events) names.push_back(event->name);
  int code = kExitDone;
  for (const Output& output : PlanOutputs(options.outputs, names)) {
    for (const EventComparison* event : events) {
      if (event->name != output.event) continue;
      const absl::Status status = WriteWhole(output.path, FoldedDiff(comparison, *event));
      if (!status.ok()) {
        code = ReportError(status);
      } else if (!options.quiet && !IsStdout(output.path)) {
        PrintLine(stderr, fmt::format("wrote {}", Printable(output.path)));
      }
    }
  }
  return code;
}

}  // namespace

int RunDiff(const DiffOptions& options) {
  if (auto status = CheckWritable(options.outputs); !status.ok()) return ReportError(status);
  const auto profiles = ReadProfiles(options);
  if (!profiles.ok()) return ReportError(profiles.status());
  const auto comparison = Compare(*profiles);
  if (!comparison.ok()) {
    return ReportError(RunError(
        fmt::format("{} and {} cannot be compared: {}", Printable(options.inputs.front()),
                    Printable(options.inputs.back()), std::string(comparison.status().message())),
        "compare two recordings of one event, or two dumps"));
  }
  bool stdout_taken = false;
  for (const Output& output : options.outputs) stdout_taken |= IsStdout(output.path);
  if (!options.quiet || options.outputs.empty()) {
    FILE* const to = stdout_taken ? stderr : stdout;
    for (size_t i = 0; i < profiles->size(); ++i) {
      PrintLine(to, InputLine(options.inputs[i], (*profiles)[i]));
    }
    fputs(DiffText(*comparison).c_str(), to);
  }
  return WriteFolded(options, *comparison);
}

}  // namespace stallscope
