// SPDX-License-Identifier: Apache-2.0
#include "tests/symbolizer/libdw_rules.h"

#include <dwarf.h>

#include <cstdlib>
#include <vector>

namespace stallscope::symbolizer {
namespace {

// DWARF's numbers of the x86-64 registers.
constexpr uint64_t kDwarfRbp = 6;
constexpr uint64_t kDwarfRsp = 7;
constexpr int kDwarfReturnAddress = 16;

// A value during evaluation: a constant, or a register plus a constant, or the word that such a
// place holds.
struct Value {
  enum Base : uint8_t { kConstant, kRspBased, kRbpBased } base = kConstant;
  bool dereferenced = false;
  uint64_t offset = 0;  // wraps around as addresses do
};

using Stack = std::vector<Value>;

std::optional<Value> RegisterValue(uint64_t number, uint64_t offset, uint64_t address) {
  Value value;
  value.offset = offset;
  if (number == kDwarfRsp) {
    value.base = Value::kRspBased;
  } else if (number == kDwarfRbp) {
    value.base = Value::kRbpBased;
  } else if (number == kDwarfReturnAddress) {  // rip itself: the PLT's expression asks for it
    value.offset += address;
  } else {
    return std::nullopt;
  }
  return value;
}

bool ApplyBinary(uint8_t atom, Stack* stack) {
  if (stack->size() < 2) return false;
  const Value right = stack->back();
  stack->pop_back();
  Value& left = stack->back();
  if (right.base != Value::kConstant || right.dereferenced || left.dereferenced) {
    if (atom != DW_OP_plus || left.base != Value::kConstant || right.dereferenced ||
        left.dereferenced)
      return false;
    left = {right.base, false, left.offset + right.offset};
    return true;
  }
  if (atom == DW_OP_plus) {
    left.offset += right.offset;
    return true;
  }
  if (atom == DW_OP_minus) {
    left.offset -= right.offset;
    return true;
  }
  if (left.base != Value::kConstant) return false;
  switch (atom) {
    case DW_OP_and:
      left.offset &= right.offset;
      return true;
    case DW_OP_ge:
      left.offset = static_cast<int64_t>(left.offset) >= static_cast<int64_t>(right.offset) ? 1 : 0;
      return true;
    case DW_OP_shl:
      left.offset = right.offset < 64 ? left.offset << right.offset : 0;
      return true;
    default:
      return false;
  }
}

bool Apply(const Dwarf_Op& op, uint64_t address, Stack* stack) {
  std::optional<Value> value;
  if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31) {
    value = RegisterValue(op.atom - DW_OP_breg0, op.number, address);
  } else if (op.atom == DW_OP_bregx) {
    value = RegisterValue(op.number, op.number2, address);
  } else if (op.atom >= DW_OP_lit0 && op.atom <= DW_OP_lit31) {
    value = Value{Value::kConstant, false, static_cast<uint64_t>(op.atom - DW_OP_lit0)};
  } else if (op.atom >= DW_OP_const1u && op.atom <= DW_OP_consts) {
    value = Value{Value::kConstant, false, op.number};
  } else if (op.atom == DW_OP_plus_uconst) {
    if (stack->empty() || stack->back().dereferenced) return false;
    stack->back().offset += op.number;
    return true;
  } else if (op.atom == DW_OP_deref) {
    if (stack->empty() || stack->back().dereferenced || stack->back().base == Value::kConstant)
      return false;
    stack->back().dereferenced = true;
    return true;
  } else {
    return ApplyBinary(op.atom, stack);
  }
  if (!value) return false;
  stack->push_back(*value);
  return true;
}

std::optional<Value> Evaluate(const Dwarf_Op* ops, size_t count, uint64_t address) {
  if (count == 0 || count > 32) return std::nullopt;
  Stack stack;
  for (size_t i = 0; i < count; ++i) {
    if (!Apply(ops[i], address, &stack)) return std::nullopt;
  }
  if (stack.size() != 1 || stack.back().base == Value::kConstant) return std::nullopt;
  return stack.back();
}

// Where a register was saved, in the words of dwarf_frame_register.
struct Saved {
  enum Kind : uint8_t { kUnchanged, kUndefined, kAtCfa, kAtRbp, kElsewhere } kind = kElsewhere;
  int64_t offset = 0;
};

Saved WhereSaved(Dwarf_Frame* frame, int number, uint64_t address) {
  Dwarf_Op memory[3];
  Dwarf_Op* ops = nullptr;
  size_t count = 0;
  if (dwarf_frame_register(frame, number, memory, &ops, &count) != 0) return {};
  if (count == 0) return {ops == memory ? Saved::kUndefined : Saved::kUnchanged, 0};
  // libdw puts the CFA first, since both plain offsets and expressions start with it on the stack.
  if (ops[0].atom == DW_OP_call_frame_cfa) {
    if (count == 1) return {Saved::kAtCfa, 0};
    if (count == 2 && ops[1].atom == DW_OP_plus_uconst)
      return {Saved::kAtCfa, static_cast<int64_t>(ops[1].number)};
    ++ops, --count;  // an expression that pushes a value of its own leaves the CFA below it
  }
  const std::optional<Value> place = Evaluate(ops, count, address);
  if (place && place->base == Value::kRbpBased && !place->dereferenced) {
    return {Saved::kAtRbp, static_cast<int64_t>(place->offset)};
  }
  return {};
}

std::optional<FrameRule> Translate(Dwarf_Frame* frame, uint64_t address) {
  const Saved return_address = WhereSaved(frame, kDwarfReturnAddress, address);
  FrameRule rule;
  if (return_address.kind == Saved::kUndefined) {
    rule.outermost = true;
    return rule;
  }
  if (return_address.kind != Saved::kAtCfa || return_address.offset != -8) return std::nullopt;
  Dwarf_Op* ops = nullptr;
  size_t count = 0;
  if (dwarf_frame_cfa(frame, &ops, &count) != 0) return std::nullopt;
  const std::optional<Value> cfa = Evaluate(ops, count, address);
  if (!cfa) return std::nullopt;
  rule.cfa_register = cfa->base == Value::kRbpBased ? FrameRule::kRbp : FrameRule::kRsp;
  rule.cfa_offset = static_cast<int64_t>(cfa->offset);
  rule.cfa_deref = cfa->dereferenced;
  const Saved rbp = WhereSaved(frame, kDwarfRbp, address);
  if (rbp.kind == Saved::kElsewhere) return std::nullopt;
  if (rbp.kind == Saved::kAtCfa) rule.rbp_offset = rbp.offset;
  if (rbp.kind == Saved::kAtRbp) {
    rule.rbp_offset = rbp.offset;
    rule.rbp_saved_at_rbp = true;
  }
  return rule;
}

}  // namespace

LibdwRules::LibdwRules(Elf* elf) : eh_frame_(dwarf_getcfi_elf(elf)) {}

LibdwRules::~LibdwRules() {
  if (eh_frame_ != nullptr) dwarf_cfi_end(eh_frame_);
}

std::optional<FrameRule> LibdwRules::At(uint64_t address, bool is_return) const {
  Dwarf_Frame* frame = nullptr;
  if (dwarf_cfi_addrframe(eh_frame_, is_return ? address - 1 : address, &frame) != 0)
    return std::nullopt;
  const std::optional<FrameRule> rule = Translate(frame, address);
  std::free(frame);
  return rule;
}

std::optional<uint64_t> LibdwRules::EndOfRow(uint64_t address) const {
  Dwarf_Frame* frame = nullptr;
  if (dwarf_cfi_addrframe(eh_frame_, address, &frame) != 0) return std::nullopt;
  Dwarf_Addr start = 0, end = 0;
  bool is_signal_frame = false;
  const int return_address = dwarf_frame_info(frame, &start, &end, &is_signal_frame);
  std::free(frame);
  if (return_address < 0 || start > address || end <= address) return std::nullopt;
  return end;
}

}  // namespace stallscope::symbolizer
