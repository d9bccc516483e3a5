// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/frame_rules.h"

#include <dwarf.h>

#include <vector>

#include "symbolizer/byte_cursor.h"

namespace stallscope::symbolizer {
namespace {

constexpr int kMostOperations = 32;  // of one expression; compilers and linkers write at most nine

// A value during evaluation: a constant, or a register (or the CFA) plus a constant, or the word
// that such a place holds.
struct Value {
  enum Base : uint8_t { kConstant, kRspBased, kRbpBased, kCfaBased } base = kConstant;
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

// The operand of an operation that pushes a constant.
uint64_t ReadConstant(uint8_t atom, ByteCursor* cursor) {
  switch (atom) {
    case DW_OP_const1u:
      return cursor->U8();
    case DW_OP_const1s:
      return static_cast<uint64_t>(int64_t{static_cast<int8_t>(cursor->U8())});
    case DW_OP_const2u:
      return cursor->U16();
    case DW_OP_const2s:
      return static_cast<uint64_t>(int64_t{static_cast<int16_t>(cursor->U16())});
    case DW_OP_const4u:
      return cursor->U32();
    case DW_OP_const4s:
      return static_cast<uint64_t>(int64_t{cursor->I32()});
    case DW_OP_constu:
      return cursor->Varint();
    case DW_OP_consts:
      return static_cast<uint64_t>(cursor->SignedVarint());
    default:  // DW_OP_const8u, DW_OP_const8s
      return cursor->U64();
  }
}

bool ApplyNext(uint64_t address, ByteCursor* cursor, Stack* stack) {
  const uint8_t atom = cursor->U8();
  std::optional<Value> value;
  if (atom >= DW_OP_breg0 && atom <= DW_OP_breg31) {
    value = RegisterValue(atom - DW_OP_breg0, cursor->SignedVarint(), address);
  } else if (atom == DW_OP_bregx) {
    const uint64_t number = cursor->Varint();
    value = RegisterValue(number, cursor->SignedVarint(), address);
  } else if (atom >= DW_OP_lit0 && atom <= DW_OP_lit31) {
    value = Value{Value::kConstant, false, static_cast<uint64_t>(atom - DW_OP_lit0)};
  } else if (atom >= DW_OP_const1u && atom <= DW_OP_consts) {
    value = Value{Value::kConstant, false, ReadConstant(atom, cursor)};
  } else if (atom == DW_OP_plus_uconst) {
    if (stack->empty() || stack->back().dereferenced) return false;
    stack->back().offset += cursor->Varint();
    return cursor->ok();
  } else if (atom == DW_OP_deref) {
    if (stack->empty() || stack->back().dereferenced || stack->back().base == Value::kConstant)
      return false;
    stack->back().dereferenced = true;
    return true;
  } else {
    return ApplyBinary(atom, stack);
  }
  if (!value || !cursor->ok()) return false;
  stack->push_back(*value);
  return true;
}

// What the expression leaves on top of the stack; nullopt also for a constant, which is no place on
// a thread's stack.
std::optional<Value> Evaluate(std::string_view expression, uint64_t address, Stack stack) {
  ByteCursor cursor(expression);
  for (int i = 0; cursor.remaining() > 0; ++i) {
    if (i == kMostOperations || !ApplyNext(address, &cursor, &stack)) return std::nullopt;
  }
  if (stack.empty() || stack.back().base == Value::kConstant) return std::nullopt;
  return stack.back();
}

std::optional<Value> Cfa(const FrameRow& row, uint64_t address) {
  if (row.cfa_kind == FrameRow::kCfaExpression) return Evaluate(row.cfa_expression, address, {});
  if (row.cfa_kind == FrameRow::kNoCfa) return std::nullopt;
  std::optional<Value> cfa = RegisterValue(row.cfa_register, row.cfa_offset, address);
  if (cfa && cfa->base == Value::kConstant) return std::nullopt;
  return cfa;
}

// The place in memory where the caller's value is; nullopt: nowhere in memory, or cannot be said.
std::optional<Value> PlaceOf(const SavedRegister& saved, uint64_t address) {
  const Value cfa = {Value::kCfaBased, false, static_cast<uint64_t>(saved.offset)};
  if (saved.kind == SavedRegister::kAtCfaOffset) return cfa;
  if (saved.kind != SavedRegister::kAtExpression) return std::nullopt;
  const std::optional<Value> place = Evaluate(saved.expression, address, {cfa});
  if (place && place->dereferenced) return std::nullopt;
  return place;
}

bool IsAtCfa(const std::optional<Value>& place) { return place && place->base == Value::kCfaBased; }

// Sets where the caller's rbp is; false when a FrameRule cannot say it.
bool SetRbp(const SavedRegister& saved, uint64_t address, FrameRule* rule) {
  // A caller whose rbp is lost ("undefined") has no use for it either: _start's, clone's.
  if (saved.kind <= SavedRegister::kSameValue) return true;
  const std::optional<Value> place = PlaceOf(saved, address);
  rule->rbp_saved_at_rbp = place && place->base == Value::kRbpBased;
  if (!rule->rbp_saved_at_rbp && !IsAtCfa(place)) return false;
  rule->rbp_offset = static_cast<int64_t>(place->offset);
  return true;
}

std::optional<FrameRule> Translate(const FrameRow& row, uint64_t address) {
  FrameRule rule;
  if (row.return_address.kind == SavedRegister::kUndefined) {
    rule.outermost = true;
    return rule;
  }
  const std::optional<Value> return_address = PlaceOf(row.return_address, address);
  if (!IsAtCfa(return_address) || return_address->offset != static_cast<uint64_t>(-8))
    return std::nullopt;
  const std::optional<Value> cfa = Cfa(row, address);
  if (!cfa || !SetRbp(row.rbp, address, &rule)) return std::nullopt;
  rule.cfa_register = cfa->base == Value::kRbpBased ? FrameRule::kRbp : FrameRule::kRsp;
  rule.cfa_offset = static_cast<int64_t>(cfa->offset);
  rule.cfa_deref = cfa->dereferenced;
  return rule;
}

}  // namespace

const EhFrame* FrameRules::tables() {
  if (!loaded_) {
    loaded_ = true;
    tables_ = EhFrame::Load(file_);
  }
  return tables_.get();
}

std::optional<uint64_t> FrameRules::FunctionStart(uint64_t address) {
  return tables() ? tables()->EntryStart(address) : std::nullopt;
}

std::optional<FrameRule> FrameRules::At(uint64_t address, bool is_return) {
  if (!tables()) return std::nullopt;
  const std::optional<FrameRow> row = tables()->RowAt(is_return ? address - 1 : address);
  if (!row) return std::nullopt;
  return Translate(*row, address);
}

}  // namespace stallscope::symbolizer
