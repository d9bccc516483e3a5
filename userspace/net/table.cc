// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/table.h"

namespace stallscope {
namespace {

void MergeCounts(const std::map<std::string, uint64_t>& from,
                 std::map<std::string, uint64_t>* into) {
  for (const auto& [word, count] : from) (*into)[word] += count;
}

}  // namespace

void MergeSums(const ConnectionSums& from, ConnectionSums* into) {
  using Count = uint64_t ConnectionSums::*;
  for (const Count count : {&ConnectionSums::attempts,
                            &ConnectionSums::established,
                            &ConnectionSums::open,
                            &ConnectionSums::before_attach,
                            &ConnectionSums::superseded,
                            &ConnectionSums::multiplexed,
                            &ConnectionSums::bytes_sent,
                            &ConnectionSums::bytes_received,
                            &ConnectionSums::data_segments,
                            &ConnectionSums::retransmitted,
                            &ConnectionSums::retransmitted_bytes,
                            &ConnectionSums::syn_retransmits,
                            &ConnectionSums::timeout_retransmits,
                            &ConnectionSums::fast_retransmits,
                            &ConnectionSums::tail_loss_probes,
                            &ConnectionSums::failed_sends,
                            &ConnectionSums::resets_sent,
                            &ConnectionSums::resets_received,
                            &ConnectionSums::resets_after_idle,
                            &ConnectionSums::receiver_limited_ns,
                            &ConnectionSums::turns_connections,
                            &ConnectionSums::time_wait}) {
    into->*count += from.*count;
  }
  using Times = Histogram ConnectionSums::*;
  for (const Times times :
       {&ConnectionSums::connect, &ConnectionSums::accept_queue, &ConnectionSums::lifetime,
        &ConnectionSums::idle_before_close, &ConnectionSums::srtt}) {
    (into->*times).Merge(from.*times);
  }
  if (from.first_byte) {
    if (!into->first_byte) into->first_byte.emplace();
    into->first_byte->Merge(*from.first_byte);
  }
  if (from.turns) into->turns = into->turns.value_or(0) + *from.turns;
  MergeCounts(from.failures, &into->failures);
  MergeCounts(from.closed_by, &into->closed_by);
  MergeCounts(from.holders, &into->holders);
}

uint64_t Failed(const ConnectionSums& sums) {
  uint64_t failed = 0;
  for (const auto& [reason, count] : sums.failures) failed += count;
  return failed;
}

uint64_t InFlight(const ConnectionSums& sums) {
  const uint64_t decided = sums.established + sums.superseded + Failed(sums);
  return sums.attempts > decided ? sums.attempts - decided : 0;
}

std::string_view RoleName(ConnectionRole role) {
  switch (role) {
    case ConnectionRole::kOpened:
      return "opened";
    case ConnectionRole::kAccepted:
      return "accepted";
    case ConnectionRole::kListener:
      return "listener";
    case ConnectionRole::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace stallscope
