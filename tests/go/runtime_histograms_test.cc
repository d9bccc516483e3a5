// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/runtime_histograms.h"

#include <gtest/gtest.h>
#include <string.h>

#include <map>

namespace stallscope {
namespace {

// Where Go 1.21 to 1.27 count a duration (runtime/histogram.go, record).
size_t NewIndex(uint64_t ns) {
  const int bits = ns == 0 ? 0 : 64 - __builtin_clzll(ns);
  const int bucket_bits = std::max(bits, 9);
  const size_t bucket = bits < 9 ? 0 : bits - 8;
  return bucket * 4 + (ns >> (bucket_bits - 3)) % 4;
}

// Where Go 1.19 does.
size_t OldIndex(uint64_t ns) {
  if (ns < 16) return ns;
  const int bits = 64 - __builtin_clzll(ns);
  const size_t bucket = bits - 4;
  return bucket * 16 + (ns >> (bucket - 1)) % 16;
}

TEST(TimeHistogramTest, ADurationLiesBelowTheEndOfItsBucketAndNotOfTheOneBefore) {
  for (uint64_t ns = 0; ns < uint64_t{1} << 42; ns = ns * 17 / 16 + 1) {
    for (const auto& [minor, index] :
         std::map<int, size_t>{{19, OldIndex(ns)}, {21, NewIndex(ns)}, {27, NewIndex(ns)}}) {
      const TimeHistogram shape(minor);
      ASSERT_LT(index, shape.size());
      EXPECT_LT(ns, shape.End(index)) << "go1." << minor;
      if (index > 0) {
        EXPECT_GE(ns, shape.End(index - 1)) << "go1." << minor;
      }
    }
  }
}

TEST(RuntimeHistogramsTest, WhatCameBetween) {
  RuntimeCounts before, after;
  before.time_to_run.assign(160, 7);
  after.time_to_run = before.time_to_run;
  after.time_to_run[NewIndex(1000)] += 98;
  after.time_to_run[NewIndex(50'000)] += 1;
  after.time_to_run[NewIndex(3'000'000)] += 1;
  before.mutex_wait_ns = 5;
  after.mutex_wait_ns = 12;
  const auto between = Between(before, after, 26);
  ASSERT_EQ(between.size(), 2u);
  EXPECT_EQ(between[0].count, 100u);
  EXPECT_GT(between[0].p50_ns, 1000u);
  EXPECT_LE(between[0].p50_ns, 1280u);
  EXPECT_GT(between[0].p99_ns, 50'000u);
  EXPECT_LE(between[0].p99_ns, 65'536u);
  EXPECT_GT(between[0].max_ns, 3'000'000u);
  EXPECT_LE(between[0].max_ns, 3'670'016u);
  EXPECT_EQ(between[1].total_ns, 7u);
}

TEST(RuntimeHistogramsTest, CountsThatWentBackAreNotBelieved) {
  RuntimeCounts before, after;
  before.time_to_run.assign(160, 7);
  after.time_to_run.assign(160, 3);
  EXPECT_TRUE(Between(before, after, 26).empty());
  EXPECT_TRUE(Between(RuntimeCounts(), after, 26).empty());
}

TEST(RuntimeHistogramsTest, ChangesOfState) {
  RuntimeCounts before, after;
  before.time_to_run.assign(160, 7);
  after = before;
  EXPECT_EQ(TransitionsBetween(before, after), 0u);
  after.time_to_run[3] += 10;
  after.time_to_run[159] += 2;
  EXPECT_EQ(TransitionsBetween(before, after), 12u * 8 * 3);
  after.time_to_run[0] = 0;  // it cannot have gone back
  EXPECT_EQ(TransitionsBetween(before, after), 12u * 8 * 3);
  EXPECT_EQ(TransitionsBetween(RuntimeCounts(), RuntimeCounts()), std::nullopt);
  EXPECT_EQ(TransitionsBetween(before, RuntimeCounts()), std::nullopt);
}

TEST(RuntimeHistogramsTest, NothingIsReadWithoutTheScheduler) {
  class NoMemory : public Memory {
   public:
    bool Read(uint64_t, void*, size_t) const override {
      ADD_FAILURE() << "read";
      return false;
    }
  };
  const RuntimeCounts counts = ReadRuntimeCounts(GoRuntime(), NoMemory());
  EXPECT_TRUE(counts.time_to_run.empty());
  EXPECT_FALSE(counts.mutex_wait_ns);
}

}  // namespace
}  // namespace stallscope
