// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/status/statusor.h>

#include "userspace/cli/targets.h"
#include "userspace/profile/dump.h"

namespace stallscope {

// The threads of a process now: those that are blocked with their stacks, by the two passes over
// them that begin and end a recording. Fails as a recording does.
absl::StatusOr<Dump> DumpThreads(const Target& target);

}  // namespace stallscope
