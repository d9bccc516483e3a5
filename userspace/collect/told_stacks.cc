// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/told_stacks.h"

#include "userspace/collect/recorded_stacks.h"

namespace stallscope {

void ToldStacks::Take(const stack_record& record) {
  if (processes_->IsForeign(record.space)) return;
  const SpaceIndex index = processes_->FindAndTeach(record.space);
  const Space& space = processes_->spaces().at(index);
  const WalkedStack walked = Unpack(record.stack);
  if (!space.live) {
    gone_.insert(index);
    stacks_[record.id] = UnjudgedStack(walked, index);
    return;
  }
  Stack stack = JudgeUserStack(walked, *space.live, index);
  processes_->teacher().TeachStack(stack, *space.live);
  stacks_[record.id] = std::move(stack);
}

void ToldStacks::Read(const space_key& key, const Registers& registers, uint64_t id) {
  const SpaceIndex index = processes_->FindAndTeach(key);
  const Space& space = processes_->spaces().at(index);
  Stack stack;
  stack.end = StackEnd::kNone;
  if (space.live && registers.ip)
    stack = UnwindFromOutside(registers, space.go ? &*space.go : nullptr, *space.live, index);
  stacks_[id] = std::move(stack);
}

Stack ToldStacks::Find(uint64_t id) const {
  if (const auto found = stacks_.find(id); found != stacks_.end()) return found->second;
  if (id != STACK_NONE) return MarkerStack("stack lost", StackEnd::kLost);
  Stack none;
  none.end = StackEnd::kNone;
  return none;
}

}  // namespace stallscope
