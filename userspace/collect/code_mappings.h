// SPDX-License-Identifier: Apache-2.0
//
// The kernel's own word of each executable mapping that is made (PERF_RECORD_MMAP2), so that one
// that was there only between two readings of a layout is known too.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "userspace/process/proc_files.h"

namespace stallscope {

class CodeMappings {
 public:
  // Watches all processes. Fails with the errno's words when the kernel does not let us.
  static absl::StatusOr<std::unique_ptr<CodeMappings>> Open();
  ~CodeMappings();

  // What was mapped since the last call, by process (in our own pid namespace).
  std::vector<std::pair<uint32_t, MapsLine>> Drain();
  // Records that found no room.
  uint64_t lost() const { return lost_; }
  // Memory shared with the kernel.
  uint64_t bytes() const;

 private:
  struct Ring {
    int fd = -1;
    void* memory = nullptr;
  };
  CodeMappings() = default;
  void DrainRing(const Ring& ring, std::vector<std::pair<uint32_t, MapsLine>>* out);

  std::vector<Ring> rings_;
  uint64_t lost_ = 0;
};

}  // namespace stallscope
