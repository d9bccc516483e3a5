// SPDX-License-Identifier: Apache-2.0
//
// All goroutines of a live process, read from its memory: no stop, no signal, no probe.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "userspace/go/goroutine_list.h"
#include "userspace/go/labels.h"
#include "userspace/go/peers.h"
#include "userspace/go/runtime.h"
#include "userspace/go/stack_table.h"
#include "userspace/go/unwind.h"
#include "userspace/process/memory.h"
#include "userspace/process/sockets.h"

namespace stallscope {

// One goroutine as a snapshot saw it.
struct Goroutine {
  uint64_t g = 0;  // address of its structure
  uint64_t id = 0, parent_id = 0;
  uint32_t status = 0;      // GoStatus, without the scan bit
  uint8_t wait_reason = 0;  // valid while waiting
  uint8_t tracking_seq = 0;
  // In the very wait in which the look before this one saw it. Never said of system calls from
  // go1.26 on, where nothing tells one from the next.
  bool same_wait = false;
  bool since_first_take = false;  // in the very wait in which the first snapshot saw it
  // Its stack could not be read in one piece: `stack` is kNoGoStack, the rest is right.
  bool unread = false;
  uint64_t sp = 0, pc = 0;  // where it will go on, or where it entered the system call
  // Start of the mark termination of the collection before the one that first found it waiting, on
  // CLOCK_MONOTONIC; 0: none has.
  uint64_t wait_since = 0;
  uint64_t created_at = 0;          // gopc: return address of the go statement; 0 for the first
  uint64_t start = 0;               // entry of the function it began with
  uint64_t labels = 0;              // address of its pprof labels; 0 for none
  uint64_t locked_thread = 0;       // address of the runtime's m that it is locked to; 0 for none
  GoStackIndex stack = kNoGoStack;  // none while it runs
  GoLabelsIndex label_set = kNoGoLabels;  // none, or not read: `labels` says which
  GoPeerIndex peer = kNoGoPeer;           // whom it waits for; none, not known, or not asked for
  uint32_t unit = 0;                      // of the sample: 0 to Snapshot::units_taken - 1
};

// What one Take() saw: goroutines that are alive, running ones included; those that have ended or
// have not begun are left out.
struct Snapshot {
  uint64_t time_ns = 0;  // CLOCK_MONOTONIC, just before the first goroutine was read
  std::vector<Goroutine> goroutines;
  // A snapshot of a part takes `units_taken` of `units` at random, each equally probable, all
  // goroutines of a unit or none. A sum over the sample times `weight` is an unbiased estimate of
  // the sum over all; the sums of the units (those without goroutines count as 0) say how far off
  // it may be.
  uint32_t units = 0, units_taken = 0;
  double weight = 1;
  size_t listed = 0;  // goroutines that the runtime lists, dead ones and those not taken included
};

struct CensusOptions {
  size_t max_goroutines = 4 << 20;         // more than these: refused
  size_t max_frames = 512;                 // of a stack: the innermost
  size_t max_stack_bytes = 256 << 10;      // of one goroutine's stack, from its stack pointer up
  size_t max_stacks = 1 << 20;             // distinct ones that are kept
  size_t max_stack_addresses = 16 << 20;   // in all of them
  uint64_t deep_bytes_per_take = 1 << 30;  // for stacks that are deeper than their first reading
  int max_attempts = 6;                    // at a goroutine that moves while it is read
  uint64_t seed = 0;                       // of the random choice of units; 0: a random one
  Sockets* sockets =
      nullptr;  // of the process: whom goroutines wait for is read too; null: it is not
};

// Sums over all snapshots so far.
struct CensusCounters {
  uint64_t takes = 0;
  uint64_t looks = 0;          // goroutines that were alive when looked at
  uint64_t stacks_read = 0;    // of them: those whose stack was read and unwound
  uint64_t torn = 0;           // readings under which the goroutine moved; they were made again
  uint64_t unread = 0;         // goroutines that moved under each attempt: state right, no stack
  uint64_t incomplete = 0;     // stacks that did not lead to their outermost function
  uint64_t unreadable = 0;     // goroutine structures that could not be read
  uint64_t stacks_lost = 0;    // stacks that found no room any more (max_stacks)
  uint64_t labels_unread = 0;  // looks at goroutines with labels that could not be read
  uint64_t peers = 0;          // looks at waits for somebody that can be told, and it was known
  uint64_t peers_unknown = 0;  // the same, and it was not known
  uint64_t refused = 0;  // entries of the runtime's list that cannot be goroutines or come twice
};

class GoroutineCensus {
 public:
  // `memory` and the runtime's tables must outlive it. InvalidArgument: offsets that cannot be.
  static absl::StatusOr<std::unique_ptr<GoroutineCensus>> Create(const Memory* memory,
                                                                 const GoRuntime& runtime,
                                                                 const CensusOptions& options = {});

