// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/layout.h"

#include <gtest/gtest.h>
#include <string.h>

#include <string_view>

namespace stallscope {
namespace {

using namespace std::string_view_literals;

// One word of memory at one address.
class OneWord : public Memory {
 public:
  OneWord(uint64_t address, int64_t value) : address_(address), value_(value) {}
  bool Read(uint64_t address, void* out, size_t size) const override {
    if (address != address_ || size != sizeof(value_)) return false;
    memcpy(out, &value_, size);
    return true;
  }

 private:
  uint64_t address_;
  int64_t value_;
};

TEST(DecodeGSlot, FixedOffset) {
  const OneWord none(0, 0);
  // mov %fs:0xfffffffffffffff8,%rax; cmp %rax,(%rsp)
  EXPECT_EQ(DecodeGSlot("\x64\x48\x8b\x04\x25\xf8\xff\xff\xff\x48\x39\x04\x24"sv, 0x1000, none),
            -8);
  // mov %fs:0xffffffffffffffa0,%rcx, behind another instruction
  EXPECT_EQ(DecodeGSlot("\x90\x64\x48\x8b\x0c\x25\xa0\xff\xff\xff"sv, 0x1000, none), -96);
}

TEST(DecodeGSlot, OffsetInARegister) {
  const OneWord none(0, 0);
  // mov $-8,%rcx; mov %fs:(%rcx),%rax
  EXPECT_EQ(DecodeGSlot("\x48\xc7\xc1\xf8\xff\xff\xff\x64\x48\x8b\x01"sv, 0x1000, none), -8);
}

TEST(DecodeGSlot, OffsetInTheGot) {
  // mov 0x20(%rip),%rcx; mov %fs:(%rcx),%rax, at 0x1000: the slot is at 0x1000 + 7 + 0x20
  constexpr auto kCode = "\x48\x8b\x0d\x20\x00\x00\x00\x64\x48\x8b\x01"sv;
  EXPECT_EQ(DecodeGSlot(kCode, 0x1000, OneWord(0x1027, -104)), -104);
  EXPECT_FALSE(DecodeGSlot(kCode, 0x1000, OneWord(0x2000, -104)).has_value()) << "not readable";
  EXPECT_FALSE(DecodeGSlot(kCode, 0x1000, OneWord(0x1027, 104)).has_value())
      << "no thread-local offset";
}

TEST(DecodeGSlot, UnknownCodeIsRefused) {
  const OneWord none(0, 0);
  EXPECT_FALSE(DecodeGSlot(""sv, 0x1000, none).has_value());
  EXPECT_FALSE(DecodeGSlot("\x64\x48\x8b\x04\x25"sv, 0x1000, none).has_value()) << "cut";
  EXPECT_FALSE(DecodeGSlot(std::string(64, '\x90'), 0x1000, none).has_value());
  EXPECT_FALSE(
      DecodeGSlot("\x64\x48\x8b\x04\x25\x08\x00\x00\x00\x90\x90"sv, 0x1000, none).has_value())
      << "positive";
}

}  // namespace
}  // namespace stallscope
