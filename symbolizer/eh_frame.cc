// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/eh_frame.h"

#include <dwarf.h>
#include <elf.h>

#include <algorithm>
#include <limits>

namespace stallscope::symbolizer {
namespace {

constexpr size_t kMostIndexedEntries = 1u << 20;
// The longest entries that compilers were seen to write have 20 kB (of 1.7 million in a
// distribution), most some 40 bytes. These bounds keep a lookup in a hostile file near a
// millisecond.
constexpr uint32_t kMostEntryBytes = 1u << 17;
constexpr size_t kMostRememberedRows = 32;
constexpr size_t kMostAugmentationLetters = 16;

constexpr uint8_t kFormatMask = 0x0f, kBaseMask = 0x70;

// 0 for the formats that have no fixed width, and for those that do not exist.
size_t WidthOf(uint8_t encoding) {
  switch (encoding & kFormatMask) {
    case DW_EH_PE_absptr:
    case DW_EH_PE_udata8:
    case DW_EH_PE_sdata8:
      return 8;
    case DW_EH_PE_udata4:
    case DW_EH_PE_sdata4:
      return 4;
    case DW_EH_PE_udata2:
    case DW_EH_PE_sdata2:
      return 2;
    default:
      return 0;
  }
}

// The number alone, relative to nothing.
std::optional<uint64_t> ReadNumber(uint8_t encoding, ByteCursor* cursor) {
  uint64_t value = 0;
  switch (encoding & kFormatMask) {
    case DW_EH_PE_absptr:
    case DW_EH_PE_udata8:
    case DW_EH_PE_sdata8:
      value = cursor->U64();
      break;
    case DW_EH_PE_udata4:
      value = cursor->U32();
      break;
    case DW_EH_PE_sdata4:
      value = static_cast<uint64_t>(int64_t{cursor->I32()});
      break;
    case DW_EH_PE_udata2:
      value = cursor->U16();
      break;
    case DW_EH_PE_sdata2:
      value = static_cast<uint64_t>(int64_t{static_cast<int16_t>(cursor->U16())});
      break;
    case DW_EH_PE_uleb128:
      value = cursor->Varint();
      break;
    case DW_EH_PE_sleb128:
      value = static_cast<uint64_t>(cursor->SignedVarint());
      break;
    default:
      return std::nullopt;
  }
  if (!cursor->ok()) return std::nullopt;
  return value;
}

// `cursor` is in the bytes of `image`; `data` is what "datarel" is relative to.
std::optional<uint64_t> ReadPointer(uint8_t encoding, const EhFrame::Image& image,
                                    std::optional<uint64_t> data, ByteCursor* cursor) {
  const uint64_t here = image.address + cursor->position();
  const std::optional<uint64_t> number = ReadNumber(encoding, cursor);
  if (!number || (encoding & DW_EH_PE_indirect) != 0) return std::nullopt;
  switch (encoding & kBaseMask) {
    case DW_EH_PE_absptr:
      return number;
    case DW_EH_PE_pcrel:
      return here + *number;
    case DW_EH_PE_datarel:
      if (!data) return std::nullopt;
      return *data + *number;
    default:
      return std::nullopt;
  }
}

}  // namespace

// Runs call frame instructions.
class EhFrame::Interpreter {
 public:
  Interpreter(const Image& image, const Cie& cie) : image_(image), cie_(cie) {}

  // False: damage, or an instruction that x86-64 code has no use for.
  bool RunCie() {
    if (!Run(cie_.instructions, 0, std::numeric_limits<uint64_t>::max())) return false;
    initial_ = row_;
    remembered_.clear();
    return true;
  }
  // Up to the row that holds at `target`, which is no lower than the entry's start.
  bool RunFde(const Fde& fde, uint64_t target) { return Run(fde.instructions, fde.start, target); }
  const FrameRow& row() const { return row_; }

 private:
  enum class Step { kDone, kReached, kRefused };

