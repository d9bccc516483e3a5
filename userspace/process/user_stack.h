// SPDX-License-Identifier: Apache-2.0
//
// From what a walk by frame pointers saw to what is true of it. A walk keeps addresses; unwind
// tables and the instructions before them decide which of those are callers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bpf/wire.h"
#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// A user stack as the kernel's walker (bpf/walk.h) left it, innermost first.
struct WalkedStack {
  std::vector<uint64_t> addresses;
  size_t steps = 0;          // addresses[1..steps] were found by frame steps
  uint16_t steps_check = 0;  // frame_step_check() over the steps that were used
  bool leaf_word = false;    // addresses[1] is the word at the stack pointer; there are no steps
  size_t goroutine_at = 0;   // addresses from here on are the goroutine's; size(): none
  StackEnd end = StackEnd::kComplete;
  bool no_goroutine = false;  // a Go thread that carries none
};

// Marker of the caller of a leaf that cannot be known.
inline constexpr char kCallerUnknown[] = "caller unknown";

// Keeps the addresses that are callers, marks those that are guesses, drops stale ones.
Stack JudgeUserStack(const WalkedStack& walked, LiveSpace& space, SpaceIndex index);

// How the walker may step from `address` to its caller, from the unwind tables. nullopt: the frame
// pointer leads there, or the tables do not say, or it is Go code.
std::optional<frame_step> FrameStepAt(uint64_t address, bool is_return, const LiveSpace& space);

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
