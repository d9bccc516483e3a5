// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope top`. Returns the exit code.
int RunTop(const TopOptions& options);

}  // namespace stallscope
