// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/code.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>

namespace stallscope {
namespace {

constexpr size_t kRegisters = 16;

struct Instruction {
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  uint32_t offset = 0;  // from the start of the code

  const ZydisDecodedOperand& operand(size_t i) const { return operands[i]; }
  // Number of the operands that the text of an instruction shows.
  size_t visible() const { return info.operand_count_visible; }
  ZydisMnemonic mnemonic() const { return info.mnemonic; }
  bool locked() const { return (info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0; }
  bool is_call() const { return info.meta.category == ZYDIS_CATEGORY_CALL; }
  bool is_conditional() const { return info.meta.category == ZYDIS_CATEGORY_COND_BR; }
  bool is_jump() const { return info.meta.category == ZYDIS_CATEGORY_UNCOND_BR; }
  bool ends_path() const {
    return is_jump() || info.meta.category == ZYDIS_CATEGORY_RET ||
           mnemonic() == ZYDIS_MNEMONIC_UD2 || mnemonic() == ZYDIS_MNEMONIC_INT3;
  }
  // Where a direct branch goes, from the start of the code.
  std::optional<int64_t> target() const {
    if (!is_conditional() && !is_jump() && !is_call()) return std::nullopt;
    const ZydisDecodedOperand& to = operand(0);
    if (to.type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !to.imm.is_relative) return std::nullopt;
    return int64_t{offset} + info.length + to.imm.value.s;
  }
};

// Instructions one after the other; padding and data between them are code like any other here.
class Sweep {
 public:
  explicit Sweep(std::string_view code) : code_(code.substr(0, kMostCode)) {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }

  // False at the end and at bytes that are no instruction (at_end() tells which).
  bool Next(Instruction* next) {
    if (at_end()) return false;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, code_.data() + at_, code_.size() - at_,
                                             &next->info, next->operands.data())))
      return false;
    next->offset = static_cast<uint32_t>(at_);
    at_ += next->info.length;
    return true;
  }
  bool at_end() const { return at_ >= code_.size(); }

 private:
  std::string_view code_;
  size_t at_ = 0;
  ZydisDecoder decoder_;
};

std::vector<int64_t> BranchTargets(std::string_view code) {
  std::vector<int64_t> targets;
  Sweep sweep(code);
  for (Instruction instruction; sweep.Next(&instruction);) {
    if (instruction.is_call()) continue;
    if (const auto target = instruction.target()) targets.push_back(*target);
  }
  std::sort(targets.begin(), targets.end());
  return targets;
}

// Number of the general register that a register is part of: 0 (rax) to 15 (r15); nullopt for
// others.
std::optional<size_t> GeneralRegister(ZydisRegister reg) {
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return std::nullopt;
  return whole - ZYDIS_REGISTER_RAX;
}

bool Writes(const ZydisDecodedOperand& operand) {
  return (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
}

template <typename Found>
void ForEachWrittenRegister(const Instruction& instruction, const Found& found) {
  for (size_t i = 0; i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operand(i);
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || !Writes(operand)) continue;
    if (const auto number = GeneralRegister(operand.reg.value)) found(*number);
  }
}

// The addresses that `lea` has left in registers.
class KnownRegisters {
 public:
  void Forget() { values_.fill(std::nullopt); }
  void Apply(const Instruction& instruction, std::optional<uint64_t> address) {
    if (instruction.is_call() || instruction.ends_path()) {
      Forget();
      return;
    }
    ForEachWrittenRegister(instruction, [&](size_t number) { values_[number].reset(); });
    if (instruction.mnemonic() != ZYDIS_MNEMONIC_LEA || !address) return;
    if (const auto number = GeneralRegister(instruction.operand(0).reg.value))
      values_[*number] = address;
  }
  std::optional<uint64_t> Value(ZydisRegister reg) const {
    const auto number = GeneralRegister(reg);
    return number ? values_[*number] : std::nullopt;
  }

 private:
  std::array<std::optional<uint64_t>, kRegisters> values_;
};

class Reader {
 public:
  Reader(uint64_t address, CodeFacts* facts) : address_(address), facts_(facts) {}

  void Forget() { known_.Forget(); }
  void Read(const Instruction& instruction) {
    std::optional<uint64_t> named;
    for (size_t i = 0; i < instruction.visible(); ++i) {
      const ZydisDecodedOperand& operand = instruction.operand(i);
      if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
      if (operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS)
        continue;
      const auto place = StaticAddress(instruction, operand);
      if (place) {
        named = place;
        if (operand.mem.base == ZYDIS_REGISTER_RIP) facts_->static_addresses.push_back(*place);
        ReadStatic(instruction, i, *place);
      } else if (operand.mem.index == ZYDIS_REGISTER_NONE) {
        ReadField(instruction, i, operand.mem);
      }
    }
    ReadLimit(instruction);
    known_.Apply(instruction, named);
  }

