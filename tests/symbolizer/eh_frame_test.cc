// SPDX-License-Identifier: Apache-2.0
//
// .eh_frame, read by us: tables made here, with every kind of damage; and every row of real files
// against libdw. EH_FRAME_TEST_FILES=path:path adds files to the latter.
#include "symbolizer/eh_frame.h"

#include <dwarf.h>
#include <elf.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "symbolizer/file_bytes.h"
#include "symbolizer/frame_rules.h"
#include "tests/symbolizer/eh_frame_image.h"
#include "tests/symbolizer/libdw_rules.h"

namespace stallscope::symbolizer {
namespace {

using std::string_literals::operator""s;

std::string U32(uint64_t value) { return Raw(static_cast<uint32_t>(value)); }
std::string U64(uint64_t value) { return Raw(value); }
std::string Uleb(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string Op(int opcode) { return std::string(1, static_cast<char>(opcode)); }
std::string Block(const std::string& bytes) { return Uleb(bytes.size()) + bytes; }
std::string Entry(const std::string& body) { return U32(body.size()) + body; }

// Number `value` in the encoding, for a field at ELF address `here`.
std::string Pointer(int encoding, uint64_t value, uint64_t here) {
  if ((encoding & 0x70) == DW_EH_PE_pcrel) value -= here;
  if ((encoding & 0x70) == DW_EH_PE_datarel) value -= kHeader;
  switch (encoding & 0x0f) {
    case DW_EH_PE_udata2:
    case DW_EH_PE_sdata2:
      return Raw(static_cast<uint16_t>(value));
    case DW_EH_PE_udata4:
    case DW_EH_PE_sdata4:
      return U32(value);
    default:
      return U64(value);
  }
}

// CFA = rsp + 8, return address at CFA - 8.
const std::string kUsualRow =
    Op(DW_CFA_def_cfa) + Uleb(7) + Uleb(8) + Op(DW_CFA_offset | 16) + Uleb(1);
constexpr int kPcrel4 = DW_EH_PE_pcrel | DW_EH_PE_sdata4;

std::string Cie(const std::string& instructions = kUsualRow, int encoding = kPcrel4) {
  return Entry(U32(0) + Op(1) + "zR\0"s + Uleb(1) + "\x78" + Uleb(16) + Block(Op(encoding)) +
               instructions);
}

// An .eh_frame of one CIE and one FDE for the function.
struct Tables {
  std::string cie = Cie();
  int encoding = kPcrel4;
  uint64_t start = kCode, size = kCodeSize;
  std::string instructions;
  std::optional<uint32_t> cie_pointer;  // instead of the right one

  std::string Build() const {
    const uint64_t fde = kEhFrame + cie.size();
    std::string body = U32(cie_pointer.value_or(cie.size() + 4));
    body += Pointer(encoding, start, fde + 8);
    body += Pointer(encoding & 0x0f, size, 0) + Uleb(0) + instructions;
    return cie + Entry(body) + U32(0);
  }
};

// The same wherever in .eh_frame they are: nothing in them is relative to its own place.
Tables Movable() {
  Tables tables;
  tables.encoding = DW_EH_PE_absptr;
  tables.cie = Cie(kUsualRow, tables.encoding);
  return tables;
}

// .eh_frame_hdr with a table of one function.
struct Header {
  int address_encoding = kPcrel4, count_encoding = DW_EH_PE_udata4,
      table_encoding = DW_EH_PE_datarel | DW_EH_PE_sdata4;
  uint64_t eh_frame = kEhFrame, count = 1, start = kCode, entry = 0;

  std::string Build() const {
    std::string out = Op(1) + Op(address_encoding) + Op(count_encoding) + Op(table_encoding);
    out += Pointer(address_encoding, eh_frame, kHeader + 4);
    if (count_encoding != DW_EH_PE_omit) out += Pointer(count_encoding, count, 0);
    out += Pointer(table_encoding, start, kHeader + out.size());
    out += Pointer(table_encoding, entry, kHeader + out.size());
    return out;
  }
};

std::optional<FrameRule> RuleIn(const std::string& elf, uint64_t address = kCode) {
  const auto file = ElfFile::Parse(FileBytes::Own(elf));
  if (!file.ok()) {
    ADD_FAILURE() << "no ELF file";
    return std::nullopt;
  }
  return FrameRules(**file).At(address, /*is_return=*/false);
}

Header HeaderFor(const Tables& tables) {
  Header header;
  header.entry = kEhFrame + tables.cie.size();
  return header;
}

// Through the search table, and by the scan that takes its place; they must agree.
std::optional<FrameRule> RuleOf(const Tables& tables, uint64_t address = kCode) {
  Header header = HeaderFor(tables);
  const auto by_table = RuleIn(ElfWithTables(header.Build(), tables.Build()), address);
  header.count_encoding = DW_EH_PE_omit;
  EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), tables.Build()), address), by_table);
  return by_table;
}

