// SPDX-License-Identifier: Apache-2.0
//
// What a recording comes down to, and the one screen of it that stderr gets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// One event's totals. `time_ns` is of its column "time"; nothing when it has none.
struct EventSummary {
  std::string name;
  std::string mechanism;
  std::optional<uint64_t> time_ns;
  uint64_t count = 0;  // of its column "count"; samples when it has none
  std::string unit;    // of its first column
  uint64_t value = 0;  // sum of its first column
  size_t stacks = 0;   // distinct lines that are shown
  uint64_t hidden_time_ns = 0;
  uint64_t hidden_count = 0;
  uint64_t dropped_count = 0;      // lost: in no sample
  uint64_t never_ran_time_ns = 0;  // of time_ns: goroutines that stood in one wait all the time
  uint64_t never_ran_count = 0;
  uint64_t idle_time_ns = 0;  // of time_ns, with --idle: goroutines that are idle by design
  // Lost waits of those seen: dropped / (dropped + shown + hidden).
  double DroppedShare() const;
};

// A reason and its heaviest site. Threads of the Go scheduler and goroutines that are idle by
// design are left out: they wait for work. So are goroutines that never ran, which are listed by
// themselves.
struct HeavyReason {
  std::string event;
  std::string reason;  // without brackets
  std::string site;    // of the part of it that weighs most; empty when no user frame has a name
  std::string comm;    // of that part
  uint64_t value = 0;  // of the reason in the event's first column
  std::string unit;
  double share = 0;       // of what the event shows but for what is left out, 0 to 1
  double site_share = 0;  // of `value`, the part at `site`
  // +- at 95 % of the reason, where it was estimated. Absent where `value` is a part of what the
  // estimate is of: some of it is hidden, or idle by design.
  std::optional<uint64_t> margin_ns;
};

// Goroutines that never ran during the recording, in a wait for a lock, a channel, a socket or the
// kernel (a system call, C code) that no rule of idle.rules explains: equal ones together.
struct NeverRan {
  std::string comm;
  std::string reason;  // without brackets
  std::string site;    // empty when no user frame has a name
  std::string file;    // of the site; empty when unknown
  uint32_t line = 0;
  uint64_t count = 0;  // goroutines
};

struct Summary {
  std::vector<EventSummary> events;
  std::vector<HeavyReason> heaviest;  // of each event, heaviest first
  // Some of those that wait for locks, then the others, most first.
  std::vector<NeverRan> never_ran;
  uint64_t never_ran_elsewhere = 0;   // goroutines that never ran in other waits, as asleep
  uint64_t go_scheduler_time_ns = 0;  // time of Go's own threads, in all events
  uint64_t idle_time_ns = 0;          // with --idle: of goroutines that are idle by design
  StackCounts stacks;
};

// The `reasons` heaviest reasons of each event.
Summary Summarize(const Profile& profile, size_t reasons = 3);

struct SummaryOptions {
  std::vector<std::string> files;  // that were written, in order
  std::string next;                // the next command to type; empty: no such line
  size_t width = 80;               // columns: longer names are shortened in their middle
};

// Plain text without escape sequences, lines of `width` columns (a warning may take two rows), each
// ending in a newline: some 20 of them, and never more than 28, or 46 with goroutines. Names from
// the target hold no control characters in it.
std::string FormatSummary(const Profile& profile, const SummaryOptions& options);

// Its lines of how good the recording is and what it cost: what was lost, notes, names, stacks
// (where there are any), cost.
std::string FormatQuality(const Profile& profile, size_t width = 80);

// Its lines of what is not in the picture: what -I and -X hid, Go's own threads where they are
// folded to one line a group, and losses. Empty when nothing was hidden, folded or lost.
std::string FormatHiddenAndLost(const Profile& profile, bool idle_folded, size_t width = 80);

}  // namespace stallscope
