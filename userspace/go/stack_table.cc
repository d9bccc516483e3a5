// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/stack_table.h"

namespace stallscope {

size_t GoStackTable::Hash::operator()(const GoStack& stack) const {
  unsigned __int128 mixed = seed;
  for (const StackAddress& address : stack.addresses) {
    mixed ^= address.value ^ (uint64_t{address.is_return} << 63);
    mixed = static_cast<uint64_t>(mixed) * static_cast<unsigned __int128>(0x9e3779b97f4a7c15);
    mixed = static_cast<uint64_t>(mixed) ^ static_cast<uint64_t>(mixed >> 64);
    mixed += seed;
  }
  return static_cast<size_t>(mixed) ^ static_cast<size_t>(stack.end);
}

GoStackIndex GoStackTable::Intern(const GoStack& stack) {
  if (const auto at = index_.find(stack); at != index_.end()) return *at;
  if (stacks_.size() >= max_stacks_ || addresses_ + stack.addresses.size() > max_addresses_) {
    return kNoGoStack;
  }
  addresses_ += stack.addresses.size();
  const auto index = static_cast<GoStackIndex>(stacks_.size());
  stacks_.push_back(stack);
  index_.insert(index);
  return index;
}

}  // namespace stallscope
