// SPDX-License-Identifier: Apache-2.0
//
// pprof labels of goroutines, where the runtime keeps them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/process/memory.h"

namespace stallscope {

using GoLabels = std::map<std::string, std::string>;

// Index into the label sets of a census.
using GoLabelsIndex = uint32_t;
inline constexpr GoLabelsIndex kNoGoLabels = 0xffffffff;

// Reads the labels that g.labels points to. A set of labels is never changed once it is made, but
// freed when no goroutine has it any more: the caller must make sure that one still has. nullopt:
// not readable, not understood, or larger than any program's.
//
// `are_slice`: go1.24 on, a list of pairs; before, a map of Go's own kind.
std::optional<GoLabels> ReadGoLabels(const Memory& memory, uint64_t address, bool are_slice);

// Distinct label sets, each kept once.
class GoLabelsTable {
 public:
  // kNoGoLabels: it is new and there is no room for it.
  GoLabelsIndex Intern(const GoLabels& labels);
  const GoLabels& operator[](GoLabelsIndex index) const { return by_index_[index]->first; }
  size_t size() const { return by_index_.size(); }

 private:
  static constexpr size_t kMostSets = 1 << 18;
  static constexpr size_t kMostBytes = 64 << 20;

  std::map<GoLabels, GoLabelsIndex> index_;
  std::vector<std::map<GoLabels, GoLabelsIndex>::const_iterator> by_index_;
  size_t bytes_ = 0;
};

}  // namespace stallscope
