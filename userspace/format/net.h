// SPDX-License-Identifier: Apache-2.0
//
// The table of connections by peer as text and as JSON.
#pragma once

#include <cstddef>
#include <string>

#include "userspace/net/findings.h"
#include "userspace/net/table.h"
#include "userspace/profile/profile.h"

namespace stallscope {

struct NetReport {
  NetTable table;
  NetVerdict verdict;
  Profile profile;  // of the recording: target, duration, losses, notes, cost
};

// For a terminal and for pipes: lines of at most `width` columns (no fewer than 100), without
// escape sequences. The heaviest rows only; listeners of which there is nothing to say are left
// out.
std::string NetText(const NetReport& report, size_t width = 100);

// docs/json.md, "Connections by peer". Every row.
std::string NetJson(const NetReport& report);

}  // namespace stallscope
