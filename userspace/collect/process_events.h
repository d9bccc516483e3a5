// SPDX-License-Identifier: Apache-2.0
//
// The user half of bpf/process.bpf.c: forks, execs and exits of target processes.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpf/wire.h"

namespace stallscope {

struct ProcessEventsOptions {
  target_mode mode = TARGET_ONE;
  uint32_t tgid = 0;             // TARGET_ONE
  uint32_t own_tgid = 0;         // left out of TARGET_ALL
  bool follow_children = false;  // a child of a target becomes one
  std::string wanted_comm;  // a process that takes this name by exec becomes a target; empty: none
  int targets_fd = -1;      // the ledger's set of targets
};

class ProcessEvents {
 public:
  static absl::StatusOr<std::unique_ptr<ProcessEvents>> Attach(const ProcessEventsOptions& options);
  ~ProcessEvents();

  // Takes the events that have come, in order.
  std::vector<process_event> Drain();
  // Events that found the ring full, and processes that found the target set full.
  uint64_t lost() const;
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;
  void Detach();

 private:
  struct Impl;
  explicit ProcessEvents(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stallscope
