// SPDX-License-Identifier: Apache-2.0
//
// What the rows of bpf/tcp.bpf.c come to for each peer and code path: the sums of the table of
// `net`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "bpf/wire.h"
#include "userspace/net/table.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// Connections of one role, program, code path and peer, summed. A listener is one too.
struct ConnectionGroup {
  ConnectionRole role = ConnectionRole::kUnknown;
  SpaceIndex space = 0;  // of the Recording that was filled with it
  uint32_t stack = 0;    // in its `stacks`: who opened, accepted, or called listen
  std::string peer;      // "10.0.0.5:443"; accepted: the remote address; listener: ":8080"
  ConnectionSums sums;
};

class ConnectionGroups {
 public:
  // Role, space of the collector, the probe's id of a stack, peer.
  using Key = std::tuple<ConnectionRole, SpaceIndex, uint64_t, std::string>;

  // The sums of a group; they stay where they are. Beyond a bound, connections on new paths are
  // summed without their path, beyond another without their peer; both are counted.
  ConnectionSums* Of(Key key);

  const std::map<Key, ConnectionSums>& all() const { return groups_; }
  uint64_t without_path() const { return without_path_; }
  uint64_t without_peer() const { return without_peer_; }

 private:
  std::map<Key, ConnectionSums> groups_;
  uint64_t without_path_ = 0, without_peer_ = 0;
};

ConnectionRole RoleOf(const tcp_row& row);

// What the rows do not say about themselves.
struct RowFacts {
  uint64_t tick_ns = 0;  // of a jiffy
  bool turns = false;    // questions and answers were followed
  std::string holder;    // "name (pid)" of the process that sent last, if that is not the owner
};

// Adds all of a row but how its set-up went, and the turns that are not in it.
void AddConnection(const tcp_row& row, const RowFacts& facts, ConnectionSums* sums);

}  // namespace stallscope
