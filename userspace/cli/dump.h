// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope dump`. Returns the exit code.
int RunDump(const DumpOptions& options);

}  // namespace stallscope
