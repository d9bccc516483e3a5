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

absl::StatusOr<Dump> TakeDump(const Target& target) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(target.pid, &modules);
  if (!space.ok()) {
    return TargetError(fmt::format("{} ({}) cannot be read: {}", Printable(target.comm), target.pid,
                                   std::string(space.status().message())),
                       "run it as root: sudo stallscope dump ...; or has it ended? pgrep -a NAME");
  }
  auto dump = DumpGoroutines(**space);
  if (dump.ok()) return dump;
  if (absl::IsNotFound(dump.status())) return DumpThreads(target);
  if (absl::IsPermissionDenied(dump.status())) {
    return MachineError(std::string(dump.status().message()),
                        "run it as root: sudo stallscope dump ...; or add CAP_SYS_PTRACE");
  }
  return TargetError(fmt::format("{} ({}): {}", Printable(target.comm), target.pid,
                                 std::string(dump.status().message())),
                     fmt::format("its threads: stallscope record -p {} -e offcpu", target.pid));
}

// How many goroutines wait where, as a capture.
absl::StatusOr<std::string> TakeCapture(const Target& target) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(target.pid, &modules);
  const std::string name = fmt::format("{} ({})", Printable(target.comm), target.pid);
  if (!space.ok())
    return TargetError(fmt::format("{}: {}", name, std::string(space.status().message())),
                       "is it still running? pgrep -a NAME");
  std::shared_ptr<LiveSpace> shared = *std::move(space);
  auto waits = GoroutineWaits::Start(shared, {});
  if (!waits.ok()) {
    return TargetError(absl::IsNotFound(waits.status())
                           ? name + " is not a Go program"
                           : fmt::format("{}: {}", name, std::string(waits.status().message())),
                       "a capture is made of goroutines: leave out .raw");
  }
  Recording recording;
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
    const absl::Status status = WriteWhole(options.output, *capture);
    return status.ok() ? kExitDone : ReportError(status);
  }
  auto dump = TakeDump(*target);
  if (!dump.ok()) return ReportError(dump.status());
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