std::optional<FrameRule> RuleAfter(const std::string& instructions, uint64_t address = kCode) {
  Tables tables;
  tables.instructions = instructions;
  return RuleOf(tables, address);
}

FrameRule Rule(FrameRule::Register reg = FrameRule::kRsp, int64_t offset = 8,
               std::optional<int64_t> rbp_offset = std::nullopt) {
  FrameRule rule;
  rule.cfa_register = reg;
  rule.cfa_offset = offset;
  rule.rbp_offset = rbp_offset;
  return rule;
}

TEST(EhFrame, CoversItsFunctionOnly) {
  const Tables tables;
  EXPECT_EQ(RuleOf(tables, kCode), Rule());
  EXPECT_EQ(RuleOf(tables, kCode + kCodeSize - 1), Rule());
  EXPECT_EQ(RuleOf(tables, kCode - 1), std::nullopt);
  EXPECT_EQ(RuleOf(tables, kCode + kCodeSize), std::nullopt);
}

TEST(EhFrame, CfaAndRbpInstructions) {
  EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_offset) + Uleb(64)), Rule(FrameRule::kRsp, 64));
  EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_sf) + Uleb(6) + "\x7e"), Rule(FrameRule::kRbp, 16));
  EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_offset_sf) + "\x7e"), Rule(FrameRule::kRsp, 16));
  EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_register) + Uleb(6)), Rule(FrameRule::kRbp, 8));
  EXPECT_EQ(RuleAfter(Op(DW_CFA_GNU_args_size) + Uleb(1000)), Rule());
  const auto saved = Rule(FrameRule::kRsp, 8, -16);
  EXPECT_EQ(RuleAfter(Op(DW_CFA_offset | 6) + Uleb(2)), saved);
  EXPECT_EQ(RuleAfter(Op(DW_CFA_offset_extended) + Uleb(6) + Uleb(2)), saved);
  EXPECT_EQ(RuleAfter(Op(DW_CFA_offset_extended_sf) + Uleb(6) + "\x02"), saved);
  for (const std::string& undo :
       {Op(DW_CFA_restore | 6), Op(DW_CFA_restore_extended) + Uleb(6),
        Op(DW_CFA_same_value) + Uleb(6), Op(DW_CFA_undefined) + Uleb(6)}) {
    EXPECT_EQ(RuleAfter(Op(DW_CFA_offset | 6) + Uleb(2) + undo), Rule());
  }
}

TEST(EhFrame, RestoreGoesBackToTheCommonEntry) {
  Tables tables;
  tables.cie = Cie(kUsualRow + Op(DW_CFA_offset | 6) + Uleb(4));
  tables.instructions = Op(DW_CFA_offset | 6) + Uleb(2);
  EXPECT_EQ(RuleOf(tables), Rule(FrameRule::kRsp, 8, -16));
  tables.instructions += Op(DW_CFA_restore | 6);
  EXPECT_EQ(RuleOf(tables), Rule(FrameRule::kRsp, 8, -32));
}

