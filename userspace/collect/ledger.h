// SPDX-License-Identifier: Apache-2.0
//
// The user half of bpf/sched.bpf.c: loads and attaches the ledger, runs its passes over waiting
// threads, and drains what it has summed. Values come out raw, as bpf/wire.h defines them; nothing
// here knows a name.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bpf/wire.h"
#include "userspace/collect/target_options.h"

namespace stallscope {

class ProbeTargets;

struct LedgerOptions : TargetOptions {
  uint64_t min_ns = 0;
  uint64_t max_ns = ~0ull;
  bool per_thread = false;
  uint32_t stack_entries = 16384;  // distinct stacks that the kernel map holds between two drains
  uint32_t sample_entries = 16384;
};

class Ledger {
 public:
  // Loads the programs. The status of a failure carries the errno of bpf(2).
  static absl::StatusOr<std::unique_ptr<Ledger>> Load(const LedgerOptions& options);
  ~Ledger();

  // From here on the ledger moves; it books nothing before Start().
  absl::Status Attach();

  // Puts every thread that waits now into the ledger. Returns those whose user stack is a promise:
  // user space reads it.
  absl::StatusOr<std::vector<thread_record>> OpenPass();
  // The same threads again, those that have not run since.
  absl::StatusOr<std::vector<thread_record>> VerifyPass();

  void Start(uint64_t mono_ns);

  using Samples = std::vector<std::pair<sample_key, sample_value>>;
  // Takes what was summed since the last call. Nothing is lost between two calls.
  absl::StatusOr<Samples> Drain();

  // Stops booking, accounts every wait that is still open, detaches. `Drain` gives the last samples
  // after it. Returns the threads that are blocked then, THREAD_WHOLE_TIME those that were for the
  // whole recording.
  absl::StatusOr<std::vector<thread_record>> Close(uint64_t mono_ns);

  // A stack by its id; nullopt when it is not in the map.
  std::optional<stack> ReadStack(uint64_t id) const;
  // Forgets stacks that user space has read. They come again when they occur again.
  void ForgetStacks(const std::vector<uint64_t>& ids);

  // Whom it is about, and what its walker knows of them.
  ProbeTargets& targets();

  // Sums over all CPUs, indexed by enum ledger_counter.
  std::vector<uint64_t> Counters() const;
  std::vector<std::pair<space_key, space_totals>> Totals() const;
  std::string mechanism() const;
  // Every program and map, for what observation costs.
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  struct Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stallscope
