// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/native_lines.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "symbolizer/debug_file.h"
#include "symbolizer/demangle.h"

namespace stallscope::symbolizer {
namespace {

constexpr size_t kMostUnits = 1u << 20;
constexpr size_t kMostRanges = 1u << 22;
constexpr int kDeepestNesting = 16;  // namespaces and types around a function
constexpr int kDeepestInlining = 64;
constexpr uint64_t kMostDiesALookup = 1u << 20;
constexpr uint64_t kLargestLineProgram = 8u
                                         << 20;  // of one unit; each of its bytes can become a line
constexpr uint64_t kBytesALineByte = 40;         // what libdw keeps for it
constexpr uint64_t kMostLibdwBytes = 256u << 20;  // then all is closed and read anew when needed
constexpr size_t kLongestPath = 4096;

bool NamesAnotherFile(Dwarf_Die* die) {
  // Split DWARF: libdw would open a path that the target wrote.
  return dwarf_hasattr(die, DW_AT_dwo_name) != 0 || dwarf_hasattr(die, DW_AT_GNU_dwo_name) != 0;
}

std::string FunctionName(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  const char* name = nullptr;
  if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) != nullptr ||
      dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute) != nullptr) {
    name = dwarf_formstring(&attribute);
    if (name != nullptr) return Demangle(name);
  }
  name = dwarf_attr_integrate(die, DW_AT_name, &attribute) != nullptr ? dwarf_formstring(&attribute)
                                                                      : nullptr;
  return name != nullptr ? std::string(std::string_view(name).substr(0, kLongestPath)) : "";
}

uint64_t Number(Dwarf_Die* die, unsigned int name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_attr(die, name, &attribute) == nullptr || dwarf_formudata(&attribute, &value) != 0)
    return 0;
  return value;
}

void SetPath(const char* path, uint64_t line, Frame* frame) {
  if (path == nullptr) return;
  frame->file = std::string(std::string_view(path).substr(0, kLongestPath));
  frame->line = line <= UINT32_MAX ? static_cast<uint32_t>(line) : 0;
}

class Stopwatch {
 public:
  explicit Stopwatch(std::chrono::steady_clock::duration* spent)
      : spent_(spent), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { *spent_ += std::chrono::steady_clock::now() - start_; }

