// SPDX-License-Identifier: Apache-2.0
//
// Which processes a target names, now. Paths are arguments, so that a test hands in directories of
// its own.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "userspace/cli/options.h"

namespace stallscope {

struct TargetPaths {
  std::string proc = "/proc";
  std::string cgroup = "/sys/fs/cgroup";
};

struct Target {
  uint32_t pid = 0;  // the process, in our own pid namespace
  std::string comm;
  bool operator==(const Target&) const = default;
};

struct Targets {
  std::vector<Target> processes;  // sorted by pid, each once; empty for -a and for a command
  std::vector<std::string>
      notes;  // lines to print before going on: "4250 is a thread of 4242 (etcd): ..."
  std::string description;  // "-p 4242 (etcd)", as the summary names the target
};

// A thread id gives its process. Fails with a TargetError when there is none that we can see.
absl::StatusOr<Target> ResolvePid(uint32_t id, const TargetPaths& paths,
                                  std::vector<std::string>& notes);

// "4242 (etcd) is stopped: ...", for a process of which nothing can run at the moment; empty for
// all others.
std::string StandsStillNote(const Target& target, const TargetPaths& paths = {});

// `own_pid` is left out of what a name or a cgroup gives. Fails with a TargetError when nothing
// fits.
absl::StatusOr<Targets> ResolveTargets(const TargetSelector& selector, uint32_t own_pid,
                                       const TargetPaths& paths = {});

}  // namespace stallscope
