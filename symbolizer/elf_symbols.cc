// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/elf_symbols.h"

#include <absl/container/flat_hash_set.h>
#include <elf.h>
#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

namespace stallscope::symbolizer {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr uint32_t kMostSymbols = 8u << 20;
constexpr size_t kLongestName = 65536;

// Assembly often leaves out a size. Such a symbol reaches to the next one, but not far: local
// symbols may have been stripped away in between.
constexpr uint64_t kUnsizedReach = 1024;

std::string_view NameAt(std::string_view names, uint64_t offset) {
  if (offset >= names.size()) return {};
  const std::string_view rest = names.substr(offset, kLongestName);
  const size_t end = rest.find('\0');
  return end == std::string_view::npos ? std::string_view() : rest.substr(0, end);
}

std::string_view WithoutVersion(std::string_view name) {
  const size_t at = name.find('@');
  return at == std::string_view::npos || at == 0 ? name : name.substr(0, at);
}

// DT_GNU_HASH does not say how many symbols there are: the longest chain's end does.
uint32_t CountByGnuHash(const ElfFile& file, uint64_t address) {
  struct {
    uint32_t buckets, first, bloom_words, shift;
  } header;
  const std::string_view head = file.BytesAt(address, sizeof(header));
  if (head.size() < sizeof(header)) return 0;
  std::memcpy(&header, head.data(), sizeof(header));
  const uint64_t buckets_at = address + sizeof(header) + uint64_t{8} * header.bloom_words;
  const std::string_view buckets = file.BytesAt(buckets_at, uint64_t{4} * header.buckets);
  uint32_t last = 0;
  for (size_t at = 0; at + 4 <= buckets.size(); at += 4) {
    uint32_t bucket;
    std::memcpy(&bucket, buckets.data() + at, 4);
    last = std::max(last, bucket);
  }
  if (last < header.first) return header.first;
  const uint64_t chain_at =
      buckets_at + uint64_t{4} * header.buckets + uint64_t{4} * (last - header.first);
  const std::string_view chain = file.BytesAt(chain_at, uint64_t{4} * kMostSymbols);
  for (size_t at = 0; at + 4 <= chain.size(); at += 4, ++last) {
    uint32_t word;
    std::memcpy(&word, chain.data() + at, 4);
    if ((word & 1) != 0) return last + 1;
  }
  return 0;
}

uint32_t CountDynamicSymbols(const ElfFile& file, const ElfDynamic& dynamic) {
  if (dynamic.hash != 0) {
    const std::string_view head = file.BytesAt(dynamic.hash, 8);
    uint32_t count = 0;
    if (head.size() == 8) std::memcpy(&count, head.data() + 4, 4);
    if (count != 0) return count;
  }
  return dynamic.gnu_hash != 0 ? CountByGnuHash(file, dynamic.gnu_hash) : 0;
}

}  // namespace

struct ElfSymbols::Candidate {
  uint32_t start = 0, end = 0;  // less base_; end == start: no size yet
  uint32_t number = 0;
  uint32_t limit = 0;  // where an unsized symbol ends at the latest
};

void ElfSymbols::AddTablesOf(const ElfFile& file) {
  const size_t before = tables_.size();
  for (const ElfSection& section : file.sections()) {
    if (section.type == SHT_SYMTAB || section.type == SHT_DYNSYM) AddSection(file, section);
    if (tables_.size() >= before + 4) break;
  }
  if (file.sections().empty()) AddDynamic(file);
}

void ElfSymbols::AddSection(const ElfFile& file, const ElfSection& section) {
  GElf_Shdr header;
  if (section.link >= file.sections().size() || gelf_getshdr(section.scn, &header) == nullptr)
    return;
  if (section.flags & SHF_COMPRESSED || file.ContentOf(section).empty()) return;
  Table table;
  table.file = &file;
  table.data = elf_getdata(section.scn, nullptr);
  table.names = file.ContentOf(file.sections()[section.link]);
  table.full = section.type == SHT_SYMTAB;
  const size_t entry_size = gelf_fsize(file.elf(), ELF_T_SYM, 1, EV_CURRENT);
  if (table.data == nullptr || table.data->d_type != ELF_T_SYM || entry_size == 0) return;
  table.count =
      static_cast<uint32_t>(std::min<uint64_t>(table.data->d_size / entry_size, kMostSymbols));
  tables_.push_back(table);
}

