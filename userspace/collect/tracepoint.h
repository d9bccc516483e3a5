// SPDX-License-Identifier: Apache-2.0
//
// Tracepoints by name, where tracefs need not be mounted.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string_view>

namespace stallscope {

// The tracefs of this kernel, as a directory to open files in: the one that is mounted, else one of
// our own that shows nowhere. Close it. Unavailable: neither is to be had.
absl::StatusOr<int> OpenTracefs();

// A perf event of the tracepoint "syscalls/sys_exit_connect", disabled; a BPF program goes on it.
absl::StatusOr<int> OpenTracepoint(int tracefs, std::string_view name);

}  // namespace stallscope
