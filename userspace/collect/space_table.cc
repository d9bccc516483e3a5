// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/space_table.h"

#include <absl/status/status.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "userspace/go/layout.h"
#include "userspace/process/proc_files.h"

namespace stallscope {
namespace {

// A program that replaces code without end must not make us keep its layouts without end: after so
// many, what it replaces has no name.
constexpr uint32_t kMaxReplacements = 256;
// Mappings are seen of every process, and most are not recorded.
constexpr size_t kMaxSeen = 256, kMaxSeenProcesses = 1024;

std::string Bytes(const space_key& key) {
  return std::string(reinterpret_cast<const char*>(&key), sizeof(key));
}

bool StartedAt(uint32_t pid, uint64_t start_boot_ns) {
  const auto stat = ReadProcessStat(fmt::format("/proc/{}", pid));
  return stat.ok() && SameStart(stat->start_ticks, start_boot_ns);
}

MemoryMark MemoryOf(uint32_t pid) {
  const auto stat = ReadProcessStat(fmt::format("/proc/{}", pid));
  return stat.ok() ? stat->memory : MemoryMark();
}

}  // namespace

bool SameStart(uint64_t start_ticks, uint64_t start_boot_ns) {
  const uint64_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK);
  const uint64_t expected = start_boot_ns / tick_ns;
  return start_ticks + 1 >= expected && start_ticks <= expected + 1;
}

std::unique_ptr<Space> SpaceTable::Open(uint32_t kernel_tgid) {
  auto space = std::make_unique<Space>();
  auto pid = pids_->FromKernel(kernel_tgid);
  if (!pid && pids_->Refresh().ok()) pid = pids_->FromKernel(kernel_tgid);
  if (!pid) return space;
  space->pid = *pid;
  space->comm = ReadComm(fmt::format("/proc/{}", *pid));
  seen_.erase(*pid);  // what was before is not held against what is read now
  auto live = LiveSpace::Open(*pid, modules_);
  if (!live.ok()) return space;
  space->live = *std::move(live);
  // After the layout: if the process becomes another program meanwhile, this is the other's, and
  // tells its exec, whose event may come later, that the layout may be so too.
  space->memory = MemoryOf(*pid);
  auto layout = FindGoLayout(*space->live);
  if (layout.ok()) {
    space->go = *layout;
  } else if (!absl::IsNotFound(layout.status())) {
    space->go_problem = std::string(layout.status().message());
  }
  return space;
}

SpaceIndex SpaceTable::Add(std::unique_ptr<Space> space) {
  const SpaceIndex index = spaces_.size();
  by_key_[Bytes(space->key)] = index;
  current_[space->key.tgid] = index;
  uint32_t& newest = newest_exec_[space->key.tgid];
  newest = std::max(newest, space->key.exec_id);
  of_process_[space->key.tgid].push_back(index);
  spaces_.push_back(std::move(space));
  return index;
}

bool SpaceTable::ReadAhead(uint32_t kernel_tgid) {
  auto space = Open(kernel_tgid);
  const bool ok = space->live != nullptr;
  ahead_[kernel_tgid] = std::move(space);
  return ok;
}

SpaceIndex SpaceTable::Find(const space_key& key) {
  if (const auto it = by_key_.find(Bytes(key)); it != by_key_.end()) return it->second;
  std::unique_ptr<Space> space;
  if (const auto it = ahead_.find(key.tgid); it != ahead_.end()) {
    space = std::move(it->second);
    ahead_.erase(it);
  } else if (const auto newest = newest_exec_.find(key.tgid);
             newest != newest_exec_.end() && key.exec_id < newest->second) {
    space = std::make_unique<Space>();  // an earlier program of the same process: it can be read no
                                        // more
  } else {
    space = Open(key.tgid);
    if (space->live && !StartedAt(space->pid, key.start_boot_ns)) {
      space->live.reset();  // the number belongs to another process by now
      space->go.reset();
    }
  }
  space->key = key;
  return Add(std::move(space));
}

SpaceIndex SpaceTable::Fork(const space_key& key, uint32_t parent_tgid) {
  if (const auto it = by_key_.find(Bytes(key)); it != by_key_.end()) return it->second;
  const Space* parent = Current(parent_tgid);
  if (!parent || !parent->live) return Find(key);
  auto space = std::make_unique<Space>();
  space->key = key;
  space->pid = pids_->FromKernel(key.tgid).value_or(0);
  space->comm = parent->comm;
  space->live = parent->live;
  space->go = parent->go;
  space->go_problem = parent->go_problem;
  space->memory = parent->memory;
  return Add(std::move(space));
}

void SpaceTable::Forget(SpaceIndex index) {
  at(index).live.reset();
  at(index).go.reset();
}

