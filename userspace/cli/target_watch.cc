// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/target_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include "userspace/cli/words.h"

namespace stallscope {
namespace {

std::string Seconds(uint64_t ns) { return fmt::format("{:.3g} s", static_cast<double>(ns) / 1e9); }

}  // namespace

void TargetWatch::Begin(const Targets& targets) {
  for (const Target& target : targets.processes) {
    alive_.insert(target.pid);
    NoteIfStill(target);
  }
}

void TargetWatch::BeginCommand(uint32_t pid) {
  alive_.insert(pid);
  command_ = pid;
}

void TargetWatch::Follow(const ProcessChange& change, size_t collectors) {
  const uint64_t after_ns = change.mono_ns > start_ns_ ? change.mono_ns - start_ns_ : 0;
  if (change.kind == ProcessChange::kExec) {
    const size_t seen = ++execs_[{change.tgid, change.after}];
    if (seen > 1 && collectors > 1) return;
    if (command_ == change.tgid) {
      command_.reset();
      return;
    }
    if (!alive_.contains(change.tgid)) return;
    console_.Note(fmt::format("pid {} became another program ({} -> {}) after {}", change.tgid,
                              Printable(change.before), Printable(change.after),
                              Seconds(after_ns)));
  } else if (change.kind == ProcessChange::kExit && alive_.erase(change.tgid)) {
    console_.Note(fmt::format("pid {} ended after {}", change.tgid, Seconds(after_ns)));
    const bool fixed = selector_.kind == TargetSelector::Kind::kPids ||
                       selector_.kind == TargetSelector::Kind::kCommand;
    if (fixed && alive_.empty()) over_ = true;
  }
}

std::vector<Target> TargetWatch::FindNewMembers() {
  std::vector<Target> members;
  if (selector_.kind != TargetSelector::Kind::kCgroup) return members;
  auto now = ResolveTargets(selector_, getpid());
  if (!now.ok()) return members;  // empty at the moment
  for (Target& target : now->processes) {
    if (alive_.insert(target.pid).second) members.push_back(std::move(target));
  }
  return members;
}

void TargetWatch::End(const Targets& targets) {
  for (const Target& target : targets.processes) {
    if (alive_.contains(target.pid)) NoteIfStill(target);
  }
}

// Once of each process. A command that waits to be released is none of them.
void TargetWatch::NoteIfStill(const Target& target) {
  if (command_ == target.pid) return;
  std::string note = StandsStillNote(target);
  if (!note.empty() && still_.insert(target.pid).second) console_.Note(std::move(note));
}

}  // namespace stallscope
