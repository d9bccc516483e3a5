// SPDX-License-Identifier: Apache-2.0
//
// Where a live Go process keeps the goroutine of each thread.
#pragma once

#include <absl/status/statusor.h>

#include "userspace/process/go_layout.h"
#include "userspace/process/live_space.h"

namespace stallscope {

// Reads the version from the build information, the offsets from a table by version, and the
// thread-local slot of g from the code of runtime.stackcheck. NotFound: not a Go program.
// Unimplemented: a version outside the table, or code that does not look as expected; the message
// says which, and stacks go on without goroutines below system stacks.
absl::StatusOr<GoLayout> FindGoLayout(const LiveSpace& space);

// The thread-local offset of g that this machine code of runtime.stackcheck (x86-64) reads.
// `code_address` is where the code lies in the process, `memory` resolves the slot of a shared
// object's GOT. nullopt: not understood.
std::optional<int32_t> DecodeGSlot(std::string_view code, uint64_t code_address,
                                   const Memory& memory);

}  // namespace stallscope
