// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/go_image.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

#include "symbolizer/byte_cursor.h"

namespace stallscope::symbolizer {
namespace {

constexpr int kOldestMinor = 18;
constexpr std::string_view kBuildInfoMagic("\xff Go buildinf:", 14);
constexpr size_t kBuildInfoAlignment = 16;
constexpr size_t kBuildInfoHeaderSize = 32;
constexpr size_t kLongestVersion = 256;
constexpr size_t kWordSize = 8;

// The file as a loaded program sees it: addresses instead of offsets, words after relocation.
class LoadedFile {
 public:
  explicit LoadedFile(const ElfView& elf) : elf_(elf) {
    // Segments that share their bytes many times over would make every search as many times longer.
    uint64_t total = 0;
    for (const LoadSegment& segment : elf.segments) {
      total += Bytes(segment).size();
      if (total > 2 * elf.bytes.size()) break;
      segments_.push_back(segment);
    }
  }

  const std::vector<LoadSegment>& segments() const { return segments_; }

  // What the file holds of a segment.
  std::string_view Bytes(const LoadSegment& segment) const {
    return FileRange(segment.file_offset, segment.file_size);
  }

  // From an address to the end of what the file holds of its segment; "" when no segment holds it.
  std::string_view BytesFrom(uint64_t address) const {
    for (const LoadSegment& segment : segments_) {
      const std::string_view bytes = Bytes(segment);
      const uint64_t offset = address - segment.address;
      if (address >= segment.address && offset < bytes.size()) return bytes.substr(offset);
    }
    return {};
  }

  // The word at an address once the dynamic linker has been there.
  std::optional<uint64_t> Word(uint64_t address) const {
    const auto& relocations = elf_.relative_relocations;
    const auto found = std::lower_bound(
        relocations.begin(), relocations.end(), address,
        [](const std::pair<uint64_t, uint64_t>& r, uint64_t wanted) { return r.first < wanted; });
    if (found != relocations.end() && found->first == address) return found->second;
    ByteCursor cursor(BytesFrom(address));
    const uint64_t word = cursor.U64();
    if (!cursor.ok()) return std::nullopt;
    return word;
  }

  std::string_view FileRange(uint64_t offset, uint64_t size) const {
    if (offset >= elf_.bytes.size()) return {};
    return elf_.bytes.substr(offset, size);
  }

  const ElfView::Section* Section(std::string_view name) const {
    for (const ElfView::Section& section : elf_.sections) {
      if (section.name == name) return &section;
    }
    return nullptr;
  }

  bool IsCode(uint64_t start, uint64_t end) const {
    return std::any_of(segments_.begin(), segments_.end(), [&](const LoadSegment& s) {
      return s.executable && start >= s.address && end >= start && end - s.address <= s.file_size;
    });
  }

  // Calls found(address) for each aligned data word that is `word` after relocation, until it
  // returns true.
  template <typename Found>
  bool FindWord(uint64_t word, const Found& found) const {
    for (const auto& [address, value] : elf_.relative_relocations) {
      if (value == word && found(address)) return true;
    }
    // Module data is written to at run time, so writable segments come first.
    for (const bool writable : {true, false}) {
      for (const LoadSegment& segment : segments_) {
        if (segment.executable || segment.writable != writable) continue;
        const std::string_view bytes = Bytes(segment);
        const size_t first = (kWordSize - segment.address % kWordSize) % kWordSize;
        for (size_t at = first; at + kWordSize <= bytes.size(); at += kWordSize) {
          uint64_t here;
          std::memcpy(&here, bytes.data() + at, sizeof(here));
          if (here == word && found(segment.address + at)) return true;
        }
      }
    }
    return false;
  }

