// SPDX-License-Identifier: Apache-2.0
#include "userspace/net/make_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "userspace/profile/site.h"

namespace stallscope {
namespace {

constexpr char kGroupLabel[] = "group";  // the index of the group that a sample stands for

uint64_t Connections(const ConnectionSums& sums) { return sums.attempts + sums.before_attach; }

std::string LabelOf(const ProfileSample& sample, const char* label) {
  const auto found = sample.labels.find(label);
  return found == sample.labels.end() ? "" : found->second;
}

std::optional<size_t> GroupOf(const ProfileSample& sample, size_t groups) {
  const std::string text = LabelOf(sample, kGroupLabel);
  size_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || index >= groups) return std::nullopt;
  return index;
}

std::string ProcessOf(const ProfileSample& sample) {
  return fmt::format("{} ({})", sample.comm, LabelOf(sample, "pid"));
}

// The program's own functions of a stack, innermost first: the site, then who led there. A stack of
// markers alone has what they say.
std::vector<std::string> ChainOf(const Profile& profile, const ProfileSample& sample) {
  constexpr size_t kLongest = 32;
  std::vector<std::string> chain;
  std::vector<uint32_t> rest = sample.frames;
  while (chain.size() < kLongest) {
    const auto site = SiteOfWait(profile.frames, rest, sample.own_from);
    if (!site) break;
    chain.push_back(profile.frames[*site].name);
    while (rest.back() != *site) rest.pop_back();
    rest.pop_back();
  }
  if (!chain.empty()) return chain;
  for (const uint32_t frame : sample.frames) {
    if (profile.frames[frame].kind == ProfileFrameKind::kMarker)
      return {profile.frames[frame].name};
  }
  return {""};
}

struct NamedGroup {
  NetPeer row;
  std::vector<std::string> chain;
};

NamedGroup Named(const Profile& profile, const ProfileSample& sample,
                 const ConnectionGroup& group) {
  NamedGroup named;
  named.chain = ChainOf(profile, sample);
  NetPeer& row = named.row;
  row.peer = group.peer;
  row.role = group.role;
  row.process = ProcessOf(sample);
  for (const uint32_t frame : sample.frames) row.frames.push_back(profile.frames[frame].name);
  row.sums = group.sums;
  return named;
}

std::string At(const std::vector<std::string>& chain, size_t place) {
  return place < chain.size() ? chain[place] : "";
}

// The path of a group is its site. Where several ways lead to one site of a process, as through a
// function that dials for all others, it is the site and the first caller that tells them apart.
void NamePaths(std::vector<NamedGroup>* groups) {
  std::map<std::tuple<ConnectionRole, std::string, std::string>, std::vector<NamedGroup*>> sites;
  for (NamedGroup& group : *groups)
    sites[{group.row.role, group.row.process, group.chain[0]}].push_back(&group);
  for (const auto& [site, at] : sites) {
    size_t apart = 0;  // how far out the first difference lies; 0: there is none
    for (size_t i = 1; i < at.size(); ++i) {
      const std::vector<std::string>&a = at[0]->chain, &b = at[i]->chain;
      size_t same = 1;
      while (same < std::max(a.size(), b.size()) && At(a, same) == At(b, same)) ++same;
      if (same < std::max(a.size(), b.size()) && (apart == 0 || same < apart)) apart = same;
    }
    for (NamedGroup* group : at) {
      group->row.path = group->chain[0];
      const std::string caller = apart ? At(group->chain, apart) : "";
      if (!caller.empty()) group->row.path += " from " + caller;
    }
  }
}

// Groups of equal names as one row.
std::vector<NetPeer> RollUp(std::vector<NamedGroup> groups) {
  std::map<std::tuple<ConnectionRole, std::string, std::string, std::string>, size_t> index;
  std::vector<NetPeer> rows;
  std::vector<uint64_t> heaviest;  // of each row: connections of the part whose stack it shows
  for (NamedGroup& group : groups) {
    NetPeer& row = group.row;
    const uint64_t weight = Connections(row.sums);
    const auto [at, fresh] =
        index.try_emplace({row.role, row.process, row.path, row.peer}, rows.size());
    if (fresh) {
      rows.push_back(std::move(row));
      heaviest.push_back(weight);
      continue;
    }
    NetPeer& known = rows[at->second];
    MergeSums(row.sums, &known.sums);
    if (weight <= heaviest[at->second]) continue;
    heaviest[at->second] = weight;
    known.frames = std::move(row.frames);
  }
  return rows;
}

}  // namespace

RecordedEvent ConnectionEvent(const std::vector<ConnectionGroup>& groups, std::string mechanism) {
  RecordedEvent event;
  event.name = kNetEvent;
  event.columns = {{"count", "count"}};
  event.mechanism = std::move(mechanism);
  for (size_t i = 0; i < groups.size(); ++i) {
    Sample sample;
    sample.space = groups[i].space;
    sample.stack = groups[i].stack;
    sample.reason.words = RoleName(groups[i].role);
    sample.labels[kGroupLabel] = fmt::format("{}", i);
    sample.values = {static_cast<int64_t>(Connections(groups[i].sums))};
    event.samples.push_back(std::move(sample));
  }
  return event;
}

RecordedEvent LoopEvent(const std::vector<EventLoop>& loops) {
  RecordedEvent event;
  event.name = kLoopEvent;
  event.columns = {{"count", "count"}};
  for (size_t i = 0; i < loops.size(); ++i) {
    if (!loops[i].stack) continue;
    Sample sample;
    sample.space = loops[i].space;
    sample.stack = *loops[i].stack;
    sample.reason.words = "loop";
    sample.labels[kGroupLabel] = fmt::format("{}", i);
    sample.values = {static_cast<int64_t>(loops[i].row.calls)};
    event.samples.push_back(std::move(sample));
  }
  return event;
}

std::vector<NetLoop> NameLoops(const Profile& profile, const std::vector<EventLoop>& loops) {
  std::vector<NetLoop> rows;
  rows.reserve(loops.size());
  for (const EventLoop& loop : loops) rows.push_back(loop.row);
  for (const EventProfile& event : profile.events) {
    if (event.name != kLoopEvent) continue;
    for (const ProfileSample& sample : event.samples) {
      if (const auto loop = GroupOf(sample, rows.size()))
        rows[*loop].path = ChainOf(profile, sample).front();
    }
  }
  return rows;
}

std::vector<NetPeer> NamePeers(const Profile& profile, const std::vector<ConnectionGroup>& groups,
                               bool with_stacks) {
  std::vector<NamedGroup> named;
  for (const EventProfile& event : profile.events) {
    if (event.name != kNetEvent) continue;
    for (const ProfileSample& sample : event.samples) {
      if (const auto group = GroupOf(sample, groups.size()))
        named.push_back(Named(profile, sample, groups[*group]));
    }
  }
  if (with_stacks) {
    NamePaths(&named);
  } else {
    for (NamedGroup& group : named) group.row.path = group.row.process;
  }
  std::vector<NetPeer> rows = RollUp(std::move(named));
  std::stable_sort(rows.begin(), rows.end(), [](const NetPeer& a, const NetPeer& b) {
    const auto weight = [](const NetPeer& row) {
      return std::pair(Connections(row.sums), row.sums.bytes_sent + row.sums.bytes_received);
    };
    if (weight(a) != weight(b)) return weight(a) > weight(b);
    return std::tie(a.role, a.process, a.path, a.peer) <
           std::tie(b.role, b.process, b.path, b.peer);
  });
  return rows;
}

}  // namespace stallscope
