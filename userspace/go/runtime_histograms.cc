// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/runtime_histograms.h"

#include <algorithm>

namespace stallscope {
namespace {

// Durations below 2^8 ns are in the first bucket (Go 1.21 on: timeHistMinBucketBits is 9).
constexpr int kMinBits = 8;

// One transition in eight is measured (gTrackingPeriod).
constexpr char kTimeToRun[] = "run queue (1 in 8)";

uint64_t Difference(uint64_t after, uint64_t before) { return after > before ? after - before : 0; }

RuntimeHistogram Summarized(std::string name, const std::vector<uint64_t>& before,
                            const std::vector<uint64_t>& after, const TimeHistogram& shape) {
  RuntimeHistogram histogram;
  histogram.name = std::move(name);
  const size_t size = std::min({before.size(), after.size(), shape.size()});
  for (size_t i = 0; i < size; ++i) histogram.count += Difference(after[i], before[i]);
  uint64_t seen = 0;
  for (size_t i = 0; i < size; ++i) {
    const uint64_t here = Difference(after[i], before[i]);
    if (here == 0) continue;
    seen += here;
    const uint64_t end = shape.End(i);
    if (!histogram.p50_ns && seen * 2 >= histogram.count) histogram.p50_ns = end;
    if (!histogram.p99_ns && seen * 100 >= histogram.count * 99) histogram.p99_ns = end;
    histogram.max_ns = end;
  }
  return histogram;
}

}  // namespace

uint64_t TimeHistogram::End(size_t index) const {
  const size_t bucket = index / sub_buckets_, sub = index % sub_buckets_;
  if (sub_buckets_ == 16) {
    // Bucket 0 counts single nanoseconds, bucket b those of b + 4 bits.
    if (bucket == 0) return sub + 1;
    return (16 + sub + 1) << (bucket - 1);
  }
  if (bucket == 0) return (sub + 1) << (kMinBits - 2);
  return (4 + sub + 1) << (bucket - 1 + kMinBits - 2);
}

RuntimeCounts ReadRuntimeCounts(const GoRuntime& runtime, const Memory& memory) {
  RuntimeCounts counts;
  if (!runtime.sched) return counts;
  const TimeHistogram shape(runtime.minor);
  const auto read = [&](uint16_t offset, std::vector<uint64_t>* into) {
    if (offset == GoOffsets::kNoField) return;
    into->resize(shape.size());
    if (!memory.Read(runtime.sched + offset, into->data(), into->size() * sizeof(uint64_t)))
      into->clear();
  };
  read(runtime.offsets.sched_time_to_run, &counts.time_to_run);
  read(runtime.offsets.sched_stw_gc, &counts.stopped_for_gc);
  read(runtime.offsets.sched_stw_other, &counts.stopped_for_other);
  if (runtime.offsets.sched_mutex_wait != GoOffsets::kNoField)
    counts.mutex_wait_ns =
        memory.ReadValue<uint64_t>(runtime.sched + runtime.offsets.sched_mutex_wait);
  return counts;
}

std::optional<uint64_t> TransitionsBetween(const RuntimeCounts& before,
                                           const RuntimeCounts& after) {
  constexpr uint64_t kTimedOneIn = 8, kChangesAWait = 3;
  if (before.time_to_run.empty() || before.time_to_run.size() != after.time_to_run.size())
    return std::nullopt;
  uint64_t timed = 0;
  for (size_t i = 0; i < after.time_to_run.size(); ++i) {
    if (after.time_to_run[i] > before.time_to_run[i])
      timed += after.time_to_run[i] - before.time_to_run[i];
  }
  return timed * kTimedOneIn * kChangesAWait;
}

std::vector<RuntimeHistogram> Between(const RuntimeCounts& before, const RuntimeCounts& after,
                                      int go_minor) {
  const TimeHistogram shape(go_minor);
  std::vector<RuntimeHistogram> histograms = {
      Summarized(kTimeToRun, before.time_to_run, after.time_to_run, shape),
      Summarized("stopped for GC", before.stopped_for_gc, after.stopped_for_gc, shape),
      Summarized("stopped otherwise", before.stopped_for_other, after.stopped_for_other, shape),
  };
  if (before.mutex_wait_ns && after.mutex_wait_ns) {
    RuntimeHistogram mutex;
    mutex.name = "mutex waits";
    mutex.total_ns = Difference(*after.mutex_wait_ns, *before.mutex_wait_ns);
    histograms.push_back(std::move(mutex));
  }
  histograms.erase(std::remove_if(histograms.begin(), histograms.end(),
                                  [](const RuntimeHistogram& histogram) {
                                    return histogram.count == 0 && histogram.total_ns == 0;
                                  }),
                   histograms.end());
  return histograms;
}

}  // namespace stallscope