  // Looks at `share` (0 to 1] of the goroutines. `out` is overwritten; its memory is used again.
  // NotFound: the process has ended. PermissionDenied. ResourceExhausted: more goroutines than
  // max_goroutines. FailedPrecondition: the memory is no longer that of this runtime, as after an
  // exec.
  absl::Status Take(double share, Snapshot* out);

  // Distinct stacks, for as long as the census lives.
  const GoStack& stack(GoStackIndex index) const { return stacks_[index]; }
  size_t stacks() const { return stacks_.size(); }
  // Keeps a stack that was read otherwise. kNoGoStack: there is no room for it.
  GoStackIndex Intern(const GoStack& stack) { return stacks_.Intern(stack); }
  // Distinct sets of labels, likewise.
  const GoLabels& labels(GoLabelsIndex index) const { return labels_[index]; }
  // Distinct peers, likewise.
  const std::string& peer(GoPeerIndex index) const { return peer_texts_[index]; }
  const CensusCounters& counters() const { return counters_; }
  const GoRuntime& runtime() const { return runtime_; }
  // Whether `same_wait` can be said of system calls.
  bool tells_system_calls_apart() const { return seq_counts_syscalls_; }

 private:
  // Goroutines that are neighbours in memory and are taken together: as many as lie in a page or
  // two, so that a small share still reads few pages, and yet there are many units to draw from.
  static constexpr size_t kUnit = 16;

  // What a g structure says of one moment.
  struct State {
    uint64_t lo = 0, hi = 0;  // its stack
    uint64_t id = 0;
    uint64_t sp = 0, pc = 0;  // 0 where it has none to show
    uint32_t status = 0;
    uint8_t wait_reason = 0, seq = 0;

    bool IsAlive() const;
    bool HasStack() const;  // one that can be unwound
    // Stays the same when the runtime moves the stack.
    uint64_t depth() const { return hi - sp; }
    bool operator==(const State&) const = default;
  };

  // What is known of a goroutine since it was last looked at. Less than a cache line: all of them
  // are visited in every snapshot.
  struct Slot {
    uint64_t id = 0, pc = 0, depth = 0;
    uint32_t status = 0;
    GoStackIndex stack = kNoGoStack;
    uint64_t labels = 0;  // address that `label_set` was read from
    GoLabelsIndex label_set = kNoGoLabels;
    uint32_t window = 0;  // while active: bytes of stack that cover where it has been
    uint8_t wait_reason = 0, seq = 0;
    bool known = false;
    bool since_first_take = false;
    uint8_t active = 0;  // looks for which it still counts as active: expected to have moved
  };

  // Whom it waited for when it was last looked at.
  struct PeerSlot {
    GoPeerIndex peer = kNoGoPeer;
    uint8_t attempts = 0;  // that were in vain, in this wait
  };

  // One goroutine in the part of memory that is being looked at.
  struct Item {
    GoroutineList::Place place;
    uint32_t unit = 0;
    uint32_t offset = 0;  // of its g in the buffer
    bool readable = true;
  };
  struct Run {
    uint64_t address = 0;
    size_t offset = 0, size = 0;           // in the buffer
    size_t first_item = 0, last_item = 0;  // one past the last
  };

