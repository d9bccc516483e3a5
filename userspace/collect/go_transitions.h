// SPDX-License-Identifier: Apache-2.0
//
// Every change of state of the goroutines of one Go runtime, seen by one uprobe: how long they
// waited, to the nanosecond, by stack and reason. The program gets a breakpoint while this is
// attached, and its own instruction back afterwards.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "userspace/go/census.h"
#include "userspace/go/goroutine_waits.h"
#include "userspace/go/runtime.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct GoTransitionsOptions {
  uint32_t stack_entries = 16384;
  size_t goroutines = 0;         // that there are now; room is made for several times as many
  bool syscalls_come_by = true;  // every system call changes the state by casgstatus
};

class GoTransitions {
 public:
  // Loads the program and attaches it. The runtime's tables outlive it. Unimplemented: the place to
  // attach to was not found. Else as the kernel answers.
  static absl::StatusOr<std::unique_ptr<GoTransitions>> Attach(const LiveSpace& space,
                                                               const GoRuntime& runtime,
                                                               const GoTransitionsOptions& options);
  ~GoTransitions();

  // What goroutines do that have not changed state since it was attached, as seen after that.
  void Open(const Snapshot& snapshot);
  // The recording begins now, and what was summed is dropped. Returns the time, CLOCK_MONOTONIC.
  uint64_t Start();
  // How often the probe was hit.
  uint64_t transitions() const;

  // Ends the recording at `stop_ns`, now or in the past, and detaches.
  void Stop(uint64_t stop_ns);
  // What was measured. After Stop().
  std::vector<MeasuredWaits> Waits() const;
  void AddLosses(Recording* recording) const;

  // "uprobe_multi on runtime.casgstatus+0".
  const std::string& mechanism() const { return mechanism_; }
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  struct Impl;
  explicit GoTransitions(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  std::string mechanism_;
};

// What a hit costs the program at this place, about, as measured on kernel 6.18.
uint64_t TransitionCostNs(const GoTransitionSite& site);

}  // namespace stallscope
