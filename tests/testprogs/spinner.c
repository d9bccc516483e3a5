// SPDX-License-Identifier: Apache-2.0
//
// Threads that spin on one CPU for a given time and never block. usage: spinner CPU SECONDS THREADS
//
// Each thread notes its CPU clock and run-queue wait (/proc/self/task/TID/schedstat) before it
// waits to begin and after it has spun. Prints "ready", waits for a line, spins, prints the sums as
// JSON, stays quiet until stdin ends.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "inline_syscall.h"

struct account {
  uint64_t cpu_ns, runq_ns;
};

static struct account account_now(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", (long)syscall(SYS_gettid));
  FILE* file = fopen(path, "r");
  unsigned long long ran = 0, waited = 0;
  if (!file || fscanf(file, "%llu %llu", &ran, &waited) != 2) exit(1);
  fclose(file);
  return (struct account){clock_ns(CLOCK_THREAD_CPUTIME_ID), waited};
}

static int cpu, seconds, start_pipe[2];
static pthread_barrier_t finished;

static void* spin_thread(void* argument) {
  struct account* spent = argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) exit(1);
  const struct account before = account_now();
  char byte;
  if (read(start_pipe[0], &byte, 1) != 1) exit(1);
  const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * 1000000000ull;
  while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
  }
  const struct account after = account_now();
  spent->cpu_ns = after.cpu_ns - before.cpu_ns;
  spent->runq_ns = after.runq_ns - before.runq_ns;
  pthread_barrier_wait(&finished);
  for (;;) pause();
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  cpu = atoi(argv[1]);
  seconds = atoi(argv[2]);
  const int threads = atoi(argv[3]);
  struct account* accounts = calloc((size_t)threads, sizeof *accounts);
  if (pipe(start_pipe) != 0) return 1;
  pthread_barrier_init(&finished, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, spin_thread, &accounts[i]);
  }
  usleep(200000);
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  for (int i = 0; i < threads; i++) {
    if (write(start_pipe[1], "g", 1) != 1) return 1;
  }
  pthread_barrier_wait(&finished);
  struct account sum = {0, 0};
  for (int i = 0; i < threads; i++) {
    sum.cpu_ns += accounts[i].cpu_ns;
    sum.runq_ns += accounts[i].runq_ns;
  }
  printf("{\"cpu_ns\": %llu, \"runq_ns\": %llu, \"threads\": %d}\n", (unsigned long long)sum.cpu_ns,
         (unsigned long long)sum.runq_ns, threads);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
