// SPDX-License-Identifier: Apache-2.0
//
// The unwind tables of an x86-64 file: .eh_frame and .eh_frame_hdr (Linux Standard Base Core,
// "DWARF Extensions"; DWARF 5, section 6.4). Read in place, from bytes that nobody vouches for:
// each count is bounded, and only the columns that a FrameRule needs are kept, so that a register
// number costs nothing however large it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "symbolizer/byte_cursor.h"
#include "symbolizer/elf_file.h"

namespace stallscope::symbolizer {

// DWARF's numbers of the x86-64 registers.
constexpr uint64_t kDwarfRbp = 6;
constexpr uint64_t kDwarfRsp = 7;
constexpr uint64_t kDwarfReturnAddress = 16;

// Where the caller's value of a register is. Expressions are DWARF operations, in the file's bytes.
struct SavedRegister {
  enum Kind : uint8_t {
    kUnspecified,
    kUndefined,
    kSameValue,
    kAtCfaOffset,   // in memory at CFA + offset
    kAtExpression,  // in memory where the expression, begun with the CFA on its stack, says
    kElsewhere,     // in another register, or computed
  } kind = kUnspecified;
  int64_t offset = 0;
  std::string_view expression;
};

// What holds from one instruction to the next row's.
struct FrameRow {
  enum CfaKind : uint8_t { kNoCfa, kCfaRegister, kCfaExpression } cfa_kind = kNoCfa;
  uint64_t cfa_register = 0;  // DWARF's number; CFA = its value + cfa_offset
  int64_t cfa_offset = 0;
  std::string_view cfa_expression;
  SavedRegister rbp, return_address;
};

class EhFrame {
 public:
  // Finds the tables of `file`, which must outlive this: through PT_GNU_EH_FRAME, or the section.
  // Without a search table all of .eh_frame is read once, at most 1,048,576 entries. nullptr: the
  // file has no tables, or is not for x86-64.
  static std::unique_ptr<EhFrame> Load(const ElfFile& file);

  // The row at ELF address `address`. nullopt: no entry covers it, or the entry is damaged or says
  // what x86-64 code never does.
  std::optional<FrameRow> RowAt(uint64_t address) const;

  // Where the entry that covers ELF address `address` starts: its function, or a part of one.
  std::optional<uint64_t> EntryStart(uint64_t address) const;

  uint64_t heap_bytes() const { return sizeof(*this) + index_.capacity() * sizeof(IndexEntry); }

  // Bytes and the ELF address of the first of them.
  struct Image {
    std::string_view bytes;
    uint64_t address = 0;
  };

 private:
  // A CIE: what the entries of many functions have in common.
  struct Cie {
    uint8_t pointer_encoding = 0;
    bool has_augmentation_data = false;
    uint64_t code_alignment = 0;
    int64_t data_alignment = 0;
    ByteCursor instructions{std::string_view()};
  };
  // An FDE: the entry of one function, or of one part of it.
  struct Fde {
    uint64_t start = 0, end = 0;  // ELF addresses
    Cie cie;
    ByteCursor instructions{std::string_view()};
  };
  struct IndexEntry {
    uint64_t start = 0, offset = 0;  // ELF address, place in image_
  };
  class Interpreter;

  EhFrame() = default;
  std::optional<uint64_t> ReadHeader(const ElfFile& file, const ElfSegment& segment);
  bool FindTables(const ElfFile& file, std::optional<uint64_t> address);
  void ReadIndex(uint64_t end);

  std::optional<uint64_t> FindFde(uint64_t address) const;
  std::optional<uint64_t> TableValue(uint64_t index, bool second) const;
  std::optional<ByteCursor> EntryAt(uint64_t offset) const;
  std::optional<Cie> ReadCie(uint64_t offset) const;
  std::optional<Fde> ReadFde(uint64_t offset) const;

  Image image_;   // .eh_frame, and whatever follows it in its segment
  Image header_;  // .eh_frame_hdr
  uint8_t table_encoding_ = 0;
  uint64_t table_offset_ = 0, table_size_ = 0;  // place in header_, pairs
  std::vector<IndexEntry> index_;  // by start; instead of the table where there is none
};

}  // namespace stallscope::symbolizer
