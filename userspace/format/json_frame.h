// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "userspace/profile/profile.h"

namespace stallscope {

// A frame as the object that docs/json.md describes.
std::string JsonFrame(const ProfileFrame& frame);

}  // namespace stallscope