 private:
  std::optional<uint64_t> StaticAddress(const Instruction& instruction,
                                        const ZydisDecodedOperand& operand) const {
    if (operand.mem.base == ZYDIS_REGISTER_RIP) {
      return address_ + instruction.offset + instruction.info.length +
             static_cast<uint64_t>(operand.mem.disp.value);
    }
    if (operand.mem.index != ZYDIS_REGISTER_NONE) return std::nullopt;
    const auto base = known_.Value(operand.mem.base);
    if (!base) return std::nullopt;
    return *base + static_cast<uint64_t>(operand.mem.disp.value);
  }

  void ReadStatic(const Instruction& instruction, size_t i, uint64_t place) {
    const ZydisDecodedOperand& memory = instruction.operand(i);
    if (instruction.mnemonic() == ZYDIS_MNEMONIC_XADD && instruction.locked() && memory.size == 64)
      facts_->atomic_adds.push_back(place);
    if (instruction.mnemonic() == ZYDIS_MNEMONIC_MOV && i == 0 &&
        instruction.operand(1).type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
      facts_->stored_constants.push_back({place, instruction.operand(1).imm.value.s});
  }

  void ReadField(const Instruction& instruction, size_t i, const ZydisDecodedOperandMem& memory) {
    const auto base = GeneralRegister(memory.base);
    if (!base || memory.base == ZYDIS_REGISTER_RSP) return;
    const int64_t displacement = memory.disp.value;
    const uint16_t size = instruction.operand(i).size;
    if (instruction.mnemonic() == ZYDIS_MNEMONIC_CMPXCHG && instruction.locked() && size == 32)
      facts_->compare_exchanges.push_back(displacement);
    if (instruction.mnemonic() != ZYDIS_MNEMONIC_MOV) return;
    const ZydisDecodedOperand& other = instruction.operand(1 - i);
    if (other.type != ZYDIS_OPERAND_TYPE_REGISTER) return;
    if (i == 0 && other.reg.value == ZYDIS_REGISTER_CL)
      facts_->stores_of_cl.push_back(displacement);
    if (memory.base == ZYDIS_REGISTER_R14 && size == 64)
      (i == 0 ? facts_->stores_by_g : facts_->loads_by_g).push_back(displacement);
  }

  // cmp $N,%al; jae (or jb): N entries. cmp $N,%al; ja (or jbe): N + 1.
  void ReadLimit(const Instruction& instruction) {
    if (compared_ && instruction.is_conditional()) {
      if (instruction.mnemonic() == ZYDIS_MNEMONIC_JNB ||
          instruction.mnemonic() == ZYDIS_MNEMONIC_JB)
        facts_->byte_limits.push_back(*compared_);
      if (instruction.mnemonic() == ZYDIS_MNEMONIC_JNBE ||
          instruction.mnemonic() == ZYDIS_MNEMONIC_JBE)
        facts_->byte_limits.push_back(*compared_ + 1);
    }
    compared_.reset();
    if (instruction.mnemonic() != ZYDIS_MNEMONIC_CMP) return;
    const ZydisDecodedOperand& left = instruction.operand(0);
    const ZydisDecodedOperand& right = instruction.operand(1);
    if (left.type == ZYDIS_OPERAND_TYPE_REGISTER && left.size == 8 &&
        right.type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
      compared_ = static_cast<uint8_t>(right.imm.value.u);
  }

  const uint64_t address_;
  CodeFacts* facts_;
  KnownRegisters known_;
  std::optional<uint32_t> compared_;
};

template <typename T>
void SortUnique(std::vector<T>* list) {
  std::sort(list->begin(), list->end());
  list->erase(std::unique(list->begin(), list->end()), list->end());
}

void Tidy(CodeFacts* facts) {
  SortUnique(&facts->static_addresses);
  SortUnique(&facts->compare_exchanges);
  SortUnique(&facts->stores_of_cl);
  SortUnique(&facts->stores_by_g);
  SortUnique(&facts->loads_by_g);
  SortUnique(&facts->atomic_adds);
  SortUnique(&facts->byte_limits);
}

template <typename T>
void Append(const std::vector<T>& from, std::vector<T>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

// ---- where to probe

// cmp 0x10(%r14),%rsp, or another register for large frames: what every function that may grow its
// stack begins with. 0x18: the same on system stacks.
bool IsStackCheck(const Instruction& instruction) {
  if (instruction.mnemonic() != ZYDIS_MNEMONIC_CMP) return false;
  for (size_t i = 0; i < instruction.visible(); ++i) {
    const ZydisDecodedOperand& operand = instruction.operand(i);
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_R14 &&
        operand.mem.index == ZYDIS_REGISTER_NONE &&
        (operand.mem.disp.value == 0x10 || operand.mem.disp.value == 0x18))
      return true;
  }
  return false;
}

// By the kernel's list (arch/x86/kernel/uprobes.c): branches, pushes of registers, one-byte nops.
bool IsEmulated(const Instruction& instruction) {
  if (instruction.is_conditional()) return instruction.mnemonic() != ZYDIS_MNEMONIC_JRCXZ;
  if (instruction.mnemonic() == ZYDIS_MNEMONIC_PUSH)
    return instruction.operand(0).type == ZYDIS_OPERAND_TYPE_REGISTER;
  return instruction.mnemonic() == ZYDIS_MNEMONIC_NOP && instruction.info.length == 1;
}

constexpr std::array kArgumentRegisters = {
    ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_RBX, ZYDIS_REGISTER_RCX,
    ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_R8,
    ZYDIS_REGISTER_R9,  ZYDIS_REGISTER_R10, ZYDIS_REGISTER_R11};

bool KeepsArguments(const Instruction& instruction, int arguments) {
  bool keeps = true;
  const size_t count = std::clamp<size_t>(arguments, 0, kArgumentRegisters.size());
  ForEachWrittenRegister(instruction, [&](size_t number) {
    const auto written = static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + number);
    const auto end = kArgumentRegisters.begin() + count;
    keeps = keeps && written != ZYDIS_REGISTER_R14 &&
            std::find(kArgumentRegisters.begin(), end, written) == end;
  });
  return keeps;
}

}  // namespace

