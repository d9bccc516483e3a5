// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/byte_cursor.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace stallscope::symbolizer {
namespace {

using std::string_view_literals::operator""sv;

TEST(ByteCursor, ReadsLittleEndianOneAfterTheOther) {
  ByteCursor cursor("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff\xff\xff\xff"sv);
  EXPECT_EQ(cursor.U16(), 0x0201);
  EXPECT_EQ(cursor.U32(), 0x06050403u);
  EXPECT_EQ(cursor.U64(), 0x0e0d0c0b0a090807u);
  EXPECT_EQ(cursor.I32(), -1);
  EXPECT_EQ(cursor.remaining(), 0u);
  EXPECT_TRUE(cursor.ok());
}

TEST(ByteCursor, RefusesAReadPastTheEndAndAllThatFollow) {
  ByteCursor cursor("\x01\x02\x03"sv);
  EXPECT_EQ(cursor.U32(), 0u);
  EXPECT_FALSE(cursor.ok());
  EXPECT_EQ(cursor.U8(), 0);  // though a byte would have been there
  EXPECT_FALSE(cursor.ok());
}

TEST(ByteCursor, RefusesToSeekOrSkipPastTheEnd) {
  ByteCursor at_end("abc"sv, 3);
  EXPECT_TRUE(at_end.ok());
  EXPECT_FALSE(ByteCursor("abc"sv, 4).ok());
  ByteCursor cursor("abc"sv);
  cursor.Skip(std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(cursor.ok());
}

TEST(ByteCursor, ReadsVarints) {
  EXPECT_EQ(ByteCursor("\x7f"sv).Varint(), 127u);
  EXPECT_EQ(ByteCursor("\x80\x01"sv).Varint(), 128u);
  EXPECT_EQ(ByteCursor("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv).Varint(),
            std::numeric_limits<uint64_t>::max());
}

TEST(ByteCursor, RefusesVarintsThatAreCutOrTooLong) {
  for (const std::string_view bytes : {"\x80"sv, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv,
                                       "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"sv}) {
    ByteCursor cursor(bytes);
    EXPECT_EQ(cursor.Varint(), 0u);
    EXPECT_FALSE(cursor.ok());
  }
}

TEST(ByteCursor, ReadsZigZag) {
  ByteCursor cursor("\x00\x01\x02\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv);
  EXPECT_EQ(cursor.ZigZag(), 0);
  EXPECT_EQ(cursor.ZigZag(), -1);
  EXPECT_EQ(cursor.ZigZag(), 1);
  EXPECT_EQ(cursor.ZigZag(), -2);
  EXPECT_EQ(cursor.ZigZag(), std::numeric_limits<int64_t>::min());
}

TEST(ByteCursor, ReadsSignedVarints) {
  ByteCursor cursor("\x3f\x40\x7f\xff\x00\x80\x7f\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f"sv);
  for (const int64_t expected : {int64_t{63}, int64_t{-64}, int64_t{-1}, int64_t{127},
                                 int64_t{-128}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(cursor.SignedVarint(), expected);
  }
  EXPECT_TRUE(cursor.ok());
  EXPECT_EQ(cursor.remaining(), 0u);
  for (const auto bytes : {"\x80"sv, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"sv,
                           "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"sv}) {
    ByteCursor refused(bytes);
    EXPECT_EQ(refused.SignedVarint(), 0);
    EXPECT_FALSE(refused.ok());
  }
}

TEST(ByteCursor, ReadsStringsUpToTheirNul) {
  ByteCursor cursor("one\0\0three"sv);
  EXPECT_EQ(cursor.CString(100), "one");
  EXPECT_EQ(cursor.CString(100), "");
  EXPECT_TRUE(cursor.ok());
  EXPECT_EQ(cursor.CString(100), "");  // no NUL behind it
  EXPECT_FALSE(cursor.ok());
  ByteCursor limited("long name\0"sv);
  EXPECT_EQ(limited.CString(4), "");
  EXPECT_FALSE(limited.ok());
}

}  // namespace
}  // namespace stallscope::symbolizer
