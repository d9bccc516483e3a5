// SPDX-License-Identifier: Apache-2.0
//
// The user half of bpf/tcp.bpf.c: loads and attaches it, finds the sockets that are there already,
// and takes the connections that have ended. Values come out raw, as bpf/wire.h defines them.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpf/wire.h"
#include "userspace/collect/target_options.h"

namespace stallscope {

class ProbeTargets;

struct TcpProbeOptions : TargetOptions {
  bool stacks = true;              // else connections are told apart by process and peer alone
  bool turns = false;              // questions and answers, where the kernel lets us see them
  uint32_t stack_entries = 16384;  // distinct stacks
};

class TcpProbe {
 public:
  // Loads the programs. The status of a failure carries the errno of bpf(2).
  static absl::StatusOr<std::unique_ptr<TcpProbe>> Load(const TcpProbeOptions& options);
  ~TcpProbe();

  absl::Status Attach();
  // Gives a row to each socket that a target has and that has none.
  absl::Status FindSockets();
  // Looks through the network namespace that a process (our own number) is in: gives a row to each
  // connection that waits to be accepted, and returns the sockets in TIME_WAIT.
  absl::StatusOr<std::vector<tcp_time_wait>> FindUnowned(uint32_t pid);
  // Processes that have a socket of another's connection now.
  absl::StatusOr<std::vector<tcp_holder>> Holders();

  struct Records {
    std::vector<stack_record> stacks;  // each before the first connection that stands on it
    std::vector<tcp_row> rows;         // that ended
  };
  // Takes what has come since the last call.
  Records Drain();
  // The rows of sockets that are still there, with their totals of now.
  absl::StatusOr<std::vector<tcp_row>> Rows();
  // Whether it sees questions and answers: asked for, and the kernel has tracepoints (6.3).
  bool turns() const;
  // How many turns took how long, of those that are in no row. To be called when all has ended.
  struct TurnTimes {
    tcp_turn_key key;
    uint64_t times;
  };
  std::vector<TurnTimes> Turns() const;
  // Of a jiffy, in which some of a row's times are.
  static uint64_t TickNs();
  void Detach();

  // Whom it is about, and what its walker knows of them.
  ProbeTargets& targets();

  // Sums over all CPUs, indexed by enum tcp_counter.
  std::vector<uint64_t> Counters() const;
  // Changes of state that came while the program for them was running on that CPU: the kernel
  // passed them over.
  uint64_t Missed() const;
  // The same of sends and arrivals.
  uint64_t MissedTurns() const;
  std::string mechanism() const;
  std::vector<int> ProgramFds() const;
  std::vector<int> MapFds() const;

 private:
  struct Impl;
  explicit TcpProbe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stallscope
