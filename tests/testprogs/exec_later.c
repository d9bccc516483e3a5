// SPDX-License-Identifier: Apache-2.0
//
// Naps of 10 ms for a time, then becomes another program. usage: exec_later SECONDS PROGRAM ARGS...
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inline_syscall.h"

NOINLINE static void nap_before_exec(void) {
  const struct timespec length = {0, 10000000};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  puts("ready");
  fflush(stdout);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9);
  while (clock_ns(CLOCK_MONOTONIC) < end_ns) nap_before_exec();
  execv(argv[2], argv + 2);
  return 1;
}
