// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/connection_groups.h"

#include <string.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "userspace/profile/reason.h"

namespace stallscope {
namespace {

constexpr size_t kMostGroups = 1 << 16;
constexpr size_t kMostPeers = kMostGroups * 2;
constexpr size_t kMostEnds = 1 << 17;
constexpr uint64_t kTimeWaitNs = 60'000'000'000;  // the kernel's TCP_TIMEWAIT_LEN

uint64_t Since(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

std::array<uint8_t, 16> AddressOf(const uint8_t (&bytes)[16]) {
  std::array<uint8_t, 16> address;
  memcpy(address.data(), bytes, address.size());
  return address;
}

// Who ended it; empty: that was not seen.
std::string ClosedBy(const tcp_row& row) {
  switch (row.end) {
    case TCP_END_FIN_SENT:
      return "us";
    case TCP_END_FIN_RECEIVED:
      return "peer";
    case TCP_END_RESET_SENT:
      return "reset by us";
    case TCP_END_RESET_RECEIVED:
      return "reset by peer";
    default:
      return row.error ? ErrorWord(row.error) : "";
  }
}

void AddTraffic(const tcp_row& row, uint64_t tick_ns, ConnectionSums* sums) {
  const tcp_totals &first = row.baseline, &last = row.last;
  const uint64_t retransmitted = Since(first.retrans, last.retrans);
  const uint64_t retransmitted_bytes = Since(first.bytes_retrans, last.bytes_retrans);
  sums->bytes_sent += Since(Since(first.bytes_retrans, first.bytes_sent),
                            Since(last.bytes_retrans, last.bytes_sent));
  sums->bytes_received += Since(first.bytes_received, last.bytes_received);
  sums->data_segments += Since(first.data_segs_out, last.data_segs_out);
  sums->retransmitted += retransmitted;
  sums->retransmitted_bytes += retransmitted_bytes;
  if (row.role == TCP_ROLE_OPENED)
    sums->syn_retransmits +=
        row.established_ns ? Since(first.retrans, row.established_retrans) : retransmitted;
  sums->timeout_retransmits += row.resent[TCP_RESENT_TIMEOUT];
  sums->fast_retransmits += row.resent[TCP_RESENT_FAST];
  sums->tail_loss_probes += row.resent[TCP_RESENT_PROBE];
  sums->failed_sends += row.unsent;
  sums->receiver_limited_ns += Since(first.receiver_limited, last.receiver_limited) * tick_ns;
}

void AddHeldTurns(const tcp_turns& turns, ConnectionSums* sums) {
  if (!sums->first_byte) sums->first_byte.emplace();
  if (turns.multiplexed) {
    ++sums->multiplexed;
    return;
  }
  sums->turns = sums->turns.value_or(0) + turns.count;
  ++sums->turns_connections;
  const uint32_t held = std::min<uint32_t>(turns.measured, TCP_HELD_TURNS);
  for (uint32_t i = 0; i < held; ++i) sums->first_byte->AddBucket(turns.held[i], 1);
}

void AddEnd(const tcp_row& row, uint64_t tick_ns, ConnectionSums* sums) {
  const std::string closed_by = ClosedBy(row);
  if (!closed_by.empty()) ++sums->closed_by[closed_by];
  sums->resets_sent += (row.resets & TCP_RESET_SENT) != 0;
  sums->resets_received += (row.resets & TCP_RESET_RECEIVED) != 0;
  sums->resets_after_idle += (row.resets & TCP_RESET_AFTER_IDLE) != 0;
  if (!row.closed_ns) return;
  sums->idle_before_close.Add(row.idle * tick_ns);
  if (row.last.srtt_us) sums->srtt.Add(uint64_t{row.last.srtt_us} * 1000);
}

}  // namespace

ConnectionRole RoleOf(const tcp_row& row) {
  switch (row.role) {
    case TCP_ROLE_OPENED:
      return ConnectionRole::kOpened;
    case TCP_ROLE_ACCEPTED:
      return ConnectionRole::kAccepted;
    case TCP_ROLE_LISTENER:
      return ConnectionRole::kListener;
    default:
      return ConnectionRole::kUnknown;
  }
}

ConnectionSums* ConnectionGroups::Of(Key key) {
  if (groups_.size() >= kMostGroups && !groups_.contains(key)) {
    std::get<2>(key) = STACK_NONE;
    ++without_path_;
    if (groups_.size() >= kMostPeers && !groups_.contains(key)) {
      std::get<3>(key).clear();
      ++without_peer_;
    }
  }
  return &groups_[std::move(key)];
}

void ConnectionGroups::Add(const tcp_row& row, const RowFacts& facts, ConnectionSums* sums) {
  const bool before_attach = row.flags & TCP_BEFORE_ATTACH;
  sums->before_attach += before_attach;
  sums->open += row.closed_ns == 0;
  for (const std::string& holder : facts.holders) ++sums->holders[holder];
  if (row.role == TCP_ROLE_LISTENER) {
    sums->retransmitted += row.synack_retrans;
    sums->syn_retransmits += row.synack_retrans;
    return;
  }
  AddTraffic(row, facts.tick_ns, sums);
  if (row.turns.group) turn_groups_[row.turns.group] = sums;
  // What was never established has no life, and no end but its failure.
  const bool in_flight = row.role == TCP_ROLE_OPENED && !row.established_ns;
  if (in_flight) return;
  if (row.closed_ns && !before_attach) sums->lifetime.Add(Since(row.open_ns, row.closed_ns));
  AddEnd(row, facts.tick_ns, sums);
  if (row.end == TCP_END_FIN_SENT && row.closed_ns) KeepEnd(row, sums);
  if (facts.turns && row.role != TCP_ROLE_UNKNOWN) AddHeldTurns(row.turns, sums);
}

void ConnectionGroups::AddTurns(const tcp_turn_key& key, uint64_t times) {
  const auto found = turn_groups_.find(key.group);
  if (found == turn_groups_.end()) {
    turns_of_nobody_ += times;
    return;
  }
  std::optional<Histogram>& first_byte = found->second->first_byte;
  if (!first_byte) first_byte.emplace();
  first_byte->AddBucket(key.bucket, times);
}

void ConnectionGroups::KeepEnd(const tcp_row& row, ConnectionSums* sums) {
  if (row.closed_ns > ended_since_ns_ + kTimeWaitNs) {
    ended_before_ = std::exchange(ended_, {});
    ended_since_ns_ = row.closed_ns;
  }
  if (ended_.size() >= kMostEnds) {
    ++ends_not_kept_;
    return;
  }
  ended_[{row.netns, row.local_port, row.remote_port, AddressOf(row.remote)}] = sums;
}

void ConnectionGroups::AddTimeWait(const tcp_time_wait& socket) {
  const Ends ends(socket.netns, socket.local_port, socket.remote_port, AddressOf(socket.remote));
  for (const auto* kept : {&ended_, &ended_before_}) {
    const auto found = kept->find(ends);
    if (found == kept->end()) continue;
    ++found->second->time_wait;
    return;
  }
}

}  // namespace stallscope