TEST(EhFrame, RowsBeginWhereTheInstructionsSay) {
  const auto grow = [](int offset) { return Op(DW_CFA_def_cfa_offset) + Uleb(offset); };
  const std::string rows = Op(DW_CFA_advance_loc | 1) + grow(16) + Op(DW_CFA_advance_loc1) + Op(1) +
                           grow(24) + Op(DW_CFA_advance_loc2) + Raw(uint16_t{2}) + grow(32) +
                           Op(DW_CFA_advance_loc4) + U32(4) + grow(40);
  const int expected[] = {8, 16, 24, 24, 32, 32, 32, 32, 40, 40};
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(RuleAfter(rows, kCode + i), Rule(FrameRule::kRsp, expected[i])) << i;
  }
}

TEST(EhFrame, SetLocIsEncodedAsTheFunctionsStart) {
  Tables tables;
  tables.encoding = DW_EH_PE_udata4;
  tables.cie = Cie(kUsualRow, tables.encoding);
  const std::string grow = Op(DW_CFA_def_cfa_offset) + Uleb(16);
  tables.instructions = Op(DW_CFA_set_loc) + U32(kCode + 9) + grow;
  EXPECT_EQ(RuleOf(tables, kCode + 8), Rule());
  EXPECT_EQ(RuleOf(tables, kCode + 9), Rule(FrameRule::kRsp, 16));
  tables.instructions = Op(DW_CFA_set_loc) + U32(kCode - 1) + grow;  // backwards
  EXPECT_EQ(RuleOf(tables, kCode + 9), std::nullopt);
}

TEST(EhFrame, RememberedRows) {
  const std::string change =
      Op(DW_CFA_def_cfa) + Uleb(6) + Uleb(16) + Op(DW_CFA_offset | 6) + Uleb(2);
  const std::string remember = Op(DW_CFA_remember_state), restore = Op(DW_CFA_restore_state);
  EXPECT_EQ(RuleAfter(remember + change), Rule(FrameRule::kRbp, 16, -16));
  EXPECT_EQ(RuleAfter(remember + change + restore), Rule());
  EXPECT_EQ(RuleAfter(std::string(20, DW_CFA_remember_state) + change +
                      std::string(20, DW_CFA_restore_state)),
            Rule());
  EXPECT_EQ(RuleAfter(restore), std::nullopt);
  EXPECT_EQ(RuleAfter(remember + restore + restore), std::nullopt);
}

