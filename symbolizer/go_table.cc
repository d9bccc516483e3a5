// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/go_table.h"

#include <absl/status/status.h>

#include <cstring>

#include "symbolizer/byte_cursor.h"

namespace stallscope::symbolizer {
namespace {

constexpr uint32_t kMagic12 = 0xfffffffb;   // Go 1.2 to 1.15
constexpr uint32_t kMagic116 = 0xfffffffa;  // Go 1.16, 1.17

constexpr size_t kFunctabEntrySize = 8;  // code offset, record offset
// Longer than any name or path a compiler wrote; a damaged table must not make us copy megabytes.
constexpr size_t kLongestString = 64 << 10;

// Walks one pc-value table: pairs of (value delta, zig-zag; code delta), ended by a zero value
// delta. This is the innermost loop of symbolization, hence its own reading of the bytes; every
// byte is still checked against the end.
class PcValueSteps {
 public:
  PcValueSteps(std::string_view table, uint8_t quantum)
      : next_(table.data()), end_(table.data() + table.size()), quantum_(quantum) {}

  // Goes to the next range of code with one value; false at the end of the table or of its bytes.
  bool Next() {
    uint32_t delta = 0, length = 0;
    if (!Read(delta) || (delta == 0 && !first_) || !Read(length)) return false;
    first_ = false;
    value_ += (delta >> 1) ^ -(delta & 1);
    end_pc_ += uint64_t{length} * quantum_;
    return true;
  }

  int32_t value() const { return static_cast<int32_t>(value_); }
  uint64_t end_pc() const { return end_pc_; }

