// SPDX-License-Identifier: Apache-2.0
//
// Teaches the walker of a probe (bpf/walk.h) what it has to know of the processes whose stacks it
// walks.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <cstdint>

#include "userspace/collect/probe_targets.h"
#include "userspace/collect/space_table.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class WalkTeacher {
 public:
  // `probe` is loaded, and outlives this.
  explicit WalkTeacher(ProbeTargets* probe) : probe_(probe) {}

  // A process whose stacks may come: its Go layout, and the steps of its C library.
  void TeachProcess(uint32_t kernel_tgid, const Space& space);
  // The next walk that comes by gets as far by tables as this stack got by other means.
  void TeachStack(const Stack& stack, const LiveSpace& space);
  // What was taught is taught anew where it comes again: there is other code now.
  void Forget() { taught_.clear(); }

 private:
  void TeachStep(uint64_t address, bool is_return, const LiveSpace& space);

  ProbeTargets* probe_;
  int libraries_ = 0;                     // processes whose C library was read ahead
  absl::flat_hash_set<uint64_t> taught_;  // addresses
};

}  // namespace stallscope