SpaceIndex SpaceTable::Exec(const space_key& key, std::string_view comm,
                            const memory_mark& event_memory, bool stale) {
  const MemoryMark memory = {event_memory.start_code, event_memory.end_code,
                             event_memory.start_stack};
  // What was read ahead was the program before this one.
  if (const auto it = ahead_.find(key.tgid); it != ahead_.end()) {
    space_key before = key;
    if (before.exec_id > 0) --before.exec_id;
    Find(before);
  }
  for (const SpaceIndex earlier : of_process_[key.tgid]) {
    if (at(earlier).key.exec_id < key.exec_id && at(earlier).memory == memory) Forget(earlier);
  }
  SpaceIndex index;
  if (const auto it = by_key_.find(Bytes(key)); it != by_key_.end()) {
    index = it->second;
  } else {
    auto space = stale ? std::make_unique<Space>() : Open(key.tgid);
    space->key = key;
    index = Add(std::move(space));
  }
  at(index).comm = std::string(comm);
  if (at(index).memory != memory) Forget(index);  // it was another program by then
  return index;
}

SpaceIndex SpaceTable::AddLayout(SpaceIndex previous, std::shared_ptr<LiveSpace> live) {
  const Space& before = at(previous);
  auto space = std::make_unique<Space>(before);
  space->live = std::move(live);
  space->previous = previous;
  const bool is_current = current_[before.key.tgid] == previous;
  const SpaceIndex index = spaces_.size();
  by_key_[Bytes(space->key)] = index;
  if (is_current) current_[space->key.tgid] = index;
  of_process_[space->key.tgid].push_back(index);
  spaces_.push_back(std::move(space));
  return index;
}

SpaceIndex SpaceTable::AddCommon(SpaceIndex previous, std::vector<LiveSpace::Range> contradicted,
                                 std::optional<SpaceIndex> unsure) {
  const Space& before = at(previous);
  std::shared_ptr<LiveSpace> common = before.live->CopyFor(before.pid);
  if (unsure) {
    const auto& also = at(*unsure).live->blank();
    contradicted.insert(contradicted.end(), also.begin(), also.end());
  }
  common->Blank(contradicted);
  return AddLayout(previous, std::move(common));
}

void SpaceTable::SawMapping(uint32_t pid, MapsLine line) {
  if (seen_.size() >= kMaxSeenProcesses && !seen_.contains(pid)) seen_.clear();
  std::vector<MapsLine>& lines = seen_[pid];
  if (lines.size() < kMaxSeen) lines.push_back(std::move(line));
}

LayoutReading SpaceTable::Reread(SpaceIndex index, std::optional<SpaceIndex> unsure) {
  Space& space = at(index);
  const auto newest = by_key_.find(Bytes(space.key));
  if (!space.live || space.pid == 0 || newest == by_key_.end() || newest->second != index ||
      space.key.exec_id < newest_exec_[space.key.tgid]) {
    return {};
  }
  std::vector<MapsLine> seen;
  if (const auto found = seen_.find(space.pid); found != seen_.end()) seen.swap(found->second);
  auto layout = LiveSpace::ReadLayout(space.pid, space.layout_digest);
  const bool ended =
      !layout.ok() || (layout->digest != space.layout_digest && layout->lines.empty());
  if (ended) {
    const auto contradicted = space.live->Contradicted(seen);
    if (contradicted.empty()) return {};
    LayoutReading last;
    last.kind = LayoutReading::kReplaced;
    last.between = last.after = AddCommon(index, contradicted, unsure);
    return last;
  }
  LayoutReading reading;
  reading.kind = LayoutReading::kSame;
  if (layout->digest == space.layout_digest) {
    if (space.live->Contradicted(seen).empty()) return reading;
    // Another file was there in between, and is gone again.
    layout = LiveSpace::ReadLayout(space.pid);
    if (!layout.ok()) return {};
  }
  // The number may be another process's by now, or the program another one.
  if (!StartedAt(space.pid, space.key.start_boot_ns) || !space.live->IsProgramOf(space.pid))
    return {};
  space.layout_digest = layout->digest;
  // A forked child shares its parent's, as long as they are the same.
  if (space.live->pid() != space.pid && !space.live->Has(layout->lines))
    space.live = space.live->CopyFor(space.pid);
  std::vector<LiveSpace::Range> contradicted = space.live->Add(layout->lines);
  const auto for_a_while = space.live->Contradicted(seen);
  contradicted.insert(contradicted.end(), for_a_while.begin(), for_a_while.end());
  if (contradicted.empty()) return reading;
  if (space.replacements >= kMaxReplacements) {
    if (space.live.use_count() > 1) space.live = space.live->CopyFor(space.pid);
    space.live->Blank(contradicted);
    return reading;
  }
  std::shared_ptr<LiveSpace> after = space.live->Successor(layout->lines);
  reading.kind = LayoutReading::kReplaced;
  reading.between = AddCommon(index, contradicted, unsure);
  reading.after = AddLayout(reading.between, std::move(after));
  ++at(reading.after).replacements;
  return reading;
}

size_t SpaceTable::gone() const {
  return std::count_if(spaces_.begin(), spaces_.end(),
                       [](const auto& space) { return !space->live; });
}

const Space* SpaceTable::Current(uint32_t kernel_tgid) const {
  if (const auto it = ahead_.find(kernel_tgid); it != ahead_.end()) return it->second.get();
  if (const auto it = current_.find(kernel_tgid); it != current_.end())
    return spaces_[it->second].get();
  return nullptr;
}

}  // namespace stallscope