TEST(EhFrame, ManyRememberedRowsAreRefused) {
  EXPECT_EQ(RuleAfter(std::string(50, DW_CFA_remember_state)), std::nullopt);
  EXPECT_EQ(RuleAfter(std::string(200'000, DW_CFA_remember_state)), std::nullopt);
}

TEST(EhFrame, Expressions) {
  const auto cfa = [](const std::string& expression) {
    return RuleAfter(Op(DW_CFA_def_cfa_expression) + Block(expression));
  };
  FrameRule deref = Rule(FrameRule::kRbp, -8);
  deref.cfa_deref = true;
  EXPECT_EQ(cfa(Op(DW_OP_breg6) + "\x78" + Op(DW_OP_deref)), deref);
  EXPECT_EQ(cfa(Op(DW_OP_bregx) + Uleb(7) + "\x10"), Rule(FrameRule::kRsp, 16));
  EXPECT_EQ(cfa(Op(DW_OP_breg7) + "\x08" + Op(DW_OP_const1s) + "\xf0" + Op(DW_OP_minus)),
            Rule(FrameRule::kRsp, 24));
  EXPECT_EQ(cfa(Op(DW_OP_breg7) + "\x08" + Op(DW_OP_plus_uconst) + Uleb(8)),
            Rule(FrameRule::kRsp, 16));
  EXPECT_EQ(cfa(""), std::nullopt);
  EXPECT_EQ(cfa(Op(DW_OP_lit8)), std::nullopt);                     // no stack is there
  EXPECT_EQ(cfa(Op(DW_OP_breg0) + "\x08"s), std::nullopt);          // rax
  EXPECT_EQ(cfa(Op(DW_OP_breg7)), std::nullopt);                    // cut
  EXPECT_EQ(cfa(Op(DW_OP_plus)), std::nullopt);                     // of nothing
  EXPECT_EQ(cfa(Op(DW_OP_skip) + Raw(int16_t{-3})), std::nullopt);  // for ever
  EXPECT_EQ(cfa(std::string(100'000, static_cast<char>(DW_OP_lit1)) + Op(DW_OP_breg7) + "\x08"),
            std::nullopt);
  const auto rbp = [](const std::string& expression) {
    return RuleAfter(Op(DW_CFA_expression) + Uleb(6) + Block(expression));
  };
  FrameRule at_rbp = Rule(FrameRule::kRsp, 8, -16);
  EXPECT_EQ(rbp(Op(DW_OP_lit16) + Op(DW_OP_minus)), at_rbp);  // of the CFA
  at_rbp.rbp_saved_at_rbp = true;
  EXPECT_EQ(rbp(Op(DW_OP_breg6) + "\x70"), at_rbp);
  EXPECT_EQ(rbp(Op(DW_OP_breg7) + "\x10"), std::nullopt);
  EXPECT_EQ(rbp(Op(DW_OP_breg6) + "\x70" + Op(DW_OP_deref)), std::nullopt);
}

// The stub pushes in its second half, which the expression tells by the address itself.
TEST(EhFrame, LazyStubs) {
  const std::string expression = Op(DW_OP_breg7) + "\x08" + Op(DW_OP_breg16) + "\0"s +
                                 Op(DW_OP_lit15) + Op(DW_OP_and) + Op(DW_OP_lit11) + Op(DW_OP_ge) +
                                 Op(DW_OP_lit3) + Op(DW_OP_shl) + Op(DW_OP_plus);
  const std::string instructions = Op(DW_CFA_def_cfa_expression) + Block(expression);
  EXPECT_EQ(RuleAfter(instructions, kCode + 10), Rule());
  EXPECT_EQ(RuleAfter(instructions, kCode + 11), Rule(FrameRule::kRsp, 16));
  EXPECT_EQ(RuleAfter(instructions, kCode + 16), Rule());
}

TEST(EhFrame, WhatAFrameRuleCannotSayIsRefused) {
  for (const std::string& instructions : {
           Op(DW_CFA_def_cfa) + Uleb(3) + Uleb(8),        // rbx
           Op(DW_CFA_offset | 16) + Uleb(2),              // a return address elsewhere
           Op(DW_CFA_register) + Uleb(16) + Uleb(2),      // in rcx
           Op(DW_CFA_register) + Uleb(6) + Uleb(2),       // rbp in rcx
           Op(DW_CFA_val_offset) + Uleb(6) + Uleb(2),     // rbp is a place
           Op(DW_CFA_val_offset_sf) + Uleb(6) + Uleb(2),  //
           Op(DW_CFA_val_expression) + Uleb(6) + Block(Op(DW_OP_breg6) + "\x10"),
           Op(DW_CFA_GNU_window_save),
           Op(0x3f),
           Op(DW_CFA_def_cfa_expression) + Block(Op(DW_OP_breg7) + "\x08") +
               Op(DW_CFA_def_cfa_offset) + Uleb(8),
       }) {
    EXPECT_EQ(RuleAfter(instructions), std::nullopt) << testing::PrintToString(instructions);
  }
  Tables without_cfa;
  without_cfa.cie = Cie(Op(DW_CFA_offset | 16) + Uleb(1));
  EXPECT_EQ(RuleOf(without_cfa), std::nullopt);
  Tables without_return_address;
  without_return_address.cie = Cie(Op(DW_CFA_def_cfa) + Uleb(7) + Uleb(8));
  EXPECT_EQ(RuleOf(without_return_address), std::nullopt);
  Tables outermost;
  outermost.instructions = Op(DW_CFA_undefined) + Uleb(16);
  ASSERT_TRUE(RuleOf(outermost).has_value());
  EXPECT_TRUE(RuleOf(outermost)->outermost);
}

TEST(EhFrame, RegisterNumbersCostNoMemory) {
  rusage before = {}, after = {};
  getrusage(RUSAGE_SELF, &before);
  for (const uint64_t number : {uint64_t{17}, uint64_t{1} << 27, uint64_t{1} << 32, ~uint64_t{0}}) {
    const std::string reg = Uleb(number);
    const std::string place = Block(Op(DW_OP_breg7) + "\x10");
    for (const std::string& instructions :
         {Op(DW_CFA_offset_extended) + reg + Uleb(1), Op(DW_CFA_offset_extended_sf) + reg + Uleb(1),
          Op(DW_CFA_restore_extended) + reg, Op(DW_CFA_undefined) + reg,
          Op(DW_CFA_same_value) + reg, Op(DW_CFA_register) + reg + reg,
          Op(DW_CFA_val_offset) + reg + Uleb(1), Op(DW_CFA_val_offset_sf) + reg + Uleb(1),
          Op(DW_CFA_expression) + reg + place, Op(DW_CFA_val_expression) + reg + place}) {
      EXPECT_EQ(RuleAfter(instructions), Rule()) << number;
    }
    EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_register) + reg), std::nullopt);
    const std::string expression = Op(DW_OP_bregx) + reg + Uleb(8);
    EXPECT_EQ(RuleAfter(Op(DW_CFA_def_cfa_expression) + Block(expression)), std::nullopt);
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10);  // kB; libdw took a GiB
}

TEST(EhFrame, ArithmeticDoesNotWrapIntoAnotherRow) {
  Tables tables;
  const std::string grow = Op(DW_CFA_def_cfa_offset) + Uleb(16);
  tables.cie = Entry(U32(0) + Op(1) + "zR\0"s + Uleb(~uint64_t{0}) + "\x78" + Uleb(16) +
                     Block(Op(kPcrel4)) + kUsualRow);
  tables.instructions = Op(DW_CFA_advance_loc | 1) + grow;
  EXPECT_EQ(RuleOf(tables, kCode + 8), std::nullopt);
  Tables endless;
  endless.encoding = DW_EH_PE_absptr;
  endless.cie = Cie(kUsualRow, endless.encoding);
  endless.size = ~uint64_t{0} - kCode + 2;
  EXPECT_EQ(RuleOf(endless, kCode), std::nullopt);
  EXPECT_EQ(RuleOf(endless, 0), std::nullopt);
}

TEST(EhFrame, PointerEncodings) {
  for (const int encoding :
       {int{DW_EH_PE_absptr}, int{DW_EH_PE_udata4}, int{DW_EH_PE_sdata4}, int{DW_EH_PE_udata8},
        DW_EH_PE_pcrel | DW_EH_PE_absptr, DW_EH_PE_pcrel | DW_EH_PE_sdata4,
        DW_EH_PE_pcrel | DW_EH_PE_udata8, DW_EH_PE_pcrel | DW_EH_PE_sdata8}) {
    Tables tables;
    tables.encoding = encoding;
    tables.cie = Cie(kUsualRow, encoding);
    EXPECT_EQ(RuleOf(tables, kCode + 1), Rule()) << encoding;
    EXPECT_EQ(RuleOf(tables, kCode + kCodeSize), std::nullopt) << encoding;
  }
  for (const int encoding : {DW_EH_PE_textrel | DW_EH_PE_sdata4, DW_EH_PE_datarel | DW_EH_PE_sdata4,
                             DW_EH_PE_funcrel | DW_EH_PE_sdata4, int{DW_EH_PE_aligned},
                             DW_EH_PE_indirect | kPcrel4, int{DW_EH_PE_omit}, 0x05, 0x7b}) {
    Tables tables;
    tables.cie = Cie(kUsualRow, encoding);
    EXPECT_EQ(RuleOf(tables), std::nullopt) << encoding;
  }
}

TEST(EhFrame, SearchTableEncodings) {
  const Tables tables;
  for (const int encoding : {int{DW_EH_PE_absptr}, int{DW_EH_PE_udata4}, int{DW_EH_PE_udata8},
                             DW_EH_PE_datarel | DW_EH_PE_sdata4, DW_EH_PE_datarel | DW_EH_PE_sdata8,
                             DW_EH_PE_pcrel | DW_EH_PE_sdata4, DW_EH_PE_pcrel | DW_EH_PE_sdata8}) {
    Header header = HeaderFor(tables);
    header.table_encoding = header.address_encoding = encoding;
    EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), tables.Build())), Rule()) << encoding;
    header.start = kCode + 1;  // the table was used: it does not say so of the first byte
    EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), tables.Build())), std::nullopt) << encoding;
  }
}

