// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/walked_processes.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

// A process that execs without end must not hold us up.
constexpr int kMostEventRounds = 8;

}  // namespace

void WalkedProcesses::ReadNamed() {
  for (const uint32_t tgid : options_.targets.tgids) {
    spaces_.ReadAhead(tgid);
    const auto pid = pids_->FromKernel(tgid);
    const auto stat =
        pid ? ReadProcessStat(fmt::format("/proc/{}", *pid)) : absl::NotFoundError("");
    if (stat.ok()) start_ticks_[tgid] = stat->start_ticks;
  }
}

absl::Status WalkedProcesses::Attach(ProbeTargets* probe) {
  probe_ = probe;
  teacher_.emplace(probe);
  const TargetOptions& targets = options_.targets;
  ProcessEventsOptions events;
  events.mode = targets.mode;
  events.own_tgid = targets.own_tgid;
  events.tgid = targets.tgids.empty() ? 0 : targets.tgids[0];
  events.follow_children = options_.follow_children;
  events.wanted_comm = options_.wanted_comm;
  events.targets_fd = probe->fd();
  auto attached = ProcessEvents::Attach(events);
  if (!attached.ok()) return attached.status();
  events_ = *std::move(attached);
  for (const uint32_t tgid : targets.tgids) {
    if (const Space* space = spaces_.Current(tgid)) teacher_->TeachProcess(tgid, *space);
  }
  return absl::OkStatus();
}

absl::Status WalkedProcesses::AddTarget(uint32_t kernel_tgid) {
  if (spaces_.ReadAhead(kernel_tgid)) {
    if (const Space* space = spaces_.Current(kernel_tgid))
      teacher_->TeachProcess(kernel_tgid, *space);
  }
  return probe_->Add(kernel_tgid);
}

// Events tell what was; /proc tells what is: a program is read when no later event says that it is
// another one by now, and believed when it has the memory that its event names.
std::vector<ProcessChange> WalkedProcesses::TakeEvents(const Visitor& visit) {
  std::vector<ProcessChange> changes;
  for (int round = 0; round < kMostEventRounds; ++round) {
    const std::vector<process_event> batch = events_->Drain();
    if (batch.empty()) break;
    for (auto event = batch.begin(); event != batch.end(); ++event) {
      // A child that is followed, or a process that took the wanted name.
      const bool begins = event->kind == PROCESS_FORK ||
                          (event->kind == PROCESS_EXEC && !options_.wanted_comm.empty());
      if (begins) start_ticks_.erase(event->space.tgid);
      if (IsForeign(event->space)) continue;
      if (visit) visit(*event, begins);
      const auto later = [&](uint32_t kind) {
        return std::any_of(event + 1, batch.end(), [&](const process_event& other) {
          return other.kind == kind && other.space.tgid == event->space.tgid;
        });
      };
      changes.push_back(TakeEvent(*event, later(PROCESS_EXEC), later(PROCESS_FORK)));
    }
  }
  return changes;
}

// `stale`: it has become yet another program since. `reborn`: another process of this number has
// begun since.
ProcessChange WalkedProcesses::TakeEvent(const process_event& event, bool stale, bool reborn) {
  const bool is_set = options_.targets.mode == TARGET_SET;
  const uint32_t tgid = event.space.tgid;
  ProcessChange change;
  change.tgid = pids_->FromKernel(tgid).value_or(tgid);
  change.mono_ns = event.time_ns;
  const std::string comm(event.comm, strnlen(event.comm, sizeof(event.comm)));
  if (event.kind == PROCESS_EXEC) {
    const Space* before = spaces_.Current(tgid);
    change.kind = ProcessChange::kExec;
    change.before = before ? before->comm : "";
    change.after = comm;
    const SpaceIndex index = spaces_.Exec(event.space, comm, event.memory, stale);
    teacher_->TeachProcess(tgid, spaces_.at(index));
  } else if (event.kind == PROCESS_FORK) {
    change.kind = ProcessChange::kFork;
    Space& child = spaces_.at(spaces_.Fork(event.space, event.parent_tgid));
    child.comm = comm;
    probe_->SetGoLayout(tgid, child.go);
    // The end of an earlier process of this number may have taken it out again. No room: counted by
    // the kernel's side.
    if (is_set) probe_->Add(tgid).IgnoreError();
  } else {
    change.kind = ProcessChange::kExit;
    if (is_set && !reborn) probe_->Remove(tgid);
  }
  return change;
}

bool WalkedProcesses::IsForeign(const space_key& key) const {
  if (options_.targets.mode == TARGET_ALL) return false;
  const auto named = start_ticks_.find(key.tgid);
  return named != start_ticks_.end() && !SameStart(named->second, key.start_boot_ns);
}

SpaceIndex WalkedProcesses::FindAndTeach(const space_key& key) {
  const size_t known = spaces_.size();
  const SpaceIndex index = spaces_.Find(key);
  if (spaces_.size() > known && options_.targets.mode == TARGET_ALL)
    teacher_->TeachProcess(key.tgid, spaces_.at(index));
  return index;
}

}  // namespace stallscope
