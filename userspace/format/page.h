// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace stallscope {

// The HTML page with its style sheet and script, made from html/ by embed.cmake. {{TITLE}},
// {{HEADER}}, {{TABLES}} and
// {{DATA}} stand where html.cc writes a profile's.
extern const std::string_view kPage;

}  // namespace stallscope
