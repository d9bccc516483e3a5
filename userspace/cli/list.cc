// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/list.h"

#include <stdio.h>

#include "userspace/cli/report.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"

namespace stallscope {
namespace {

EventReport OffCpu(const std::vector<Requirement>& requirements) {
  EventReport event{
      .name = "offcpu",
      .sample = "a thread that left the CPU and came back, or has not yet: its time blocked",
      .unit = "ns",
      .hooks = {"sched_switch", "sched_waking", "task iterator"}};
  for (const Requirement& requirement : requirements) {
    if (requirement.state != RequirementState::kMissing) continue;
    event.problem = requirement.found;
    event.remedy = requirement.remedy;
    return event;
  }
  event.mechanism = "tp_btf sched_switch, sched_waking; iter/task for threads that waited before";
  return event;
}

EventReport Goroutine() {
  return {.name = "goroutine",
          .sample = "a goroutine seen waiting: wall time, estimated by census (--exact: measured)",
          .unit = "ns",
          .hooks = {"the memory of a Go program (1.19, 1.21 to 1.27)",
                    "--exact: its runtime.casgstatus"},
          .mechanism = "process_vm_readv, nothing is attached; --exact: uprobe_multi or uprobe"};
}

}  // namespace

int RunList(const ListOptions& options) {
  ListReport report{.version = ToolVersion()};
  if (options.pid) {
    std::vector<std::string> notes;
    const auto target = ResolvePid(*options.pid, TargetPaths{}, notes);
    if (!target.ok()) return ReportError(target.status());
    for (const std::string& note : notes) PrintLine(stderr, note);
    report.pid = target->pid;
    report.comm = target->comm;
  }
  const MachineFacts machine = ReadMachineFacts();
  report.kernel = machine.kernel_release;
  report.events.push_back(OffCpu(CheckRequirements(machine, ProbeBpf())));
  report.events.push_back(Goroutine());
  fputs((options.json ? ListJson(report) : ListText(report)).c_str(), stdout);
  return kExitDone;
}

}  // namespace stallscope
