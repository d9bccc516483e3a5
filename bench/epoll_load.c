// SPDX-License-Identifier: Apache-2.0
//
// An event loop of one thread that hands itself a message a turn: write, epoll_wait, read. For each
// line on stdin it prints how often it has called epoll_wait, and the CPU that it has used. usage:
// epoll_load CPU DEPTH
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile long long calls;
static clockid_t loop_clock;

static void* answer(void* unused) {
  char line[16];
  while (fgets(line, sizeof(line), stdin)) {
    struct timespec cpu;
    long long now = calls;
    clock_gettime(loop_clock, &cpu);
    printf("%lld %lld\n", now, cpu.tv_sec * 1000000000ll + cpu.tv_nsec);
    fflush(stdout);
  }
  exit(0);
  return unused;
}

/* A stack as deep as it is asked for. The innermost call works until the process ends, which
 * compilers take for a recursion without end. */
#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) void loop(int depth, int epoll, int in, int out) {
  if (depth > 0) {
    loop(depth - 1, epoll, in, out);
    __asm__ volatile("");  // no tail call
    return;
  }
  for (char byte = 0;; ++calls) {
    struct epoll_event got;
    if (write(out, &byte, 1) != 1 || epoll_wait(epoll, &got, 1, -1) != 1 || read(in, &byte, 1) != 1)
      abort();
  }
}

int main(int argc, char** argv) {
  int pair[2], epoll = epoll_create1(0);
  cpu_set_t cpus;
  pthread_t thread;
  if (argc != 3 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 1;
  CPU_ZERO(&cpus);
  CPU_SET(atoi(argv[1]), &cpus);
  sched_setaffinity(0, sizeof(cpus), &cpus);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
  pthread_getcpuclockid(pthread_self(), &loop_clock);
  pthread_create(&thread, NULL, answer, NULL);
  loop(atoi(argv[2]), epoll, pair[0], pair[1]);
}
