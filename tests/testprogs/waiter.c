// SPDX-License-Identifier: Apache-2.0
//
// Naps of 10 ms for a time, then exits. usage: waiter SECONDS [EXIT_CODE]
#include <stdio.h>
#include <stdlib.h>

#include "inline_syscall.h"

NOINLINE static void NAP_FUNCTION(void) {
  const struct timespec length = {0, 10000000};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  puts("ready");
  fflush(stdout);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(argv[1]) * 1e9);
  while (clock_ns(CLOCK_MONOTONIC) < end_ns) NAP_FUNCTION();
  return argc > 2 ? atoi(argv[2]) : 0;
}
