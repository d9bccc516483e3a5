// SPDX-License-Identifier: Apache-2.0
//
// The kernel's proof that a goroutine in a system call did not run: its thread slept at two moments
// and was not switched between them. Go itself keeps none: from go1.26 on nothing in its memory
// tells one system call of a goroutine from the next.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <string>
#include <vector>

#include "userspace/go/census.h"
#include "userspace/process/memory.h"

namespace stallscope {

// A thread that sleeps (it is on no CPU, nor does it wait for one).
struct SleepingThread {
  uint32_t tid = 0;       // in our own pid namespace
  uint64_t switches = 0;  // how often it left a CPU so far
  bool operator==(const SleepingThread&) const = default;
};

// The threads of a process that sleep now, by their number in the process's own pid namespace, by
// which its Go runtime knows them. Of a process with very many threads none are read.
absl::flat_hash_map<uint64_t, SleepingThread> SleepingThreads(const std::string& proc_dir);

// The goroutines of a snapshot that are in a system call on a sleeping thread, by the address of
// their g. Those that moved on since the snapshot are left out.
absl::flat_hash_map<uint64_t, SleepingThread> SleepersInSystemCalls(
    const std::vector<Goroutine>& goroutines, const GoOffsets& offsets, const Memory& memory,
    const absl::flat_hash_map<uint64_t, SleepingThread>& threads);

}  // namespace stallscope
