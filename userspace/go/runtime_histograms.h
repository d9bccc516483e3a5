// SPDX-License-Identifier: Apache-2.0
//
// What a Go runtime counts by itself, all the time, in runtime.sched: how long goroutines that were
// ready waited for a CPU, how long the world was stopped, the sum of waits for mutexes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/go/runtime.h"
#include "userspace/process/memory.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// A runtime.timeHistogram: counts by duration, log-linear.
class TimeHistogram {
 public:
  // Go 1.19: 45 buckets of 16; from 1.21 on 40 of 4, the first of them from 0 to 256 ns.
  explicit TimeHistogram(int go_minor)
      : sub_buckets_(go_minor < 21 ? 16 : 4), buckets_(go_minor < 21 ? 45 : 40) {}

  size_t size() const { return buckets_ * sub_buckets_; }
  // One past the greatest duration that is counted in a bucket, ns.
  uint64_t End(size_t index) const;

 private:
  size_t sub_buckets_, buckets_;
};

// The counts at one moment.
struct RuntimeCounts {
  std::vector<uint64_t> time_to_run, stopped_for_gc, stopped_for_other;  // empty: not kept
  std::optional<uint64_t> mutex_wait_ns;
};

// Of `runtime`, whose sched is 0 where it was not found: then nothing is kept.
RuntimeCounts ReadRuntimeCounts(const GoRuntime& runtime, const Memory& memory);

// How many changes of state of goroutines came between two readings, about: the runtime times each
// eighth way back to a CPU, and one wait is three changes. nullopt: not kept.
std::optional<uint64_t> TransitionsBetween(const RuntimeCounts& before, const RuntimeCounts& after);

// What came between two readings; those without a count are left out.
std::vector<RuntimeHistogram> Between(const RuntimeCounts& before, const RuntimeCounts& after,
                                      int go_minor);

}  // namespace stallscope
