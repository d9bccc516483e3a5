// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <string>

#include "userspace/format/json_parts.h"
#include "userspace/format/net.h"
#include "userspace/format/text.h"

namespace stallscope {
namespace {

using Json = nlohmann::ordered_json;

Json Times(const Histogram& times) {
  if (times.count() == 0) {
    return {{"p50", nullptr}, {"p99", nullptr}, {"max", nullptr}, {"count", 0}};
  }
  return {{"p50", times.Quantile(0.5)},
          {"p99", times.Quantile(0.99)},
          {"max", times.max()},
          {"count", times.count()}};
}

Json Counts(const std::map<std::string, uint64_t>& counts) {
  Json object = Json::object();
  for (const auto& [word, count] : counts) object[ClipName(word)] = count;
  return object;
}

Json OrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(ClipName(text)); }

Json Peer(const NetPeer& row) {
  const ConnectionSums& sums = row.sums;
  const bool opened = row.role == ConnectionRole::kOpened;
  const bool accepted = row.role == ConnectionRole::kAccepted;
  Json frames = Json::array();
  for (const std::string& frame : row.frames) frames.push_back(ClipName(frame));
  return {{"peer", row.peer},
          {"role", RoleName(row.role)},
          {"process", ClipName(row.process)},
          {"path", OrNull(row.path)},
          {"frames", std::move(frames)},
          {"connects", sums.attempts},
          {"established", sums.established},
          {"failures", Counts(sums.failures)},
          {"superseded", sums.superseded},
          {"in_flight", opened ? InFlight(sums) : 0},
          {"open", sums.open},
          {"before_attach", sums.before_attach},
          {"time_wait", sums.time_wait},
          {"dns", nullptr},
          {"connect", opened ? Times(sums.connect) : Json(nullptr)},
          {"accept", accepted ? Times(sums.accept_queue) : Json(nullptr)},
          {"tls", nullptr},
          {"first_byte", sums.first_byte ? Times(*sums.first_byte) : Json(nullptr)},
          {"multiplexed", sums.multiplexed},
          {"retrans", sums.retransmitted},
          {"segments", sums.data_segments},
          {"retrans_bytes", sums.retransmitted_bytes},
          {"retrans_kinds",
           {{"syn", sums.syn_retransmits},
            {"timeout", sums.timeout_retransmits},
            {"fast", sums.fast_retransmits},
            {"tail_loss_probe", sums.tail_loss_probes}}},
          {"failed_sends", sums.failed_sends},
          {"bytes_sent", sums.bytes_sent},
          {"bytes_received", sums.bytes_received},
          {"turns", sums.turns ? Json(*sums.turns) : Json(nullptr)},
          {"turns_connections", sums.turns_connections},
          {"closed_by", Counts(sums.closed_by)},
          {"lifetime", Times(sums.lifetime)},
          {"idle_before_close", Times(sums.idle_before_close)},
          {"srtt", Times(sums.srtt)},
          {"resets",
           {{"sent", sums.resets_sent},
            {"received", sums.resets_received},
            {"after_idle", sums.resets_after_idle}}},
          {"receiver_limited_ns", sums.receiver_limited_ns},
          {"holders", Counts(sums.holders)}};
}

Json Loop(const NetLoop& loop) {
  return {{"process", ClipName(loop.process)},
          {"name", ClipName(loop.name)},
          {"path", OrNull(loop.path)},
          {"threads", loop.threads},
          {"calls", loop.calls},
          {"polls", loop.polls},
          {"events", loop.events},
          {"empty", loop.empty},
          {"empty_polls", loop.empty_polls},
          {"waiting_ns", loop.waiting_ns},
          {"waiting_share", loop.waiting_share ? Json(*loop.waiting_share) : Json(nullptr)},
          {"longest_busy_ns", loop.longest_busy_ns},
          {"longest_unattended_ns", loop.longest_unattended_ns},
          {"lag", loop.lag ? Times(*loop.lag) : Json(nullptr)},
          {"without_lag", loop.without_lag}};
}

}  // namespace

std::string NetJson(const NetReport& report) {
  const Profile& profile = report.profile;
  Json out;
  out["version"] = profile.tool_version;
  out["target"] = profile.target;
  out["start_unix_ns"] = profile.start_unix_ns;
  out["duration_ns"] = profile.duration_ns;
  out["stacks"] = report.table.with_stacks;
  out["quantile_error"] = kHistogramQuantileError;
  out["mechanisms"] = Json::object();
  for (const EventProfile& event : profile.events) {
    if (!event.mechanism.empty()) out["mechanisms"][event.name] = event.mechanism;
  }
  out["peers"] = Json::array();
  for (const NetPeer& row : report.table.peers) out["peers"].push_back(Peer(row));
  out["loops"] = nullptr;
  if (report.table.loops) {
    out["loops"] = Json::array();
    for (const NetLoop& loop : *report.table.loops) out["loops"].push_back(Loop(loop));
  }
  out["findings"] = Json::array();
  for (const NetFinding& finding : report.verdict.findings) {
    out["findings"].push_back({{"rule", finding.rule},
                               {"process", ClipName(finding.process)},
                               {"peer", OrNull(finding.peer)},
                               {"path", OrNull(finding.path)},
                               {"text", finding.text}});
  }
  out["not_judged"] = report.verdict.not_judged;
  out["losses"] = JsonLosses(profile);
  out["notes"] = JsonNotes(profile);
  out["cost"] = JsonCost(profile);
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope
