// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope net`. Returns the exit code.
int RunNet(const NetOptions& options);

}  // namespace stallscope
