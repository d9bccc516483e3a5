// SPDX-License-Identifier: Apache-2.0
//
// Waits inside execve, before and after the memory is another program's: with threads that must
// end first, and with a file that is not in the page cache. usage: cold_exec_X TIMES OTHER THIS
//
// OTHER and THIS are the paths of two such programs that become each other by turns. Built twice
// (-DPROGRAM=a, b) without PIE, like wait_chain.c. What is not zero lies a megabyte from the
// file's head, out of reach of the read-ahead that the head brings.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inline_syscall.h"

#define JOIN_NAMES(a, b) a##b
#define NAME(a, b) JOIN_NAMES(a, b)
#define WAIT NAME(wait_in_, PROGRAM)
#define WAIT_IN_THREAD NAME(wait_in_thread_in_, PROGRAM)
#define BECOME NAME(become_in_, PROGRAM)

enum { THREADS = 50 };

__attribute__((used)) static const char distance[1 << 20] = {1};
__attribute__((used)) static volatile int initialised = 1;
__attribute__((used)) static volatile char zeros[100];  // the kernel zeroes the rest of that page

NOINLINE static void WAIT(void) {
  const struct timespec length = {0, 20000000};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

NOINLINE static void* WAIT_IN_THREAD(void* unused) {
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
  return unused;
}

NOINLINE static void BECOME(char** arguments) {
  char* environment[] = {NULL};
  inline_syscall(SYS_execve, (long)arguments[0], (long)arguments, (long)environment, 0);
}

static void drop_from_cache(const char* path) {
  const int fd = open(path, O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int left = atoi(argv[1]);
  if (left == 0) return 0;
  for (int i = 0; i < THREADS; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, WAIT_IN_THREAD, NULL) != 0) return 1;
  }
  WAIT();
  char fewer[16];
  snprintf(fewer, sizeof fewer, "%d", left - 1);
  drop_from_cache(argv[2]);
  BECOME((char*[]){argv[2], fewer, argv[3], argv[2], NULL});
  return 1;
}
