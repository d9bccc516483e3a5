// SPDX-License-Identifier: Apache-2.0
//
// Sleeps 50 ms at a time in nap(), until SIGTERM; then writes "naps nanoseconds" as its own clock
// saw them. The system call is inline, so the caller of nap() stands in the stack whatever the C
// library was built with.
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

static volatile sig_atomic_t stopped;

static void stop(int signal_number) {
  (void)signal_number;
  stopped = 1;
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((noinline)) long nap(const struct timespec* duration) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(SYS_nanosleep), "D"(duration), "S"(0)
                   : "rcx", "r11", "memory");
  return result;
}

__attribute__((noinline)) long long nap_until_told(long long* naps) {
  const struct timespec duration = {0, 50 * 1000 * 1000};
  long long slept_ns = 0;
  while (!stopped) {
    long long start = now_ns();
    nap(&duration);
    slept_ns += now_ns() - start;
    ++*naps;
  }
  return slept_ns;
}

int main(void) {
  long long naps = 0;
  long long slept_ns;
  signal(SIGTERM, stop);
  slept_ns = nap_until_told(&naps);
  printf("%lld %lld\n", naps, slept_ns);
  return 0;
}