 private:
  std::chrono::steady_clock::duration* spent_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

NativeLines::NativeLines(const ElfFile& file, std::string debug_root)
    : file_(file), debug_root_(std::move(debug_root)) {}

NativeLines::~NativeLines() { Close(); }

void NativeLines::Close() {
  if (dwarf_ != nullptr) dwarf_end(dwarf_);
  if (supplement_dwarf_ != nullptr) dwarf_end(supplement_dwarf_);
  dwarf_ = supplement_dwarf_ = nullptr;
  libdw_bytes_ = 0;
}

// Before libdw reads the file for the first time; afterwards libelf's section headers are not the
// file's any more.
bool NativeLines::Check(const ElfFile& file) {
  const bool has_dwarf =
      file.SectionNamed(".debug_info") != nullptr || file.SectionNamed(".zdebug_info") != nullptr;
  if (!has_dwarf || !file.is_x86_64()) return false;
  const std::optional<uint64_t> decompressed = file.DecompressedBytes();
  heap_bytes_ += decompressed.value_or(0);
  return decompressed.has_value();
}

bool NativeLines::OpenDwarf() {
  if (dwarf_ != nullptr) return true;
  if (!checked_ && !Check(file_)) return false;
  checked_ = true;
  dwarf_ = dwarf_begin_elf(file_.elf(), DWARF_C_READ, nullptr);
  return dwarf_ != nullptr && OpenSupplement();
}

// Left alone, libdw would look for the supplement by the path that the file gives.
bool NativeLines::OpenSupplement() {
  const char* path = nullptr;
  const void* id = nullptr;
  const ssize_t id_size = dwelf_dwarf_gnu_debugaltlink(dwarf_, &path, &id);
  if (id_size == 0) return true;
  if (supplement_ == nullptr) {
    std::string hex;
    for (ssize_t i = 0; i < std::min<ssize_t>(id_size, 64); ++i) {
      hex += fmt::format("{:02x}", static_cast<const uint8_t*>(id)[i]);
    }
    supplement_ = FindDebugFileByBuildId(hex, debug_root_);
    if (supplement_ == nullptr || !Check(*supplement_)) return false;
  }
  supplement_dwarf_ = dwarf_begin_elf(supplement_->elf(), DWARF_C_READ, nullptr);
  if (supplement_dwarf_ == nullptr) return false;
  dwarf_setalt(dwarf_, supplement_dwarf_);
  return true;
}

bool NativeLines::Load() {
  if (refused_) return false;
  if (libdw_bytes_ > kMostLibdwBytes) Close();
  if (!OpenDwarf()) {
    Close();
    refused_ = true;
    return false;
  }
  if (!indexed_) {
    indexed_ = true;
    const Stopwatch stopwatch(&spent_);
    IndexUnits();
  }
  return true;
}

absl::StatusOr<absl::flat_hash_map<std::string, StructLayout>> NativeLines::StructLayouts(
    const std::vector<std::string_view>& names) {
  if (!Load()) return absl::NotFoundError("no debug information that can be read");
  return ReadStructLayouts(dwarf_, names);
}

void NativeLines::AddRanges(Dwarf_Die* die, std::vector<Range>* ranges) {
  Dwarf_Addr base = 0, low = 0, high = 0;
  ptrdiff_t next = 0;
  for (int i = 0; i < 100000 && ranges->size() < kMostRanges; ++i) {
    next = dwarf_ranges(die, next, &base, &low, &high);
    if (next <= 0) return;
    if (low < high && low != 0) ranges->push_back({low, high, dwarf_dieoffset(die)});
  }
}

void NativeLines::IndexUnits() {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Range> ranges;
  Dwarf_Off offset = 0, next = 0;
  size_t header_size = 0;
  while (units_.size() < kMostUnits &&
         std::chrono::steady_clock::now() - start < std::chrono::seconds(1) &&
         dwarf_next_unit(dwarf_, offset, &next, &header_size, nullptr, nullptr, nullptr, nullptr,
                         nullptr, nullptr) == 0) {
    Dwarf_Die die;
    if (next <= offset) break;
    if (dwarf_offdie(dwarf_, offset + header_size, &die) != nullptr &&
        dwarf_tag(&die) == DW_TAG_compile_unit && !NamesAnotherFile(&die)) {
      ranges.clear();
      AddRanges(&die, &ranges);
      for (const Range& range : ranges) {
        unit_ranges_.push_back({range.low, range.high, static_cast<uint32_t>(units_.size())});
      }
      Unit unit;
      unit.die = dwarf_dieoffset(&die);
      units_.push_back(std::move(unit));
    }
    offset = next;
  }
  std::sort(unit_ranges_.begin(), unit_ranges_.end(),
            [](const UnitRange& a, const UnitRange& b) { return a.low < b.low; });
  heap_bytes_ += units_.capacity() * sizeof(Unit) + unit_ranges_.capacity() * sizeof(UnitRange);
  libdw_bytes_ += units_.size() * 512;
}

NativeLines::Unit* NativeLines::UnitAt(uint64_t address) {
  auto it =
      std::upper_bound(unit_ranges_.begin(), unit_ranges_.end(), address,
                       [](uint64_t value, const UnitRange& range) { return value < range.low; });
  for (int i = 0; i < 8 && it != unit_ranges_.begin(); ++i) {
    --it;
    if (address < it->high) return &units_[it->unit];
  }
  return nullptr;
}

void NativeLines::AddFunctions(Dwarf_Die* parent, int depth, std::vector<Range>* functions) {
  Dwarf_Die die;
  if (depth > kDeepestNesting || dwarf_child(parent, &die) != 0) return;
  do {
    if (dies_left_ == 0) return;
    --dies_left_;
    switch (dwarf_tag(&die)) {
      case DW_TAG_subprogram:
        AddRanges(&die, functions);
        break;
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_structure_type:
      case DW_TAG_class_type:
      case DW_TAG_union_type:
        AddFunctions(&die, depth + 1, functions);
        break;
      default:
        break;
    }
  } while (dwarf_siblingof(&die, &die) == 0);
}

void NativeLines::LoadFunctions(Unit* unit) {
  if (unit->functions_loaded || OutOfTime()) return;
  unit->functions_loaded = true;
  const Stopwatch stopwatch(&spent_);
  Dwarf_Die die;
  if (dwarf_offdie(dwarf_, unit->die, &die) == nullptr) return;
  dies_left_ = kMostDiesALookup;
  AddFunctions(&die, 0, &unit->functions);
  std::sort(unit->functions.begin(), unit->functions.end(),
            [](const Range& a, const Range& b) { return a.low < b.low; });
  heap_bytes_ += unit->functions.capacity() * sizeof(Range);
}

// libdw reads a unit's whole line program at once, so its length is looked at first.
bool NativeLines::LinesAreAffordable(Unit* unit, Dwarf_Die* unit_die) {
  if (unit->lines_counted) return unit->lines_allowed;
  if (OutOfTime()) return false;
  unit->lines_counted = true;
  const ElfSection* section = file_.SectionNamed(".debug_line");
  if (section == nullptr) section = file_.SectionNamed(".zdebug_line");
  if (section == nullptr) return false;
  const Elf_Data* data = elf_getdata(section->scn, nullptr);  // decompressed by libdw by now
  Dwarf_Attribute attribute;
  Dwarf_Word offset = 0;
  if (data == nullptr || data->d_buf == nullptr ||
      dwarf_attr(unit_die, DW_AT_stmt_list, &attribute) == nullptr ||
      dwarf_formudata(&attribute, &offset) != 0 || data->d_size < 4 || offset > data->d_size - 4) {
    return false;
  }
  uint32_t length;
  std::memcpy(&length, static_cast<const char*>(data->d_buf) + offset, 4);
  unit->lines_allowed = length <= kLargestLineProgram;
  return unit->lines_allowed;
}

// The function's entry and the inlined ones around `address` in it, outermost first.
std::vector<Dwarf_Die> NativeLines::InlineChain(const Unit& unit, uint64_t address) {
  auto it = std::upper_bound(unit.functions.begin(), unit.functions.end(), address,
                             [](uint64_t value, const Range& range) { return value < range.low; });
  if (it == unit.functions.begin() || address >= std::prev(it)->high) return {};
  Dwarf_Die scope;
  if (dwarf_offdie(dwarf_, std::prev(it)->die, &scope) == nullptr) return {};
  std::vector<Dwarf_Die> chain = {scope};
  uint64_t dies_left = 100000;
  for (int depth = 0; depth < kDeepestInlining; ++depth) {
    Dwarf_Die child;
    bool found = false;
    if (dwarf_child(&scope, &child) != 0) break;
    do {
      const int tag = dwarf_tag(&child);
      found = (tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block) &&
              dwarf_haspc(&child, address) > 0;
    } while (!found && --dies_left > 0 && dwarf_siblingof(&child, &child) == 0);
    if (!found) break;
    scope = child;
    if (dwarf_tag(&scope) == DW_TAG_inlined_subroutine) chain.push_back(scope);
  }
  return chain;
}

std::vector<Frame> NativeLines::Lookup(uint64_t address) {
  if (!Load()) return {};
  Unit* const unit = UnitAt(address);
  Dwarf_Die unit_die;
  if (unit == nullptr || dwarf_offdie(dwarf_, unit->die, &unit_die) == nullptr) return {};
  LoadFunctions(unit);
  std::vector<Dwarf_Die> chain = InlineChain(*unit, address);
  const bool first_time = !unit->lines_counted;
  const bool with_lines = LinesAreAffordable(unit, &unit_die);
  Frame innermost;
  Dwarf_Files* files = nullptr;
  size_t file_count = 0;
  if (with_lines) {
    const Stopwatch stopwatch(&spent_);
    Dwarf_Line* const line = dwarf_getsrc_die(&unit_die, address);
    int number = 0;
    if (line != nullptr) {
      dwarf_lineno(line, &number);
      SetPath(dwarf_linesrc(line, nullptr, nullptr), number > 0 ? static_cast<uint64_t>(number) : 0,
              &innermost);
    }
    if (dwarf_getsrcfiles(&unit_die, &files, &file_count) != 0) files = nullptr;
    size_t line_count = 0;
    Dwarf_Lines* lines = nullptr;
    if (first_time && dwarf_getsrclines(&unit_die, &lines, &line_count) == 0) {
      libdw_bytes_ += line_count * kBytesALineByte;
    }
  }
  if (chain.empty())
    return innermost.file.empty() ? std::vector<Frame>() : std::vector<Frame>{innermost};
  std::vector<Frame> frames;
  Frame frame = innermost;
  for (size_t i = chain.size(); i-- > 0;) {
    frame.function = FunctionName(&chain[i]);
    frame.inlined = i > 0;
    frames.push_back(frame);
    if (i == 0) break;
    frame = Frame();
    const uint64_t file = Number(&chain[i], DW_AT_call_file);
    if (files != nullptr && file < file_count) {
      SetPath(dwarf_filesrc(files, file, nullptr, nullptr), Number(&chain[i], DW_AT_call_line),
              &frame);
    }
  }
  return frames;
}

}  // namespace stallscope::symbolizer
