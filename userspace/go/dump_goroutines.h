// SPDX-License-Identifier: Apache-2.0
//
// Every goroutine of a live program, at one moment.
#pragma once

#include <absl/status/statusor.h>

#include "userspace/process/live_space.h"
#include "userspace/profile/dump.h"

namespace stallscope {

// Fails as FindGoRuntimes() and GoroutineCensus do. `target` and `tool_version` of the dump are the
// caller's to fill in.
absl::StatusOr<Dump> DumpGoroutines(const LiveSpace& space);

}  // namespace stallscope
