// SPDX-License-Identifier: Apache-2.0
//
// All goroutines of a live process, read from its memory: no stop, no signal, no probe.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "userspace/go/runtime.h"

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

// One goroutine as a snapshot saw it.
struct Goroutine {
  uint64_t g = 0;  // address of its structure
  uint64_t id = 0, parent_id = 0;
  uint32_t status = 0;      // GoStatus, without the scan bit
  uint8_t wait_reason = 0;  // valid while waiting
  uint8_t tracking_seq = 0;
  uint64_t sp = 0, pc = 0;  // where it will go on, or where it entered the system call
  uint64_t created_at = 0;  // gopc: return address of the go statement; 0 for the first
  uint64_t start = 0;       // entry of the function it began with
  uint64_t labels = 0;      // address of its pprof labels; 0 for none
  uint64_t locked_thread = 0;
  GoStackIndex stack = kNoGoStack;  // none while it runs
  bool same_wait = false;           // in the very wait in which the snapshot before this one saw it
};

}  // namespace stallscope