 private:
  bool Read(uint32_t& value) {
    if (next_ == end_) return false;
    value = static_cast<uint8_t>(*next_++);
    if (value < 0x80) return true;
    value &= 0x7f;
    for (int shift = 7; shift < 35; shift += 7) {
      if (next_ == end_) return false;
      const uint32_t byte = static_cast<uint8_t>(*next_++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  const char* next_;
  const char* end_;
  uint64_t end_pc_ = 0;
  uint32_t value_ = ~0u;  // tables start from -1; unsigned, because damage may overflow it
  uint8_t quantum_;
  bool first_ = true;
};

std::string_view StringAt(std::string_view strings, uint64_t offset) {
  return ByteCursor(strings, offset).CString(kLongestString);
}

}  // namespace

absl::StatusOr<GoTable> GoTable::Parse(std::string_view bytes) {
  ByteCursor header(bytes);
  GoTable table;
  table.magic_ = header.U32();
  if (header.ok() && table.magic_ == kMagic116) {
    return absl::UnimplementedError("go1.16 or go1.17 is older than go1.18: no Go names");
  }
  if (header.ok() && table.magic_ == kMagic12) {
    return absl::UnimplementedError("a Go of before 1.16 is older than go1.18: no Go names");
  }
  if (!header.ok() || (table.magic_ != kMagic118 && table.magic_ != kMagic120)) {
    return absl::InvalidArgumentError("not a Go function table");
  }
  const uint16_t padding = header.U16();
  table.pc_quantum_ = header.U8();
  const uint8_t pointer_size = header.U8();
  if (padding != 0 || pointer_size != 8 ||
      (table.pc_quantum_ != 1 && table.pc_quantum_ != 2 && table.pc_quantum_ != 4)) {
    return absl::InvalidArgumentError("not a Go function table of a 64-bit program");
  }

  table.function_count_ = header.U64();
  header.Skip(16);  // number of files, text start
  const uint64_t names = header.U64(), units = header.U64(), files = header.U64();
  const uint64_t pc_values = header.U64(), functions = header.U64();
  const bool in_order = kHeaderSize <= names && names <= units && units <= files &&
                        files <= pc_values && pc_values <= functions && functions <= bytes.size();
  if (!header.ok() || !in_order) {
    return absl::InvalidArgumentError("the Go function table's header is damaged");
  }
  table.names_ = bytes.substr(names, units - names);
  table.units_ = bytes.substr(units, files - units);
  table.files_ = bytes.substr(files, pc_values - files);
  table.pc_values_ = bytes.substr(pc_values, functions - pc_values);
  table.functions_ = bytes.substr(functions);
  table.names_offset_ = names;
  table.functions_offset_ = functions;

  // The functions are followed by the end of the last one.
  const uint64_t room = table.functions_.size() / kFunctabEntrySize;
  if (table.function_count_ == 0 || table.function_count_ >= room ||
      table.code_start() >= table.code_end()) {
    return absl::InvalidArgumentError("the Go function table is cut short or empty");
  }
  return table;
}

uint32_t GoTable::U32InFunctions(uint64_t position) const {
  return ByteCursor(functions_, position).U32();
}

uint32_t GoTable::EntryOf(uint64_t index) const {
  return U32InFunctions(index * kFunctabEntrySize);
}

std::optional<GoFunctionRecord> GoTable::FunctionAt(uint64_t code_offset) const {
  if (code_offset < code_start() || code_offset >= code_end()) return std::nullopt;
  uint64_t low = 0, high = function_count_;  // EntryOf(low) <= code_offset < EntryOf(high)
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (EntryOf(middle) <= code_offset ? low : high) = middle;
  }
  return Function(low);
}

std::optional<GoFunctionRecord> GoTable::Function(uint64_t index) const {
  if (index >= function_count_) return std::nullopt;
  GoFunctionRecord function;
  function.end = EntryOf(index + 1);
  ByteCursor record(functions_, U32InFunctions(index * kFunctabEntrySize + 4));
  function.entry = record.U32();
  function.name = record.U32();
  record.Skip(8);  // size of arguments, deferreturn
  function.pcsp = record.U32();
  function.pcfile = record.U32();
  function.pcline = record.U32();
  function.pcdata_count = record.U32();
  function.unit = record.U32();
  if (magic_ == kMagic120) record.Skip(4);  // startLine
  function.id = record.U8();
  function.flags = record.U8();
  record.Skip(1);
  function.funcdata_count = record.U8();
  function.pcdata_position = record.position();
  const bool damaged =
      !record.ok() || function.entry != EntryOf(index) || function.end <= function.entry;
  if (damaged) return std::nullopt;
  return function;
}

std::string_view GoTable::Name(uint32_t name) const { return StringAt(names_, name); }

bool GoTable::NameStartsAt(uint32_t name) const {
  if (name >= names_.size() || names_[name] == '\0') return false;
  return name == 0 || names_[name - 1] == '\0';
}

std::string_view GoTable::File(uint32_t unit, uint32_t number) const {
  ByteCursor slot(units_, (uint64_t{unit} + number) * 4);
  const uint32_t file = slot.U32();
  if (!slot.ok() || file == ~0u) return {};
  return StringAt(files_, file);
}

uint32_t GoTable::PcData(const GoFunctionRecord& function, uint32_t index) const {
  if (index >= function.pcdata_count) return 0;
  return U32InFunctions(function.pcdata_position + uint64_t{index} * 4);
}

std::optional<uint32_t> GoTable::FuncData(const GoFunctionRecord& function, uint32_t index) const {
  if (index >= function.funcdata_count) return std::nullopt;
  ByteCursor slot(functions_,
                  function.pcdata_position + (uint64_t{function.pcdata_count} + index) * 4);
  const uint32_t offset = slot.U32();
  if (!slot.ok() || offset == ~0u) return std::nullopt;
  return offset;
}

std::optional<int32_t> GoTable::PcValue(uint32_t table, uint32_t pc, StepBudget& budget) const {
  if (table == 0 || table >= pc_values_.size()) return std::nullopt;
  PcValueSteps steps(pc_values_.substr(table), pc_quantum_);
  while (budget.Take() && steps.Next()) {
    if (pc < steps.end_pc()) return steps.value();
  }
  return std::nullopt;
}

std::optional<int32_t> GoTable::GreatestPcValue(uint32_t table, StepBudget& budget) const {
  if (table == 0 || table >= pc_values_.size()) return std::nullopt;
  PcValueSteps steps(pc_values_.substr(table), pc_quantum_);
  std::optional<int32_t> greatest;
  while (budget.Take() && steps.Next()) {
    if (!greatest || steps.value() > *greatest) greatest = steps.value();
  }
  return greatest;
}

}  // namespace stallscope::symbolizer
