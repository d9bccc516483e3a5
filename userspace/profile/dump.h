// SPDX-License-Identifier: Apache-2.0
//
// What every goroutine of a process (or every thread, where it is not a Go program) did at one
// moment. Finished, as a Profile is: names, not addresses.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

struct DumpEntry {
  uint64_t id = 0;     // of the goroutine, or the thread id
  std::string name;    // of the thread; empty for a goroutine
  std::string state;   // "waiting", "runnable", "running", "syscall"; of a thread "blocked", ...
  std::string reason;  // without brackets: the runtime's own words; empty where there are none
  std::optional<uint64_t> at_least_ns;  // it has waited so long, perhaps longer; absent: not known
  bool locked = false;                  // to a thread
  std::optional<uint32_t> stack;        // index into Dump::stacks
  std::string no_stack;             // why there is none: "it runs", "it moved while it was read"
  std::optional<uint32_t> creator;  // index into Dump::creators
  uint64_t parent = 0;  // id of the goroutine that created it; 0: not known (before Go 1.21)
  std::map<std::string, std::string> labels;  // pprof labels
  std::string peer;
  std::string idle;  // the rule by which it is idle by design; empty: it is not
};

struct Dump {
  std::string tool_version;
  std::string target;      // "4242 (etcd)"
  std::string go_version;  // "go1.26.8"; empty: the entries are threads
  int64_t taken_unix_ns = 0;
  uint64_t took_ns = 0;  // from the first reading to the last
  // A hundred thousand goroutines have few stacks: each is here once, root first.
  std::vector<std::vector<ProfileFrame>> stacks;
  std::vector<ProfileFrame> creators;  // the go statements
  std::vector<DumpEntry> entries;      // sorted by id
  std::vector<std::string> notes;      // what could not be read, and why
};

}  // namespace stallscope
