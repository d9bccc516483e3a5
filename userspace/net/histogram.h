// SPDX-License-Identifier: Apache-2.0
//
// A log-linear histogram of nanoseconds: 32 buckets an octave, so a quantile is at most 1.6 % from
// the value that stands there. Merging is adding; bpf/histogram.h finds the same buckets.
#pragma once

#include <cstdint>
#include <map>

namespace stallscope {

class Histogram {
 public:
  void Add(uint64_t value, uint64_t times = 1);
  void AddBucket(uint32_t bucket, uint64_t times);  // as counted in the kernel
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  // The middle of the bucket that holds the q-th of the values, 0 < q <= 1; 0 when there is none.
  uint64_t Quantile(double q) const;
  // The largest value itself where it was added as such, else the upper end of its bucket.
  uint64_t max() const { return max_; }

 private:
  std::map<uint32_t, uint64_t> buckets_;
  uint64_t count_ = 0, max_ = 0;
};

uint32_t HistogramBucket(uint64_t value);

}  // namespace stallscope