void ElfSymbols::AddDynamic(const ElfFile& file) {
  const ElfDynamic dynamic = file.Dynamic();
  const uint64_t count = std::min(CountDynamicSymbols(file, dynamic), kMostSymbols);
  const size_t available = file.BytesAt(dynamic.symbols, count * sizeof(Elf64_Sym)).size();
  const std::optional<uint64_t> offset = file.AddressToFileOffset(dynamic.symbols);
  const size_t size = available - available % sizeof(Elf64_Sym);
  if (!offset || size == 0) return;
  Table table;
  table.file = &file;
  table.data = elf_getdata_rawchunk(file.elf(), static_cast<int64_t>(*offset), size, ELF_T_SYM);
  table.names = file.BytesAt(dynamic.names, dynamic.names_size);
  table.count = static_cast<uint32_t>(size / sizeof(Elf64_Sym));
  if (table.data != nullptr) tables_.push_back(table);
}

std::optional<ElfSymbols::Symbol> ElfSymbols::Read(const Table& table, uint32_t index) const {
  GElf_Sym entry;
  if (index >= table.count || gelf_getsym(table.data, static_cast<int>(index), &entry) == nullptr)
    return std::nullopt;
  Symbol symbol;
  symbol.name = WithoutVersion(NameAt(table.names, entry.st_name));
  symbol.address = entry.st_value;
  symbol.size = entry.st_size;
  symbol.type = GELF_ST_TYPE(entry.st_info);
  symbol.binding = GELF_ST_BIND(entry.st_info);
  symbol.section = entry.st_shndx;
  return symbol;
}

std::optional<ElfSymbols::Symbol> ElfSymbols::Get(uint32_t number) const {
  for (const Table& table : tables_) {
    if (number < table.count) return Read(table, number);
    number -= table.count;
  }
  return std::nullopt;
}

absl::flat_hash_map<std::string, ElfSymbols::Symbol> ElfSymbols::Named(
    const std::vector<std::string_view>& names) const {
  const absl::flat_hash_set<std::string> wanted(names.begin(), names.end());
  absl::flat_hash_map<std::string, Symbol> found;
  for (const Table& table : tables_) {
    for (uint32_t index = 0; index < table.count; ++index) {
      const std::optional<Symbol> symbol = Read(table, index);
      if (!symbol || symbol->section == SHN_UNDEF || symbol->name.empty()) continue;
      if (wanted.contains({symbol->name.data(), symbol->name.size()}))
        found.try_emplace(std::string(symbol->name), *symbol);
    }
  }
  return found;
}

std::string_view ElfSymbols::DynamicName(uint32_t index) const {
  for (const Table& table : tables_) {
    if (table.full) continue;
    const std::optional<Symbol> symbol = Read(table, index);
    return symbol ? symbol->name : std::string_view();
  }
  return {};
}

bool ElfSymbols::has_full_table() const {
  return std::any_of(tables_.begin(), tables_.end(), [](const Table& table) { return table.full; });
}

std::vector<ElfSymbols::Candidate> ElfSymbols::Candidates(const ElfFile& code) const {
  std::vector<Candidate> candidates;
  uint32_t first_number = 0;
  for (const Table& table : tables_) {
    const std::vector<ElfSection>& sections = table.file->sections();
    for (uint32_t i = 0; i < table.count; ++i) {
      GElf_Sym entry;
      if (gelf_getsym(table.data, static_cast<int>(i), &entry) == nullptr) break;
      const int type = GELF_ST_TYPE(entry.st_info);
      const bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
      if (!is_function && (type != STT_NOTYPE || entry.st_size == 0)) continue;
      if (entry.st_size == 0 && !table.full) continue;  // its neighbours may well be hidden
      if (entry.st_shndx == SHN_UNDEF || entry.st_shndx == SHN_ABS || entry.st_name == 0) continue;
      const ElfSection* section =
          entry.st_shndx < sections.size() ? &sections[entry.st_shndx] : nullptr;
      if (section != nullptr && (section->flags & SHF_EXECINSTR) == 0) continue;
      if (!code.IsExecutableAddress(entry.st_value) || entry.st_value - base_ >= kNone) continue;
      Candidate candidate;
      candidate.start = static_cast<uint32_t>(entry.st_value - base_);
      const uint64_t most = kNone - 1 - candidate.start;
      candidate.end =
          candidate.start + static_cast<uint32_t>(std::min<uint64_t>(entry.st_size, most));
      const uint64_t section_rest =
          section != nullptr && entry.st_value - section->address < section->size
              ? section->address + section->size - entry.st_value
              : 1;
      candidate.limit =
          candidate.start + static_cast<uint32_t>(std::min({section_rest, kUnsizedReach, most}));
      candidate.number = first_number + i;
      candidates.push_back(candidate);
    }
    first_number += table.count;
  }
  return candidates;
}

