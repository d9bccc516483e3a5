// SPDX-License-Identifier: Apache-2.0
//
// Blocks until a line comes, prints when it was woken (CLOCK_MONOTONIC, ns), and stays quiet until
// stdin ends. usage: block_once
#include <stdio.h>

#include "inline_syscall.h"

#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

NOINLINE static long block_inner(void) {
  char line[16];
  const long got = inline_syscall(SYS_read, 0, (long)line, sizeof line, 0);
  KEEP_FRAME();
  return got;
}

NOINLINE static long block_outer(void) {
  const long got = block_inner();
  KEEP_FRAME();
  return got;
}

NOINLINE static long block_afterwards(void) {
  char line[16];
  return inline_syscall(SYS_read, 0, (long)line, sizeof line, 0);
}

int main(void) {
  puts("ready");
  fflush(stdout);
  block_outer();
  printf("%llu\n", (unsigned long long)clock_ns(CLOCK_MONOTONIC));
  fflush(stdout);
  while (block_afterwards() > 0) {
  }
  return 0;
}
