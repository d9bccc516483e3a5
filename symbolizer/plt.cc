// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/plt.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

namespace stallscope::symbolizer {
namespace {

constexpr size_t kMostGotWords = 1u << 20;

bool SkipPrefix(std::string_view* code, std::string_view prefix) {
  if (code->substr(0, prefix.size()) != prefix) return false;
  code->remove_prefix(prefix.size());
  return true;
}

template <typename T>
T ReadNumber(std::string_view code, size_t offset) {
  T value;
  std::memcpy(&value, code.data() + offset, sizeof(value));
  return value;
}

}  // namespace

PltStubs::PltStubs(const ElfFile& file, const ElfSymbols& symbols)
    : file_(file), symbols_(symbols) {
  const ElfDynamic dynamic = file.Dynamic();
  ReadRelocations(file.BytesAt(dynamic.plt_relocations, dynamic.plt_relocations_size),
                  /*is_plt=*/true);
  ReadRelocations(file.BytesAt(dynamic.relocations, dynamic.relocations_size), /*is_plt=*/false);
  std::sort(got_.begin(), got_.end());
}

void PltStubs::ReadRelocations(std::string_view table, bool is_plt) {
  for (size_t at = 0; at + sizeof(Elf64_Rela) <= table.size() && got_.size() < kMostGotWords;
       at += sizeof(Elf64_Rela)) {
    const Elf64_Rela entry = ReadNumber<Elf64_Rela>(table, at);
    const uint32_t type = ELF64_R_TYPE(entry.r_info);
    if (is_plt) plt_order_.push_back(static_cast<uint32_t>(ELF64_R_SYM(entry.r_info)));
    if (type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) {
      got_.emplace_back(entry.r_offset, static_cast<uint32_t>(ELF64_R_SYM(entry.r_info)));
    }
  }
}

bool PltStubs::MayBeStub(uint64_t address) const {
  if (!file_.IsExecutableAddress(address)) return false;
  if (file_.sections().empty()) return true;
  return std::any_of(file_.sections().begin(), file_.sections().end(),
                     [&](const ElfSection& section) {
                       return section.name.substr(0, 4) == ".plt" && address >= section.address &&
                              address - section.address < section.size;
                     });
}

std::string PltStubs::NameAt(uint64_t address) const {
  if (got_.empty() || !MayBeStub(address)) return "";
  for (const uint64_t size : {16, 8}) {  // .plt.got without IBT has stubs of 8 bytes
    const std::string_view name = SymbolOfStubAt(address & ~(size - 1), size);
    if (!name.empty()) return std::string(name) + "@plt";
  }
  return "";
}

// The shapes of ld.bfd, gold, lld and mold: [endbr64] [bnd] jmp *word(%rip); and, where IBT splits
// the stub in two, the lazy half: endbr64; push $n; [bnd] jmp .plt.
std::string_view PltStubs::SymbolOfStubAt(uint64_t start, uint64_t size) const {
  const std::string_view stub = file_.BytesAt(start, size);
  if (stub.size() < size) return {};
  std::string_view code = stub;
  SkipPrefix(&code, "\xf3\x0f\x1e\xfa");
  const std::string_view after_endbr = code;
  if (!SkipPrefix(&code, "\xf2")) SkipPrefix(&code, "\x3e");
  if (code.size() >= 6 && code.substr(0, 2) == "\xff\x25") {
    const uint64_t end = start + static_cast<uint64_t>(code.data() + 6 - stub.data());
    const uint64_t word = end + static_cast<uint64_t>(int64_t{ReadNumber<int32_t>(code, 2)});
    const auto found =
        std::lower_bound(got_.begin(), got_.end(), std::make_pair(word, uint32_t{0}));
    return found != got_.end() && found->first == word ? symbols_.DynamicName(found->second)
                                                       : std::string_view();
  }
  const bool lazy_half = size == 16 && after_endbr.size() == 12 && after_endbr[0] == '\x68' &&
                         (after_endbr[5] == '\xe9' || after_endbr.substr(5, 2) == "\xf2\xe9");
  if (!lazy_half) return {};
  const uint32_t index = ReadNumber<uint32_t>(after_endbr, 1);
  return index < plt_order_.size() ? symbols_.DynamicName(plt_order_[index]) : std::string_view();
}

uint64_t PltStubs::heap_bytes() const {
  return got_.capacity() * sizeof(got_[0]) + plt_order_.capacity() * sizeof(plt_order_[0]);
}

}  // namespace stallscope::symbolizer
