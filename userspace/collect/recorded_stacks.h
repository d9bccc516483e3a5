// SPDX-License-Identifier: Apache-2.0
//
// What every collector of walked stacks does with them: from the kernel's bytes to a WalkedStack,
// and at the end the spaces and the name of each distinct address into the Recording.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <string_view>

#include "bpf/wire.h"
#include "userspace/collect/space_table.h"
#include "userspace/process/user_stack.h"
#include "userspace/profile/recording.h"

namespace stallscope {

// `raw` is within its bounds: BoundStack().
WalkedStack Unpack(const stack& raw);
// Counts that are larger than what they count are cut.
void BoundStack(stack* raw);

// The addresses of a program that is gone: kept, without names.
Stack UnjudgedStack(const WalkedStack& walked, SpaceIndex space);

// A stack of one marker.
Stack MarkerStack(std::string_view marker, StackEnd end);

// What is off for a Go program whose layout is not known, and why, in one line.
std::string GoProblem(const Space& space);

// Appends the spaces of a table to the recording. Space i becomes space
// recording->spaces.size() + i.
void AddSpaces(const SpaceTable& spaces, Recording* recording);

// Names each distinct address of the recording's stacks from `first_stack` on. Their segments are
// of spaces base + i, where i is the table's index, or of the kernel. `interrupted` is asked now
// and then; when it says true, the call returns early with Cancelled.
absl::Status NameAddresses(const SpaceTable& spaces, SpaceIndex base, size_t first_stack,
                           Recording* recording, const std::function<bool()>& interrupted);

}  // namespace stallscope
