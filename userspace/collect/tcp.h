// SPDX-License-Identifier: Apache-2.0
//
// The collector of `tcp` and `retrans`: connections, each charged to the stack that opened or
// accepted it, as two events of a Recording.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "symbolizer/module_cache.h"
#include "userspace/collect/connection_groups.h"
#include "userspace/collect/pid_namespace.h"
#include "userspace/collect/process_change.h"
#include "userspace/collect/space_table.h"
#include "userspace/collect/tcp_probe.h"
#include "userspace/collect/told_stacks.h"
#include "userspace/collect/walked_processes.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct TcpOptions {
  TcpProbeOptions probe;
  bool set_up = false;       // -e tcp
  bool retransmits = false;  // -e retrans
  bool groups = false;       // sums by peer and code path
  bool per_thread = false;
  bool follow_children = false;
  std::string wanted_comm;  // --comm: processes that take this name later are targets too
  uint64_t min_ns = 0, max_ns = ~0ull;  // of the time to connect, or to be accepted
};

class Tcp {
 public:
  // Loads, attaches and starts recording. `pids` and `modules` outlive the collector.
  static absl::StatusOr<std::unique_ptr<Tcp>> Start(const TcpOptions& options, PidNamespace* pids,
                                                    symbolizer::ModuleCache* modules);

  // Takes what has come since the last call; to be called some times a second.
  std::vector<ProcessChange> Drain();
  // Ends the recording now and takes what is left. `Fill` may be called after it.
  absl::StatusOr<std::vector<ProcessChange>> Stop();
  // Adds the events, their stacks, spaces, names and losses. `interrupted` is asked now and then;
  // when it says true, the call returns early with Cancelled. `groups`: gets the sums by peer and
  // code path, with the stacks that the recording then holds.
  absl::Status Fill(Recording* recording, const std::function<bool()>& interrupted,
                    std::vector<ConnectionGroup>* groups = nullptr) const;

  // Adds a process to the targets (TARGET_SET). Kernel's number.
  absl::Status AddTarget(uint32_t kernel_tgid);

  uint64_t start_mono_ns() const { return start_ns_; }
  uint64_t connections() const { return connections_; }  // that have ended so far
  size_t stacks() const { return stacks_.size(); }
  std::string mechanism() const { return probe_->mechanism(); }
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  enum Event : uint32_t { kSetUp = 0, kRetransmits = 1 };
  // What makes connections one sample: event, space, stack id, words, peer, tid, thread name.
  using SumKey =
      std::tuple<uint32_t, SpaceIndex, uint64_t, std::string, std::string, uint32_t, std::string>;
  struct Sum {
    std::optional<int64_t> first;  // time, or segments
    int64_t second = 0;            // count, or bytes
  };
  using Address = std::array<uint8_t, 16>;
  // An attempt that a program gave up, or one that succeeded.
  struct Attempt {
    uint64_t open_ns = 0, end_ns = 0;  // end: closed, or established
    Address remote = {};
    bool since_before = false;  // it was in flight when the recording began
    SumKey key;
    ConnectionSums* sums = nullptr;
  };
  using StackIndex = std::map<Stack, uint32_t>;         // of a recording
  using PortOfProcess = std::pair<uint32_t, uint16_t>;  // tgid, remote port

  Tcp(const TcpOptions& options, PidNamespace* pids, symbolizer::ModuleCache* modules)
      : pids_(pids),
        options_(options),
        processes_({options.probe, options.follow_children, options.wanted_comm}, pids, modules) {}
  std::vector<ProcessChange> TakeProcessEvents();

  void Take(const TcpProbe::Records& records);
  void TakeRow(const tcp_row& row);
  void TakeOpened(const tcp_row& row, ConnectionSums* sums);
  void TakeAccepted(const tcp_row& row, ConnectionSums* sums);
  void TakeRetransmits(const tcp_row& row);
  void AddToGroup(const tcp_row& row, ConnectionSums* sums);
  void FindQueued();
  void FindHolders();
  void FindTimeWaits();
  std::string ProcessName(const char (&comm)[16], uint32_t kernel_tgid) const;
  SumKey KeyOf(Event event, const tcp_row& row, std::string words);
  void BookSetUp(SumKey key, std::optional<uint64_t> time_ns);
  void BookRetransmits(const tcp_row& row, std::string words, uint64_t segments, uint64_t bytes);
  // Attempts that race each other (Happy Eyeballs): who loses is no failure.
  void Succeeded(const tcp_row& row);
  void GivenUp(const tcp_row& row, SumKey key, ConnectionSums* sums);
  void BookGivenUp(Attempt attempt, bool superseded);
  uint32_t AddStack(uint64_t id, SpaceIndex base, StackIndex* index, Recording* recording) const;
  void AddLosses(Recording* recording) const;

  PidNamespace* pids_;
  TcpOptions options_;
  WalkedProcesses processes_;
  std::unique_ptr<TcpProbe> probe_;
  uint64_t start_ns_ = 0, stop_ns_ = 0;
  uint64_t connections_ = 0;
  ToldStacks stacks_{&processes_};
  std::map<SumKey, Sum> sums_;
  ConnectionGroups groups_;
  absl::flat_hash_map<uint64_t, std::set<std::string>> holders_;  // at the end, by row id
  // Network namespaces of ended connections: processes in them, of which some may have ended.
  std::map<uint32_t, std::set<uint32_t>> namespaces_;
  uint64_t namespaces_not_read_ = 0;
  uint64_t peers_not_kept_ = 0;
  uint64_t ownerless_ = 0;  // in an accept queue whose listener is not known
  Hidden below_min_, above_max_;
  absl::flat_hash_map<PortOfProcess, std::vector<Attempt>> given_up_;
  size_t given_up_count_ = 0;
  absl::flat_hash_map<PortOfProcess, std::deque<Attempt>> succeeded_;
};

}  // namespace stallscope
