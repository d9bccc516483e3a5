// SPDX-License-Identifier: Apache-2.0
//
// What the machine code of a function of Go's runtime (x86-64) says of the places that it works on,
// and where a probe on it costs least. The disassembler stays behind this header.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace stallscope {

// Longer functions are read up to here; those of the runtime that are asked about have less.
inline constexpr size_t kMostCode = 64u << 10;

// Of one function, or of several that share a name. Lists are sorted, each entry once, but for
// those of structs.
struct CodeFacts {
  // False: bytes that are no instruction came up, and what follows them was not read.
  bool whole = true;
  // Static memory that it names: operands relative to the instruction, whatever is done there.
  std::vector<uint64_t> static_addresses;
  // Displacements, from a register that holds a pointer, of:
  std::vector<int64_t> compare_exchanges;  // 32-bit `lock cmpxchg`
  std::vector<int64_t> stores_of_cl;       // the byte argument number three (Go's register ABI)
  std::vector<int64_t> stores_by_g;        // 64-bit stores to fields of r14, the current g
  std::vector<int64_t> loads_by_g;         // 64-bit loads from them
  // Static memory that a 64-bit `lock xadd` adds to.
  std::vector<uint64_t> atomic_adds;
  struct StoredConstant {
    uint64_t address = 0;
    int64_t value = 0;
    bool operator==(const StoredConstant&) const = default;
  };
  std::vector<StoredConstant> stored_constants;  // immediate values written to static memory
  // Numbers of entries that an unsigned byte is held against before it is used as an index.
  std::vector<uint32_t> byte_limits;

  void Add(const CodeFacts& other);
};

// `address` is where the code lies (or would): static addresses count from it.
CodeFacts ReadCode(std::string_view code, uint64_t address);

// A call of a function that the code names, not one through a pointer.
struct DirectCall {
  uint64_t return_address = 0;
  uint64_t target = 0;
  bool operator==(const DirectCall&) const = default;
};
// Those of a function, in the order of its code, up to bytes that are no instruction.
std::vector<DirectCall> ReadCalls(std::string_view code, uint64_t address);

// An instruction that the kernel emulates when a uprobe stands on it, which costs a tenth of the
// trap that stepping through another one takes; every run of the function comes by exactly once,
// with its arguments still in their registers.
struct ProbeSite {
  uint32_t offset = 0;  // from the function's entry
  // The site is the branch behind the stack check: a hit with CF or ZF set in its flags goes off to
  // grow the stack and comes back, and is not to be counted.
  bool after_stack_check = false;
};

// `arguments`: how many of Go's argument registers (rax, rbx, rcx, rdi, rsi, r8 to r11, in this
// order) a probe reads; r14, the current g, is always kept. nullopt: there is no such place.
std::optional<ProbeSite> CheapProbeSite(std::string_view code, int arguments);

}  // namespace stallscope
