// SPDX-License-Identifier: Apache-2.0
//
// The collector of `goroutine`: the Go programs of a recording, each with its census, through their
// execs and ends. Nothing is attached to them, and no kernel program is loaded, unless their waits
// are to be measured (GoroutineWaitsOptions::exact): then by a probe each.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/collect/go_transitions.h"
#include "userspace/collect/process_change.h"
#include "userspace/go/goroutine_waits.h"
#include "userspace/process/live_space.h"
#include "userspace/process/proc_files.h"
#include "userspace/profile/recording.h"

namespace stallscope {

class Goroutines {
 public:
  // `modules` outlives the collector. `stack_entries`: distinct stacks that a probe keeps.
  Goroutines(symbolizer::ModuleCache* modules, const GoroutineWaitsOptions& options,
             uint32_t stack_entries = GoTransitionsOptions().stack_entries)
      : modules_(modules), options_(options), stack_entries_(stack_entries) {}

  // Begins the census of a process (number in our own pid namespace). NotFound: not a Go program,
  // or gone. FailedPrecondition: its runtime has not started yet; it is tried again at each Tick().
  // Else as FindGoRuntimes(). Where waits are measured also ResourceExhausted: that would cost more
  // than the budget, in a line of what and one of what to do; and Aborted: the kernel does not let
  // us.
  absl::Status Add(uint32_t pid);

  // The process is to become a program by its next exec.
  void Expect(uint32_t pid);

  // All begin now instead, together with another collector. Before the first Tick().
  void Begin();
  // When the first of the censuses began, CLOCK_MONOTONIC; 0: none has.
  uint64_t start_ns() const;
  bool empty() const { return programs_.empty(); }
  // When Tick() is to be called next, CLOCK_MONOTONIC.
  uint64_t due_ns() const;
  // Takes the snapshots that are due.
  std::vector<ProcessChange> Tick(uint64_t now_ns);
  void Stop(uint64_t stop_ns);

  // Adds the event, its samples and the programs' spaces. After Stop().
  void Fill(Recording* recording) const;

  // "go1.26.8, offsets by the table for go1.26": of the programs, each once.
  std::string mechanism() const;
  uint64_t waits() const;
  size_t stacks() const;
  uint64_t goroutines() const;
  // Of the probes, for what they cost.
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  // One life of one program in one process.
  struct Program {
    uint32_t pid = 0;
    std::string comm;
    ProcessStat stat;  // at its start: another memory is another program
    std::shared_ptr<LiveSpace> space;
    std::unique_ptr<GoroutineWaits> waits;  // null: not started yet
    std::vector<std::unique_ptr<GoTransitions>>
        transitions;                       // by runtime, where waits are measured
    uint64_t counted_ns = 0, counted = 0;  // transitions, when they were last counted
    std::string problem;                   // why it never was
    uint64_t retry_ns = 0;
    bool over = false;
    bool expected = false;  // it is not yet the program that it will be
  };
  // What has become of it.
  enum class Life { kGoesOn, kOtherProgram, kEnded };
  static Life LifeOf(const Program& program);
  absl::Status Open(Program* program);
  absl::Status Measure(Program* program);
  static void BeginNow(Program* program);
  static void End(Program* program, uint64_t stop_ns, bool gone);
  void WatchBudget(Program* program, uint64_t now_ns) const;
  std::optional<ProcessChange> Look(Program* program, uint64_t now_ns);

  symbolizer::ModuleCache* modules_;
  GoroutineWaitsOptions options_;
  uint32_t stack_entries_;
  std::vector<Program> programs_;
};

}  // namespace stallscope
