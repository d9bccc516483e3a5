// SPDX-License-Identifier: Apache-2.0
//
// Waits once on each of COUNT distinct stacks: the bits of a number choose between two functions,
// LEVELS deep. usage: many_stacks COUNT LEVELS
//
// A wait that did not switch is repeated, so each stack has at least one. Prints "ready", waits for
// a line, does the waits, prints its log as JSON, stays quiet until stdin ends.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "inline_syscall.h"

static long voluntary_switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

NOINLINE static void wait_at_leaf(void) {
  struct timespec length = {0, 5000};
  const long before = voluntary_switches();
  do {  // a timer that fires before the thread has left the CPU makes no switch: ask for longer
    length.tv_nsec *= 2;
    inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
  } while (voluntary_switches() == before);
}

static void descend(uint32_t bits, int levels);

NOINLINE static void turn_zero(uint32_t bits, int levels) {
  descend(bits, levels);
  __asm__ volatile("");
}

NOINLINE static void turn_one(uint32_t bits, int levels) {
  descend(bits, levels);
  __asm__ volatile("" ::: "memory");
}

// Inlined into its callers, so that a level is one frame.
static inline __attribute__((always_inline)) void descend(uint32_t bits, int levels) {
  if (levels == 0) {
    wait_at_leaf();
  } else if (bits & 1) {
    turn_one(bits >> 1, levels - 1);
  } else {
    turn_zero(bits >> 1, levels - 1);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const uint32_t count = (uint32_t)atol(argv[1]);
  const int levels = atoi(argv[2]);
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  const long before = voluntary_switches();
  for (uint32_t i = 0; i < count; i++) {
    if (i & 1) {
      turn_one(i >> 1, levels - 1);
    } else {
      turn_zero(i >> 1, levels - 1);
    }
  }
  printf("{\"stacks\": %u, \"switches\": %ld}\n", count, voluntary_switches() - before);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
