// SPDX-License-Identifier: Apache-2.0
//
// Children that wait 300 ms and end. usage: short_lives
//
// Prints "ready". At a line "child" it forks one, reaps it and prints its pid; at a
// line "heirs" it does the same and at once forks a second child with the same pid, and prints
// "PID" or "not reused" when that has ended too. The two wait in functions of different names.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "fork_as.h"
#include "inline_syscall.h"

static const struct timespec length = {0, 300000000};

NOINLINE static void first_child_wait(void) {
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
  __asm__ volatile("");
}

NOINLINE static void second_child_wait(void) {
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
  __asm__ volatile("" ::: "memory");
}

static pid_t live(pid_t wanted_pid, void (*wait)(void)) {
  const pid_t child = fork_as(wanted_pid);
  if (child == 0) {
    wait();
    _exit(0);
  }
  if (child > 0) waitpid(child, NULL, 0);
  return child;
}

int main(void) {
  puts("ready");
  fflush(stdout);
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    const pid_t first = live(0, first_child_wait);
    if (strcmp(line, "heirs\n") == 0 && live(first, second_child_wait) != first) {
      puts("not reused");
    } else {
      printf("%d\n", first);
    }
    fflush(stdout);
  }
  return 0;
}
