// SPDX-License-Identifier: Apache-2.0
//
// A thread that hangs in libc's read() under a known chain of calls, and never comes back. usage:
// hung_read
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static int silent_pipe[2];

NOINLINE static void hang_inner(void) {
  char byte;
  if (read(silent_pipe[0], &byte, 1) < 0) perror("read");
  KEEP_FRAME();
}

NOINLINE static void hang_middle(void) {
  hang_inner();
  KEEP_FRAME();
}

NOINLINE static void hang_outer(void) {
  hang_middle();
  KEEP_FRAME();
}

NOINLINE static void* hang_thread(void* unused) {
  prctl(PR_SET_NAME, "hung-reader", 0, 0, 0);
  hang_outer();
  KEEP_FRAME();
  return unused;
}

int main(void) {
  if (pipe(silent_pipe) != 0) return 1;
  pthread_t thread;
  pthread_create(&thread, NULL, hang_thread, NULL);
  usleep(100000);
  puts("ready");
  fflush(stdout);
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
