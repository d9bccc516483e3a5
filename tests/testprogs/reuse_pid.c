// SPDX-License-Identifier: Apache-2.0
//
// Runs a program, and when it has ended another one under the same pid (clone3 with set_tid; needs
// CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE). usage: reuse_pid FIRST FIRST_SECONDS SECOND
// SECOND_SECONDS
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Any pid when `pid` is 0.
static pid_t spawn(pid_t pid, char* program, char* seconds) {
  struct clone_args arguments = {.exit_signal = SIGCHLD};
  if (pid != 0) {
    arguments.set_tid = (uint64_t)(uintptr_t)&pid;
    arguments.set_tid_size = 1;
  }
  const pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) {
    execl(program, program, seconds, (char*)NULL);
    _exit(127);
  }
  return child;
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const pid_t first = spawn(0, argv[1], argv[2]);
  printf("pid %d\n", first);
  fflush(stdout);
  waitpid(first, NULL, 0);
  const pid_t second = spawn(first, argv[3], argv[4]);
  if (second < 0) perror("clone3 with set_tid");
  printf("%s %d\n", second == first ? "reused" : "not reused", second);
  fflush(stdout);
  if (second > 0) waitpid(second, NULL, 0);
  return second == first ? 0 : 1;
}
