// SPDX-License-Identifier: Apache-2.0
//
// Made-up profiles for the formats: shaped like real ones, the same on every run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// Builds a Profile call by call.
class ProfileBuilder {
 public:
  // "go:main.run" "runtime:runtime.gopark" "native:read" "kernel:do_nanosleep" "marker:[caller
  // unknown]"; a place may follow: "go:main.run@/src/main.go:12".
  uint32_t Frame(const std::string& text);
  void Event(const std::string& name, std::vector<Column> columns);
  // Adds to the newest event. `frames` as above, root first.
  void Sample(const std::string& comm, const std::vector<std::string>& frames,
              const std::string& reason, std::vector<std::optional<int64_t>> values);
  Profile profile;
};

// An HTTP service with a database, a lock and background work: two events, losses, hidden time.
Profile ServiceProfile();

// One process with `count` distinct stacks of `depth` frames, each of them small.
Profile ManyStacksProfile(size_t count, size_t depth);

// Deep recursion (127 user frames and a kernel part) beside long C++ names.
Profile DeepProfile();

// Names that try to break out of each format.
Profile HostileProfile();

}  // namespace stallscope
