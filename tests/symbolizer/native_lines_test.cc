// SPDX-License-Identifier: Apache-2.0
//
// Built with -g -O1: the file's own DWARF is what is read.
#include "symbolizer/native_lines.h"

#include <gtest/gtest.h>

#include "symbolizer/module.h"
#include "tests/symbolizer/self_image.h"

namespace shop {

struct Site {
  uintptr_t address;
  int line;
};

__attribute__((always_inline)) inline Site Innermost() {
  Site site;
  // clang-format off
  asm volatile("lea 0(%%rip), %0" : "=r"(site.address)); site.line = __LINE__;
  // clang-format on
  return site;
}

int middle_line = 0, outer_line = 0;

template <typename T>
__attribute__((always_inline)) inline Site Middle(T) {
  middle_line = __LINE__ + 1;
  return Innermost();
}

__attribute__((noinline)) Site Outer(int value) {
  outer_line = __LINE__ + 1;
  const Site site = Middle(value);
  asm volatile("" ::: "memory");
  return site;
}

}  // namespace shop

namespace stallscope::symbolizer {
namespace {

TEST(NativeLines, InlinedFramesWithTheirLines) {
  const shop::Site site = shop::Outer(1);
  const auto module = Module::Open({"/proc/self/exe", "", ""});
  ASSERT_TRUE(module.ok());
  // The address is the one after the instruction of the site, as a return address is.
  const std::vector<Frame> frames = (*module)->Lookup(PlaceOf(site.address).file_offset, true);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].function, "shop::Innermost()");
  EXPECT_EQ(static_cast<int>(frames[0].line), site.line);
  EXPECT_TRUE(frames[0].inlined);
  EXPECT_EQ(frames[1].function, "shop::Site shop::Middle<int>(int)");
  EXPECT_EQ(static_cast<int>(frames[1].line), shop::middle_line);
  EXPECT_TRUE(frames[1].inlined);
  EXPECT_EQ(frames[2].function, "shop::Outer(int)");
  EXPECT_EQ(static_cast<int>(frames[2].line), shop::outer_line);
  EXPECT_FALSE(frames[2].inlined);
  for (const Frame& frame : frames) {
    EXPECT_EQ(frame.file.substr(frame.file.rfind('/') + 1), "native_lines_test.cc");
  }
}

TEST(NativeLines, EachOfTheFormatsIsRead) {
  for (const char* name : {"cc_dwarf4.so", "cc_dwarf5.so"}) {
    const auto module = Module::Open(
        {std::string("tests/fuzz/corpus/elf_module_fuzz/") + name, "", "/nonexistent"});
    ASSERT_TRUE(module.ok()) << name;
    int with_line = 0;
    for (uint64_t offset = 0; offset < 8192; ++offset) {
      const std::vector<Frame> frames = (*module)->Lookup(offset, false);
      if (frames.empty() || frames[0].function.find("@plt") != std::string::npos) continue;
      EXPECT_EQ(frames[0].file.substr(frames[0].file.rfind('/') + 1), "t.cc") << name;
      EXPECT_TRUE(frames[0].line == 1 || frames[0].line == 2) << name << " " << frames[0].line;
      ++with_line;
    }
    EXPECT_GT(with_line, 20) << name;
  }
}

TEST(NativeLines, CompressedSectionsAreRead) {
  const auto module =
      Module::Open({"tests/fuzz/corpus/elf_module_fuzz/c_dwarf_zlib", "", "/nonexistent"});
  ASSERT_TRUE(module.ok());
  bool found = false;
  for (uint64_t offset = 0; offset < 8192; ++offset) {
    for (const Frame& frame : (*module)->Lookup(offset, false)) {
      found = found || (frame.function == "main" && frame.line == 3 && !frame.file.empty());
    }
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace stallscope::symbolizer
