// SPDX-License-Identifier: Apache-2.0
//
// One goroutine a line, as the samples of a recording are: a document tree of a hundred thousand
// goroutines would take gigabytes.
#include <map>
#include <nlohmann/json.hpp>

#include "userspace/format/dump.h"
#include "userspace/format/json_frame.h"
#include "userspace/format/text.h"

namespace stallscope {
namespace {

using Object = nlohmann::ordered_json;

std::string Text(const Object& value) {
  return value.dump(-1, ' ', false, Object::error_handler_t::replace);
}

Object Creator(const DumpEntry& entry) {
  if (!entry.creator) return nullptr;
  const ProfileFrame& frame = entry.creator->frame;
  Object object;
  object["name"] = ClipName(frame.name);
  object["file"] = frame.file.empty() ? Object(nullptr) : Object(ClipName(frame.file));
  object["line"] = frame.line == 0 ? Object(nullptr) : Object(frame.line);
  object["parent"] = entry.creator->parent == 0 ? Object(nullptr) : Object(entry.creator->parent);
  return object;
}

Object Labels(const DumpEntry& entry) {
  Object labels = Object::object();
  for (const auto& [key, value] : entry.labels) labels[ClipName(key)] = ClipName(value);
  return labels;
}

}  // namespace

std::string DumpJson(const Dump& dump) {
  const bool threads = dump.go_version.empty();
  std::map<ProfileFrame, std::string> frame_texts;  // each distinct frame is written once
  std::string out = "{\"version\":" + Text(dump.tool_version);
  out += ",\"target\":" + Text(ClipName(dump.target));
  out += ",\"go_version\":" + (threads ? "null" : Text(dump.go_version));
  out += ",\"taken_unix_ns\":" + Text(dump.taken_unix_ns);
  out += ",\"took_ns\":" + Text(dump.took_ns);
  Object notes = Object::array();
  for (const std::string& note : dump.notes) notes.push_back(ClipName(note));
  out += ",\"notes\":" + Text(notes);
  out += threads ? ",\"threads\":[" : ",\"goroutines\":[";
  bool first = true;
  for (const DumpEntry& entry : dump.entries) {
    out += first ? "\n" : ",\n";
    first = false;
    out += "{\"id\":" + Text(entry.id);
    if (threads) out += ",\"name\":" + Text(ClipName(entry.name));
    out += ",\"state\":" + Text(entry.state);
    out += ",\"reason\":" + Text(ClipName(entry.reason));
    out += ",\"at_least_ns\":" +
           Text(entry.at_least_ns ? Object(*entry.at_least_ns) : Object(nullptr));
    if (entry.locked) out += ",\"locked_to_thread\":true";
    if (!entry.peer.empty()) out += ",\"peer\":" + Text(ClipName(entry.peer));
    if (!entry.idle.empty()) out += ",\"idle\":" + Text(entry.idle);
    if (!entry.no_stack.empty()) out += ",\"no_stack\":" + Text(entry.no_stack);
    if (!threads) {
      out += ",\"created_by\":" + Text(Creator(entry));
      out += ",\"labels\":" + Text(Labels(entry));
    }
    out += ",\"frames\":[";
    for (size_t i = 0; i < entry.frames.size(); ++i) {
      auto [it, added] = frame_texts.try_emplace(entry.frames[i]);
      if (added) it->second = JsonFrame(entry.frames[i]);
      if (i) out += ',';
      out += it->second;
    }
    out += "]}";
  }
  out += "\n]}\n";
  return out;
}

}  // namespace stallscope
