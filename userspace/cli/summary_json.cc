// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/summary_json.h"

#include <nlohmann/json.hpp>

#include "userspace/format/json_parts.h"
#include "userspace/profile/summarize.h"

namespace stallscope {
namespace {

using Json = nlohmann::ordered_json;

Json OptionalNumber(const std::optional<uint64_t>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

std::string SummaryJson(const Profile& profile, const std::vector<std::string>& files) {
  const Summary summary = Summarize(profile);
  Json out;
  out["version"] = profile.tool_version;
  out["target"] = profile.target;
  out["duration_ns"] = profile.duration_ns;
  out["events"] = Json::object();
  for (const EventSummary& event : summary.events) {
    out["events"][event.name] = {{"mechanism", event.mechanism},
                                 {"time_ns", OptionalNumber(event.time_ns)},
                                 {"count", event.count},
                                 {"stacks", event.stacks},
                                 {"hidden_time_ns", event.hidden_time_ns},
                                 {"hidden_count", event.hidden_count},
                                 {"dropped_count", event.dropped_count},
                                 {"never_ran_time_ns", event.never_ran_time_ns},
                                 {"never_ran_count", event.never_ran_count},
                                 {"idle_time_ns", event.idle_time_ns}};
  }
  out["heaviest"] = Json::array();
  for (const HeavyReason& heavy : summary.heaviest) {
    out["heaviest"].push_back({{"event", heavy.event},
                               {"reason", heavy.reason},
                               {"site", heavy.site},
                               {"comm", heavy.comm},
                               {"value", heavy.value},
                               {"unit", heavy.unit},
                               {"share", heavy.share},
                               {"margin_ns", OptionalNumber(heavy.margin_ns)}});
  }
  out["hidden"] = Json::array();
  for (const Hidden& hidden : profile.hidden) {
    out["hidden"].push_back({{"event", hidden.event},
                             {"why", hidden.why},
                             {"count", hidden.count},
                             {"time_ns", hidden.time_ns}});
  }
  out["never_ran"] = Json::array();
  for (const NeverRan& one : summary.never_ran) {
    out["never_ran"].push_back({{"comm", one.comm},
                                {"reason", one.reason},
                                {"site", one.site},
                                {"file", one.file},
                                {"line", one.line},
                                {"count", one.count}});
  }
  out["censuses"] = JsonCensuses(profile);
  out["runtime"] = JsonHistograms(profile);
  out["hung"] = Json::array();
  for (const ProfileHungThread& thread : profile.hung) {
    Json frames = Json::array();
    for (uint32_t frame : thread.frames) frames.push_back(profile.frames[frame].name);
    out["hung"].push_back({{"comm", thread.comm},
                           {"pid", thread.pid},
                           {"tid", thread.tid},
                           {"name", thread.name},
                           {"reason", thread.reason},
                           {"go_scheduler", thread.go_scheduler},
                           {"frames", std::move(frames)}});
  }
  out["losses"] = Json::array();
  for (const Loss& loss : profile.losses) {
    out["losses"].push_back({{"event", loss.event},
                             {"name", loss.name},
                             {"count", loss.count},
                             {"time_ns", OptionalNumber(loss.time_ns)},
                             {"dropped", loss.dropped},
                             {"remedy", loss.remedy}});
  }
  out["notes"] = profile.notes;
  out["stacks"] = {{"distinct", summary.stacks.stacks},
                   {"user_frames", summary.stacks.user_frames},
                   {"user_unnamed", summary.stacks.user_unnamed},
                   {"user_guessed", summary.stacks.user_guessed},
                   {"go_frames", summary.stacks.go_frames},
                   {"go_unnamed", summary.stacks.go_unnamed},
                   {"kernel_frames", summary.stacks.kernel_frames},
                   {"kernel_unnamed", summary.stacks.kernel_unnamed}};
  out["cost"] = {{"own_cpu_ns", profile.cost.own_cpu_ns},
                 {"kernel_ns", OptionalNumber(profile.cost.kernel_ns)},
                 {"kernel_runs", profile.cost.kernel_runs},
                 {"map_bytes", profile.cost.map_bytes},
                 {"rss_bytes", profile.cost.rss_bytes}};
  out["files"] = files;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope
