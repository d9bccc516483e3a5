// SPDX-License-Identifier: Apache-2.0
//
// What changed between profiles of one program: which waits got longer or shorter, and of which
// goroutines there are more.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// A stack with its reason, in all profiles.
struct StackChange {
  std::string comm;
  std::vector<uint32_t> frames;     // indices into Comparison::frames, root first: the waiter's own
  std::string reason;               // without brackets
  std::optional<uint32_t> creator;  // of counts: the go statement, an index into Comparison::frames
  std::vector<double> values;       // one a profile

  double Change() const { return values.back() - values.front(); }
};

struct EventComparison {
  std::string name;
  Column column;                     // the first of the event
  std::vector<double> totals;        // one a profile
  std::vector<StackChange> changes;  // every stack; the largest change first, up or down
};

struct Comparison {
  std::vector<ProfileFrame> frames;  // distinct by name and kind: files and lines of the first
  // Of each event that all profiles have: its first column, per second of recording. Threads of
  // the Go scheduler and goroutines that are idle by design are not in it.
  std::vector<EventComparison> rates;
  // How many goroutines (or threads) stand in each stack: counted by a dump, or, of a recording,
  // the mean over its time. Whole numbers. Those that are idle by design are in it: what leaks may
  // be a connection that idles. Nothing where not all profiles tell.
  std::optional<EventComparison> counts;
  std::vector<std::string> missing;  // events that only some of the profiles have
};

// `profiles` in the order of time, two or more, made with ProfileOptions::idle and ::created_by.
// Samples are told apart by comm, by the names of their own stack and by their reason, so that two
// builds, or two processes, of one program can be compared. Fails with InvalidArgument when there
// are less than two, and with FailedPrecondition when they have nothing in common.
absl::StatusOr<Comparison> Compare(const std::vector<Profile>& profiles);

// From no profile to the next it gets less, and at the end it is more than at the start.
bool NeverShrinks(const StackChange& change);

}  // namespace stallscope
