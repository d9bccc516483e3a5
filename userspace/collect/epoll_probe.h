// SPDX-License-Identifier: Apache-2.0
//
// The user half of bpf/epoll.bpf.c: loads and attaches it, drains the sums of calls, and reads the
// rows of loops at the end. Values come out raw, as bpf/wire.h defines them.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bpf/wire.h"
#include "userspace/collect/probe_targets.h"
#include "userspace/collect/target_options.h"

namespace stallscope {

struct EpollProbeOptions : TargetOptions {
  uint32_t stack_entries = 16384;  // distinct stacks
  uint32_t sample_entries = 16384;
  bool per_thread = false;
  uint64_t min_ns = 0, max_ns = ~0ull;  // of the time in a call
};

class EpollProbe {
 public:
  // Loads the programs. The status of a failure carries the errno of bpf(2).
  static absl::StatusOr<std::unique_ptr<EpollProbe>> Load(const EpollProbeOptions& options);
  ~EpollProbe();

  absl::Status Attach();
  // The recording begins; before it nothing is counted.
  void Start(uint64_t mono_ns);
  // Finds the calls that are in progress. Those of targets that are added later begin at `mono_ns`.
  absl::Status FindCalls(uint64_t mono_ns);

  struct Records {
    std::vector<stack_record> stacks;         // each before the first sum that stands on it
    std::vector<loop_thread_record> threads;  // that ended
    std::vector<std::pair<epoll_key, epoll_sum>> sums;
  };
  // Takes what has come since the last call.
  absl::StatusOr<Records> Drain();
  // The recording ends; afterwards nothing is counted.
  absl::Status Stop(uint64_t mono_ns);
  // The calls that were in progress then. Asked twice it tells which threads have moved meanwhile.
  absl::StatusOr<std::vector<epoll_call>> OpenCalls();
  void Detach();

  // The eventpolls that targets have open now.
  absl::StatusOr<std::vector<loop_key>> OpenLoops();
  std::optional<loop_row> Loop(const loop_key& key) const;
  std::vector<std::pair<loop_key, loop_row>> Loops() const;
  std::vector<std::pair<loop_thread_key, loop_thread>> LoopThreads() const;
  std::vector<std::pair<lag_key, uint64_t>> Lags() const;
  // Whether the kernel tells when data arrives.
  bool has_lag() const;

  ProbeTargets& targets();
  // Sums over all CPUs, indexed by enum epoll_counter.
  std::vector<uint64_t> Counters() const;
  // Runs that the kernel passed over because the program was running on that CPU.
  uint64_t MissedCalls() const;
  uint64_t MissedArrivals() const;
  std::string mechanism() const;
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  struct Impl;
  explicit EpollProbe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stallscope
