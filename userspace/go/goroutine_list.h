// SPDX-License-Identifier: Apache-2.0
//
// The runtime's list of all goroutines (allgs), followed as it grows.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <vector>

#include "userspace/process/memory.h"

namespace stallscope {

class GoroutineList {
 public:
  // `length_address` is of runtime.allglen, `array_address` of runtime.allgptr. `g_bytes`: of each
  // structure, from its start, what must be addressable.
  GoroutineList(uint64_t length_address, uint64_t array_address, size_t g_bytes,
                size_t max_goroutines)
      : length_address_(length_address),
        array_address_(array_address),
        g_bytes_(g_bytes),
        max_goroutines_(max_goroutines) {}

  // A goroutine's structure, and its number in the list, which never changes.
  struct Place {
    uint64_t address = 0;
    uint32_t number = 0;
  };

  // Reads what the list has gained. The runtime only ever appends to it, and when it moves it
  // copies: what was read before stays true, which is spot-checked where the array has moved.
  // Errors as of GoroutineCensus::Take().
  absl::Status Update(const Memory& memory);

  // Sorted by address, each address once.
  const std::vector<Place>& places() const { return places_; }
  size_t size() const { return listed_.size(); }
  // Entries that cannot be goroutines, or that come twice.
  size_t refused() const { return refused_; }

 private:
  absl::Status Check(const Memory& memory, uint64_t array) const;
  absl::Status ReadTail(const Memory& memory, uint64_t array, size_t length);
  void AddPlaces(size_t first);

  uint64_t length_address_, array_address_;
  size_t g_bytes_, max_goroutines_;
  uint64_t array_ = 0;
  std::vector<uint64_t> listed_;
  std::vector<Place> places_;
  size_t refused_ = 0;
};

// What a failed read of a target's memory means: NotFound: it has ended; PermissionDenied; else
// FailedPrecondition.
absl::Status ReadFailure(int error, const char* what);

}  // namespace stallscope
