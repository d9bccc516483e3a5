// SPDX-License-Identifier: Apache-2.0
//
// Waits again and again at one site, released by a line on stdin. usage: same_site libc|inline
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inline_syscall.h"

static int release_pipe[2];

NOINLINE static void site_libc(void) {
  char byte;
  if (read(release_pipe[0], &byte, 1) != 1) exit(1);
  __asm__ volatile("" ::: "memory");
}

NOINLINE static void site_inline(void) {
  char byte;
  if (inline_syscall(SYS_read, release_pipe[0], (long)&byte, 1, 0) != 1) exit(1);
}

NOINLINE static void* site_thread(void* argument) {
  const int through_libc = strcmp(argument, "libc") == 0;
  for (;;) {
    if (through_libc) {
      site_libc();
    } else {
      site_inline();
    }
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 2 || pipe(release_pipe) != 0) return 2;
  pthread_t thread;
  pthread_create(&thread, NULL, site_thread, argv[1]);
  usleep(100000);
  puts("ready");
  fflush(stdout);
  char line[16];
  while (fgets(line, sizeof line, stdin)) {
    if (write(release_pipe[1], "x", 1) != 1) return 1;
  }
  return 0;
}
