// SPDX-License-Identifier: Apache-2.0
//
// A log-linear histogram of nanoseconds: 32 buckets an octave, so a quantile is at most 1.6 % from
// the value that stands there. Merging is adding; bpf/histogram.h finds the same buckets.
#pragma once

#include <cstdint>
#include <map>

namespace stallscope {

// How far a quantile may be from the value that stands there, as a share of it: half a bucket.
inline constexpr double kHistogramQuantileError = 1.0 / 64;

inline constexpr uint32_t kHistogramBuckets = 1920;

class Histogram {
 public:
  void Add(uint64_t value, uint64_t times = 1);
  // As counted in the kernel; a bucket that is none counts as the last.
  void AddBucket(uint32_t bucket, uint64_t times);
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  // The middle of the bucket that holds the q-th of the values, 0 < q <= 1, but never more than
  // max(); 0 when there is none.
  uint64_t Quantile(double q) const;
  // The largest value itself where it was added as such, else the upper end of its bucket.
  uint64_t max() const { return max_; }

 private:
  std::map<uint32_t, uint64_t> buckets_;
  uint64_t count_ = 0, max_ = 0;
};

// Values below 32 have a bucket each (0 to 31); from there on each octave has 32: 32 + 32 * (octave
// above the fifth) + the five bits below the top one.
uint32_t HistogramBucket(uint64_t value);

}  // namespace stallscope
