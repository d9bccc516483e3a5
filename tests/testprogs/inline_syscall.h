// SPDX-License-Identifier: Apache-2.0
//
// System calls compiled into the calling function: no libc wrapper, so the function that waits is
// the innermost user frame and its frame pointer is valid at the stop.
#pragma once

#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

#if !defined(__x86_64__)
#error "inline_syscall.h knows x86-64 only"
#endif

static inline __attribute__((always_inline)) long inline_syscall(long number, long a, long b,
                                                                 long c, long d) {
  register long r10 __asm__("r10") = d;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

static inline uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}
