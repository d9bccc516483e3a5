// SPDX-License-Identifier: Apache-2.0
#include "userspace/profile/syscall_table.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>

namespace stallscope {
namespace {

// Calls that wait and are younger than Debian 12's headers. Since 424 a number is the same on every
// architecture.
constexpr SyscallEntry kEntries[] = {
    {449, "futex_waitv"},
    {455, "futex_wait"},
    {456, "futex_requeue"},
// One {__NR_name, "name"} a line, written by the build (CMakeLists.txt) in no particular order.
#include "userspace/profile/syscall_names.inc"
};

constexpr auto kSorted = [] {
  auto sorted = std::to_array(kEntries);
  std::sort(sorted.begin(), sorted.end(),
            [](const SyscallEntry& a, const SyscallEntry& b) { return a.number < b.number; });
  return sorted;
}();

}  // namespace

std::span<const SyscallEntry> SyscallTable() { return kSorted; }

}  // namespace stallscope
