// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/version.h"

namespace stallscope {

std::string ToolVersion() { return STALLSCOPE_VERSION_TEXT; }

}  // namespace stallscope
