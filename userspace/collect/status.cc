// SPDX-License-Identifier: Apache-2.0
#include "userspace/collect/status.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>

namespace stallscope {

absl::Status BpfError(int error, std::string_view doing) {
  return absl::ErrnoToStatus(abs(error), std::string(doing));
}

void QuietLibbpf(bool verbose) {
  if (verbose) {
    libbpf_set_print([](libbpf_print_level level, const char* format, va_list args) {
      return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, args);
    });
  } else {
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
  }
}

}  // namespace stallscope
