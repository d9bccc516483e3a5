// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace stallscope {

// Gives equal values one small number each, counted from 0 in the order of their first sight.
template <typename T>
class Interner {
 public:
  uint32_t Intern(const T& value) {
    auto [it, added] = index_.try_emplace(value, static_cast<uint32_t>(values_.size()));
    if (added) values_.push_back(value);
    return it->second;
  }
  const std::vector<T>& values() const { return values_; }

 private:
  absl::flat_hash_map<T, uint32_t> index_;
  std::vector<T> values_;
};

}  // namespace stallscope