  bool Run(ByteCursor instructions, uint64_t start, uint64_t target);
  Step Execute(uint8_t opcode);
  Step ExecuteCfa(uint8_t opcode);
  Step ExecuteRegister(uint8_t opcode);
  Step Advance(uint64_t count);
  Step MoveTo(uint64_t location);
  Step Remember();
  Step GoBack();
  Step SetRegister(uint64_t number, SavedRegister::Kind kind, uint64_t factored_offset = 0);
  Step SetExpression(uint64_t number);
  Step Restore(uint64_t number);

  static SavedRegister* ColumnOf(uint64_t number, FrameRow* row) {
    if (number == kDwarfRbp) return &row->rbp;
    return number == kDwarfReturnAddress ? &row->return_address : nullptr;
  }
  int64_t Factored(uint64_t value) const {
    return static_cast<int64_t>(value * static_cast<uint64_t>(cie_.data_alignment));
  }
  uint64_t Signed() { return static_cast<uint64_t>(cursor_.SignedVarint()); }
  std::string_view Block() { return cursor_.Bytes(cursor_.Varint()); }

  const Image& image_;
  const Cie& cie_;
  ByteCursor cursor_{std::string_view()};
  uint64_t location_ = 0, target_ = 0;
  FrameRow row_;
  std::optional<FrameRow> initial_;  // after the CIE's instructions
  std::vector<FrameRow> remembered_;
};

bool EhFrame::Interpreter::Run(ByteCursor instructions, uint64_t start, uint64_t target) {
  cursor_ = instructions;
  location_ = start;
  target_ = target;
  while (cursor_.remaining() > 0) {
    const Step step = Execute(cursor_.U8());
    if (step == Step::kRefused || !cursor_.ok()) return false;
    if (step == Step::kReached) return true;
  }
  return true;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::Execute(uint8_t opcode) {
  const uint8_t operand = opcode & 0x3f;
  switch (opcode & 0xc0) {
    case DW_CFA_advance_loc:
      return Advance(operand);
    case DW_CFA_offset:
      return SetRegister(operand, SavedRegister::kAtCfaOffset, cursor_.Varint());
    case DW_CFA_restore:
      return Restore(operand);
    default:
      break;
  }
  switch (opcode) {
    case DW_CFA_nop:
      return Step::kDone;
    case DW_CFA_set_loc: {
      const auto location = ReadPointer(cie_.pointer_encoding, image_, std::nullopt, &cursor_);
      return location ? MoveTo(*location) : Step::kRefused;
    }
    case DW_CFA_advance_loc1:
      return Advance(cursor_.U8());
    case DW_CFA_advance_loc2:
      return Advance(cursor_.U16());
    case DW_CFA_advance_loc4:
      return Advance(cursor_.U32());
    case DW_CFA_remember_state:
      return Remember();
    case DW_CFA_restore_state:
      return GoBack();
    case DW_CFA_GNU_args_size:  // pushed arguments: only a throw has to know
      cursor_.Varint();
      return Step::kDone;
    case DW_CFA_def_cfa:
    case DW_CFA_def_cfa_sf:
    case DW_CFA_def_cfa_register:
    case DW_CFA_def_cfa_offset:
    case DW_CFA_def_cfa_offset_sf:
    case DW_CFA_def_cfa_expression:
      return ExecuteCfa(opcode);
    default:
      return ExecuteRegister(opcode);
  }
}

EhFrame::Interpreter::Step EhFrame::Interpreter::ExecuteCfa(uint8_t opcode) {
  if (opcode == DW_CFA_def_cfa_expression) {
    row_.cfa_kind = FrameRow::kCfaExpression;
    row_.cfa_expression = Block();
    return Step::kDone;
  }
  if (opcode == DW_CFA_def_cfa || opcode == DW_CFA_def_cfa_sf) {
    row_.cfa_kind = FrameRow::kCfaRegister;
    row_.cfa_register = cursor_.Varint();
  } else if (row_.cfa_kind != FrameRow::kCfaRegister) {
    return Step::kRefused;
  }
  if (opcode == DW_CFA_def_cfa_register) {
    row_.cfa_register = cursor_.Varint();
  } else if (opcode == DW_CFA_def_cfa_sf || opcode == DW_CFA_def_cfa_offset_sf) {
    row_.cfa_offset = Factored(Signed());
  } else {
    row_.cfa_offset = static_cast<int64_t>(cursor_.Varint());
  }
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::ExecuteRegister(uint8_t opcode) {
  // All of these begin with the register's number. It is read here, since the order in which
  // arguments of a call are evaluated is not fixed.
  const uint64_t number = cursor_.Varint();
  switch (opcode) {
    case DW_CFA_offset_extended:
      return SetRegister(number, SavedRegister::kAtCfaOffset, cursor_.Varint());
    case DW_CFA_offset_extended_sf:
      return SetRegister(number, SavedRegister::kAtCfaOffset, Signed());
    case DW_CFA_restore_extended:
      return Restore(number);
    case DW_CFA_undefined:
      return SetRegister(number, SavedRegister::kUndefined);
    case DW_CFA_same_value:
      return SetRegister(number, SavedRegister::kSameValue);
    case DW_CFA_expression:
      return SetExpression(number);
    case DW_CFA_register:
    case DW_CFA_val_offset:
      cursor_.Varint();
      return SetRegister(number, SavedRegister::kElsewhere);
    case DW_CFA_val_offset_sf:
      cursor_.SignedVarint();
      return SetRegister(number, SavedRegister::kElsewhere);
    case DW_CFA_val_expression:
      Block();
      return SetRegister(number, SavedRegister::kElsewhere);
    default:
      return Step::kRefused;
  }
}

EhFrame::Interpreter::Step EhFrame::Interpreter::Advance(uint64_t count) {
  uint64_t distance = 0, location = 0;
  if (__builtin_mul_overflow(count, cie_.code_alignment, &distance) ||
      __builtin_add_overflow(location_, distance, &location)) {
    return Step::kRefused;
  }
  return MoveTo(location);
}

EhFrame::Interpreter::Step EhFrame::Interpreter::MoveTo(uint64_t location) {
  if (!cursor_.ok() || location < location_) return Step::kRefused;
  if (location > target_) return Step::kReached;
  location_ = location;
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::Remember() {
  if (remembered_.size() >= kMostRememberedRows) return Step::kRefused;
  remembered_.push_back(row_);
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::GoBack() {
  if (remembered_.empty()) return Step::kRefused;
  row_ = remembered_.back();
  remembered_.pop_back();
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::SetRegister(uint64_t number,
                                                             SavedRegister::Kind kind,
                                                             uint64_t factored_offset) {
  if (SavedRegister* const column = ColumnOf(number, &row_))
    *column = {kind, Factored(factored_offset), {}};
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::SetExpression(uint64_t number) {
  const std::string_view expression = Block();
  if (SavedRegister* const column = ColumnOf(number, &row_))
    *column = {SavedRegister::kAtExpression, 0, expression};
  return Step::kDone;
}

EhFrame::Interpreter::Step EhFrame::Interpreter::Restore(uint64_t number) {
  if (!initial_) return Step::kRefused;
  if (SavedRegister* const column = ColumnOf(number, &row_))
    *column = *ColumnOf(number, &*initial_);
  return Step::kDone;
}

std::unique_ptr<EhFrame> EhFrame::Load(const ElfFile& file) {
  if (!file.is_x86_64()) return nullptr;
  std::unique_ptr<EhFrame> tables(new EhFrame);
  std::optional<uint64_t> address;
  for (const ElfSegment& segment : file.segments()) {
    if (segment.type == PT_GNU_EH_FRAME && !address) address = tables->ReadHeader(file, segment);
  }
  if (!tables->FindTables(file, address)) return nullptr;
  return tables;
}

// Gives the address of .eh_frame.
std::optional<uint64_t> EhFrame::ReadHeader(const ElfFile& file, const ElfSegment& segment) {
  header_ = {file.bytes().substr(segment.file_offset, segment.file_size), segment.address};
  ByteCursor cursor(header_.bytes);
  if (cursor.U8() != 1) return std::nullopt;  // the version
  const uint8_t address_encoding = cursor.U8();
  const uint8_t count_encoding = cursor.U8();
  table_encoding_ = cursor.U8();
  const auto address = ReadPointer(address_encoding, header_, header_.address, &cursor);
  if (!address || count_encoding == DW_EH_PE_omit || table_encoding_ == DW_EH_PE_omit)
    return address;
  const std::optional<uint64_t> count = ReadNumber(count_encoding, &cursor);
  const size_t width = WidthOf(table_encoding_);
  if (count && width > 0 && *count <= cursor.remaining() / (2 * width)) {
    table_offset_ = cursor.position();
    table_size_ = *count;
  }
  return address;
}

bool EhFrame::FindTables(const ElfFile& file, std::optional<uint64_t> address) {
  const ElfSection* const section = file.SectionNamed(".eh_frame");
  if (address) image_ = {file.BytesAt(*address, std::numeric_limits<uint64_t>::max()), *address};
  uint64_t end = image_.bytes.size();
  if (section != nullptr && image_.bytes.empty())
    image_ = {file.ContentOf(*section), section->address};
  if (section != nullptr && section->address == image_.address) end = section->size;
  if (image_.bytes.empty()) return false;
  if (table_size_ == 0) ReadIndex(end);
  return true;
}

void EhFrame::ReadIndex(uint64_t end) {
  uint64_t offset = 0;
  for (size_t i = 0; i < kMostIndexedEntries && offset < end; ++i) {
    ByteCursor cursor(image_.bytes, offset);
    const uint32_t length = cursor.U32();
    if (!cursor.ok() || length == 0 || length > cursor.remaining()) break;
    if (const std::optional<Fde> fde = ReadFde(offset)) index_.push_back({fde->start, offset});
    offset = cursor.position() + length;
  }
  const auto by_start = [](const IndexEntry& a, const IndexEntry& b) { return a.start < b.start; };
  std::sort(index_.begin(), index_.end(), by_start);
}

std::optional<FrameRow> EhFrame::RowAt(uint64_t address) const {
  const std::optional<uint64_t> offset = FindFde(address);
  if (!offset) return std::nullopt;
  const std::optional<Fde> fde = ReadFde(*offset);
  if (!fde || address < fde->start || address >= fde->end) return std::nullopt;
  Interpreter interpreter(image_, fde->cie);
  if (!interpreter.RunCie() || !interpreter.RunFde(*fde, address)) return std::nullopt;
  return interpreter.row();
}

std::optional<uint64_t> EhFrame::EntryStart(uint64_t address) const {
  const std::optional<uint64_t> offset = FindFde(address);
  const std::optional<Fde> fde = offset ? ReadFde(*offset) : std::nullopt;
  if (!fde || address < fde->start || address >= fde->end) return std::nullopt;
  return fde->start;
}

// The last entry that starts at `address` or before it, as a place in image_.
std::optional<uint64_t> EhFrame::FindFde(uint64_t address) const {
  if (table_size_ == 0) {
    const auto above = std::upper_bound(
        index_.begin(), index_.end(), address,
        [](uint64_t wanted, const IndexEntry& entry) { return wanted < entry.start; });
    if (above == index_.begin()) return std::nullopt;
    return std::prev(above)->offset;
  }
  uint64_t low = 0, high = table_size_;  // entries before low start at `address` or below it
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const std::optional<uint64_t> start = TableValue(middle, /*second=*/false);
    if (!start) return std::nullopt;
    if (*start <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return std::nullopt;
  const std::optional<uint64_t> entry = TableValue(low - 1, /*second=*/true);
  if (!entry || *entry < image_.address) return std::nullopt;
  return *entry - image_.address;
}

// One of a pair of the table: where a function starts, and the address of its FDE. ReadHeader has
// seen that the table lies within the header.
std::optional<uint64_t> EhFrame::TableValue(uint64_t index, bool second) const {
  const uint64_t offset =
      table_offset_ + (2 * index + (second ? 1 : 0)) * uint64_t{WidthOf(table_encoding_)};
  ByteCursor cursor(header_.bytes, offset);
  // What linkers write; a search asks for a dozen of them, and spends its time here.
  if (table_encoding_ == (DW_EH_PE_datarel | DW_EH_PE_sdata4))
    return header_.address + static_cast<uint64_t>(int64_t{cursor.I32()});
  return ReadPointer(table_encoding_, header_, header_.address, &cursor);
}

// What follows the length of the entry at `offset`. nullopt at the terminator, and for damage. The
// 64-bit form of the length is damage too: no linker writes it into .eh_frame.
std::optional<ByteCursor> EhFrame::EntryAt(uint64_t offset) const {
  ByteCursor cursor(image_.bytes, offset);
  const uint32_t length = cursor.U32();
  if (!cursor.ok() || length > kMostEntryBytes || length > cursor.remaining()) return std::nullopt;
  return ByteCursor(image_.bytes.substr(0, cursor.position() + length), cursor.position());
}

std::optional<EhFrame::Cie> EhFrame::ReadCie(uint64_t offset) const {
  std::optional<ByteCursor> cursor = EntryAt(offset);
  if (!cursor || cursor->U32() != 0) return std::nullopt;
  const uint8_t version = cursor->U8();
  if (version != 1 && version != 3) return std::nullopt;
  Cie cie;
  const std::string_view augmentation = cursor->CString(kMostAugmentationLetters);
  cie.code_alignment = cursor->Varint();
  cie.data_alignment = cursor->SignedVarint();
  const uint64_t return_address = version == 1 ? cursor->U8() : cursor->Varint();
  if (return_address != kDwarfReturnAddress) return std::nullopt;
  if (!augmentation.empty()) {
    // Without the 'z' there is no telling how long the rest is.
    if (augmentation[0] != 'z') return std::nullopt;
    cie.has_augmentation_data = true;
    const uint64_t size = cursor->Varint();
    if (size > cursor->remaining()) return std::nullopt;
    const uint64_t end = cursor->position() + size;
    for (const char letter : augmentation.substr(1)) {
      if (letter == 'R') {
        cie.pointer_encoding = cursor->U8();
      } else if (letter == 'L') {  // how FDEs point to their exception tables
        cursor->U8();
      } else if (letter == 'P') {  // the personality routine
        const uint8_t encoding = cursor->U8();
        if ((encoding & kBaseMask) == DW_EH_PE_aligned || !ReadNumber(encoding, &*cursor))
          return std::nullopt;
      } else if (letter != 'S') {  // a signal frame: no part of its rule
        return std::nullopt;
      }
    }
    if (cursor->position() > end) return std::nullopt;
    cursor->Seek(end);
  }
  if (!cursor->ok()) return std::nullopt;
  cie.instructions = *cursor;
  return cie;
}

std::optional<EhFrame::Fde> EhFrame::ReadFde(uint64_t offset) const {
  std::optional<ByteCursor> cursor = EntryAt(offset);
  if (!cursor) return std::nullopt;
  const uint64_t here = cursor->position();
  const uint32_t back_to_cie = cursor->U32();  // 0 makes it a CIE
  if (!cursor->ok() || back_to_cie == 0 || back_to_cie > here) return std::nullopt;
  std::optional<Cie> cie = ReadCie(here - back_to_cie);
  if (!cie) return std::nullopt;
  const auto start = ReadPointer(cie->pointer_encoding, image_, std::nullopt, &*cursor);
  const auto size = ReadNumber(cie->pointer_encoding, &*cursor);
  if (!start || !size) return std::nullopt;
  if (cie->has_augmentation_data) cursor->Skip(cursor->Varint());
  Fde fde;
  fde.start = *start;
  if (!cursor->ok() || __builtin_add_overflow(*start, *size, &fde.end)) return std::nullopt;
  fde.cie = *cie;
  fde.instructions = *cursor;
  return fde;
}

}  // namespace stallscope::symbolizer
