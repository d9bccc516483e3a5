// SPDX-License-Identifier: Apache-2.0
//
// The collector of `epoll`: calls that wait for events, as an event of a Recording; and the event
// loops that they are made on.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/collect/epoll_probe.h"
#include "userspace/collect/pid_namespace.h"
#include "userspace/collect/process_change.h"
#include "userspace/collect/told_stacks.h"
#include "userspace/collect/walked_processes.h"
#include "userspace/net/table.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct EpollOptions {
  EpollProbeOptions probe;
  bool follow_children = false;
  std::string wanted_comm;  // --comm: processes that take this name later are targets too
};

class Epoll {
 public:
  // Loads, attaches and starts recording. `pids` and `modules` outlive the collector.
  static absl::StatusOr<std::unique_ptr<Epoll>> Start(const EpollOptions& options,
                                                      PidNamespace* pids,
                                                      symbolizer::ModuleCache* modules);

  // Takes what has come since the last call; to be called some times a second.
  absl::StatusOr<std::vector<ProcessChange>> Drain();
  // Ends the recording now and takes what is left. `Fill` and `Loops` may be called after it.
  absl::StatusOr<std::vector<ProcessChange>> Stop();
  // Adds the event, its stacks, spaces, names and losses. `interrupted` is asked now and then; when
  // it says true, the call returns early with Cancelled. `loops`: gets the loops and the poll() and
  // select() calls of each stack, those first that waited longest; without it the longest waiting
  // ones are notes.
  absl::Status Fill(Recording* recording, const std::function<bool()>& interrupted,
                    std::vector<EventLoop>* loops = nullptr) const;

  // Adds a process to the targets (TARGET_SET). Kernel's number.
  absl::Status AddTarget(uint32_t kernel_tgid);

  uint64_t start_mono_ns() const { return start_ns_; }
  uint64_t calls() const { return calls_; }  // that have ended so far
  size_t stacks() const { return stacks_.size(); }
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  // What makes calls one sample: space, stack id, words, loop (0: none), tid.
  using SumKey = std::tuple<SpaceIndex, uint64_t, std::string, uint64_t, uint32_t>;
  struct Sum {
    uint64_t time_ns = 0, count = 0, events = 0, empty = 0;
  };
  using LoopId = std::pair<SpaceIndex, uint64_t>;  // and the address of the eventpoll
  // What is known of a loop when the recording is over.
  struct Loop {
    uint32_t threads = 0;
    uint64_t calls = 0, polls = 0, events = 0, empty = 0, empty_polls = 0;
    uint64_t waiting_ns = 0, thread_ns = 0;  // thread_ns: the time of its threads
    uint64_t longest_busy_ns = 0, longest_unattended_ns = 0, longest_lag_ns = 0;
    Histogram lag;
  };

  Epoll(EpollOptions options, PidNamespace* pids, symbolizer::ModuleCache* modules);
  void Take(const EpollProbe::Records& records);
  void TakeSum(const epoll_key& key, const epoll_sum& sum);
  absl::Status TakeOpenCalls();
  void TakeOpenCall(const epoll_call& call);
  absl::Status TakeLoops();
  void TakeThread(const loop_thread_key& key, const loop_thread& row, uint64_t end_ns);
  Loop& LoopOf(const loop_key& key) {
    return loops_[{processes_.FindAndTeach(key.space), key.loop}];
  }
  const std::string& NameOf(const loop_key& key);
  uint32_t PidOf(SpaceIndex index) const;
  std::string ProcessOf(SpaceIndex index) const;
  std::vector<EventLoop> FindLoops(SpaceIndex base, const std::vector<Sample>& samples) const;
  NetLoop RowOf(const LoopId& id, const Loop& loop) const;
  void AddLosses(Recording* recording) const;

  PidNamespace* pids_;
  EpollOptions options_;
  WalkedProcesses processes_;
  ToldStacks stacks_{&processes_};
  std::unique_ptr<EpollProbe> probe_;
  uint64_t start_ns_ = 0, stop_ns_ = 0;
  uint64_t calls_ = 0;
  std::map<SumKey, Sum> sums_;
  std::map<LoopId, Loop> loops_;
  std::map<LoopId, std::string> names_;                      // "epoll fd 5"
  absl::flat_hash_map<uint32_t, std::string> thread_names_;  // by the kernel's tid
  uint64_t moved_ = 0;  // threads whose stacks could not be read from outside in one piece
  Hidden below_min_, above_max_;  // of calls that were in progress at the end
};

}  // namespace stallscope
