// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace stallscope {

// libbpf's negative error numbers as a Status that says what was being done.
absl::Status BpfError(int error, std::string_view doing);

// What libbpf said while the last object was loaded, for -v and for telling failures apart.
// `verbose` prints it to stderr as it comes; otherwise nothing of it is printed.
void QuietLibbpf(bool verbose);

}  // namespace stallscope
