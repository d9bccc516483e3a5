// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// fork() with a wanted pid, which must be free; any pid when it is 0. Needs CAP_SYS_ADMIN or
// CAP_CHECKPOINT_RESTORE.
static inline pid_t fork_as(pid_t pid) {
  struct clone_args arguments = {.exit_signal = SIGCHLD};
  if (pid != 0) {
    arguments.set_tid = (uint64_t)(uintptr_t)&pid;
    arguments.set_tid_size = 1;
  }
  return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}
