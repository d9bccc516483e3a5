// SPDX-License-Identifier: Apache-2.0
//
// From what a walk by frame pointers saw to what is true of it. A walk keeps addresses; unwind
// tables and the instructions before them decide which of those are callers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// A user stack as the kernel's walker (bpf/walk.h) left it, innermost first.
struct WalkedStack {
  enum class Leaf : uint8_t {
    kNone,   // addresses[1] comes from the frame pointer chain
    kWord,   // addresses[1] is the word at the stack pointer
    kTable,  // addresses[1] was read where LeafReturnOffset() says
  };
  std::vector<uint64_t> addresses;
  Leaf leaf = Leaf::kNone;
  uint32_t leaf_offset = 0;  // Leaf::kTable: the offset that was used
  size_t goroutine_at = 0;   // addresses from here on are the goroutine's; size(): none
  StackEnd end = StackEnd::kComplete;
  bool no_goroutine = false;  // a Go thread that carries none
};

// Marker of the caller of a leaf that cannot be known.
inline constexpr char kCallerUnknown[] = "caller unknown";

// Keeps the addresses that are callers, marks those that are guesses, drops stale ones.
Stack JudgeUserStack(const WalkedStack& walked, LiveSpace& space, SpaceIndex index);

// Bytes from the stack pointer to the return address at `ip`, where the tables say that it is not
// right there and that the frame pointer is still the caller's. nullopt: the word at the stack
// pointer, or the frame pointer, will do.
std::optional<uint32_t> LeafReturnOffset(uint64_t ip, const LiveSpace& space);

// The registers of a thread that waits.
struct Registers {
  uint64_t ip = 0, sp = 0, bp = 0, fsbase = 0;
};

// The stack of a thread that has not run since before the recording, read from outside: the same
// walk as the kernel's, over process_vm_readv, and unwind tables where that walk would lose frames.
// `go`: null when not a Go process.
Stack UnwindFromOutside(const Registers& registers, const GoLayout* go, LiveSpace& space,
                        SpaceIndex index);

}  // namespace stallscope
