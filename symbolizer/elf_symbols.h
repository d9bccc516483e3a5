// SPDX-License-Identifier: Apache-2.0
//
// Function symbols of an ELF file by address: .symtab and .dynsym of the file and of its separate
// debug file, or, when the section table is gone, the symbols that PT_DYNAMIC leads to.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <libelf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symbolizer/elf_file.h"

namespace stallscope::symbolizer {

// Symbol tables side by side. A symbol's number counts through all of them.
class ElfSymbols {
 public:
  struct Symbol {
    std::string_view name;  // as the table has it, without "@VERSION"; points into the file
    uint64_t address = 0, size = 0;
    uint8_t type = 0, binding = 0;
    uint32_t section = 0;
  };

  // Adds the tables of `file`, which must outlive this.
  void AddTablesOf(const ElfFile& file);

  // Indexes the functions that lie in `code`'s executable segments. 8 bytes a symbol, 16 where
  // symbols nest.
  void BuildIndex(const ElfFile& code);

  // The symbol that covers `address`: of nested ones the innermost, of aliases the one first by
  // (global, weak, local), fewest leading underscores, shortest, alphabet. nullopt: none covers it;
  // the nearest one is no answer.
  std::optional<uint32_t> Find(uint64_t address) const;

  std::optional<Symbol> Get(uint32_t number) const;

  // Defined symbols of these names, one pass over all; where a name occurs more than once the first
  // one counts. Needs no index.
  absl::flat_hash_map<std::string, Symbol> Named(const std::vector<std::string_view>& names) const;

  // The name of entry `index` of the dynamic symbol table (relocations count so); empty when there
  // is none.
  std::string_view DynamicName(uint32_t index) const;

  bool has_full_table() const;  // a .symtab is among them
  uint64_t heap_bytes() const { return starts_.capacity() * sizeof(Start); }

 private:
  struct Table {
    const ElfFile* file = nullptr;
    Elf_Data* data = nullptr;
    std::string_view names;
    uint32_t count = 0;
    bool full = false;  // .symtab, not .dynsym
  };
  // From `address` (less `base_`) to the next Start the symbol holds; kNone in the gaps.
  struct Start {
    uint32_t address;
    uint32_t symbol;
  };
  struct Candidate;

  void AddSection(const ElfFile& file, const ElfSection& section);
  void AddDynamic(const ElfFile& file);
  std::optional<Symbol> Read(const Table& table, uint32_t index) const;
  std::vector<Candidate> Candidates(const ElfFile& code) const;
  void EndUnsized(std::vector<Candidate>* candidates) const;
  bool IsBetterAlias(uint32_t a, uint32_t b) const;

  std::vector<Table> tables_;
  std::vector<Start> starts_;
  uint64_t base_ = 0;
};

}  // namespace stallscope::symbolizer
