// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace stallscope {
namespace {

constexpr uint32_t kLinear = 32;  // values below it, and buckets of one octave
constexpr uint32_t kLinearBits = 5;

struct Range {
  uint64_t low, high;  // both in it
};

Range RangeOf(uint32_t bucket) {
  if (bucket < kLinear) return {bucket, bucket};
  const uint32_t shift = bucket / kLinear - 1;  // the low bits that a bucket does not tell apart
  const uint64_t low = uint64_t{kLinear + bucket % kLinear} << shift;
  return {low, low + ((uint64_t{1} << shift) - 1)};
}

}  // namespace

uint32_t HistogramBucket(uint64_t value) {
  if (value < kLinear) return static_cast<uint32_t>(value);
  const uint32_t top = std::bit_width(value) - 1;
  return (top - kLinearBits + 1) * kLinear +
         static_cast<uint32_t>((value >> (top - kLinearBits)) & (kLinear - 1));
}

void Histogram::Add(uint64_t value, uint64_t times) {
  if (times == 0) return;
  buckets_[HistogramBucket(value)] += times;
  count_ += times;
  max_ = std::max(max_, value);
}

void Histogram::AddBucket(uint32_t bucket, uint64_t times) {
  if (times == 0) return;
  bucket = std::min(bucket, kHistogramBuckets - 1);
  buckets_[bucket] += times;
  count_ += times;
  max_ = std::max(max_, RangeOf(bucket).high);
}

void Histogram::Merge(const Histogram& other) {
  for (const auto& [bucket, times] : other.buckets_) buckets_[bucket] += times;
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

uint64_t Histogram::Quantile(double q) const {
  const double rank = std::ceil(q * static_cast<double>(count_));
  double seen = 0;
  for (const auto& [bucket, times] : buckets_) {
    seen += static_cast<double>(times);
    if (seen < rank) continue;
    const Range range = RangeOf(bucket);
    return std::min(range.low + (range.high - range.low) / 2, max_);
  }
  return max_;  // q of 1, where the sum above was rounded
}

}  // namespace stallscope
