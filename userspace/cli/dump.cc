// SPDX-License-Identifier: Apache-2.0
//
// `stallscope dump`: what every goroutine of a process, or every thread of one that is not Go, does
// now. Goroutines are read from the process's memory: nothing is attached to it.
#include "userspace/cli/dump.h"

#include <fmt/format.h>
#include <stdio.h>

#include <string>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/cli/dump_threads.h"
#include "userspace/cli/outputs.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/format/dump.h"
#include "userspace/go/dump_goroutines.h"
#include "userspace/go/goroutine_waits.h"
#include "userspace/process/clock.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/capture.h"

namespace stallscope {
namespace {

absl::Status CannotBeRead(const Target& target, const absl::Status& why) {
  return TargetError(fmt::format("{} ({}) cannot be read: {}", Printable(target.comm), target.pid,
                                 std::string(why.message())),
                     "run it as root: sudo stallscope dump ...; or has it ended? pgrep -a NAME");
}

absl::StatusOr<Dump> TakeDump(const Target& target) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(target.pid, &modules);
  if (!space.ok()) return CannotBeRead(target, space.status());
  auto dump = DumpGoroutines(**space);
  if (dump.ok()) return dump;
  if (absl::IsNotFound(dump.status())) return DumpThreads(target);
  return ExplainGoroutineFailure(dump.status(), target.comm, target.pid, "dump");
}

// How many goroutines wait where, as a capture.
absl::StatusOr<std::string> TakeCapture(const Target& target) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(target.pid, &modules);
  if (!space.ok()) return CannotBeRead(target, space.status());
  std::shared_ptr<LiveSpace> shared = *std::move(space);
  GoroutineWaitsOptions options;
  options.peers = true;
  auto waits = GoroutineWaits::Start(shared, options);
  if (absl::IsNotFound(waits.status())) {
    return TargetError(
        fmt::format("{} ({}) is not a Go program", Printable(target.comm), target.pid),
        "a capture is made of goroutines: leave out .raw");
  }
  if (!waits.ok()) return ExplainGoroutineFailure(waits.status(), target.comm, target.pid, "dump");
  Recording recording;
  if (std::string note = StandsStillNote(target); !note.empty())
    recording.notes.push_back(std::move(note));
  recording.tool_version = ToolVersion();
  recording.target = fmt::format("{} (pid {})", target.comm, target.pid);
  recording.start_unix_ns = static_cast<int64_t>(ClockNs(CLOCK_REALTIME));
  AddressSpace program = shared->Describe();
  program.tgid = target.pid;
  program.comm = target.comm;
  recording.spaces.push_back(std::move(program));
  RecordedEvent event;
  event.name = "goroutines";
  event.columns = {{"count", "count"}};
  event.mechanism = "process_vm_readv, " + (*waits)->mechanism();
  (*waits)->FillCounts(0, &event, &recording);
  recording.events.push_back(std::move(event));
  return WriteCapture(recording);
}

}  // namespace

int RunDump(const DumpOptions& options) {
  std::vector<std::string> notes;
  const auto target = ResolvePid(options.pid, TargetPaths{}, notes);
  if (!target.ok()) return ReportError(target.status());
  for (const std::string& note : notes) PrintLine(stderr, note);
  if (!options.output.empty()) {
    if (auto status = CheckWritable(Output{options.output, Format::kJson, ""}); !status.ok())
      return ReportError(status);
  }
  if (options.raw) {
    const auto capture = TakeCapture(*target);
    if (!capture.ok()) return ReportError(capture.status());
    if (const std::string note = StandsStillNote(*target); !note.empty()) PrintLine(stderr, note);
    const absl::Status status = WriteWhole(options.output, *capture);
    return status.ok() ? kExitDone : ReportError(status);
  }
  auto dump = TakeDump(*target);
  if (!dump.ok()) return ReportError(dump.status());
  if (std::string note = StandsStillNote(*target); !note.empty())
    dump->notes.insert(dump->notes.begin(), std::move(note));
  dump->tool_version = ToolVersion();
  dump->target = fmt::format("{} ({})", target->pid, target->comm);
  const std::string text =
      options.json ? DumpJson(*dump) : DumpText(*dump, {.all = options.all, .idle = options.idle});
  if (options.output.empty()) {
    fwrite(text.data(), 1, text.size(), stdout);
    return kExitDone;
  }
  if (auto status = WriteWhole(options.output, text); !status.ok()) return ReportError(status);
  return kExitDone;
}

}  // namespace stallscope
