// SPDX-License-Identifier: Apache-2.0
//
// Whether a layout of Go's runtime is really the one of this process. Nothing is read by a layout
// that fails.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "userspace/go/globals.h"
#include "userspace/go/offsets.h"
#include "userspace/go/runtime.h"
#include "userspace/process/memory.h"

namespace stallscope {

// The runtime's own code works on these offsets: casgstatus on g.atomicstatus, gopark on
// g.waitreason, mcall on g.m and g.sched. Unimplemented, with what was expected and what found.
absl::Status CheckOffsets(const GoOffsets& offsets, const GoRuntimeCode& code);

// The entry of the function around an address of the process; nullopt: none known there.
using FunctionEntry = std::function<std::optional<uint64_t>(uint64_t address)>;

// What the list of goroutines holds looks like goroutines: states and numbers that exist, each
// number once, stack pointers within their stacks, first functions that are functions. Looks at
// some 1,000 of them, spread over the list. Unimplemented: it does not; the message says what was
// expected and found. FailedPrecondition: nothing to look at yet.
absl::Status CheckGoroutines(const GoRuntime& runtime, const Memory& memory,
                             const FunctionEntry& function_entry);

}  // namespace stallscope