 private:
  const ElfView& elf_;
  std::vector<LoadSegment> segments_;
};

// ---- build information

// A Go string header at an address: {pointer, length}. How build information was written before
// Go 1.18.
std::string_view StringThroughPointer(const LoadedFile& file, uint64_t address) {
  const std::optional<uint64_t> data = file.Word(address);
  const std::optional<uint64_t> size = file.Word(address + kWordSize);
  if (!data || !size || *size > kLongestVersion) return {};
  return file.BytesFrom(*data).substr(0, *size);
}

// The version that build information at the start of `bytes` gives; "" when there is none.
std::string VersionIn(const LoadedFile& file, std::string_view bytes) {
  if (bytes.substr(0, kBuildInfoMagic.size()) != kBuildInfoMagic) return {};
  ByteCursor cursor(bytes, kBuildInfoMagic.size());
  cursor.Skip(1);  // pointer size
  const bool inline_strings = (cursor.U8() & 2) != 0;
  std::string_view version;
  if (inline_strings) {
    cursor.Seek(kBuildInfoHeaderSize);
    const uint64_t size = cursor.Varint();
    if (size <= kLongestVersion) version = cursor.Bytes(size);
  } else {
    const uint64_t string_address = cursor.U64();
    if (cursor.ok()) version = StringThroughPointer(file, string_address);
  }
  const bool printable =
      std::all_of(version.begin(), version.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return printable ? std::string(version) : std::string();
}

std::string FindVersion(const LoadedFile& file) {
  if (const ElfView::Section* section = file.Section(".go.buildinfo")) {
    return VersionIn(file, file.FileRange(section->file_offset, section->size));
  }
  for (const LoadSegment& segment : file.segments()) {
    if (segment.executable) continue;
    const std::string_view bytes = file.Bytes(segment);
    for (size_t at = bytes.find(kBuildInfoMagic); at != std::string_view::npos;
         at = bytes.find(kBuildInfoMagic, at + 1)) {
      if ((segment.address + at) % kBuildInfoAlignment != 0) continue;
      std::string version = VersionIn(file, bytes.substr(at));
      if (!version.empty()) return version;
    }
  }
  return {};
}

// ---- module data

// Words of runtime.moduledata that have kept their place from Go 1.18 to 1.27.
enum ModuleWord : uint64_t {
  kPcHeader = 0,
  kNames = 1,
  kFunctions = 13,
  kFunctab = 16,
  kFunctabSize = 17,
  kText = 22,
};
// Where the base of funcdata (gofunc) is looked for; its place has moved three times.
constexpr uint64_t kFirstGofuncWord = 35, kLastGofuncWord = 48;

struct TableAt {
  uint64_t address = 0;
  GoTable table;
};

bool IsModuleDataOf(const LoadedFile& file, uint64_t address, const TableAt& at) {
  const auto is = [&](ModuleWord word, uint64_t value) {
    return file.Word(address + word * kWordSize) == value;
  };
  return is(kPcHeader, at.address) && is(kNames, at.address + at.table.names_offset()) &&
         is(kFunctions, at.address + at.table.functions_offset()) &&
         is(kFunctab, at.address + at.table.functions_offset()) &&
         is(kFunctabSize, at.table.function_count() + 1);
}

std::optional<uint64_t> FindModuleData(const LoadedFile& file, const TableAt& at) {
  if (const ElfView::Section* section = file.Section(".go.module")) {
    if (IsModuleDataOf(file, section->address, at)) return section->address;
  }
  std::optional<uint64_t> found;
  file.FindWord(at.address, [&](uint64_t address) {
    if (!IsModuleDataOf(file, address, at)) return false;
    found = address;
    return true;
  });
  return found;
}

// ---- the function table

struct FoundTable {
  TableAt at;
  std::optional<uint64_t> module_data;
};

// By section name. Externally linked position-independent programs of Go 1.25 and older have no
// section of it.
absl::StatusOr<std::optional<FoundTable>> TableBySection(const LoadedFile& file) {
  for (const std::string_view name : {".gopclntab", ".data.rel.ro.gopclntab"}) {
    const ElfView::Section* section = file.Section(name);
    if (section == nullptr) continue;
    absl::StatusOr<GoTable> table =
        GoTable::Parse(file.FileRange(section->file_offset, section->size));
    if (!table.ok()) return table.status();
    FoundTable found{{section->address, *table}, std::nullopt};
    found.module_data = FindModuleData(file, found.at);
    return found;
  }
  return std::nullopt;
}

// By its first bytes, wherever data lies; believed only when module data points at it.
absl::StatusOr<std::optional<FoundTable>> TableByScan(const LoadedFile& file) {
  absl::Status too_old = absl::OkStatus();
  int tries_left = 8;  // each costs a pass over the data
  for (const LoadSegment& segment : file.segments()) {
    if (segment.executable) continue;
    const std::string_view bytes = file.Bytes(segment);
    const size_t first = (kWordSize - segment.address % kWordSize) % kWordSize;
    for (size_t at = first; at + GoTable::kHeaderSize <= bytes.size(); at += kWordSize) {
      // The magic numbers differ in their lowest byte; all are 0xffffff.. and then two zero bytes.
      uint64_t word;
      std::memcpy(&word, bytes.data() + at, sizeof(word));
      if ((word & 0x0000ffffffffff00) != 0x00000000ffffff00) continue;
      const absl::StatusOr<GoTable> table = GoTable::Parse(bytes.substr(at));
      if (absl::IsUnimplemented(table.status())) too_old = table.status();
      if (!table.ok()) continue;
      if (tries_left-- == 0) return std::nullopt;
      FoundTable found{{segment.address + at, *table}, std::nullopt};
      found.module_data = FindModuleData(file, found.at);
      if (found.module_data) return found;
    }
  }
  if (!too_old.ok()) return too_old;
  return std::nullopt;
}

// ---- what the table does not say of itself

std::optional<uint64_t> TextBase(const LoadedFile& file, const FoundTable& found) {
  uint64_t text = file.Word(found.at.address + kGoTextStartOffset).value_or(0);
  if (text == 0 && found.module_data) {
    text = file.Word(*found.module_data + kText * kWordSize).value_or(0);
  }
  const GoTable& table = found.at.table;
  if (text == 0 || !file.IsCode(text + table.code_start(), text + table.code_end())) {
    return std::nullopt;
  }
  return text;
}

// Functions spread over the whole table: evidence for what the format leaves open.
std::vector<GoFunctionRecord> SampleFunctions(const GoTable& table) {
  constexpr uint64_t kAtMost = 2048;
  const uint64_t stride = table.function_count() / kAtMost + 1;
  std::vector<GoFunctionRecord> sample;
  for (uint64_t index = 0; index < table.function_count(); index += stride) {
    if (const auto function = table.Function(index)) sample.push_back(*function);
  }
  return sample;
}

// The number that marks wrappers has changed with Go's version, but every other number marks one
// function each: the commonest is the wrappers'.
uint8_t WrapperId(const std::vector<GoFunctionRecord>& sample, std::optional<int> minor) {
  std::array<uint32_t, 256> count{};
  for (const GoFunctionRecord& function : sample) ++count[function.id];
  count[0] = 0;  // ordinary functions
  const auto commonest = std::max_element(count.begin(), count.end());
  if (*commonest > 2) return static_cast<uint8_t>(commonest - count.begin());
  if (!minor) return 0;
  return *minor <= 21 ? 21 : *minor <= 24 ? 22 : 23;
}

// True when every entry of a function's inline tree is one that a linker could have written.
bool TreeMakesSense(const GoTable& table, const GoInlineTrees& trees,
                    const GoFunctionRecord& function, uint32_t tree, int32_t last_index) {
  for (int32_t index = 0; index <= last_index; ++index) {
    const std::optional<GoInlinedCall> call = trees.Call(tree, static_cast<uint32_t>(index));
    if (!call || !table.NameStartsAt(call->name) ||
        call->parent_pc >= function.end - function.entry) {
      return false;
    }
  }
  return true;
}

struct SampledTree {
  GoFunctionRecord function;
  uint32_t tree;
  int32_t last_index;
};

std::vector<SampledTree> SampleTrees(const GoTable& table,
                                     const std::vector<GoFunctionRecord>& sample) {
  constexpr size_t kEnough = 32;
  StepBudget budget(1 << 18);
  std::vector<SampledTree> trees;
  for (const GoFunctionRecord& function : sample) {
    const std::optional<uint32_t> tree = table.FuncData(function, GoTable::kInlineTree);
    const uint32_t indices = table.PcData(function, GoTable::kInlineIndexTable);
    if (!tree || indices == 0) continue;
    const int32_t last_index = table.GreatestPcValue(indices, budget).value_or(-1);
    if (last_index >= 0) trees.push_back({function, *tree, last_index});
    if (trees.size() == kEnough) break;
  }
  return trees;
}

// Neither the place of gofunc in the module data nor the shape of a tree's entries can be told from
// the header. Each combination is tried on real trees; the one under which all of them make sense
// is right. None, or two: no trees.
GoInlineTrees FindInlineTrees(const LoadedFile& file, const FoundTable& found,
                              const std::vector<GoFunctionRecord>& sample) {
  if (!found.module_data) return {};
  const GoTable& table = found.at.table;
  const std::vector<SampledTree> evidence = SampleTrees(table, sample);
  if (evidence.empty()) return {};

  GoInlineTrees right;
  uint64_t right_base = 0;
  for (uint64_t word = kFirstGofuncWord; word <= kLastGofuncWord; ++word) {
    const uint64_t base = file.Word(*found.module_data + word * kWordSize).value_or(0);
    const std::string_view bytes = file.BytesFrom(base);
    if (base == 0 || bytes.empty() || base == right_base) continue;
    for (const uint32_t entry_size : {16u, 20u}) {
      const GoInlineTrees trees(bytes, entry_size);
      const bool fits = std::all_of(evidence.begin(), evidence.end(), [&](const SampledTree& s) {
        return TreeMakesSense(table, trees, s.function, s.tree, s.last_index);
      });
      if (!fits) continue;
      if (!right.empty()) return {};
      right = trees;
      right_base = base;
    }
  }
  return right;
}

absl::Status TooOld(std::string_view version) {
  return absl::UnimplementedError(
      fmt::format("{} is older than go1.{}: no Go names", version, kOldestMinor));
}

}  // namespace

std::optional<GoInlinedCall> GoInlineTrees::Call(uint32_t tree, uint32_t index) const {
  ByteCursor entry(bytes_, tree + uint64_t{index} * entry_size_);
  GoInlinedCall call;
  if (entry_size_ == 20) {
    entry.Skip(2);  // parent
    call.id = entry.U8();
    entry.Skip(9);  // padding, file, line of the call
    call.name = entry.U32();
    call.parent_pc = entry.U32();
  } else {
    call.id = entry.U8();
    entry.Skip(3);
    call.name = entry.U32();
    call.parent_pc = entry.U32();
  }
  if (!entry.ok()) return std::nullopt;
  return call;
}

std::optional<int> GoMinorVersion(std::string_view version) {
  constexpr std::string_view kMajor = "go1.";
  const size_t at = version.find(kMajor);
  if (at == std::string_view::npos) return std::nullopt;
  const char* digits = version.data() + at + kMajor.size();
  int minor = 0;
  const auto [end, error] = std::from_chars(digits, version.data() + version.size(), minor);
  if (error != std::errc() || minor < 0) return std::nullopt;
  return minor;
}

absl::StatusOr<std::optional<GoImage>> FindGoImage(const ElfView& elf) {
  const LoadedFile file(elf);
  absl::StatusOr<std::optional<FoundTable>> found = TableBySection(file);
  // With a section table and none of Go's sections in it, the costly search is spared: it is no Go
  // program.
  const bool may_be_unnamed = elf.sections.empty() || file.Section(".go.buildinfo") != nullptr;
  if (found.ok() && !found->has_value() && !may_be_unnamed) return std::nullopt;

  std::string version = FindVersion(file);
  const std::optional<int> minor = GoMinorVersion(version);
  if (minor && *minor < kOldestMinor) return TooOld(version);
  if (found.ok() && !found->has_value()) found = TableByScan(file);
  if (!found.ok()) {
    if (absl::IsUnimplemented(found.status())) return found.status();
    return absl::UnimplementedError(
        fmt::format("{}: no Go names", std::string(found.status().message())));
  }
  if (!found->has_value()) {
    if (version.empty()) return std::nullopt;
    return absl::UnimplementedError(
        fmt::format("no function table found in this {} program: no Go names", version));
  }

  const FoundTable& tables = **found;
  const std::optional<uint64_t> text = TextBase(file, tables);
  if (!text) {
    return absl::UnimplementedError(
        fmt::format("the start of the code of this {} program was not found: no Go names",
                    version.empty() ? "Go" : version));
  }
  const std::vector<GoFunctionRecord> sample = SampleFunctions(tables.at.table);
  GoImage image{std::move(version), tables.at.table, *text, FindInlineTrees(file, tables, sample),
                WrapperId(sample, minor)};
  return std::optional<GoImage>(std::move(image));
}

}  // namespace stallscope::symbolizer