// The table cannot be searched, so .eh_frame is read from its start.
TEST(EhFrame, UselessSearchTables) {
  const Tables tables;
  std::vector<Header> headers(5, HeaderFor(tables));
  headers[0].count = 0xffffffff;
  headers[1].count = 0;
  headers[2].table_encoding = DW_EH_PE_datarel | DW_EH_PE_uleb128;
  headers[3].table_encoding = DW_EH_PE_omit;
  headers[4].count_encoding = DW_EH_PE_udata8;
  headers[4].count = uint64_t{1} << 61;  // times eight is one
  for (const Header& header : headers) {
    EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), tables.Build())), Rule());
  }
}

TEST(EhFrame, SearchTablesThatLeadAstray) {
  const Tables tables;
  const std::string eh_frame = tables.Build();
  for (const uint64_t entry :
       {uint64_t{0}, kBase, kEhFrame - 1, kEhFrame /* a CIE */, kEhFrame + 1,
        kEhFrame + eh_frame.size() - 4 /* the terminator */, kEhFrame + eh_frame.size() - 1,
        kEhFrame + eh_frame.size(), kEhFrame + (1 << 30)}) {
    Header header = HeaderFor(tables);
    header.entry = entry;
    EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), eh_frame)), std::nullopt) << entry;
  }
  Header unsorted = HeaderFor(tables);
  std::string bytes = unsorted.Build() + U32(unsorted.start - kHeader - 64) + U32(0);
  bytes[8] = 2;  // the count
  EXPECT_EQ(RuleIn(ElfWithTables(bytes, eh_frame)), std::nullopt);
  for (const uint64_t address : {uint64_t{0}, kEhFrame + (1 << 30)}) {
    Header header = HeaderFor(tables);
    header.eh_frame = address;
    EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), eh_frame)), std::nullopt) << address;
  }
}

