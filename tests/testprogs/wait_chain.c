// SPDX-License-Identifier: Apache-2.0
//
// Waits, then becomes the next program of a chain, or starts it as a child. usage: wait_chain_X
// [-w] SECONDS [[fork] PROGRAM ARGS...]
//
// Built several times (-DPROGRAM=a, b, ...) without PIE: the functions differ in name only and lie
// at the same addresses, so a name taken from the wrong program shows. -w: print "ready" and wait
// for a line first. Each wait is logged as "FUNCTION NANOSECONDS".
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inline_syscall.h"

#define JOIN_NAMES(a, b) a##b
#define NAME(a, b) JOIN_NAMES(a, b)
#define JOIN_TEXT(a) #a
#define TEXT(a) JOIN_TEXT(a)
#define WAIT NAME(wait_in_, PROGRAM)
#define WAIT_AS_CHILD NAME(wait_as_child_in_, PROGRAM)
#define WAIT_FOR_CHILD NAME(wait_for_child_in_, PROGRAM)
#define WAIT_FOR_LINE NAME(wait_for_line_in_, PROGRAM)

NOINLINE static void WAIT(const struct timespec* length) {
  inline_syscall(SYS_nanosleep, (long)length, 0, 0, 0);
}

NOINLINE static void WAIT_AS_CHILD(const struct timespec* length) {
  inline_syscall(SYS_nanosleep, (long)length, 0, 0, 0);
}

NOINLINE static void WAIT_FOR_CHILD(long pid) { inline_syscall(SYS_wait4, pid, 0, 0, 0); }

NOINLINE static void WAIT_FOR_LINE(void) {
  char line[16];
  inline_syscall(SYS_read, 0, (long)line, sizeof line, 0);
}

// One write, so that the lines of several processes stay whole.
static void log_wait(const char* function, uint64_t since_ns) {
  const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
  dprintf(1, "%s %llu\n", function, (unsigned long long)(now_ns - since_ns));
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "-w") == 0) {
    dprintf(1, "ready\n");
    WAIT_FOR_LINE();
    argv++, argc--;
  }
  if (argc < 2) return 2;
  const double seconds = atof(argv[1]);
  const struct timespec length = {(time_t)seconds,
                                  (long)((seconds - (double)(time_t)seconds) * 1e9)};
  uint64_t since_ns = clock_ns(CLOCK_MONOTONIC);
  WAIT(&length);
  log_wait(TEXT(WAIT), since_ns);
  if (argc == 2) return 0;
  char** next = argv + 2;
  if (strcmp(next[0], "fork") == 0) {
    next++;
    const pid_t child = fork();
    if (child != 0) {
      WAIT_FOR_CHILD(child);
      return 0;
    }
    since_ns = clock_ns(CLOCK_MONOTONIC);
    WAIT_AS_CHILD(&length);
    log_wait(TEXT(WAIT_AS_CHILD), since_ns);
  }
  execv(next[0], next);
  return 1;
}
