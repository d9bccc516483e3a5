// SPDX-License-Identifier: Apache-2.0
//
// What observation costs: CPU of ours, CPU inside our kernel programs, memory of the maps and
// rings.
#pragma once

#include <cstdint>
#include <vector>

#include "userspace/profile/recording.h"

namespace stallscope {

// The kernel can time every run of a BPF program, but that itself costs two clock reads a run. So
// it is switched on for a twentieth of the time, and the result scaled.
class CostMeter {
 public:
  explicit CostMeter(std::vector<int> program_fds) : program_fds_(std::move(program_fds)) {}
  ~CostMeter();
  CostMeter(const CostMeter&) = delete;
  CostMeter& operator=(const CostMeter&) = delete;

  // The programs of the recording so far, in place of those that were told before. Those that have
  // been detached count while their descriptors live.
  void SetPrograms(std::vector<int> program_fds) { program_fds_ = std::move(program_fds); }

  // To be called about ten times a second; switches the timing on and off.
  void Tick(uint64_t mono_ns);

  // Kernel time is scaled to `duration_ns`; absent when the kernel gave no statistics.
  // `ring_bytes`: memory shared with the kernel that is in no map.
  Cost Measure(uint64_t mono_ns, uint64_t duration_ns, const std::vector<int>& map_fds,
               uint64_t ring_bytes);

 private:
  void Switch(bool on, uint64_t mono_ns);

  std::vector<int> program_fds_;
  int stats_fd_ = -1;
  bool refused_ = false;
  uint64_t ticks_ = 0;
  uint64_t switched_on_ns_ = 0;
  uint64_t measured_ns_ = 0;  // how long timing was on
};

}  // namespace stallscope
