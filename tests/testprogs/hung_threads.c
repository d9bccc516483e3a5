// SPDX-License-Identifier: Apache-2.0
//
// COUNT threads that hang under one chain of calls, and a main thread that hangs as well. usage:
// hung_threads COUNT
//
// Prints "ready" when all are about to block.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inline_syscall.h"

#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static int silent_pipe[2];
static _Atomic long begun;

NOINLINE static void hang_inner(void) {
  char byte;
  begun++;
  inline_syscall(SYS_read, silent_pipe[0], (long)&byte, 1, 0);
  KEEP_FRAME();
}

NOINLINE static void hang_outer(void) {
  hang_inner();
  KEEP_FRAME();
}

NOINLINE static void* hang_thread(void* unused) {
  hang_outer();
  KEEP_FRAME();
  return unused;
}

NOINLINE static void hang_main(void) {
  char byte;
  inline_syscall(SYS_read, 0, (long)&byte, 1, 0);
  KEEP_FRAME();
}

int main(int argc, char** argv) {
  if (argc != 2 || pipe(silent_pipe) != 0) return 2;
  const long count = atol(argv[1]);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  for (long i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, hang_thread, NULL) != 0) return 1;
  }
  while (begun < count) usleep(10000);
  puts("ready");
  fflush(stdout);
  hang_main();
  return 0;
}
