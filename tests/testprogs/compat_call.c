// SPDX-License-Identifier: Apache-2.0
//
// Sleeps 200 ms by a 32-bit system call of a 64-bit program (int 0x80), where nanosleep has another
// number, and 200 ms by the usual one; five times each. usage: compat_call
//
// Prints "ready", or "no int 0x80" where the kernel has none; waits for a line, sleeps, prints its
// log as JSON, stays quiet until stdin ends.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inline_syscall.h"

enum { I386_NANOSLEEP = 162, I386_GETPID = 20, TIMES = 5 };

static long compat_syscall(long number, long a, long b) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b)
                   : "r8", "r9", "r10", "r11", "memory");
  return result;
}

NOINLINE static long sleep_by_compat_call(const int32_t* length) {
  return compat_syscall(I386_NANOSLEEP, (long)length, 0);
}

NOINLINE static long sleep_by_native_call(const struct timespec* length) {
  return inline_syscall(SYS_nanosleep, (long)length, 0, 0, 0);
}

static void say_missing(int number) {
  (void)number;
  (void)!write(1, "no int 0x80\n", 12);
  _exit(0);
}

int main(void) {
  // The call takes 32-bit addresses only.
  int32_t* length =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (length == MAP_FAILED) return 1;
  signal(SIGSEGV, say_missing);
  if (compat_syscall(I386_GETPID, 0, 0) != getpid()) say_missing(0);
  length[0] = 0;
  length[1] = 200000000;
  const struct timespec native_length = {0, 200000000};
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  uint64_t compat_ns = 0, native_ns = 0;
  for (int i = 0; i < TIMES; i++) {
    uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
    if (sleep_by_compat_call(length) != 0) return 1;
    compat_ns += clock_ns(CLOCK_MONOTONIC) - before_ns;
    before_ns = clock_ns(CLOCK_MONOTONIC);
    if (sleep_by_native_call(&native_length) != 0) return 1;
    native_ns += clock_ns(CLOCK_MONOTONIC) - before_ns;
  }
  printf("{\"times\": %d, \"compat_ns\": %llu, \"native_ns\": %llu}\n", TIMES,
         (unsigned long long)compat_ns, (unsigned long long)native_ns);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
