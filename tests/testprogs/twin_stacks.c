// SPDX-License-Identifier: Apache-2.0
//
// Two processes, one forked from the other, that wait on the same stacks at the same time. In each
// of five rounds of 700 ms HOLDERS threads wait on a stack of their own: 20 times for 5 ms in the
// parent, once for the whole round in the child; and the parent's main thread passes through COUNT
// further stacks. usage: twin_stacks COUNT HOLDERS
//
// So when room is made for others, a stack that was known by the parent's waits is in use in the
// child, which does not come by it again. Prints "ready CHILD", waits for a line, plays, prints
// each process's log as a line of JSON (the child's first), stays quiet until stdin ends.
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inline_syscall.h"

enum { LEVELS = 16, ROUNDS = 5, ROUND_NS = 700000000 };

static atomic_int *began, *over;  // shared by both processes; futexes
static long hold_ns;
static int holders, holds;
static _Atomic long held;
static _Atomic uint64_t held_ns;
static pthread_barrier_t holders_done;

NOINLINE static void twin_wait(const struct timespec* length) {
  inline_syscall(SYS_nanosleep, (long)length, 0, 0, 0);
}

static void descend(uint32_t bits, int levels, const struct timespec* length);

NOINLINE static void turn_zero(uint32_t bits, int levels, const struct timespec* length) {
  descend(bits, levels, length);
  __asm__ volatile("");
}

NOINLINE static void turn_one(uint32_t bits, int levels, const struct timespec* length) {
  descend(bits, levels, length);
  __asm__ volatile("" ::: "memory");
}

// Inlined into its callers, so that a level is one frame.
static inline __attribute__((always_inline)) void descend(uint32_t bits, int levels,
                                                          const struct timespec* length) {
  if (levels == 0) {
    twin_wait(length);
  } else if (bits & 1) {
    turn_one(bits >> 1, levels - 1, length);
  } else {
    turn_zero(bits >> 1, levels - 1, length);
  }
}

NOINLINE static void wait_until(atomic_int* flag) {
  while (!*flag) inline_syscall(SYS_futex, (long)flag, FUTEX_WAIT, 0, 0);
}

static void set(atomic_int* flag) {
  *flag = 1;
  inline_syscall(SYS_futex, (long)flag, FUTEX_WAKE, INT_MAX, 0);
}

NOINLINE static void sleep_until(uint64_t until_ns) {
  const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
  if (now_ns >= until_ns) return;
  const struct timespec length = {0, (long)(until_ns - now_ns)};
  inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

NOINLINE static void hold(uint32_t number) {
  const struct timespec length = {0, hold_ns};
  const uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
  descend(number, LEVELS, &length);
  held_ns += clock_ns(CLOCK_MONOTONIC) - before_ns;
  held++;
}

NOINLINE static void* holder_thread(void* number) {
  wait_until(began);
  const uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < holds; i++) hold((uint32_t)(long)number + (uint32_t)(round * holders));
    sleep_until(start_ns + (uint64_t)(round + 1) * ROUND_NS);
  }
  pthread_barrier_wait(&holders_done);
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
  return NULL;
}

NOINLINE static void churn(uint32_t first, uint32_t count) {
  const struct timespec length = {0, 60000};
  for (uint32_t i = 0; i < count; i++) descend(first + i, LEVELS, &length);
}

static void start_holders(void) {
  pthread_barrier_init(&holders_done, NULL, (unsigned)holders + 1);
  for (long i = 0; i < holders; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, holder_thread, (void*)i) != 0) exit(1);
  }
}

static void print_log(void) {
  dprintf(1, "{\"pid\": %d, \"held\": %ld, \"held_ns\": %llu}\n", getpid(), (long)held,
          (unsigned long long)held_ns);
}

static void child(void) {
  hold_ns = ROUND_NS;
  holds = 1;
  start_holders();
  pthread_barrier_wait(&holders_done);
  print_log();
  set(over);
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const uint32_t count = (uint32_t)atol(argv[1]);
  holders = atoi(argv[2]);
  began = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (began == MAP_FAILED) return 1;
  over = began + 1;
  const pid_t twin = fork();
  if (twin == 0) child();
  hold_ns = 5000000;
  holds = 20;
  start_holders();
  dprintf(1, "ready %d\n", twin);
  char line[16];
  if (read(0, line, sizeof line) <= 0) return 1;
  set(began);
  for (uint32_t i = 0; !*over && i < count; i += 64) churn((uint32_t)(ROUNDS * holders) + i, 64);
  wait_until(over);
  pthread_barrier_wait(&holders_done);
  print_log();
  while (read(0, line, sizeof line) > 0) {
  }
  kill(twin, SIGKILL);
  waitpid(twin, NULL, 0);
  return 0;
}
