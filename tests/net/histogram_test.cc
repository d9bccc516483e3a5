// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/histogram.h"

#include <gtest/gtest.h>
#include <linux/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "bpf/histogram.h"

namespace stallscope {
namespace {

constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();

// Values of every size: as many of 3 bits as of 60.
std::vector<uint64_t> RandomValues(std::mt19937_64* random, size_t count) {
  std::vector<uint64_t> values;
  for (size_t i = 0; i < count; ++i) values.push_back((*random)() >> ((*random)() % 64));
  return values;
}

Histogram Of(const std::vector<uint64_t>& values) {
  Histogram histogram;
  for (const uint64_t value : values) histogram.Add(value);
  return histogram;
}

void ExpectNear(uint64_t quantile, uint64_t value) {
  const uint64_t apart = quantile > value ? quantile - value : value - quantile;
  EXPECT_LE(static_cast<double>(apart), kHistogramQuantileError * static_cast<double>(value))
      << quantile << " for " << value;
}

TEST(HistogramTest, BucketsAreContiguous) {
  EXPECT_EQ(HistogramBucket(0), 0U);
  EXPECT_EQ(HistogramBucket(31), 31U);
  EXPECT_EQ(HistogramBucket(32), 32U);
  EXPECT_EQ(HistogramBucket(63), 63U);
  EXPECT_EQ(HistogramBucket(64), 64U);
  EXPECT_EQ(HistogramBucket(65), 64U);
  EXPECT_EQ(HistogramBucket(66), 65U);
  EXPECT_EQ(HistogramBucket(127), 95U);
  EXPECT_EQ(HistogramBucket(128), 96U);
  EXPECT_EQ(HistogramBucket(kLargest), kHistogramBuckets - 1);
}

TEST(HistogramTest, KernelSideFindsTheSameBuckets) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> values = RandomValues(&random, 100'000);
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    values.insert(values.end(), {power - 1, power, power + 1});
  }
  for (const uint64_t value : values) {
    ASSERT_EQ(HistogramBucket(value), histogram_bucket(value)) << value;
  }
  EXPECT_EQ(uint32_t{HISTOGRAM_BUCKETS}, kHistogramBuckets);
}

TEST(HistogramTest, QuantilesAreNearTheSortedValues) {
  EXPECT_LE(kHistogramQuantileError, 0.03);
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint64_t> values = RandomValues(&random, 1 + random() % 2'000);
    const Histogram histogram = Of(values);
    std::sort(values.begin(), values.end());
    ASSERT_EQ(histogram.count(), values.size());
    EXPECT_EQ(histogram.max(), values.back());
    for (const double q : {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
      ExpectNear(histogram.Quantile(q), values[rank - 1]);
      EXPECT_LE(histogram.Quantile(q), histogram.max());
    }
  }
}

TEST(HistogramTest, BucketsOfTheKernelGiveTheSameQuantiles) {
  std::mt19937_64 random(3);
  const std::vector<uint64_t> values = RandomValues(&random, 2'000);
  Histogram counted;
  for (const uint64_t value : values) counted.AddBucket(histogram_bucket(value), 1);
  const Histogram added = Of(values);
  for (const double q : {0.01, 0.5, 0.9, 0.99}) EXPECT_EQ(counted.Quantile(q), added.Quantile(q));
  EXPECT_EQ(counted.count(), added.count());
  EXPECT_GE(counted.max(), added.max());
  EXPECT_LE(static_cast<double>(counted.max()), static_cast<double>(added.max()) * 1.0313);
}

TEST(HistogramTest, MergingIsAdding) {
  std::mt19937_64 random(4);
  std::vector<uint64_t> values = RandomValues(&random, 500);
  const std::vector<uint64_t> more = RandomValues(&random, 700);
  Histogram merged = Of(values);
  merged.Merge(Of(more));
  values.insert(values.end(), more.begin(), more.end());
  const Histogram whole = Of(values);
  EXPECT_EQ(merged.count(), whole.count());
  EXPECT_EQ(merged.max(), whole.max());
  for (const double q : {0.01, 0.5, 0.9, 0.99}) EXPECT_EQ(merged.Quantile(q), whole.Quantile(q));
  merged.Merge(Histogram());
  EXPECT_EQ(merged.count(), whole.count());
}

TEST(HistogramTest, Extremes) {
  const Histogram none;
  EXPECT_EQ(none.count(), 0U);
  EXPECT_EQ(none.Quantile(0.5), 0U);
  EXPECT_EQ(none.max(), 0U);

  Histogram both = Of({0, kLargest});
  EXPECT_EQ(both.Quantile(0.5), 0U);
  ExpectNear(both.Quantile(1), kLargest);
  EXPECT_EQ(both.max(), kLargest);

  Histogram bucket;
  bucket.AddBucket(kHistogramBuckets - 1, 1);
  EXPECT_EQ(bucket.max(), kLargest);
  bucket.AddBucket(kHistogramBuckets + 7, 1);
  EXPECT_EQ(bucket.count(), 2U);
  EXPECT_EQ(bucket.max(), kLargest);
}

TEST(HistogramTest, NoTimesIsNothing) {
  Histogram histogram;
  histogram.Add(7, 0);
  histogram.AddBucket(7, 0);
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.max(), 0U);
  histogram.Add(7, 3);
  EXPECT_EQ(histogram.count(), 3U);
}

TEST(HistogramTest, NoQuantileIsAboveTheLargest) {
  EXPECT_EQ(Of({1'000'001}).Quantile(0.99), Of({1'000'001}).Quantile(0.5));
  for (uint64_t value = 1; value < 5'000; ++value) ASSERT_LE(Of({value}).Quantile(0.99), value);
}

}  // namespace
}  // namespace stallscope
