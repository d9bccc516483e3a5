// SPDX-License-Identifier: Apache-2.0
//
// Where in the program a wait is: the frame that a person would name first.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// Index into Profile::frames, or nothing when the sample has no frame. The innermost frame of the
// program's own code: Go frames of the standard library are passed over (their package's first path
// element is one of Go's own, such as "net" or "internal") as long as an outer Go frame is not of
// it. Where there is no such frame: the innermost Go or native frame with a name, else the
// innermost frame of the Go runtime, else of any kind.
std::optional<uint32_t> FindSite(const std::vector<ProfileFrame>& frames,
                                 const ProfileSample& sample);

}  // namespace stallscope
