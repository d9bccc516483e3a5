// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace stallscope {

// "0.1.0 (8f3c2a1)", the part in brackets where git could describe the tree that was built.
std::string ToolVersion();

}  // namespace stallscope
