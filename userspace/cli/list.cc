// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/list.h"

#include <fmt/format.h>
#include <stdio.h>

#include <optional>
#include <string>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/cli/report.h"
#include "userspace/cli/targets.h"
#include "userspace/cli/version.h"
#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"
#include "userspace/go/runtime.h"
#include "userspace/process/live_space.h"
#include "userspace/process/proc_files.h"

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

// Connections need what the threads do.
EventReport Connections(EventReport event, const EventReport& threads) {
  event.problem = threads.problem;
  event.remedy = threads.remedy;
  if (event.problem.empty())
    event.mechanism =
        "tp_btf and syscall tracepoints; iter/task_file for sockets that were open before";
  return event;
}

EventReport TcpSetUp(const EventReport& threads) {
  return Connections(
      {.name = "tcp",
       .sample = "a TCP connection set up, or not: on the stack that opened or accepted it",
       .unit = "ns",
       .hooks = {"inet_sock_set_state", "tcp_destroy_sock",
                 "sys_exit of connect, accept, accept4, getsockopt"}},
      threads);
}

EventReport Retransmits(const EventReport& threads) {
  return Connections(
      {.name = "retrans",
       .sample = "a segment sent again: on the stack that opened the connection",
       .unit = "segments",
       .hooks = {"inet_sock_set_state", "tcp_destroy_sock", "tcp_retransmit_synack"}},
      threads);
}

EventReport EpollCalls(const EventReport& threads) {
  EventReport event{
      .name = "epoll",
      .sample = "a call of epoll_wait, poll or select: its time, and what it returned",
      .unit = "ns",
      .hooks = {"sys_enter and sys_exit of 7 calls", "sk_data_ready (6.3)", "sched_process_exit",
                "task iterator"}};
  event.problem = threads.problem;
  event.remedy = threads.remedy;
  if (event.problem.empty())
    event.mechanism = "syscall tracepoints and tp_btf; iter/task for calls that began before";
  return event;
}

// Why a process has no goroutines that could be read; empty: it has some.
std::string NoGoroutines(const Target& target) {
  const auto maps = ReadProcFile(fmt::format("/proc/{}/maps", target.pid));
  if (maps.ok() && maps->empty()) return "a kernel thread has no goroutines";
  symbolizer::ModuleCache modules;
  const auto space = LiveSpace::Open(target.pid, &modules);
  if (!space.ok()) return std::string(space.status().message());
  const auto runtimes = FindGoRuntimes(**space);
  return runtimes.ok() ? "" : std::string(runtimes.status().message());
}

EventReport Goroutine(const std::optional<Target>& target) {
  EventReport event{
      .name = "goroutine",
      .sample = "a goroutine seen waiting: wall time, estimated by census (--exact: measured)",
      .unit = "ns",
      .hooks = {"the memory of a Go program (1.19, 1.21 to 1.27)",
                "--exact: its runtime.casgstatus"}};
  if (target) event.problem = NoGoroutines(*target);
  if (event.problem.empty()) {
    event.mechanism = "process_vm_readv, nothing is attached; --exact: uprobe_multi or uprobe";
  } else {
    event.remedy =
        fmt::format("its threads instead: stallscope record -p {} -e offcpu", target->pid);
  }
  return event;
}

}  // namespace

int RunList(const ListOptions& options) {
  ListReport report{.version = ToolVersion()};
  std::optional<Target> process;
  if (options.pid) {
    std::vector<std::string> notes;
    const auto target = ResolvePid(*options.pid, TargetPaths{}, notes);
    if (!target.ok()) return ReportError(target.status());
    for (const std::string& note : notes) PrintLine(stderr, note);
    report.pid = target->pid;
    report.comm = target->comm;
    process = *target;
  }
  const MachineFacts machine = ReadMachineFacts();
  report.kernel = machine.kernel_release;
  const EventReport threads = OffCpu(CheckRequirements(machine, ProbeBpf()));
  report.events.push_back(threads);
  report.events.push_back(Goroutine(process));
  report.events.push_back(TcpSetUp(threads));
  report.events.push_back(Retransmits(threads));
  report.events.push_back(EpollCalls(threads));
  fputs((options.json ? ListJson(report) : ListText(report)).c_str(), stdout);
  return kExitDone;
}

}  // namespace stallscope
