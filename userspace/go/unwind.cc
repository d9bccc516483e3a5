// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/unwind.h"

#include <string.h>

#include <string_view>

namespace stallscope {
namespace {

// Distinct addresses of one program's stacks are some thousands; a hostile one could offer us all
// that its code has.
constexpr size_t kMostFacts = 1 << 20;

// The runtime puts calls of these where there are none, at an instruction it interrupted: the
// address above them is that instruction itself.
bool Interrupts(std::string_view function) {
  return function == "runtime.asyncPreempt" || function == "runtime.sigpanic" ||
         function == "runtime.sigpanic0" || function == "runtime.debugCallV2";
}

}  // namespace

GoUnwinder::PcFacts GoUnwinder::Find(uint64_t pc) const {
  PcFacts facts;
  const uint64_t address = pc - load_bias_;
  const auto function = tables_->FunctionAt(address);
  if (!function) return facts;
  facts.known = true;
  facts.is_entry = function->entry == address;
  facts.outermost = function->top_frame;
  facts.interrupts = Interrupts(function->name);
  facts.depth = tables_->StackDepth(address).value_or(PcFacts::kUnknown);
  return facts;
}

const GoUnwinder::PcFacts& GoUnwinder::FactsAt(uint64_t pc) {
  const auto at = facts_.find(pc);
  if (at != facts_.end()) return at->second;
  if (facts_.size() >= kMostFacts) facts_.clear();
  return facts_.emplace(pc, Find(pc)).first->second;
}

StackEnd GoUnwinder::Unwind(uint64_t pc, uint64_t sp, const StackBytes& stack, size_t max_frames,
                            std::vector<StackAddress>* frames) {
  frames->clear();
  bool interrupted = false;
  while (true) {
    const PcFacts& facts = FactsAt(pc);
    if (!facts.known) return StackEnd::kNotACall;
    if (frames->size() == max_frames) return StackEnd::kFull;
    // As the runtime's own unwinder: an address at a function's entry was not returned to. That is
    // a goroutine that has not begun, or the place that systemstack() leaves as a mark.
    frames->push_back({.value = pc, .is_return = !interrupted && !facts.is_entry});
    if (facts.outermost) return StackEnd::kComplete;
    if (facts.depth == PcFacts::kUnknown) return StackEnd::kNotACall;
    interrupted = facts.interrupts;

    if (sp < stack.address || sp % 8 != 0) return StackEnd::kLeftStack;
    const uint64_t from_start = sp - stack.address;
    if (from_start > stack.size) return StackEnd::kUnreadable;
    const uint64_t slot = from_start + static_cast<uint64_t>(facts.depth);
    if (slot + 8 > stack.size) return StackEnd::kUnreadable;
    memcpy(&pc, stack.bytes + slot, sizeof(pc));
    sp = stack.address + slot + 8;
    if (pc == 0) return StackEnd::kComplete;
  }
}

StackEnd GoUnwinder::Adopt(std::vector<uint64_t> addresses, bool doubtful_second, StackEnd end,
                           std::vector<StackAddress>* frames) {
  frames->clear();
  if (doubtful_second && addresses.size() > 1 && FactsAt(addresses[0]).depth != 0)
    addresses.erase(addresses.begin() + 1);
  bool interrupted = false;
  for (const uint64_t address : addresses) {
    const PcFacts& facts = FactsAt(address);
    if (!facts.known) return StackEnd::kNotACall;
    frames->push_back({.value = address, .is_return = !interrupted && !facts.is_entry});
    if (facts.outermost) return StackEnd::kComplete;
    interrupted = facts.interrupts;
  }
  return end;
}

}  // namespace stallscope
