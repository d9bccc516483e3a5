// SPDX-License-Identifier: Apache-2.0
//
// Where the goroutines of one live program wait, for how long: snapshots, summed by stack, reason
// and creation site.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "userspace/go/census.h"
#include "userspace/go/creators.h"
#include "userspace/go/estimate.h"
#include "userspace/go/runtime_histograms.h"
#include "userspace/go/syscall_threads.h"
#include "userspace/process/live_space.h"
#include "userspace/process/sockets.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct GoroutineWaitsOptions {
  double budget = 0.01;      // CPU time of the snapshots over wall time
  uint64_t duration_ns = 0;  // from the start on; 0: until it is stopped
  uint64_t seed = 0;         // of the times of the snapshots; 0: a random one
  bool peers = false;        // read whom goroutines wait for
  bool created_by = false;   // find the creators that still stand where they started goroutines
  // Waits are measured elsewhere, and SetMeasured() tells of them; snapshots are for the rest.
  bool exact = false;
};

// Time of one kind, as measured.
struct MeasuredWaits {
  GoStack stack;
  GoStackIndex census_stack = kNoGoStack;  // where the census has it, in place of `stack`
  bool no_stack = false;                   // it was lost: neither is
  uint64_t created_at = 0;                 // as Goroutine has it, like the next two
  uint32_t status = 0;
  uint32_t wait_reason = 0;
  uint64_t time_ns = 0, count = 0;
  bool never_ran = false;  // each of them waited in one wait from the start to the end
  // The one goroutine that was in this system call from the start to the end; 0: another kind.
  uint64_t in_one_call = 0;
};

class GoroutineWaits {
 public:
  // Finds the runtimes of the process, checks them, and takes the first two snapshots: one to read
  // every stack, one to know what a snapshot costs from then on. The recording begins now. Fails as
  // FindGoRuntimes() and GoroutineCensus do.
  static absl::StatusOr<std::unique_ptr<GoroutineWaits>> Start(
      std::shared_ptr<const LiveSpace> space, const GoroutineWaitsOptions& options);

  // The recording begins now instead, together with another one. Before the first Tick().
  void Begin();

  // For `exact`, which of the states are told of: a runtime's changes of state do not all come by.
  bool MeasuresSyscalls() const;
  static constexpr char kCoroutine[] = "coroutine";
  static constexpr char kPreempted[] = "preempted";
  std::vector<const GoRuntime*> runtimes() const;
  // Looks at all goroutines now: a snapshot a runtime. Errors as of Tick().
  absl::StatusOr<std::vector<Snapshot>> Look();
  // How many changes of state of goroutines there are in a second, about, from what the runtimes
  // count by themselves; takes `window_ns`. nullopt: they do not.
  std::optional<double> TransitionsPerSecond(uint64_t window_ns) const;
  // What was measured of a runtime, in place of the estimates. After Stop().
  void SetMeasured(size_t runtime, const std::vector<MeasuredWaits>& waits);

  uint64_t start_ns() const { return start_ns_; }
  // "go1.26.8 by the table for go1.26": what is believed of each runtime, and why.
  std::string mechanism() const;
  // When Tick() is to be called next.
  uint64_t due_ns() const { return plan_->due_ns(); }
  // Takes one snapshot. NotFound, FailedPrecondition: the program is gone; what was summed so far
  // stays.
  absl::Status Tick();

  // Ends at `stop_ns`, now or in the past. `gone`: the program is; then the snapshot before is the
  // last one, and where that is too old nothing is said of goroutines that never ran.
  void Stop(uint64_t stop_ns, bool gone);
  // How long before the end the last snapshot was taken, after Stop() of a program that was gone.
  // nullopt: there was one at the end, or what never ran is not known at all.
  std::optional<uint64_t> blind_ns() const { return blind_ns_; }

  uint64_t waits() const { return waits_; }
  size_t stacks() const;
  // Goroutines of which that is claimed. After Stop().
  uint64_t never_ran() const { return never_ran_; }
  // How many goroutines the last snapshot saw.
  uint64_t goroutines() const { return alive_; }

  // Adds the samples to `event`, what they stand on to `recording`, where the program is `space`,
  // and the names of all addresses.
  void Fill(SpaceIndex space, RecordedEvent* event, Recording* recording) const;
  // The same of the last snapshot alone: how many goroutines waited where (one column, count). To
  // be called right after Start().
  void FillCounts(SpaceIndex space, RecordedEvent* event, Recording* recording);

 private:
  // Where a creator stands: its stack, and the first frame outside what it still stands in.
  struct Creator {
    GoStackIndex stack = kNoGoStack;
    uint32_t first_frame = 0;
    auto operator<=>(const Creator&) const = default;
  };
  using CreatorIndex = uint32_t;  // into Runtime::creators
  static constexpr CreatorIndex kNoCreator = 0xffffffff;

