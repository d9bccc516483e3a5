// SPDX-License-Identifier: Apache-2.0
//
// Stacks of goroutines that do not run, by the tables that Go's linker leaves in every program: how
// deep the stack is at each instruction (pcsp). No frame pointers needed, and no code of the
// target.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <vector>

#include "symbolizer/go_binary.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// A copy of a part of a stack: `size` bytes from `address` on.
struct StackBytes {
  uint64_t address = 0;
  const char* bytes = nullptr;
  size_t size = 0;

  uint64_t end() const { return address + size; }
};

class GoUnwinder {
 public:
  // `tables` must outlive it; `load_bias` is added to their addresses.
  GoUnwinder(const symbolizer::GoBinary* tables, uint64_t load_bias)
      : tables_(tables), load_bias_(load_bias) {}

  // Fills `frames` (cleared first), innermost first, and says why it ended. `pc` and `sp` are where
  // the goroutine goes on. kComplete: at an outermost function. kFull: `max_frames`. kNotACall: an
  // address that is in no Go function, or in one whose stack depth is not known. kLeftStack: `sp`
  // lies below the copy. kUnreadable: the copy ended before the stack did.
  StackEnd Unwind(uint64_t pc, uint64_t sp, const StackBytes& stack, size_t max_frames,
                  std::vector<StackAddress>* frames);

  // The same of addresses that frame pointers led to, innermost first; `end` is why they ended.
  // `doubtful_second`: the second is a word on the stack that is a caller only if the first is an
  // instruction before its function has made a frame.
  StackEnd Adopt(std::vector<uint64_t> addresses, bool doubtful_second, StackEnd end,
                 std::vector<StackAddress>* frames);

 private:
  // What the function around an address means for a walk.
  struct PcFacts {
    int64_t depth = kUnknown;  // bytes from sp to the slot of the return address
    bool known = false;        // a Go function is there
    bool is_entry = false;     // its first instruction: nothing was called from here
    bool outermost = false;    // nothing above it
    bool interrupts = false;   // its caller was interrupted, not calling
    static constexpr int64_t kUnknown = -1;
  };
  const PcFacts& FactsAt(uint64_t pc);
  PcFacts Find(uint64_t pc) const;

  const symbolizer::GoBinary* tables_;
  uint64_t load_bias_;
  absl::flat_hash_map<uint64_t, PcFacts> facts_;
};

}  // namespace stallscope
