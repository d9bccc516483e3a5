// SPDX-License-Identifier: Apache-2.0
//
// The address spaces of a recording: (tgid, start time, exec count) as the kernel names them, bound
// to the live process they can be read from, if it still is the same one. A process that maps
// another file where one was before gets another space, so that each stack has the names of its
// time.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/wire.h"
#include "symbolizer/module_cache.h"
#include "userspace/collect/pid_namespace.h"
#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"
#include "userspace/profile/recording.h"

namespace stallscope {

struct Space {
  space_key key = {};
  uint32_t pid = 0;  // in our own pid namespace; 0 when it is not visible
  std::string comm;
  std::shared_ptr<LiveSpace>
      live;  // null: gone before it could be read; a forked child shares its parent's
  std::optional<GoLayout> go;
  std::string go_problem;  // why a Go program's goroutines below system stacks are not followed
  std::optional<SpaceIndex> previous;  // the same program with the layout before this one
  uint32_t replacements = 0;           // layouts before this one
  uint64_t layout_digest = 0;          // as last read
  MemoryMark memory;                   // of the memory it was read from
};

// What reading a layout again has shown.
struct LayoutReading {
  enum Kind {
    kSame,      // what is known holds, perhaps with additions
    kReplaced,  // from here on the program is in the space `after`; of the time since the reading
                // before this one only what both have in common can be told: that is `between`
    kGone,      // it cannot be read any more
  } kind = kGone;
  SpaceIndex between = 0, after = 0;
};

// Whether a start as /proc gives it (clock ticks) and one as the kernel's programs give it (ns) are
// the same.
bool SameStart(uint64_t start_ticks, uint64_t start_boot_ns);

class SpaceTable {
 public:
  SpaceTable(PidNamespace* pids, symbolizer::ModuleCache* modules)
      : pids_(pids), modules_(modules) {}

  // Reads the process now, before the kernel has named its space; the first space seen with this
  // tgid is bound to it. Returns false when it cannot be read.
  bool ReadAhead(uint32_t kernel_tgid);
  // The index of a space, opened at first sight.
  SpaceIndex Find(const space_key& key);
  // A child that has not yet become another program: its mappings are its parent's.
  SpaceIndex Fork(const space_key& key, uint32_t parent_tgid);
  // The process became another program, with the memory that its event names: from now on `key` is
  // the one to read. What was read from this memory under an earlier key is forgotten. `stale`: it
  // has become yet another one since, so there is nothing to read.
  SpaceIndex Exec(const space_key& key, std::string_view comm, const memory_mark& event_memory,
                  bool stale);

  // A mapping that process `pid` (in our own namespace) made since its layout was last read; it may
  // be gone again by the next reading.
  void SawMapping(uint32_t pid, MapsLine line);
  // Reads the layout of a space again. `unsure`: a `between` whose unknown ranges are to be unknown
  // in this reading's too.
  LayoutReading Reread(SpaceIndex index, std::optional<SpaceIndex> unsure);

  Space& at(SpaceIndex index) { return *spaces_[index]; }
  const Space& at(SpaceIndex index) const { return *spaces_[index]; }
  size_t size() const { return spaces_.size(); }
  // Spaces that could not be read.
  size_t gone() const;
  // The Go layout found by ReadAhead or Find for the process that has this tgid now.
  const Space* Current(uint32_t kernel_tgid) const;

 private:
  SpaceIndex Add(std::unique_ptr<Space> space);
  std::unique_ptr<Space> Open(uint32_t kernel_tgid);
  void Forget(SpaceIndex index);
  SpaceIndex AddLayout(SpaceIndex previous, std::shared_ptr<LiveSpace> live);
  SpaceIndex AddCommon(SpaceIndex previous, std::vector<LiveSpace::Range> contradicted,
                       std::optional<SpaceIndex> unsure);

  PidNamespace* pids_;
  symbolizer::ModuleCache* modules_;
  std::vector<std::unique_ptr<Space>> spaces_;
  absl::flat_hash_map<std::string, SpaceIndex> by_key_;  // the bytes of space_key
  absl::flat_hash_map<uint32_t, std::unique_ptr<Space>> ahead_;
  absl::flat_hash_map<uint32_t, SpaceIndex> current_;
  absl::flat_hash_map<uint32_t, std::vector<SpaceIndex>> of_process_;  // by tgid
  absl::flat_hash_map<uint32_t, uint32_t> newest_exec_;
  absl::flat_hash_map<uint32_t, std::vector<MapsLine>> seen_;  // by pid
};

}  // namespace stallscope
