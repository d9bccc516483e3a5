// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/cli/options.h"

namespace stallscope {

// `stallscope doctor`. Returns the exit code.
int RunDoctor(const DoctorOptions& options);

}  // namespace stallscope
