// SPDX-License-Identifier: Apache-2.0
//
// A process whose main thread has ended (a zombie with no memory in /proc), while another thread
// naps 10 ms at a time until it is killed. usage: ended_leader
#include <pthread.h>
#include <stdio.h>

#include "inline_syscall.h"

NOINLINE static void nap_without_leader(void) {
  const struct timespec length = {0, 10000000};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

static void* napping_thread(void* unused) {
  for (;;) nap_without_leader();
  return unused;
}

int main(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, napping_thread, NULL) != 0) return 1;
  puts("ready");
  fflush(stdout);
  pthread_exit(NULL);
}
