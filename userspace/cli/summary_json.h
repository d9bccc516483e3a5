// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "userspace/profile/profile.h"

namespace stallscope {

// The summary as one JSON object in one line: what FormatSummary prints, for programs. docs/json.md
// describes it.
std::string SummaryJson(const Profile& profile, const std::vector<std::string>& files);

}  // namespace stallscope
