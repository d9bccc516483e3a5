// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/connection_groups.h"

#include <algorithm>
#include <utility>

namespace stallscope {
namespace {

constexpr size_t kMostGroups = 1 << 16;
constexpr size_t kMostPeers = kMostGroups * 2;

uint64_t Since(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

}  // namespace

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

void AddConnection(const tcp_row& row, ConnectionSums* sums) {
  const bool before_attach = row.flags & TCP_BEFORE_ATTACH;
  sums->before_attach += before_attach;
  sums->open += row.closed_ns == 0;
  if (row.role == TCP_ROLE_LISTENER) {
    sums->retransmitted += row.synack_retrans;
    sums->syn_retransmits += row.synack_retrans;
    return;
  }
  if (row.established_ns && row.closed_ns && !before_attach)
    sums->lifetime.Add(Since(row.open_ns, row.closed_ns));
  const uint64_t retransmitted = Since(row.baseline.retrans, row.last.retrans);
  sums->retransmitted += retransmitted;
  sums->retransmitted_bytes += Since(row.baseline.bytes_retrans, row.last.bytes_retrans);
  sums->data_segments += Since(row.baseline.data_segs_out, row.last.data_segs_out);
}

}  // namespace stallscope