void CodeFacts::Add(const CodeFacts& other) {
  whole = whole && other.whole;
  Append(other.static_addresses, &static_addresses);
  Append(other.compare_exchanges, &compare_exchanges);
  Append(other.stores_of_cl, &stores_of_cl);
  Append(other.stores_by_g, &stores_by_g);
  Append(other.loads_by_g, &loads_by_g);
  Append(other.atomic_adds, &atomic_adds);
  Append(other.stored_constants, &stored_constants);
  Append(other.byte_limits, &byte_limits);
  Tidy(this);
}

std::vector<DirectCall> ReadCalls(std::string_view code, uint64_t address) {
  std::vector<DirectCall> calls;
  Sweep sweep(code);
  for (Instruction instruction; sweep.Next(&instruction);) {
    if (!instruction.is_call()) continue;
    if (const auto target = instruction.target()) {
      calls.push_back({address + instruction.offset + instruction.info.length,
                       address + static_cast<uint64_t>(*target)});
    }
  }
  return calls;
}

CodeFacts ReadCode(std::string_view code, uint64_t address) {
  CodeFacts facts;
  // Where paths meet, what one of them left in a register is not known.
  const std::vector<int64_t> targets = BranchTargets(code);
  Reader reader(address, &facts);
  Sweep sweep(code);
  for (Instruction instruction; sweep.Next(&instruction);) {
    if (std::binary_search(targets.begin(), targets.end(), int64_t{instruction.offset}))
      reader.Forget();
    reader.Read(instruction);
  }
  facts.whole = sweep.at_end();
  Tidy(&facts);
  return facts;
}

// The instructions from the entry to the first call or jump are run once each and in order, but for
// branches that leave and loops that come back.
std::optional<ProbeSite> CheapProbeSite(std::string_view code, int arguments) {
  std::optional<ProbeSite> site;
  Sweep sweep(code);
  bool checked = false;
  bool first_branch_passed = false;
  for (Instruction instruction; sweep.Next(&instruction);) {
    if (checked && instruction.mnemonic() == ZYDIS_MNEMONIC_JBE) {
      site = ProbeSite{instruction.offset, true};
      break;
    }
    if (instruction.is_call() || instruction.ends_path()) break;
    if (!site && !first_branch_passed && IsEmulated(instruction))
      site = ProbeSite{instruction.offset, false};
    first_branch_passed |= instruction.is_conditional();
    checked = IsStackCheck(instruction);
    if (!KeepsArguments(instruction, arguments)) break;
  }
  if (!site || site->after_stack_check) return site;
  for (const int64_t target : BranchTargets(code)) {
    if (target >= 0 && target <= int64_t{site->offset}) return std::nullopt;  // a loop goes over it
  }
  return site;
}

}  // namespace stallscope
