// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope record`. Returns the exit code.
int RunRecord(const RecordOptions& options);

}  // namespace stallscope
