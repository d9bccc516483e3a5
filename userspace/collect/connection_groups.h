// SPDX-License-Identifier: Apache-2.0
//
// What the rows of bpf/tcp.bpf.c come to for each peer and code path: the sums of the table of
// `net`.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "bpf/wire.h"
#include "userspace/net/table.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// What the rows do not say about themselves.
struct RowFacts {
  uint64_t tick_ns = 0;           // of a jiffy
  bool turns = false;             // questions and answers were followed
  std::set<std::string> holders;  // "name (pid)" of processes that have it and do not own it
};

class ConnectionGroups {
 public:
  // Role, space of the collector, the probe's id of a stack, peer.
  using Key = std::tuple<ConnectionRole, SpaceIndex, uint64_t, std::string>;

  // The sums of a group; they stay where they are. Beyond a bound, connections on new paths are
  // summed without their path, beyond another without their peer; both are counted.
  ConnectionSums* Of(Key key);
  // Adds all of a row but how its set-up went, and the turns that are not in it.
  void Add(const tcp_row& row, const RowFacts& facts, ConnectionSums* sums);
  // Turns that are in no row: `times` of them took as long as the bucket says. Their connections
  // have been added.
  void AddTurns(const tcp_turn_key& key, uint64_t times);
  // A socket that is in TIME_WAIT now. What no row that was added has left is passed over.
  void AddTimeWait(const tcp_time_wait& socket);

  const std::map<Key, ConnectionSums>& all() const { return groups_; }
  uint64_t without_path() const { return without_path_; }
  uint64_t without_peer() const { return without_peer_; }
  uint64_t turns_of_nobody() const { return turns_of_nobody_; }  // their rows were lost
  uint64_t ends_not_kept() const { return ends_not_kept_; }      // if in TIME_WAIT, it is not said

 private:
  // Network namespace, local port, remote port, remote address.
  using Ends = std::tuple<uint32_t, uint16_t, uint16_t, std::array<uint8_t, 16>>;
  void KeepEnd(const tcp_row& row, ConnectionSums* sums);

  std::map<Key, ConnectionSums> groups_;
  uint64_t without_path_ = 0, without_peer_ = 0;
  absl::flat_hash_map<uint64_t, ConnectionSums*> turn_groups_;  // by the probe's id
  uint64_t turns_of_nobody_ = 0;
  // Connections that we closed first, of the last minute at least: so long they are in TIME_WAIT.
  absl::flat_hash_map<Ends, ConnectionSums*> ended_, ended_before_;
  uint64_t ended_since_ns_ = 0;
  uint64_t ends_not_kept_ = 0;
};

ConnectionRole RoleOf(const tcp_row& row);

}  // namespace stallscope
