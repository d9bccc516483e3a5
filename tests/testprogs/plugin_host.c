// SPDX-License-Identifier: Apache-2.0
//
// Loads one library, naps of 10 ms in it for a time, unloads it, does the same with another, and
// again from the start. A second thread waits all the time. usage: plugin_host LIBRARY_A LIBRARY_B
// ROUNDS SECONDS
//
// Begins at a line on stdin and ends at another. Says where each library's function was, "a
// ADDRESS", and at the end for how long it waited in each, "done NS_A NS_B": the clock around each
// call less its own CPU.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inline_syscall.h"

static uint64_t waited_ns[2];

static void nap(void (*function)(long), int which) {
  const uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  function(10000000);
  waited_ns[which] += clock_ns(CLOCK_MONOTONIC) - wall - (clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
}

// The caller tells whose turn it was.
NOINLINE static void turn_of_a(void (*function)(long)) {
  nap(function, 0);
  __asm__ volatile("" ::: "memory");
}

NOINLINE static void turn_of_b(void (*function)(long)) {
  nap(function, 1);
  __asm__ volatile("" ::: "memory");
}

NOINLINE static void* wait_for_ever(void* argument) {
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
  return argument;
}

static void use(const char* path, int which, double seconds) {
  void* library = dlopen(path, RTLD_NOW);
  void* symbol = library ? dlsym(library, which ? "plugin_b_nap" : "plugin_a_nap") : NULL;
  if (!symbol) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  printf("%c %p\n", "ab"[which], symbol);
  fflush(stdout);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
  while (clock_ns(CLOCK_MONOTONIC) < end_ns)
    (which ? turn_of_b : turn_of_a)((void (*)(long))symbol);
  dlclose(library);
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0) return 1;
  usleep(100000);  // it waits by then
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 0;
  for (int round = 0; round < atoi(argv[3]); ++round)
    use(argv[1 + round % 2], round % 2, atof(argv[4]));
  printf("done %llu %llu\n", (unsigned long long)waited_ns[0], (unsigned long long)waited_ns[1]);
  fflush(stdout);
  return fgets(line, sizeof line, stdin) == NULL;
}
