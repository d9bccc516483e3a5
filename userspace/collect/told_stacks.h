// SPDX-License-Identifier: Apache-2.0
//
// The stacks that a probe tells of its processes (bpf/told_stacks.h), by its ids.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <utility>

#include "bpf/wire.h"
#include "userspace/collect/walked_processes.h"
#include "userspace/process/user_stack.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class ToldStacks {
 public:
  // `processes` outlives this.
  explicit ToldStacks(WalkedProcesses* processes) : processes_(processes) {}

  // Judges a stack now, while its process lives: its sums may outlive it.
  void Take(const stack_record& record);
  // The stack of a thread that stands still, read from outside.
  void Read(const space_key& key, const Registers& registers, uint64_t id);
  void Replace(uint64_t id, Stack stack) { stacks_[id] = std::move(stack); }
  // The stack of that id, of spaces as the processes' table has them; a marker when it was lost.
  Stack Find(uint64_t id) const;

  size_t size() const { return stacks_.size(); }
  size_t gone() const { return gone_.size(); }  // programs that could not be read any more

 private:
  WalkedProcesses* processes_;
  absl::flat_hash_map<uint64_t, Stack> stacks_;
  absl::flat_hash_set<SpaceIndex> gone_;
};

}  // namespace stallscope
