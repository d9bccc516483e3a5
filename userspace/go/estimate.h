// SPDX-License-Identifier: Apache-2.0
//
// Time from snapshots: when to take them, for how long each stands, and how far their sum may be
// off.
//
// The recording is cut into strata, one after the other, and one snapshot is taken in each, at a
// time drawn evenly from it. A snapshot's counts, times the length of its stratum, are then right
// on average, whatever the program does and however periodically.
#pragma once

#include <cstdint>
#include <random>

namespace stallscope {

// When the next snapshot is due, and of how many goroutines, so that a share of one core is kept.
class TickPlan {
 public:
  static constexpr uint64_t kShortest_ns = 50'000'000;  // 20 Hz
  static constexpr uint64_t kLongest_ns = 500'000'000;  // below 2 Hz a part of the goroutines is
                                                        // read instead of all, more often
  // `deadline_ns` 0: none. `budget`: CPU time over wall time, > 0. `seed`: of the times drawn.
  TickPlan(uint64_t start_ns, uint64_t deadline_ns, double budget, uint64_t seed);

  // CPU time of a snapshot of all goroutines, measured before the first stratum; not charged to the
  // budget.
  void Expect(uint64_t full_cpu_ns);

  uint64_t due_ns() const { return due_ns_; }
  uint64_t stratum_start_ns() const { return stratum_start_ns_; }
  uint64_t stratum_ns() const { return stratum_ns_; }
  double share() const { return share_; }

  // The snapshot was taken, of share() of the goroutines, and took so much CPU time. The next
  // stratum begins where this one ends.
  void Took(uint64_t cpu_ns);

 private:
  void Draw();

  std::mt19937_64 random_;
  const uint64_t start_ns_, deadline_ns_;
  const double budget_;
  double full_cpu_ns_ = 0;  // expected of all goroutines
  double used_cpu_ns_ = 0;
  uint64_t stratum_start_ns_ = 0, stratum_ns_ = 0, due_ns_ = 0;
  double share_ = 1;
};

// The sum over strata of count times length, and the half-width of its 95 % interval.
//
// With one draw a stratum the variance inside a stratum cannot be seen; the difference between
// neighbouring strata can, and holds it and the drift between them (collapsed strata: Cochran,
// Sampling Techniques, 5A.12), so the interval is rather too wide than too narrow.
class StratifiedSum {
 public:
  // The stratum's snapshot counted `count`, or estimated it from a part of the goroutines.
  void Add(double count, uint64_t stratum_ns);

  double total() const { return total_; }
  // Infinite before the second stratum.
  double margin() const;

 private:
  double total_ = 0, variance_ = 0, previous_ = 0;
  uint64_t strata_ = 0;
};

}  // namespace stallscope
