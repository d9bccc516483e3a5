// SPDX-License-Identifier: Apache-2.0
//
// The collector of `offcpu`: the ledger's sums, with the address spaces they belong to, as one part
// of a Recording.
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
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/collect/code_mappings.h"
#include "userspace/collect/layout_windows.h"
#include "userspace/collect/ledger.h"
#include "userspace/collect/pid_namespace.h"
#include "userspace/collect/process_change.h"
#include "userspace/collect/space_table.h"
#include "userspace/collect/walked_processes.h"
#include "userspace/process/user_stack.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct OffCpuOptions {
  LedgerOptions ledger;
  bool follow_children = false;
  std::string wanted_comm;  // --comm: processes that take this name later are targets too
  bool from_exec =
      false;  // the one target is a child that waits to exec: what comes before is not recorded
  // Recording::hung is to be every thread that is blocked when the recording ends, not those alone
  // that were for all of it.
  bool hung_at_end = false;
};

class OffCpu {
 public:
  // Loads, attaches and starts recording. `pids` and `modules` outlive the collector.
  static absl::StatusOr<std::unique_ptr<OffCpu>> Start(const OffCpuOptions& options,
                                                       PidNamespace* pids,
                                                       symbolizer::ModuleCache* modules);

  // Takes what has come since the last call; to be called some times a second.
  absl::StatusOr<std::vector<ProcessChange>> Drain();

  // Ends the recording now and takes what is left. `Fill` may be called after it.
  absl::StatusOr<std::vector<ProcessChange>> Stop();

  // Puts what was recorded into `recording`: event, stacks, spaces, names, losses, totals, hung
  // threads, cost of maps. `interrupted` is asked now and then; when it says true, the call returns
  // early with Cancelled.
  absl::Status Fill(Recording* recording, const std::function<bool()>& interrupted);

  // Adds a process to the targets (TARGET_SET). Kernel's number.
  absl::Status AddTarget(uint32_t kernel_tgid);

  uint64_t start_mono_ns() const { return start_ns_; }
  uint64_t waits() const { return waits_; }  // drained so far
  size_t stacks() const { return user_stacks_.size(); }
  const Space* Current(uint32_t kernel_tgid) const {
    return processes_.spaces().Current(kernel_tgid);
  }
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;
  // Memory of the rings that are no maps.
  uint64_t ring_bytes() const { return code_mappings_ ? code_mappings_->bytes() : 0; }

 private:
  using StackKey = std::pair<SpaceIndex, uint64_t>;  // a space and the ledger's id

  OffCpu(const OffCpuOptions& options, PidNamespace* pids, symbolizer::ModuleCache* modules)
      : processes_({options.ledger, options.follow_children, options.wanted_comm}, pids, modules),
        windows_([this](SpaceIndex space, auto unsure) {
          LayoutReading reading = processes_.spaces().Reread(space, unsure);
          // What was taught of the old code is taught anew, from the new.
          if (reading.kind == LayoutReading::kReplaced) processes_.teacher().Forget();
          return reading;
        }),
        pids_(pids),
        options_(options) {}
  absl::Status ReadOpenThreads();
  void Take(const Ledger::Samples& samples);
  // True for what is not ours though its number is: the child before its exec, another process
  // after pid reuse.
  bool IsForeign(const space_key& key) const;
  // Adds a sample to the sums, once its space is known.
  void Book(SpaceIndex space, const sample_key& key, const sample_value& value);
  LayoutWindows::Sink Booking();
  void SeeMappings();
  // The stack that was kept under `id` for an earlier layout of this space; null when there is
  // none.
  const Stack* EarlierStack(SpaceIndex space, uint64_t id) const;
  void KeepUserStack(SpaceIndex space, uint64_t id);
  void KeepEarlierStack(SpaceIndex space, uint64_t id);
  void KeepKernelStack(uint64_t id);
  std::vector<ProcessChange> TakeProcessEvents();
  uint32_t InternStack(SpaceIndex space, uint64_t user, uint64_t kernel, Recording* recording);
  // The key of a wait that began before the recording, with the number that its system call began
  // with.
  sample_key Restarted(sample_key key) const;
  void AddThreadsBlockedUntilTheEnd(Recording* recording);
  void AddLosses(Recording* recording) const;

  WalkedProcesses processes_;
  LayoutWindows windows_;
  std::unique_ptr<CodeMappings> code_mappings_;  // null: the kernel does not let us, and
  std::string no_code_mappings_;                 // this is why
  PidNamespace* pids_;
  OffCpuOptions options_;
  std::unique_ptr<Ledger> ledger_;
  uint64_t start_ns_ = 0, stop_ns_ = 0;
  uint64_t waits_ = 0;
  uint64_t kept_at_last_forget_ = 0;

  struct Sum {
    SpaceIndex space = 0;
    sample_key key = {};
    sample_value value = {};
  };
  absl::flat_hash_map<std::string, Sum> sums_;  // by the bytes of space and key
  absl::flat_hash_map<StackKey, Stack> user_stacks_;
  absl::flat_hash_map<uint64_t, int32_t> restarted_;  // system call, by the promise of a stack
  absl::flat_hash_map<uint64_t, std::vector<uint64_t>> kernel_stacks_;
  std::vector<uint64_t> read_ids_;                           // still in the kernel's map
  absl::flat_hash_map<uint32_t, std::string> thread_names_;  // --threads
  std::optional<space_key> before_exec_;
  std::vector<thread_record> blocked_at_end_;
  std::map<std::pair<uint32_t, uint64_t>, uint64_t> ends_;  // by tgid and start: when it ended
  uint64_t moved_ = 0;
  absl::flat_hash_set<StackKey> unread_stacks_;
  absl::flat_hash_map<uint64_t, WalkedStack> walked_;  // by the ledger's id
  // Starts of followed processes, by kernel tgid: a number can be taken again at once.
  absl::flat_hash_map<uint32_t, absl::flat_hash_set<uint64_t>> lives_;
  std::map<Stack, uint32_t> stack_index_;
  absl::flat_hash_map<std::string, uint32_t> interned_;
};

}  // namespace stallscope