TEST(EhFrame, CiePointersThatLeadAstray) {
  Tables tables;
  const uint32_t right = tables.cie.size() + 4;
  for (const uint32_t pointer : {uint32_t{4} /* itself */, uint32_t{0}, uint32_t{1}, right - 1,
                                 right + 1, right + 4, uint32_t{0xffffffff}}) {
    tables.cie_pointer = pointer;
    EXPECT_EQ(RuleOf(tables), std::nullopt) << pointer;
  }
  // Two that call each other their CIE.
  Tables pair;
  pair.cie = Entry(U32(static_cast<uint32_t>(-20)) + std::string(16, '\0'));
  pair.cie_pointer = pair.cie.size() + 4;
  EXPECT_EQ(RuleOf(pair), std::nullopt);
}

TEST(EhFrame, CommonEntries) {
  const std::string factors = Uleb(1) + "\x78";
  const std::string encoding = Op(kPcrel4);
  const auto rule = [](const std::string& body) {
    Tables tables;
    tables.cie = Entry(U32(0) + body);
    return RuleOf(tables);
  };
  const std::string personality = Op(DW_EH_PE_indirect | kPcrel4) + U32(0);
  EXPECT_EQ(rule(Op(3) + "zR\0"s + factors + Uleb(16) + Block(encoding) + kUsualRow), Rule());
  EXPECT_EQ(rule(Op(1) + "zPLR\0"s + factors + Uleb(16) + Block(personality + encoding + encoding) +
                 kUsualRow),
            Rule());
  EXPECT_EQ(rule(Op(1) + "zRS\0"s + factors + Uleb(16) + Block(encoding) + kUsualRow), Rule());
  EXPECT_EQ(rule(Op(1) + "zR\0"s + factors + Uleb(16) + Block(encoding + "more") + kUsualRow),
            Rule());
  for (const std::string& body : {
           Op(2) + "zR\0"s + factors + Uleb(16) + Block(encoding) + kUsualRow,     // version
           Op(1) + "eh\0"s + U64(0) + factors + Uleb(16) + kUsualRow,              // GCC 2
           Op(1) + "zRX\0"s + factors + Uleb(16) + Block(encoding) + kUsualRow,    // unknown
           Op(1) + "zR\0"s + factors + Uleb(17) + Block(encoding) + kUsualRow,     // not rip
           Op(1) + "zR\0"s + factors + Uleb(16) + Uleb(0) + encoding + kUsualRow,  // too short
           Op(1) + "zR\0"s + factors + Uleb(16) + Uleb(1u << 31) + kUsualRow,      // too long
           Op(1) + "zP\0"s + factors + Uleb(16) + Block(Op(DW_EH_PE_aligned) + U64(0)) + kUsualRow,
           Op(1) + "z" + std::string(100, 'S') + "R\0"s + factors + Uleb(16) + Block(encoding) +
               kUsualRow,
           Op(1) + std::string(100, 'z'),
           Op(1) + "zR\0"s + std::string(40, '\xff'),
           Op(1) + "zR\0"s + factors + Uleb(16) + Block(encoding) + Op(DW_CFA_restore | 6),
       }) {
    EXPECT_EQ(rule(body), std::nullopt) << testing::PrintToString(body);
  }
}

