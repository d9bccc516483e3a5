// SPDX-License-Identifier: Apache-2.0
//
// Distinct stacks of goroutines, each kept once.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "userspace/profile/recording.h"

namespace stallscope {

using GoStackIndex = uint32_t;
inline constexpr GoStackIndex kNoGoStack = 0xffffffff;

// The frames of a goroutine that does not run, innermost first: program counters in the process.
// All but the first are return addresses, unless the goroutine was interrupted there.
struct GoStack {
  std::vector<StackAddress> addresses;
  StackEnd end = StackEnd::kComplete;
  bool operator==(const GoStack&) const = default;
};

class GoStackTable {
 public:
  // `seed` keeps a target from choosing stacks that collide.
  GoStackTable(size_t max_stacks, size_t max_addresses, uint64_t seed)
      : max_stacks_(max_stacks),
        max_addresses_(max_addresses),
        index_(0, Hash{&stacks_, seed | 1}, Equal{&stacks_}) {}
  GoStackTable(const GoStackTable&) = delete;
  GoStackTable& operator=(const GoStackTable&) = delete;

  // kNoGoStack: it is new and there is no room for it.
  GoStackIndex Intern(const GoStack& stack);
  const GoStack& operator[](GoStackIndex index) const { return stacks_[index]; }
  size_t size() const { return stacks_.size(); }

 private:
  struct Hash {
    const std::deque<GoStack>* stacks;
    uint64_t seed;
    using is_transparent = void;
    size_t operator()(const GoStack& stack) const;
    size_t operator()(GoStackIndex index) const { return (*this)((*stacks)[index]); }
  };
  struct Equal {
    const std::deque<GoStack>* stacks;
    using is_transparent = void;
    bool operator()(GoStackIndex a, GoStackIndex b) const { return a == b; }
    bool operator()(GoStackIndex a, const GoStack& b) const { return (*stacks)[a] == b; }
    bool operator()(const GoStack& a, GoStackIndex b) const { return (*stacks)[b] == a; }
  };

  size_t max_stacks_, max_addresses_;
  size_t addresses_ = 0;
  std::deque<GoStack> stacks_;
  absl::flat_hash_set<GoStackIndex, Hash, Equal> index_;
};

}  // namespace stallscope
