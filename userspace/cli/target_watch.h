// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "userspace/cli/console.h"
#include "userspace/cli/targets.h"
#include "userspace/collect/process_change.h"

namespace stallscope {

// The processes that were named, while they are recorded: who becomes another program, who ends,
// who joins their cgroup. Tells the console.
class TargetWatch {
 public:
  // `selector` and `console` outlive this.
  TargetWatch(const TargetSelector& selector, Console* console)
      : selector_(selector), console_(*console) {}

  // These are recorded. One in which nothing can run is noted.
  void Begin(const Targets& targets);
  // A process that waits to become the command: its first exec is none to tell.
  void BeginCommand(uint32_t pid);
  // When the recording began: the times that are told are since then.
  void SetStart(uint64_t mono_ns) { start_ns_ = mono_ns; }

  // Tells of a change. `collectors`: how many of them tell each exec.
  void Follow(const ProcessChange& change, size_t collectors);
  // --cgroup: those that are there now and were not before. None of other targets.
  std::vector<Target> FindNewMembers();
  // Notes those of them that live and in which nothing can run.
  void End(const Targets& targets);

  // All that were named by number have ended.
  bool over() const { return over_; }

 private:
  void NoteIfStill(const Target& target);

  const TargetSelector& selector_;
  Console& console_;
  uint64_t start_ns_ = 0;
  std::optional<uint32_t> command_;                           // that waits to be released
  std::map<std::pair<uint32_t, std::string>, size_t> execs_;  // how often each was told
  std::set<uint32_t> alive_;                                  // in our own pid namespace
  std::set<uint32_t> still_;  // of which it was noted that nothing in them can run
  bool over_ = false;
};

}  // namespace stallscope