// A file that ends early, at every byte: the right answer or none, and the whole file's is right.
TEST(EhFrame, TruncatedTables) {
  Tables tables;
  tables.instructions = Op(DW_CFA_advance_loc | 1) + Op(DW_CFA_def_cfa_offset) + Uleb(300);
  for (const int count_encoding : {int{DW_EH_PE_udata4}, int{DW_EH_PE_omit}}) {
    Header header = HeaderFor(tables);
    header.count_encoding = count_encoding;
    const std::string whole = ElfWithTables(header.Build(), tables.Build());
    for (size_t size = kTablesOffset; size < whole.size() - 4; ++size) {
      EXPECT_EQ(RuleIn(whole.substr(0, size), kCode + 1), std::nullopt) << size;
    }
    EXPECT_EQ(RuleIn(whole.substr(0, whole.size() - 4), kCode + 1), Rule(FrameRule::kRsp, 300));
    EXPECT_EQ(RuleIn(whole, kCode + 1), Rule(FrameRule::kRsp, 300));
  }
}

// Instructions that end within an operand.
TEST(EhFrame, TruncatedInstructions) {
  for (const std::string& cut :
       {Op(DW_CFA_def_cfa), Op(DW_CFA_def_cfa) + Uleb(7), Op(DW_CFA_advance_loc4) + "\x01\x02",
        Op(DW_CFA_offset | 3), Op(DW_CFA_expression) + Uleb(3) + Uleb(1000),
        Op(DW_CFA_def_cfa_expression) + Uleb(uint64_t{1} << 63), Op(DW_CFA_set_loc) + "\x01",
        Op(DW_CFA_def_cfa_offset) + std::string(12, '\xff')}) {
    EXPECT_EQ(RuleAfter(cut), std::nullopt) << testing::PrintToString(cut);
  }
}

