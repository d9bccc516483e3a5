// SPDX-License-Identifier: Apache-2.0
//
// One wait of three seconds, by a system call that the kernel restarts after a stop under another
// number. usage: one_wait sleep|poll|futex
//
// Prints "ready", waits for a line, waits, prints its log as JSON, stays quiet until stdin ends.
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "inline_syscall.h"

static const struct timespec length = {3, 0};

NOINLINE static long wait_by_sleep(void) {
  return inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

NOINLINE static long wait_by_poll(void) { return inline_syscall(SYS_poll, 0, 0, 3000, 0); }

NOINLINE static long wait_by_futex(void) {
  static uint32_t word;
  return inline_syscall(SYS_futex, (long)&word, /*FUTEX_WAIT*/ 0, 0, (long)&length);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  const uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
  if (strcmp(argv[1], "sleep") == 0) wait_by_sleep();
  if (strcmp(argv[1], "poll") == 0) wait_by_poll();
  if (strcmp(argv[1], "futex") == 0) wait_by_futex();
  printf("{\"waited_ns\": %llu}\n", (unsigned long long)(clock_ns(CLOCK_MONOTONIC) - before_ns));
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
