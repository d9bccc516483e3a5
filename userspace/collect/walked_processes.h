// SPDX-License-Identifier: Apache-2.0
//
// The processes of a probe that walks user stacks: who is recorded, through their forks, execs and
// ends, and what the probe's walker has to know of each.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/wire.h"
#include "symbolizer/module_cache.h"
#include "userspace/collect/pid_namespace.h"
#include "userspace/collect/process_change.h"
#include "userspace/collect/process_events.h"
#include "userspace/collect/space_table.h"
#include "userspace/collect/target_options.h"
#include "userspace/collect/walk_teacher.h"

namespace stallscope {

struct WalkedProcessesOptions {
  TargetOptions targets;
  bool follow_children = false;
  std::string wanted_comm;  // --comm: processes that take this name later are targets too
};

class WalkedProcesses {
 public:
  // `pids` and `modules` outlive it.
  WalkedProcesses(WalkedProcessesOptions options, PidNamespace* pids,
                  symbolizer::ModuleCache* modules)
      : options_(std::move(options)), pids_(pids), spaces_(pids, modules) {}

  // Reads the processes that were named, so that those which end soon have been read.
  void ReadNamed();
  // Follows processes from now on, and teaches the probe's walker. `probe` is loaded, and outlives
  // this.
  absl::Status Attach(ProbeTargets* probe);
  void Detach() { events_->Detach(); }
  // TARGET_SET: one more. Kernel's number.
  absl::Status AddTarget(uint32_t kernel_tgid);

  // Gets each event of our processes before it changes anything here. `begins`: a life of its own
  // under its number begins with it.
  using Visitor = std::function<void(const process_event& event, bool begins)>;
  // Takes what has happened since the last call, in order.
  std::vector<ProcessChange> TakeEvents(const Visitor& visit = nullptr);

  // Not ours though its number is: another process after pid reuse.
  bool IsForeign(const space_key& key) const;
  // The index of a space, opened at first sight; with -a the walker is then taught of it, since
  // nobody has named it.
  SpaceIndex FindAndTeach(const space_key& key);

  SpaceTable& spaces() { return spaces_; }
  const SpaceTable& spaces() const { return spaces_; }
  WalkTeacher& teacher() { return *teacher_; }  // after Attach()
  uint64_t events_lost() const { return events_->lost(); }
  std::vector<int> ProgramFds() const { return events_->ProgramFds(); }
  std::vector<int> MapFds() const { return events_->MapFds(); }

 private:
  ProcessChange TakeEvent(const process_event& event, bool stale, bool reborn);

  WalkedProcessesOptions options_;
  PidNamespace* pids_;
  SpaceTable spaces_;
  ProbeTargets* probe_ = nullptr;
  std::optional<WalkTeacher> teacher_;
  std::unique_ptr<ProcessEvents> events_;
  absl::flat_hash_map<uint32_t, uint64_t> start_ticks_;  // of named targets, by kernel tgid
};

}  // namespace stallscope
