// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/value.h"

#include <gtest/gtest.h>

#include <limits>

namespace stallscope {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
constexpr int64_t kSmallest = std::numeric_limits<int64_t>::min();

TEST(ValueAt, AbsentColumnsWereNotMeasured) {
  ProfileSample sample;
  sample.values = {7, std::nullopt};
  EXPECT_EQ(ValueAt(sample, 0), 7);
  EXPECT_EQ(ValueAt(sample, 1), std::nullopt);
  EXPECT_EQ(ValueAt(sample, 2), std::nullopt);
}

TEST(AddValues, Sums) {
  EXPECT_EQ(AddValues(2, 3), 5);
  EXPECT_EQ(AddValues(std::nullopt, 3), 3);
  EXPECT_EQ(AddValues(2, std::nullopt), 2);
  EXPECT_EQ(AddValues(std::nullopt, std::nullopt), std::nullopt);
}

TEST(AddValues, StaysInRange) {
  EXPECT_EQ(AddValues(kLargest, 1), kLargest);
  EXPECT_EQ(AddValues(kLargest - 1, 1), kLargest);
  EXPECT_EQ(AddValues(kSmallest, 5), 5);
  EXPECT_EQ(AddValues(kSmallest, std::nullopt), 0);
}

TEST(ShowValue, Durations) {
  EXPECT_EQ(ShowValue(0, "ns"), "0 ns");
  EXPECT_EQ(ShowValue(999, "ns"), "999 ns");
  EXPECT_EQ(ShowValue(1'234, "ns"), "1.23 \xc2\xb5s");
  EXPECT_EQ(ShowValue(999'499, "ns"), "999 \xc2\xb5s");
  EXPECT_EQ(ShowValue(999'500, "ns"), "1.00 ms");
  EXPECT_EQ(ShowValue(12'345'678, "ns"), "12.3 ms");
  EXPECT_EQ(ShowValue(119'900'000'000, "ns"), "120 s");
  EXPECT_EQ(ShowValue(183'000'000'000, "ns"), "3 min 3 s");
  EXPECT_EQ(ShowValue(7'500'000'000'000, "ns"), "2 h 5 min");
  EXPECT_EQ(ShowValue(-5, "ns"), "0 ns");
}

TEST(ShowValue, BytesAndCounts) {
  EXPECT_EQ(ShowValue(1023, "bytes"), "1023 B");
  EXPECT_EQ(ShowValue(1536, "bytes"), "1.50 KiB");
  EXPECT_EQ(ShowValue(61 << 20, "bytes"), "61.0 MiB");
  EXPECT_EQ(ShowValue(999, "count"), "999");
  EXPECT_EQ(ShowValue(1'000, "segments"), "1,000");
  EXPECT_EQ(ShowValue(kLargest, "count"), "9,223,372,036,854,775,807");
}

TEST(ShowShare, Percent) {
  EXPECT_EQ(ShowShare(1, 3), "33.3 %");
  EXPECT_EQ(ShowShare(3, 3), "100.0 %");
  EXPECT_EQ(ShowShare(1, 100'000), "< 0.1 %");
  EXPECT_EQ(ShowShare(0, 3), "0 %");
  EXPECT_EQ(ShowShare(1, 0), "0 %");
}

}  // namespace
}  // namespace stallscope
