// SPDX-License-Identifier: Apache-2.0
//
// Where in the program a wait is: the frame that its author would name first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// Index into `frames` (Profile::frames) of the innermost frame of `stack` (as in ProfileSample:
// root first) that is neither the kernel's nor a library's that everybody waits in: the C library,
// the Go runtime, and below a program's own Go code the standard library. Without one: the best
// that there is, the innermost named user frame. Nothing when the stack has no named user frame.
// Frames before `from` (ProfileSample::own_from) are not looked at.
std::optional<uint32_t> SiteOfWait(const std::vector<ProfileFrame>& frames,
                                   const std::vector<uint32_t>& stack, size_t from = 0);

}  // namespace stallscope
