// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/demangle.h"

#include <gtest/gtest.h>

namespace stallscope::symbolizer {
namespace {

TEST(Demangle, Cpp) {
  EXPECT_EQ(Demangle("_ZN4shop4SellEiPKc"), "shop::Sell(int, char const*)");
  EXPECT_EQ(Demangle("_ZNKSt6vectorIiSaIiEE4sizeEv"),
            "std::vector<int, std::allocator<int> >::size() const");
  EXPECT_EQ(Demangle("_ZN1aD2Ev.cold"), "a::~a() [clone .cold]");
}

TEST(Demangle, RustLegacyWithoutItsHash) {
  EXPECT_EQ(Demangle("_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE"),
            "core::fmt::Formatter::write_str");
  EXPECT_EQ(Demangle("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$"
                     "3bar17h930b740aa94f1d3aE"),
            "<Test + 'static as foo::Bar<Test>>::bar");
}

TEST(Demangle, RustV0) {
  EXPECT_EQ(Demangle("_RNvC6_123foo3bar"), "123foo::bar");
  EXPECT_EQ(Demangle("_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3newCs15kBYyAo9fc_7mycrate"),
            "<std::path::PathBuf>::new");
}

TEST(Demangle, OtherNamesStayAsTheyAre) {
  for (const char* name :
       {"", "main", "_Z", "_R", "__libc_start_main", "_ZN4shop", "_Zcaffe", "i", "St"}) {
    EXPECT_EQ(Demangle(name), name);
  }
}

TEST(Demangle, LongNamesWithinTheBound) {
  std::string name = "_ZN";
  for (int i = 0; i < 300; ++i) name += "5outer";
  EXPECT_EQ(Demangle(name), name) << "no end of the nested name";
  name += "1fEv";  // 1,807 bytes
  EXPECT_EQ(Demangle(name).substr(0, 14), "outer::outer::");
  EXPECT_EQ(Demangle(name + std::string(4096, 'i')), name + std::string(4096, 'i'));
}

// Each argument is a pair of the one before it: the thirtieth would print 2^30 times the first.
TEST(Demangle, NamesThatGrowWithoutBoundAreLeftMangled) {
  const auto pairs = [](int count) {
    std::string name = "_Z1f1aIiE";  // S_ is a, S0_ is a<int>
    std::string previous = "S0_";
    for (int i = 0; i < count; ++i) {
      name += "S_I" + previous + previous + "E";
      previous = std::string("S") + "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i] + "_";
    }
    return name;
  };
  EXPECT_EQ(Demangle(pairs(2)),
            "f(a<int>, a<a<int>, a<int> >, a<a<a<int>, a<int> >, a<a<int>, a<int> > >)");
  EXPECT_EQ(Demangle(pairs(30)), pairs(30));
}

}  // namespace
}  // namespace stallscope::symbolizer
