// SPDX-License-Identifier: Apache-2.0
//
// Modules by file identity, so that one file is parsed once however many processes map it.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "symbolizer/module.h"

namespace stallscope::symbolizer {

class ModuleCache {
 public:
  // `limit_bytes` bounds what the cached modules hold in memory (mapped file pages are not counted:
  // they are the page cache's). When it is passed, the least recently used module is forgotten.
  explicit ModuleCache(uint64_t limit_bytes = 256u << 20);

  // The same shared module for the same (device, inode, size, modification time). A failure is
  // cached too.
  absl::StatusOr<std::shared_ptr<const Module>> Get(const ModuleSource& source);

  // What the cached modules hold now.
  uint64_t memory_bytes() const;

 private:
  void ForgetOldest();

  struct Key {
    uint64_t device, inode, size;
    int64_t mtime_ns;
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& k) {
      return H::combine(std::move(h), k.device, k.inode, k.size, k.mtime_ns);
    }
  };
  struct Entry {
    absl::StatusOr<std::shared_ptr<const Module>> module;
    uint64_t last_used = 0;
  };
  uint64_t limit_bytes_;
  uint64_t clock_ = 0;
  absl::flat_hash_map<Key, Entry> modules_;
};

}  // namespace stallscope::symbolizer
