// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>

#include <cstdint>
#include <deque>
#include <utility>

namespace stallscope {

// Gives equal values one small number each, counted from 0 in the order of their first sight. Each
// value is stored once. Neither copied nor moved: the index points into it.
template <typename T>
class Interner {
 public:
  Interner() : index_(0, Hash{&values_}, Equal{&values_}) {}
  Interner(const Interner&) = delete;
  Interner& operator=(const Interner&) = delete;

  uint32_t Intern(T value) {
    const auto found = index_.find(value);
    if (found != index_.end()) return *found;
    const uint32_t number = static_cast<uint32_t>(values_.size());
    values_.push_back(std::move(value));
    index_.insert(number);
    return number;
  }

  const std::deque<T>& values() const { return values_; }
  // Leaves the interner empty.
  std::deque<T> TakeValues() {
    index_.clear();
    return std::exchange(values_, {});
  }

 private:
  struct Hash {
    using is_transparent = void;
    const std::deque<T>* values;
    size_t operator()(uint32_t number) const { return absl::Hash<T>()((*values)[number]); }
    size_t operator()(const T& value) const { return absl::Hash<T>()(value); }
  };
  struct Equal {
    using is_transparent = void;
    const std::deque<T>* values;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(uint32_t a, const T& b) const { return (*values)[a] == b; }
    bool operator()(const T& a, uint32_t b) const { return a == (*values)[b]; }
  };

  std::deque<T> values_;
  absl::flat_hash_set<uint32_t, Hash, Equal> index_;
};

}  // namespace stallscope
