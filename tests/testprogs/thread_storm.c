// SPDX-License-Identifier: Apache-2.0
//
// Short-lived threads: RATE a second for SECONDS, each naps 5 ms once and ends. usage: thread_storm
// RATE SECONDS
//
// Prints "ready", waits for a line, storms, prints its log as JSON, stays quiet until stdin ends.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "inline_syscall.h"

static _Atomic long ended;
static _Atomic uint64_t napped_ns;

NOINLINE static void storm_nap(void) {
  const struct timespec length = {0, 5000000};
  const uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
  napped_ns += clock_ns(CLOCK_MONOTONIC) - before_ns;
}

static void* storm_thread(void* unused) {
  storm_nap();
  ended++;
  return unused;
}

NOINLINE static void pace(uint64_t until_ns) {
  const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
  if (now_ns >= until_ns) return;
  const struct timespec length = {0, (long)(until_ns - now_ns)};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const long rate = atol(argv[1]), total = rate * atol(argv[2]);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  const uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
  long made = 0;
  for (; made < total; made++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, storm_thread, NULL) != 0) break;
    pace(start_ns + (uint64_t)(made + 1) * 1000000000ull / (uint64_t)rate);
  }
  const uint64_t elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start_ns;
  while (ended < made) pace(clock_ns(CLOCK_MONOTONIC) + 10000000);
  printf("{\"threads\": %ld, \"napped_ns\": %llu, \"elapsed_ns\": %llu}\n", made,
         (unsigned long long)napped_ns, (unsigned long long)elapsed_ns);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