bool ElfSymbols::IsBetterAlias(uint32_t a, uint32_t b) const {
  const auto rank = [this](uint32_t number) {
    const Symbol symbol = Get(number).value_or(Symbol());
    const int binding = symbol.binding == STB_GLOBAL ? 0 : symbol.binding == STB_WEAK ? 1 : 2;
    const size_t underscores = std::min(symbol.name.find_first_not_of('_'), symbol.name.size());
    return std::make_tuple(binding, underscores, symbol.name.size(), symbol.name, number);
  };
  return rank(a) < rank(b);
}

void ElfSymbols::EndUnsized(std::vector<Candidate>* candidates) const {
  uint32_t next = kNone;  // the lowest start above the group at hand
  for (size_t i = candidates->size(); i-- > 0;) {
    Candidate& candidate = (*candidates)[i];
    if (i + 1 < candidates->size() && (*candidates)[i + 1].start != candidate.start)
      next = (*candidates)[i + 1].start;
    if (candidate.end == candidate.start) candidate.end = std::min(candidate.limit, next);
  }
}

void ElfSymbols::BuildIndex(const ElfFile& code) {
  base_ = std::numeric_limits<uint64_t>::max();
  for (const ElfSegment& segment : code.segments()) {
    if (segment.type == PT_LOAD && segment.executable) base_ = std::min(base_, segment.address);
  }
  std::vector<Candidate> candidates = Candidates(code);
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.start, a.number) < std::tie(b.start, b.number);
  });
  EndUnsized(&candidates);
  // Of symbols that start together, the longest first and of equals the best alias last: the last
  // one wins.
  for (size_t i = 0; i < candidates.size();) {
    size_t end = i + 1;
    while (end < candidates.size() && candidates[end].start == candidates[i].start) ++end;
    // A hostile table may hold a million aliases of one address; the choice among so many does not
    // matter.
    if (end - i > 1 && end - i <= 1000) {
      std::sort(candidates.begin() + i, candidates.begin() + end,
                [this](const Candidate& a, const Candidate& b) {
                  return a.end != b.end ? a.end > b.end
                                        : a.number != b.number && IsBetterAlias(b.number, a.number);
                });
    }
    i = end;
  }

  starts_.clear();
  const auto emit = [this](uint32_t address, uint32_t symbol) {
    if (!starts_.empty() && starts_.back().address == address) starts_.pop_back();
    if (starts_.empty() ? symbol != kNone : starts_.back().symbol != symbol)
      starts_.push_back({address, symbol});
  };
  std::vector<const Candidate*> open;  // around the place at hand, outermost first
  const auto close_until = [&](uint32_t address) {
    while (!open.empty() && open.back()->end <= address) {
      const uint32_t end = open.back()->end;
      while (!open.empty() && open.back()->end <= end) open.pop_back();
      emit(end, open.empty() ? kNone : open.back()->number);
    }
  };
  for (const Candidate& candidate : candidates) {
    close_until(candidate.start);
    if (candidate.end <= candidate.start) continue;
    emit(candidate.start, candidate.number);
    open.push_back(&candidate);
  }
  close_until(kNone);
  starts_.shrink_to_fit();
}

std::optional<uint32_t> ElfSymbols::Find(uint64_t address) const {
  if (address < base_ || address - base_ >= kNone) return std::nullopt;
  const uint32_t place = static_cast<uint32_t>(address - base_);
  auto next =
      std::upper_bound(starts_.begin(), starts_.end(), place,
                       [](uint32_t value, const Start& start) { return value < start.address; });
  if (next == starts_.begin() || (--next)->symbol == kNone) return std::nullopt;
  return next->symbol;
}

}  // namespace stallscope::symbolizer