  // What is summed apart.
  struct Key {
    GoStackIndex stack = kNoGoStack;
    uint32_t words = 0;       // index into words_
    uint64_t created_at = 0;  // return address of the go statement
    GoLabelsIndex labels = kNoGoLabels;
    GoPeerIndex peer = kNoGoPeer;
    CreatorIndex creator = kNoCreator;
    bool operator==(const Key&) const = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.stack, key.words, key.created_at, key.labels, key.peer,
                        key.creator);
    }
  };
  // A key without what may come to be known of a wait while it goes on.
  using Wait = std::tuple<GoStackIndex, uint32_t, uint64_t, GoLabelsIndex>;
  static Wait WaitOf(const Key& key) { return {key.stack, key.words, key.created_at, key.labels}; }
  struct Sum {
    Key key;
    double time_ns = 0;
    double since_start_ns = 0;    // of time_ns: of waits that the recording began with
    uint64_t waits = 0;           // that were seen
    uint64_t at_start = 0;        // of `waits`, those that the recording began with
    uint64_t never_ran = 0;       // goroutines
    uint64_t looks_at_those = 0;  // of `waits`, those that are really one wait of one of them
    bool measured = false;  // time_ns is not an estimate, nor that of those that never ran apart
  };
  // One runtime of the process.
  struct Runtime {
    std::unique_ptr<GoroutineCensus> census;
    RuntimeCounts counts_at_start, counts_at_end;
    // In a system call when the recording began, by the address of their g.
    absl::flat_hash_map<uint64_t, SleepingThread> sleepers_at_start;
    // Those of them that slept in it to the end, where the time of system calls is measured.
    absl::flat_hash_set<uint64_t> slept_throughout;
    absl::flat_hash_map<Key, uint32_t> index;  // into sums
    std::vector<Sum> sums;
    std::vector<Sum> measured;
    // The sum that each place in a snapshot belonged to last time: mostly it still does.
    std::vector<uint32_t> sum_at;
    // With --peers or --created-by: of waits that the recording began with, by goroutine id.
    absl::flat_hash_map<uint64_t, uint32_t> sum_of;
    std::vector<uint32_t> words_of_reason;          // by wait_reason: index into words_
    std::unique_ptr<CreatorStacks> creator_stacks;  // null: creators are not asked for
    std::vector<Creator> creators;
    std::map<Creator, CreatorIndex> creator_index;
    std::vector<CreatorIndex> creator_of;  // of this snapshot, by place; empty: of none
    // Goroutines whose creator was seen elsewhere: it may come back, but then to start others.
    absl::flat_hash_set<uint64_t> parted;
    absl::flat_hash_set<uint64_t> stood;  // goroutines whose creator was seen to stand there
    absl::flat_hash_map<uint64_t, size_t> creator_at;  // of this snapshot: place by id
  };
  struct Reason {
    std::string words;
    double count = 0;  // in this snapshot, estimated
    StratifiedSum sum;
    uint64_t never_ran = 0;
  };

  GoroutineWaits(std::shared_ptr<const LiveSpace> space, const GoroutineWaitsOptions& options)
      : space_(std::move(space)), options_(options) {}
  absl::Status Take(double share);
  void FindCreators(Runtime& runtime, const Snapshot& snapshot);
  void CountWaitsAtStart(Runtime& runtime, const Snapshot& snapshot);
  void MoveTo(uint32_t index, const Goroutine& goroutine, Runtime& runtime);
  void Book(Runtime& runtime, const Snapshot& snapshot, double stands_for_ns);
  uint32_t SumOf(Runtime& runtime, const Goroutine& goroutine, size_t place, uint32_t words);
  std::optional<uint32_t> WordsOf(const Runtime& runtime, const Goroutine& goroutine) const;
  uint32_t InternWords(const std::string& words);
  std::optional<uint32_t> WordsOf(const Runtime& runtime, uint32_t status, uint32_t reason) const;
  bool IsMeasured(uint32_t words) const;
  std::vector<Sum> SumsToShow(const Runtime& runtime) const;
  void CloseStratum(double stratum_ns);
  void FindThoseThatNeverRan();
  void FindSleepersThatNeverRan();
  bool AnyInSystemCall() const;
  using ValuesOf = std::function<void(const Sum&, Sample*)>;
  // `add`: puts the samples of a sum into the event, from one that lacks the values.
  void AddSamples(const Runtime& runtime, const std::vector<Sum>& sums, SpaceIndex space,
                  const ValuesOf& add, Recording* recording) const;
  std::vector<double> TimesOfThoseThatRan(const std::vector<Sum>& sums) const;
  static std::vector<uint64_t> WaitsOfThoseThatRan(const std::vector<Sum>& sums);
  void AddCensus(SpaceIndex space, Recording* recording) const;
  void NotePeers(Recording* recording) const;

  std::shared_ptr<const LiveSpace> space_;
  GoroutineWaitsOptions options_;
  std::unique_ptr<Sockets> sockets_;  // null: without peers
  uint64_t start_ns_ = 0, stop_ns_ = 0;
  std::vector<Runtime> runtimes_;
  std::vector<Snapshot> snapshots_;  // the last one that was taken, by runtime
  std::vector<Snapshot> taking_;     // becomes that once it is whole
  uint64_t taken_ns_ = 0;            // when that was
  std::optional<uint64_t> blind_ns_;
  std::vector<Reason> reasons_;
  std::map<std::string, uint32_t> reason_index_;
  std::unique_ptr<TickPlan> plan_;
  uint64_t never_ran_ = 0;
  double covered_ns_ = 0;  // of all strata
  double looks_ = 0;       // at each goroutine, on average
  uint64_t waits_ = 0, ticks_ = 0, alive_ = 0, fewest_ = 0, most_ = 0;
  uint64_t tick_cpu_ns_ = 0, setup_cpu_ns_ = 0, snapshot_cpu_ns_ = 0;
  double shares_ = 0;  // sum over the ticks
};

}  // namespace stallscope
