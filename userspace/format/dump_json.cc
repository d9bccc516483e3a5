// SPDX-License-Identifier: Apache-2.0
//
// One goroutine a line, as the samples of a recording are: a document tree of a hundred thousand
// goroutines would take gigabytes.
#include <fmt/format.h>

#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "userspace/format/dump.h"
#include "userspace/format/json_parts.h"
#include "userspace/format/text.h"

namespace stallscope {
namespace {

using Object = nlohmann::ordered_json;

std::string Text(const Object& value) {
  return value.dump(-1, ' ', false, Object::error_handler_t::replace);
}

// Without the last member, which is the parent.
std::string CreatorStart(const ProfileFrame& frame) {
  Object object;
  object["name"] = ClipName(frame.name);
  object["file"] = frame.file.empty() ? Object(nullptr) : Object(ClipName(frame.file));
  object["line"] = frame.line == 0 ? Object(nullptr) : Object(frame.line);
  std::string text = Text(object);
  text.pop_back();
  return text + ",\"parent\":";
}

std::string Frames(const std::vector<ProfileFrame>& frames) {
  std::string text = "[";
  for (size_t i = 0; i < frames.size(); ++i) text += (i ? "," : "") + JsonFrame(frames[i]);
  return text + "]";
}

// The same words come again and again.
class Quoted {
 public:
  const std::string& operator()(const std::string& text) {
    auto [it, added] = known_.try_emplace(text);
    if (added) it->second = Text(ClipName(text));
    return it->second;
  }

 private:
  std::map<std::string, std::string> known_;
};

Object Labels(const DumpEntry& entry) {
  Object labels = Object::object();
  for (const auto& [key, value] : entry.labels) labels[ClipName(key)] = ClipName(value);
  return labels;
}

}  // namespace

std::string DumpJson(const Dump& dump) {
  const bool threads = dump.go_version.empty();
  std::vector<std::string> stacks, creators;  // each distinct one is written once
  for (const auto& frames : dump.stacks) stacks.push_back(Frames(frames));
  for (const ProfileFrame& frame : dump.creators) creators.push_back(CreatorStart(frame));
  Quoted quoted;
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
    auto to = std::back_inserter(out);
    fmt::format_to(to, "{{\"id\":{}", entry.id);
    if (threads) fmt::format_to(to, ",\"name\":{}", Text(ClipName(entry.name)));
    fmt::format_to(to, ",\"state\":{},\"reason\":{}", quoted(entry.state), quoted(entry.reason));
    if (entry.at_least_ns) {
      fmt::format_to(to, ",\"at_least_ns\":{}", *entry.at_least_ns);
    } else {
      out += ",\"at_least_ns\":null";
    }
    if (entry.locked) out += ",\"locked_to_thread\":true";
    if (!entry.peer.empty()) fmt::format_to(to, ",\"peer\":{}", quoted(entry.peer));
    if (!entry.idle.empty()) fmt::format_to(to, ",\"idle\":{}", quoted(entry.idle));
    if (!entry.no_stack.empty()) fmt::format_to(to, ",\"no_stack\":{}", quoted(entry.no_stack));
    if (!threads) {
      out += ",\"created_by\":";
      if (entry.creator) {
        out += creators[*entry.creator];
        out += entry.parent ? fmt::format("{}}}", entry.parent) : "null}";
      } else {
        out += "null";
      }
      out += ",\"labels\":" + (entry.labels.empty() ? "{}" : Text(Labels(entry)));
    }
    fmt::format_to(to, ",\"frames\":{}}}", entry.stack ? stacks[*entry.stack] : "[]");
  }
  out += "\n]}\n";
  return out;
}

}  // namespace stallscope
