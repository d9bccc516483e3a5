// SPDX-License-Identifier: Apache-2.0
//
// System call names by number, taken at build time from the installed <sys/syscall.h>.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace stallscope {

struct SyscallEntry {
  int32_t number;
  std::string_view name;
};

// Sorted by number; a number may occur twice, with the same name.
std::span<const SyscallEntry> SyscallTable();

}  // namespace stallscope
