// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "userspace/format/dump.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"

namespace stallscope {
namespace {

constexpr size_t kIdsShown = 8;

std::string Thousands(uint64_t count) { return ShowValue(static_cast<int64_t>(count), "count"); }

std::string Place(const ProfileFrame& frame) {
  if (frame.file.empty()) return "";
  return fmt::format("{}:{}", PrintableName(frame.file), frame.line);
}

// "[chan receive 0xc000012340, >= 5 min, locked to thread]"
std::string Brackets(const DumpEntry& entry, const std::string& peer, bool with_time) {
  std::string text = PrintableName(entry.reason.empty() ? entry.state : entry.reason);
  if (!peer.empty()) text += " " + PrintableName(peer);
  if (with_time && entry.at_least_ns)
    text += ", >= " + ShowValue(static_cast<int64_t>(*entry.at_least_ns), "ns");
  if (entry.locked) text += ", locked to thread";
  return "[" + text + "]";
}

// As Go's own traces: of the runtime only what a program can call.
bool IsShown(const ProfileFrame& frame) {
  constexpr std::string_view kRuntime = "runtime.";
  const std::string_view name = frame.name;
  if (name.substr(0, kRuntime.size()) != kRuntime || name.size() == kRuntime.size()) return true;
  const char first = name[kRuntime.size()];
  return first >= 'A' && first <= 'Z';
}

std::string Lines(const std::vector<ProfileFrame>& frames, std::string_view indent) {
  std::string out;
  const bool any = std::any_of(frames.begin(), frames.end(), IsShown);
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) {
    if (any && !IsShown(*frame)) continue;
    out += fmt::format("{}{}\n", indent, PrintableName(frame->name));
    if (!frame->file.empty()) out += fmt::format("{}    {}\n", indent, Place(*frame));
  }
  return out;
}

void AppendLabels(const DumpEntry& entry, std::string_view indent, std::string& out) {
  if (entry.labels.empty()) return;
  std::string text;
  for (const auto& [key, value] : entry.labels) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{}={}", PrintableName(key), PrintableName(value));
  }
  fmt::format_to(std::back_inserter(out), "{}labels: {}\n", indent, text);
}

// Writes entries, each distinct stack and creator put into words once.
class Writer {
 public:
  Writer(const Dump& dump, std::string_view indent) : dump_(dump), indent_(indent) {
    for (const auto& frames : dump.stacks) stacks_.push_back(Lines(frames, indent));
    for (const ProfileFrame& frame : dump.creators) {
      creators_.push_back(fmt::format("{}created by {}", indent, PrintableName(frame.name)));
      const std::string place = Place(frame);
      places_.push_back(place.empty() ? "" : fmt::format("{}    {}\n", indent, place));
    }
  }

  void Append(const DumpEntry& entry, bool with_parent, std::string& out) const {
    auto to = std::back_inserter(out);
    if (entry.stack) {
      out += stacks_[*entry.stack];
    } else {
      fmt::format_to(to, "{}(no stack: {})\n", indent_, entry.no_stack);
    }
    if (entry.creator) {
      out += creators_[*entry.creator];
      if (with_parent && entry.parent) fmt::format_to(to, " in goroutine {}", entry.parent);
      out += '\n';
      out += places_[*entry.creator];
    }
    AppendLabels(entry, indent_, out);
  }

 private:
  const Dump& dump_;
  std::string_view indent_;
  std::vector<std::string> stacks_, creators_, places_;
};

std::string Heading(const DumpEntry& entry, bool threads) {
  if (!threads)
    return fmt::format("goroutine {} {}:\n", entry.id, Brackets(entry, entry.peer, true));
  return fmt::format("thread {} ({}) {}:\n", entry.id, PrintableName(entry.name),
                     Brackets(entry, entry.peer, true));
}

void AppendEach(const Dump& dump, const std::vector<const DumpEntry*>& entries, std::string& out) {
  const Writer writer(dump, "");
  for (const DumpEntry* entry : entries) {
    out += '\n';
    out += Heading(*entry, dump.go_version.empty());
    writer.Append(*entry, true, out);
  }
}

// What makes two goroutines equal to a reader. Those that wait for different peers may be a leak.
auto GroupKey(const DumpEntry& entry) {
  return std::make_tuple(entry.stack, entry.creator, entry.reason, entry.state, entry.locked,
                         entry.labels);
}

std::string Ids(const std::vector<const DumpEntry*>& group) {
  std::string text;
  for (size_t i = 0; i < group.size() && i < kIdsShown; ++i)
    text += fmt::format("{}{}", i ? ", " : "", group[i]->id);
  if (group.size() > kIdsShown) text += ", ...";
  return text;
}

