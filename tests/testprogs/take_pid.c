// SPDX-License-Identifier: Apache-2.0
//
// Runs a program under a pid that is free. usage: take_pid PID PROGRAM ARGS...
//
// Prints "taken" or "not taken", then the program runs.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "fork_as.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const pid_t child = fork_as(atoi(argv[1]));
  if (child == 0) {
    execv(argv[2], argv + 2);
    _exit(127);
  }
  puts(child > 0 ? "taken" : "not taken");
  fflush(stdout);
  if (child > 0) waitpid(child, NULL, 0);
  return child > 0 ? 0 : 1;
}
