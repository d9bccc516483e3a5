// SPDX-License-Identifier: Apache-2.0
//
// Names of PLT stubs. A stub has no symbol; it jumps through a word of the GOT that a relocation
// fills with the address of a named symbol. So the stub's instruction is decoded, and the
// relocation of the word it reads gives the name.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "symbolizer/elf_file.h"
#include "symbolizer/elf_symbols.h"

namespace stallscope::symbolizer {

class PltStubs {
 public:
  // Reads the relocations of `file` that fill GOT words. Both must outlive this.
  PltStubs(const ElfFile& file, const ElfSymbols& symbols);

  // "puts@plt" when `address` lies in a stub, else "".
  std::string NameAt(uint64_t address) const;

  uint64_t heap_bytes() const;

 private:
  void ReadRelocations(std::string_view table, bool is_plt);
  bool MayBeStub(uint64_t address) const;
  std::string_view SymbolOfStubAt(uint64_t start, uint64_t size) const;

  const ElfFile& file_;
  const ElfSymbols& symbols_;
  std::vector<std::pair<uint64_t, uint32_t>>
      got_;                          // {address of the GOT word, dynamic symbol}, sorted
  std::vector<uint32_t> plt_order_;  // the dynamic symbol of the nth PLT relocation
};

}  // namespace stallscope::symbolizer