  // One goroutine whose stack is to be read, together with its g before and after.
  struct Reading {
    GoroutineList::Place place;
    size_t goroutine = 0;       // index in the snapshot
    uint64_t from = 0, to = 0;  // of the stack; equal: the g alone
    int attempts = 0;
    bool twice = false;   // read the stack two times, and compare
    uint64_t record = 0;  // address of what says whom it waits for; 0: that is not read
    bool readable = true;
    size_t offset = 0;  // in the buffer: g, stack, stack again if `twice`, record, g
    size_t stack_bytes() const { return to - from; }
    size_t stacks_bytes() const { return stack_bytes() * (twice ? 2 : 1); }
  };

  GoroutineCensus(const Memory* memory, const GoRuntime& runtime, const CensusOptions& options,
                  size_t g_bytes, uint64_t seed);

  // Reading the structures.
  void ChooseUnits(double share, Snapshot* out);
  void AddUnit(uint32_t unit, uint32_t number);
  absl::Status LookAtItems(Snapshot* out);
  absl::Status ReadRuns();
  absl::Status ReadSingly(const Run& run);
  void JudgeItem(const Item& item, Snapshot* out);

  // Reading stacks.
  void Defer(const Item& item, const State& seen, Snapshot* out);
  absl::Status ReadPending(Snapshot* out);
  size_t LayOut(size_t first);
  absl::Status ReadBatch(size_t first, size_t last);
  void JudgeReading(Reading* reading, Snapshot* out);
  void Again(Reading* reading, const char* g, const State& state, uint64_t bytes, Snapshot* out);
  void UnwindReading(Reading* reading, const char* g, const State& state, Snapshot* out);
  GoStackIndex Keep(const GoStack& stack);
  void Settle(const Reading& reading, const char* g, const State& state, GoStackIndex stack,
              bool unread, Snapshot* out, GoPeerIndex peer = kNoGoPeer);

  // Reading peers.
  bool WantsPeer(uint32_t number, const State& state) const;
  size_t RecordBytes(const Reading& reading) const;
  GoPeerIndex ReadPeer(const Reading& reading, const char* g, const State& state,
                       GoStackIndex stack);
  bool Holds(const Reading& reading, const State& state, uint64_t waiting,
             const PeerReader::Claim& claim);
  void CountPeer(const Goroutine& goroutine);

  // Reading labels.
  void NoteLabels(const GoroutineList::Place& place, size_t goroutine, Snapshot* out);
  absl::Status ReadLabels(Snapshot* out);

  State Decode(const char* g) const;
  void Fill(const char* g, const State& state, Goroutine* out) const;
  bool StackUnchanged(const Slot& slot, const State& state) const;
  bool WaitUnchanged(const Slot& slot, const State& state) const;
  void Remember(Slot* slot, const State& state, GoStackIndex stack, bool same_wait) const;

  const Memory* memory_;
  GoRuntime runtime_;
  CensusOptions options_;
  size_t g_bytes_;            // the part of a g that is read
  bool seq_counts_syscalls_;  // each system call changes trackingSeq
  GoroutineList list_;
  GoUnwinder unwinder_;
  GoStackTable stacks_;
  GoLabelsTable labels_;
  std::unique_ptr<PeerReader> peers_;  // null: they are not read
  GoPeerTable peer_texts_;
  std::vector<PeerSlot> peer_slots_;  // by number in the list; empty: they are not read
  std::mt19937_64 random_;
  std::vector<Slot> slots_;  // by number in the list
  CensusCounters counters_;

  // Of one Take(); members so that their memory is used again.
  std::vector<uint32_t> chosen_;  // units, in order
  std::vector<Item> items_;
  std::vector<Run> runs_;
  size_t used_ = 0;  // of buffer_
  std::vector<char> buffer_, stack_buffer_;
  std::vector<MemoryRange> ranges_;
  std::vector<uint32_t> range_owner_;
  std::vector<Reading> pending_, again_;
  uint64_t deep_bytes_left_ = 0;
  std::vector<std::pair<GoroutineList::Place, size_t>> labelled_;  // and the index in the snapshot
  absl::flat_hash_map<uint64_t, GoLabelsIndex> labels_here_;       // by address
  GoStack scratch_, second_scratch_;
  PeerReader::Claim claim_;
  std::vector<char> peer_buffer_;
};

}  // namespace stallscope