// Whom the goroutines of a group wait for: each of a few, else how many they are.
std::string Peers(const std::vector<const DumpEntry*>& group) {
  constexpr size_t kMost = 2;
  std::set<std::string> peers;
  for (const DumpEntry* entry : group) peers.insert(entry->peer);
  if (peers.size() > kMost) return fmt::format("({} different)", Thousands(peers.size()));
  std::string text;
  for (const std::string& peer : peers) {
    if (!peer.empty()) text += (text.empty() ? "" : ", ") + peer;
  }
  return text;
}

// The longest of those that are known, and whether that is known of all.
std::string Longest(const std::vector<const DumpEntry*>& group) {
  std::optional<uint64_t> longest;
  for (const DumpEntry* entry : group) {
    if (entry->at_least_ns) longest = std::max(longest.value_or(0), *entry->at_least_ns);
  }
  if (!longest) return "";
  return fmt::format(", {} >= {}", group.size() == 1 ? "for" : "one for",
                     ShowValue(static_cast<int64_t>(*longest), "ns"));
}

// "1 thread", "2 goroutines".
std::string Counted(const Dump& dump, size_t count) {
  return fmt::format("{} {}{}", Thousands(count), dump.go_version.empty() ? "thread" : "goroutine",
                     count == 1 ? "" : "s");
}

void AppendGroups(const Dump& dump, const std::vector<const DumpEntry*>& entries,
                  std::string& out) {
  std::map<decltype(GroupKey(DumpEntry())), std::vector<const DumpEntry*>> by_key;
  for (const DumpEntry* entry : entries) by_key[GroupKey(*entry)].push_back(entry);
  std::vector<const std::vector<const DumpEntry*>*> groups;
  groups.reserve(by_key.size());
  for (const auto& [key, group] : by_key) groups.push_back(&group);
  std::stable_sort(groups.begin(), groups.end(), [](const auto* a, const auto* b) {
    return a->size() != b->size() ? a->size() > b->size() : a->front()->id < b->front()->id;
  });
  const Writer writer(dump, "  ");
  for (const auto* group : groups) {
    const DumpEntry& one = *group->front();
    fmt::format_to(std::back_inserter(out), "\n{} {}{}  ({} {})\n", Counted(dump, group->size()),
                   Brackets(one, Peers(*group), false), Longest(*group),
                   dump.go_version.empty() ? "tid" : "id", Ids(*group));
    writer.Append(one, group->size() == 1, out);
  }
}

std::string States(const Dump& dump) {
  std::map<std::string, uint64_t> counts;
  for (const DumpEntry& entry : dump.entries) ++counts[entry.state];
  std::string text;
  for (const auto& [state, count] : counts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", Thousands(count), state);
  return text;
}

void AppendIdle(const Dump& dump, std::string& out) {
  std::map<std::string, uint64_t> counts;
  uint64_t hidden = 0;
  for (const DumpEntry& entry : dump.entries) {
    if (entry.idle.empty()) continue;
    ++counts[entry.idle];
    ++hidden;
  }
  if (!hidden) return;
  std::string rules;
  for (const auto& [rule, count] : counts)
    rules += fmt::format("{}{} {}", rules.empty() ? "" : ", ", Thousands(count), rule);
  fmt::format_to(std::back_inserter(out), "\nidle by design, hidden: {} ({}); --idle shows them\n",
                 Thousands(hidden), rules);
}

}  // namespace

std::string DumpText(const Dump& dump, const DumpTextOptions& options) {
  const bool threads = dump.go_version.empty();
  std::string out = fmt::format(
      "{}{}{}: {}{}{}, read in {}\n", PrintableName(dump.target), threads ? "" : ", ",
      dump.go_version, Counted(dump, dump.entries.size()), dump.entries.empty() ? "" : ": ",
      States(dump), ShowValue(static_cast<int64_t>(dump.took_ns), "ns"));
  for (const std::string& note : dump.notes) out += PrintableName(note) + "\n";
  std::vector<const DumpEntry*> entries;
  for (const DumpEntry& entry : dump.entries) {
    if (options.idle || entry.idle.empty()) entries.push_back(&entry);
  }
  if (options.all) {
    AppendEach(dump, entries, out);
  } else {
    AppendGroups(dump, entries, out);
  }
  if (!options.idle) AppendIdle(dump, out);
  return out;
}

}  // namespace stallscope
