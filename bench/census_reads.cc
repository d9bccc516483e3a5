// SPDX-License-Identifier: Apache-2.0
//
// census_reads PID ROUNDS: what a snapshot of a process's goroutines costs, beside a bare reader
// that reads nothing but the structures of the same goroutines, neighbours merged. The two take
// turns. Prints one line of JSON: CPU nanoseconds of each round, of the first snapshot, and what
// the census counted.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/go/census.h"
#include "userspace/process/live_space.h"

namespace stallscope {
namespace {

uint64_t CpuNs() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

// Reads all g structures into one buffer, over and over; looks at nothing.
class BareReader {
 public:
  BareReader(const Memory& memory, const GoRuntime& runtime) : memory_(memory) {
    GoroutineList list(runtime.allglen, runtime.allgptr, runtime.offsets.g_size, 4 << 20);
    if (!list.Update(memory).ok()) return;
    for (const GoroutineList::Place& place : list.places()) Add(place.address, runtime);
    goroutines_ = list.places().size();
  }

  bool Read() {
    constexpr size_t kRangesInCall = 1024;  // IOV_MAX
    for (size_t first = 0; first < runs_.size(); first += kRangesInCall) {
      const size_t last = std::min(first + kRangesInCall, runs_.size());
      ranges_.clear();
      size_t used = 0;
      for (size_t i = first; i < last; ++i) used += runs_[i].size;
      if (buffer_.size() < used) buffer_.resize(used);
      used = 0;
      for (size_t i = first; i < last; ++i) {
        ranges_.push_back({runs_[i].address, buffer_.data() + used, runs_[i].size});
        used += runs_[i].size;
      }
      if (memory_.ReadRanges(ranges_).error != 0) return false;
    }
    return true;
  }
  size_t goroutines() const { return goroutines_; }
  size_t runs() const { return runs_.size(); }

 private:
  struct Run {
    uint64_t address;
    size_t size;
  };

  void Add(uint64_t g, const GoRuntime& runtime) {
    constexpr uint64_t kLargestGap = 1024;
    const size_t g_size = runtime.offsets.g_size;
    if (!runs_.empty() && g <= runs_.back().address + runs_.back().size + kLargestGap) {
      runs_.back().size = g + g_size - runs_.back().address;
    } else {
      runs_.push_back({g, g_size});
    }
  }

  const Memory& memory_;
  size_t goroutines_ = 0;
  std::vector<Run> runs_;
  std::vector<MemoryRange> ranges_;
  std::vector<char> buffer_;
};

int Fail(const absl::Status& status) {
  fmt::print(stderr, "census_reads: {}\n", std::string(status.message()));
  return 4;
}

int Run(uint32_t pid, int rounds) {
  symbolizer::ModuleCache modules;
  auto space = LiveSpace::Open(pid, &modules);
  if (!space.ok()) return Fail(space.status());
  auto runtimes = FindGoRuntimes(**space);
  if (!runtimes.ok()) return Fail(runtimes.status());
  const GoRuntime& runtime = runtimes->front();
  const Memory& memory = (*space)->memory();
  auto census = GoroutineCensus::Create(&memory, runtime);
  if (!census.ok()) return Fail(census.status());

  Snapshot snapshot;
  const uint64_t before_first = CpuNs();
  absl::Status status = (*census)->Take(1, &snapshot);
  const uint64_t first_ns = CpuNs() - before_first;
  if (status.ok()) status = (*census)->Take(1, &snapshot);
  if (!status.ok()) return Fail(status);
  const uint64_t stacks_before = (*census)->counters().stacks_read;
  BareReader bare(memory, runtime);
  bare.Read();

  std::vector<uint64_t> bare_ns, census_ns;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t start = CpuNs();
    if (!bare.Read()) return Fail(absl::UnavailableError("a structure cannot be read"));
    const uint64_t between = CpuNs();
    status = (*census)->Take(1, &snapshot);
    if (!status.ok()) return Fail(status);
    bare_ns.push_back(between - start);
    census_ns.push_back(CpuNs() - between);
  }
  const CensusCounters& counters = (*census)->counters();
  fmt::print(
      "{{\"version\": \"{}\", \"goroutines\": {}, \"alive\": {}, \"runs\": {}, \"first_ns\": {}, "
      "\"stacks\": {}, \"stacks_read_again\": {}, \"torn\": {}, \"bare_ns\": [{}], \"census_ns\": "
      "[{}]}}\n",
      runtime.version, bare.goroutines(), snapshot.goroutines.size(), bare.runs(), first_ns,
      (*census)->stacks(), counters.stacks_read - stacks_before, counters.torn,
      fmt::join(bare_ns, ", "), fmt::join(census_ns, ", "));
  return 0;
}

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: census_reads PID ROUNDS\n");
    return 2;
  }
  return stallscope::Run(static_cast<uint32_t>(strtoul(argv[1], nullptr, 10)), atoi(argv[2]));
}
