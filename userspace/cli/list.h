// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope list`. Returns the exit code.
int RunList(const ListOptions& options);

}  // namespace stallscope
