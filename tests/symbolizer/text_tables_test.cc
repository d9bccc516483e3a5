// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/text_tables.h"

#include <gtest/gtest.h>

namespace stallscope::symbolizer {
namespace {

constexpr char kKallsyms[] =
    "0000000000000000 A fixed_percpu_data\n"
    "ffffffff81000000 T startup_64\n"
    "ffffffff81000000 T _text\n"
    "ffffffff81000100 t do_nap\n"
    "ffffffff81000140 t __pfx_do_sleep\n"
    "ffffffff81000150 T do_sleep\n"
    "ffffffff81000150 t $x\n"
    "ffffffff82000000 D some_data\n"
    "ffffffffc0000000 t nf_hook\t[nf_tables]\n"
    "garbage\n"
    "ffffffffc0000100 t\n";

std::string NameAt(const KernelSymbols& symbols, uint64_t address) {
  const std::optional<Frame> frame = symbols.Lookup(address);
  return frame ? frame->function : "";
}

TEST(KernelSymbols, NameToTheNextSymbol) {
  const KernelSymbols symbols = KernelSymbols::Parse(kKallsyms);
  EXPECT_FALSE(symbols.hidden());
  EXPECT_EQ(NameAt(symbols, 0xffffffff80ffffff), "");
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000000), "startup_64");
  EXPECT_EQ(NameAt(symbols, 0xffffffff810000ff), "startup_64");
  EXPECT_EQ(NameAt(symbols, 0xffffffff8100013f), "do_nap");
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000140), "") << "padding is in no function";
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000150), "do_sleep");
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000150 + 0xffff), "do_sleep");
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000150 + 0x10000), "");
  EXPECT_EQ(NameAt(symbols, 0xffffffff82000000), "") << "data is no function";
  EXPECT_EQ(NameAt(symbols, 0xffffffffc0000004), "nf_hook");
  EXPECT_EQ(symbols.Lookup(0xffffffffc0000004)->kind, FrameKind::kKernel);
}

TEST(KernelSymbols, AddressOfAName) {
  const KernelSymbols symbols = KernelSymbols::Parse(kKallsyms);
  EXPECT_EQ(symbols.AddressOf("do_sleep"), 0xffffffff81000150);
  EXPECT_EQ(symbols.AddressOf("nf_hook"), 0xffffffffc0000000);
  EXPECT_EQ(symbols.AddressOf("do_slee"), std::nullopt);
  EXPECT_EQ(symbols.AddressOf(""), std::nullopt);
}

TEST(KernelSymbols, HiddenAddressesAreToldFromAnEmptyTable) {
  EXPECT_TRUE(KernelSymbols::Parse("0000000000000000 T a\n0000000000000000 t b\n").hidden());
  EXPECT_FALSE(KernelSymbols::Parse("").hidden());
  EXPECT_EQ(KernelSymbols::Parse("").Lookup(1), std::nullopt);
}

TEST(PerfMap, NamesWithinTheirSize) {
  const PerfMap map = PerfMap::Parse(
      "7f0000001000 40 LazyCompile:~run /app/a b.js:3\n"
      "0x7f0000000000 10 first\n"
      "zz 10 bad\n7f0000002000 0 empty\n7f0000003000 10\nffffffffffffffff 10 wraps\n");
  EXPECT_EQ(map.Lookup(0x7f0000000000)->function, "first");
  EXPECT_EQ(map.Lookup(0x7f000000000f)->function, "first");
  EXPECT_EQ(map.Lookup(0x7f0000000010), std::nullopt);
  EXPECT_EQ(map.Lookup(0x7f000000103f)->function, "LazyCompile:~run /app/a b.js:3");
  for (const uint64_t address :
       {0x7f0000002000ull, 0x7f0000003000ull, 0xffffffffffffffffull, 0ull}) {
    EXPECT_EQ(map.Lookup(address), std::nullopt);
  }
}

TEST(PerfMap, TheLaterLineIsWhatIsThereNow) {
  const PerfMap map = PerfMap::Parse("1000 10 old\n1000 20 new\n");
  EXPECT_EQ(map.Lookup(0x1008)->function, "new");
}

}  // namespace
}  // namespace stallscope::symbolizer
