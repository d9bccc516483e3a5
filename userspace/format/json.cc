// SPDX-License-Identifier: Apache-2.0
//
// The JSON of docs/json.md. The only file of the formats that includes nlohmann/json (it costs
// seconds to compile).
//
// One sample a line. Each distinct frame is turned into text once and copied from there: a document
// tree of every frame of every sample would take gigabytes.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "userspace/format/format.h"
#include "userspace/format/json_parts.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"

namespace stallscope {
namespace {

using Object = nlohmann::ordered_json;

// Bytes that are not UTF-8 become U+FFFD, so this never throws.
std::string Dump(const Object& value) {
  return value.dump(-1, ' ', false, Object::error_handler_t::replace);
}

template <typename T>
Object OrNull(const std::optional<T>& value) {
  return value ? Object(*value) : Object(nullptr);
}

// 0: the recording does not say.
Object PidOrNull(uint32_t pid) { return pid == 0 ? Object(nullptr) : Object(pid); }

const char* KindName(ProfileFrameKind kind) {
  switch (kind) {
    case ProfileFrameKind::kNative:
      return "native";
    case ProfileFrameKind::kGo:
      return "go";
    case ProfileFrameKind::kRuntime:
      return "runtime";
    case ProfileFrameKind::kKernel:
      return "kernel";
    case ProfileFrameKind::kMarker:
      return "marker";
  }
  return "native";
}

Object Labels(const ProfileSample& sample) {
  Object labels = Object::object();
  labels["comm"] = ClipName(sample.comm);
  for (const auto& [key, value] : sample.labels) labels[ClipName(key)] = ClipName(value);
  return labels;
}

// The frames of a stack, as an array.
std::string Frames(const std::vector<std::string>& frame_texts,
                   const std::vector<uint32_t>& stack) {
  std::string out = "[";
  for (const uint32_t frame : stack) {
    if (out.size() > 1) out += ',';
    out += frame < frame_texts.size() ? frame_texts[frame] : JsonFrame({.name = "[unknown]"});
  }
  return out + "]";
}

void AppendSample(const std::vector<std::string>& frame_texts, const EventProfile& event,
                  const ProfileSample& sample, std::string& out) {
  Object values = Object::array();
  for (size_t i = 0; i < event.columns.size(); ++i) values.push_back(OrNull(ValueAt(sample, i)));
  out += "{\"values\":" + Dump(values);
  out += ",\"reason\":" + Dump(ClipName(sample.reason));
  out += ",\"labels\":" + Dump(Labels(sample));
  if (!sample.idle.empty()) out += ",\"idle\":" + Dump(sample.idle);
  if (sample.never_ran) out += ",\"never_ran\":true";
  out += ",\"frames\":" + Frames(frame_texts, sample.frames) + "}";
}

void AppendEvent(const std::vector<std::string>& frame_texts, const EventProfile& event,
                 std::string& out) {
  Object columns = Object::array();
  for (const Column& column : event.columns) {
    columns.push_back(Object{{"name", column.name}, {"unit", column.unit}});
  }
  out += Dump(ClipName(event.name)) + ":{\"mechanism\":" + Dump(event.mechanism);
  out += ",\"columns\":" + Dump(columns) + ",\"samples\":[";
  bool first = true;
  for (const ProfileSample& sample : event.samples) {
    out += first ? "\n" : ",\n";
    first = false;
    AppendSample(frame_texts, event, sample, out);
  }
  out += "]}";
}

Object HiddenTimes(const Profile& profile) {
  Object out = Object::array();
  for (const Hidden& hidden : profile.hidden) {
    out.push_back(Object{{"event", hidden.event},
                         {"why", hidden.why},
                         {"count", hidden.count},
                         {"time_ns", hidden.time_ns}});
  }
  return out;
}

Object Totals(const Profile& profile) {
  Object out = Object::array();
  for (const ProfileTotals& totals : profile.totals) {
    out.push_back(Object{{"pid", PidOrNull(totals.pid)},
                         {"comm", ClipName(totals.comm)},
                         {"running_ns", totals.running_ns},
                         {"runnable_ns", totals.runnable_ns},
                         {"blocked_ns", totals.blocked_ns},
                         {"unknown_ns", totals.unknown_ns},
                         {"switches", totals.switches}});
  }
  return out;
}

void AppendHung(const std::vector<std::string>& frame_texts, const Profile& profile,
                std::string& out) {
  bool first = true;
  for (const ProfileHungThread& thread : profile.hung) {
    const std::string head = Dump(Object{{"comm", ClipName(thread.comm)},
                                         {"pid", PidOrNull(thread.pid)},
                                         {"tid", thread.tid},
                                         {"name", ClipName(thread.name)},
                                         {"reason", ClipName(thread.reason)},
                                         {"go_scheduler", thread.go_scheduler}});
    out += first ? "\n" : ",\n";
    first = false;
    out.append(head, 0, head.size() - 1);
    out += ",\"frames\":" + Frames(frame_texts, thread.frames) + "}";
  }
}

Object CensusObject(const ProfileCensus& of) {
  const Census& census = of.census;
  Object reasons = Object::array();
  for (const Estimate& estimate : census.reasons) {
    reasons.push_back(Object{{"reason", ClipName(estimate.words)},
                             {"time_ns", estimate.time_ns},
                             {"margin_ns", estimate.margin_ns}});
  }
  return Object{{"pid", PidOrNull(of.pid)},
                {"comm", ClipName(of.comm)},
                {"snapshots", census.ticks},
                {"period_ns", census.period_ns},
                {"share", static_cast<double>(census.share_ppm) / 1e6},
                {"fewest", census.fewest},
                {"most", census.most},
                {"looks", census.looks},
                {"stacks_read", census.stacks_read},
                {"torn", census.torn},
                {"unread", census.unread},
                {"cpu_ns", census.tick_cpu_ns},
                {"setup_cpu_ns", census.setup_cpu_ns},
                {"budget", static_cast<double>(census.budget_ppm) / 1e6},
                {"reasons", std::move(reasons)}};
}

}  // namespace

nlohmann::ordered_json JsonLosses(const Profile& profile) {
  Object losses = Object::array();
  for (const Loss& loss : profile.losses) {
    losses.push_back(Object{{"event", loss.event},
                            {"name", loss.name},
                            {"count", loss.count},
                            {"time_ns", OrNull(loss.time_ns)},
                            {"dropped", loss.dropped},
                            {"remedy", loss.remedy}});
  }
  return losses;
}

nlohmann::ordered_json JsonNotes(const Profile& profile) {
  Object out = Object::array();
  for (const std::string& note : profile.notes) out.push_back(ClipName(note));
  return out;
}

nlohmann::ordered_json JsonCost(const Profile& profile) {
  const Cost& cost = profile.cost;
  return Object{{"own_cpu_ns", cost.own_cpu_ns},
                {"kernel_ns", OrNull(cost.kernel_ns)},
                {"kernel_runs", cost.kernel_runs},
                {"map_bytes", cost.map_bytes},
                {"rss_bytes", cost.rss_bytes}};
}

std::string JsonFrame(const ProfileFrame& frame) {
  Object object;
  object["name"] = ClipName(frame.name);
  object["file"] = frame.file.empty() ? Object(nullptr) : Object(ClipName(frame.file));
  object["line"] = frame.line == 0 ? Object(nullptr) : Object(frame.line);
  object["kind"] = KindName(frame.kind);
  if (frame.inlined) object["inlined"] = true;
  if (frame.guessed) object["guessed"] = true;
  if (frame.unnamed) object["unnamed"] = true;
  return Dump(object);
}

nlohmann::ordered_json JsonCensuses(const Profile& profile) {
  Object out = Object::array();
  for (const ProfileCensus& of : profile.censuses) out.push_back(CensusObject(of));
  return out;
}

nlohmann::ordered_json JsonHistograms(const Profile& profile) {
  Object out = Object::array();
  for (const ProfileHistogram& of : profile.histograms) {
    const RuntimeHistogram& histogram = of.histogram;
    out.push_back(Object{{"pid", PidOrNull(of.pid)},
                         {"comm", ClipName(of.comm)},
                         {"name", ClipName(histogram.name)},
                         {"count", histogram.count},
                         {"total_ns", histogram.total_ns},
                         {"p50_ns", histogram.p50_ns},
                         {"p99_ns", histogram.p99_ns},
                         {"max_ns", histogram.max_ns}});
  }
  return out;
}

std::string Json(const Profile& profile) {
  std::vector<std::string> frame_texts;
  frame_texts.reserve(profile.frames.size());
  for (const ProfileFrame& frame : profile.frames) frame_texts.push_back(JsonFrame(frame));

  std::string out = "{\"version\":" + Dump(profile.tool_version);
  out += ",\n\"target\":" + Dump(ClipName(profile.target));
  out += ",\n\"start_unix_ns\":" + std::to_string(profile.start_unix_ns);
  out += ",\n\"duration_ns\":" + std::to_string(profile.duration_ns);
  out += ",\n\"events\":{";
  bool first = true;
  for (const EventProfile& event : profile.events) {
    out += first ? "\n" : ",\n";
    first = false;
    AppendEvent(frame_texts, event, out);
  }
  out += "},\n\"losses\":" + Dump(JsonLosses(profile));
  out += ",\n\"hidden\":" + Dump(HiddenTimes(profile));
  out += ",\n\"totals\":" + Dump(Totals(profile));
  out += ",\n\"hung\":[";
  AppendHung(frame_texts, profile, out);
  out += "],\n\"censuses\":" + Dump(JsonCensuses(profile));
  out += ",\n\"runtime\":" + Dump(JsonHistograms(profile));
  out += ",\n\"notes\":" + Dump(JsonNotes(profile));
  out += ",\n\"cost\":" + Dump(JsonCost(profile)) + "}\n";
  return out;
}

}  // namespace stallscope
