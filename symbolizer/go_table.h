// SPDX-License-Identifier: Apache-2.0
//
// The format of pclntab, the table with which a Go program names its own stacks: Go 1.18 to 1.27.
//
//   header | names | units | files | pc-value tables | function table, function records
//
// Two layouts exist. They are told apart by the magic number, never by a version string:
//   0xfffffff0  Go 1.18, 1.19: function records of 40 bytes
//   0xfffffff1  Go 1.20 on:    function records of 44 bytes (startLine came in)
// Offsets of code count from the text base, which the header holds up to Go 1.25 and the module
// data from 1.26 on. (Source: Go's runtime/symtab.go, runtime/runtime2.go and
// cmd/link/internal/ld/pcln.go of these versions.)
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace stallscope::symbolizer {

// A function's record. Offsets of code count from the text base, the others from their part of the
// table.
struct GoFunctionRecord {
  uint32_t entry = 0;
  uint32_t end = 0;  // where the next function starts
  uint32_t name = 0;
  uint32_t pcsp = 0, pcfile = 0, pcline = 0;  // pc-value tables
  uint32_t unit = 0;                          // its compilation unit's first file number
  uint32_t pcdata_count = 0;
  uint8_t id = 0;  // runtime's funcID
  uint8_t flags = 0;
  uint8_t funcdata_count = 0;
  uint64_t pcdata_position = 0;  // of pcdata[], then funcdata[], in the function part

  enum Flag : uint8_t { kTopFrame = 1, kWritesSp = 2, kAssembly = 4 };
};

// How many steps through pc-value tables one question may cost: damaged tables could ask for any
// number.
class StepBudget {
 public:
  explicit StepBudget(int64_t steps) : left_(steps) {}
  bool Take() { return left_-- > 0; }

 private:
  int64_t left_;
};

class GoTable {
 public:
  static constexpr uint32_t kMagic118 = 0xfffffff0;
  static constexpr uint32_t kMagic120 = 0xfffffff1;
  static constexpr size_t kHeaderSize = 72;
  static constexpr int kInlineIndexTable =
      2;  // pcdata index: which inlined call an instruction belongs to
  static constexpr int kInlineTree = 3;  // funcdata index: the inlined calls

  // The table that starts at `bytes`, which may reach past its end. Nothing is copied: the bytes
  // must outlive it. Unimplemented: a table of an older Go. InvalidArgument: not a table, or a
  // damaged one.
  static absl::StatusOr<GoTable> Parse(std::string_view bytes);

  uint32_t magic() const { return magic_; }
  uint64_t function_count() const { return function_count_; }
  uint64_t names_offset() const { return names_offset_; }          // from the start of the table
  uint64_t functions_offset() const { return functions_offset_; }  // from the start of the table
  uint32_t code_start() const { return EntryOf(0); }               // of the first function
  uint32_t code_end() const { return EntryOf(function_count_); }   // of the last function

  // The function that covers a code offset.
  std::optional<GoFunctionRecord> FunctionAt(uint64_t code_offset) const;
  // The function at a place in the table, in order of address; nullopt when its record is damaged.
  std::optional<GoFunctionRecord> Function(uint64_t index) const;

  // "" when there is no such name.
  std::string_view Name(uint32_t name) const;
  // True when a name begins exactly there.
  bool NameStartsAt(uint32_t name) const;
  // Path of file `number` of a compilation unit, "" when unknown.
  std::string_view File(uint32_t unit, uint32_t number) const;

  // Entry `index` of a function's pcdata (a pc-value table, 0 for none) and funcdata (an offset,
  // nullopt for none).
  uint32_t PcData(const GoFunctionRecord& function, uint32_t index) const;
  std::optional<uint32_t> FuncData(const GoFunctionRecord& function, uint32_t index) const;

  // The value that a pc-value table gives for an instruction, `pc` bytes into the function; nullopt
  // when it says nothing there. -1 is Go's own "nothing".
  std::optional<int32_t> PcValue(uint32_t table, uint32_t pc, StepBudget& budget) const;
  // The greatest value in a pc-value table.
  std::optional<int32_t> GreatestPcValue(uint32_t table, StepBudget& budget) const;

 private:
  GoTable() = default;
  uint32_t EntryOf(uint64_t index) const;
  uint32_t U32InFunctions(uint64_t position) const;

  uint32_t magic_ = 0;
  uint8_t pc_quantum_ = 1;
  uint64_t function_count_ = 0;
  uint64_t names_offset_ = 0;
  uint64_t functions_offset_ = 0;
  std::string_view names_, units_, files_, pc_values_, functions_;
};

// The textStart word of a table's header lies here (relocated in a PIE, zero from Go 1.26 on).
inline constexpr uint64_t kGoTextStartOffset = 24;

}  // namespace stallscope::symbolizer
