// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope diff`. Returns the exit code.
int RunDiff(const DiffOptions& options);

}  // namespace stallscope
