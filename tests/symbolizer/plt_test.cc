// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/plt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "symbolizer/module.h"
#include "tests/symbolizer/self_image.h"

namespace stallscope::symbolizer {
namespace {

// The linker makes the stub for this reference, and the instruction tells us where it is.
uintptr_t StubOfGetppid() {
  uintptr_t stub;
  asm("lea getppid@PLT(%%rip), %0" : "=r"(stub));
  return stub;
}

std::string NameAt(const Module& module, uint64_t file_offset) {
  const std::vector<Frame> frames = module.Lookup(file_offset, false);
  return frames.empty() ? "" : frames.front().function;
}

TEST(Plt, StubsAreNamedAfterWhatTheyCall) {
  ASSERT_GT(getppid(), 0);
  const Place place = PlaceOf(StubOfGetppid());
  const std::string exe = ReadFile("/proc/self/exe");
  for (const std::string& bytes : {exe, WithoutSectionTable(exe)}) {
    const auto module = Module::FromBytes(bytes, {"", place.path, "/nonexistent"});
    ASSERT_TRUE(module.ok());
    for (const int within : {0, 4, 7})
      EXPECT_EQ(NameAt(**module, place.file_offset + within), "getppid@plt") << within;
  }
}

// Files with lazy, IBT-split and sysv-hash PLTs, from the fuzz target's corpus.
TEST(Plt, BothHalvesOfASplitStubAreNamed) {
  const auto module = Module::FromBytes(ReadFile("tests/fuzz/corpus/elf_module_fuzz/c_ibt"),
                                        {"", "c_ibt", "/nonexistent"});
  ASSERT_TRUE(module.ok());
  int stubs = 0;
  for (uint64_t offset = 0; offset < 8192; offset += 16)
    stubs += NameAt(**module, offset) == "puts@plt" ? 1 : 0;
  EXPECT_EQ(stubs, 2);
}

}  // namespace
}  // namespace stallscope::symbolizer