TEST(EhFrame, ExtremeLengths) {
  const Tables tables = Movable();
  const std::string good = tables.Build();
  Header scan = HeaderFor(tables);
  scan.count_encoding = DW_EH_PE_omit;
  const auto scanned = [&](const std::string& eh_frame) {
    return RuleIn(ElfWithTables(scan.Build(), eh_frame));
  };
  EXPECT_EQ(scanned(good), Rule());
  EXPECT_EQ(scanned(U32(0) + good), std::nullopt);  // ends at the terminator
  EXPECT_EQ(scanned(U32(0xffffffff) + good), std::nullopt);
  EXPECT_EQ(scanned(U32(1) + "x" + good), Rule());  // too short to be anything
  EXPECT_EQ(scanned(Entry(std::string(1 << 20, 'x')) + good), Rule());
  Tables nothing;
  nothing.size = 0;
  EXPECT_EQ(RuleOf(nothing), std::nullopt);
  Tables long_program;
  long_program.instructions = std::string(16u << 20, DW_CFA_nop);
  EXPECT_EQ(RuleOf(long_program), std::nullopt);
}

TEST(EhFrame, TheScanIsBounded) {
  const Tables tables = Movable();
  Header header = HeaderFor(tables);
  header.count_encoding = DW_EH_PE_omit;
  std::string entries;
  for (int i = 0; i < (1 << 20) - 2; ++i) entries += Entry("junk");
  EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), entries + tables.Build())), Rule());
  EXPECT_EQ(RuleIn(ElfWithTables(header.Build(), entries + Entry("junk") + tables.Build())),
            std::nullopt);
}

struct Comparison {
  uint64_t rows = 0, rules = 0, differences = 0;
};

void CompareAt(FrameRules* ours, const LibdwRules& reference, uint64_t address, bool is_return,
               Comparison* comparison) {
  const auto expected = reference.At(address, is_return);
  if (expected) ++comparison->rules;
  if (ours->At(address, is_return) == expected) return;
  if (++comparison->differences < 10) ADD_FAILURE() << fmt::format("{:#x} {}", address, is_return);
}

// Every row at its first address, at its last one, and as the place before a return address; and
// every byte that no row covers.
void CompareAll(const std::string& path) {
  auto bytes = FileBytes::Map(*RegularFile::Open("", path));
  ASSERT_TRUE(bytes.ok()) << path;
  const auto file = ElfFile::Parse(*std::move(bytes));
  ASSERT_TRUE(file.ok()) << path;
  const LibdwRules reference((*file)->elf());
  ASSERT_TRUE(reference.ok()) << path;
  FrameRules ours(**file);
  Comparison comparison;
  for (const ElfSegment& segment : (*file)->segments()) {
    if (segment.type != PT_LOAD || !segment.executable) continue;
    const uint64_t end = segment.address + segment.file_size;
    for (uint64_t address = segment.address; address < end;) {
      CompareAt(&ours, reference, address, false, &comparison);
      const uint64_t next = reference.EndOfRow(address).value_or(address + 1);
      if (reference.EndOfRow(address)) ++comparison.rows;
      CompareAt(&ours, reference, next - 1, false, &comparison);
      CompareAt(&ours, reference, next, true, &comparison);
      address = next;
    }
  }
  EXPECT_EQ(comparison.differences, 0u) << path;
  EXPECT_GT(comparison.rules, comparison.rows) << path;
  std::printf("%s: %lu rows, %lu differences\n", path.c_str(), comparison.rows,
              comparison.differences);
}

TEST(EhFrameOfRealFiles, IsReadAsLibdwReadsIt) {
  std::vector<std::string> paths = {"/proc/self/exe"};
  size_t libraries = 0;
  for (const char* const name : {"libc.so.6", "libstdc++.so.6"}) {
    for (const char* const folder : {"/usr/lib/x86_64-linux-gnu/", "/usr/lib64/", "/lib64/"}) {
      if (!std::filesystem::exists(std::string(folder) + name)) continue;
      paths.push_back(std::string(folder) + name);
      ++libraries;
      break;
    }
  }
  std::istringstream more(std::getenv("EH_FRAME_TEST_FILES") ? std::getenv("EH_FRAME_TEST_FILES")
                                                             : "");
  for (std::string path; std::getline(more, path, ':');) paths.push_back(path);
  for (const std::string& path : paths) CompareAll(path);
  if (libraries < 2) GTEST_SKIP() << "libc.so.6 or libstdc++.so.6 was not found: not compared";
}

}  // namespace
}  // namespace stallscope::symbolizer
