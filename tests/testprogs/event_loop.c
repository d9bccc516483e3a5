// SPDX-License-Identifier: Apache-2.0
/*
 * An event loop that keeps its own books. It does as it is told, one order a line, and prints what
 * came of it as one line of JSON.
 *
 *   run KIND TRIGGER SECONDS STALL_US    messages come every 0.5 ms on 64 sockets (unix, tcp) while
 *                                        the loop stalls itself for 1 to 4 times STALL_US; its lag
 *                                        is from just before the send to epoll_wait's return
 *   accept COUNT STALL_US                connections instead: from just before connect()
 *   others COUNT                         an eventfd, a pipe and a timer: COUNT events of each
 *   calls COUNT                          of each of the calls that wait for events: two that time
 * out (one with a time-out of 0), one that returns an event block                                a
 * thread waits in epoll_wait, another in poll, without end
 *
 * TRIGGER: level, edge. Every loop is left before the answer is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS 64
#define MOST_LAGS 400000

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void nap(long long ns) {
  struct timespec time = {ns / 1000000000, ns % 1000000000};
  nanosleep(&time, NULL);
}

static void must(int fine, const char* what) {
  if (fine) return;
  perror(what);
  exit(1);
}

/* --- What the loop writes down. */

static long long lags[MOST_LAGS];
static int lag_count;
static long long calls, events, empty, waiting_ns, longest_away_ns, left_ns;

static void forget(void) {
  lag_count = 0;
  calls = events = empty = waiting_ns = longest_away_ns = left_ns = 0;
}

static int by_value(const void* a, const void* b) {
  long long x = *(const long long*)a, y = *(const long long*)b;
  return (x > y) - (x < y);
}

static void answer(void) {
  qsort(lags, lag_count, sizeof(lags[0]), by_value);
  printf(
      "{\"calls\": %lld, \"events\": %lld, \"empty\": %lld, \"waiting_ns\": %lld, "
      "\"longest_away_ns\": %lld, \"lags\": %d, \"p50\": %lld, \"max\": %lld}\n",
      calls, events, empty, waiting_ns, longest_away_ns, lag_count,
      lag_count ? lags[(lag_count - 1) / 2] : 0, lag_count ? lags[lag_count - 1] : 0);
  fflush(stdout);
}

/* Stands on the stack of every wait. Returns the time of the return in `now`. */
__attribute__((noinline)) int wait_for_events(int loop, struct epoll_event* out, int most,
                                              int timeout_ms, long long* now) {
  long long begin = now_ns();
  if (left_ns && begin - left_ns > longest_away_ns) longest_away_ns = begin - left_ns;
  int n = epoll_wait(loop, out, most, timeout_ms);
  *now = left_ns = now_ns();
  ++calls;
  if (n > 0) events += n;
  if (n == 0) ++empty;
  waiting_ns += *now - begin;
  return n;
}

static void watch(int loop, int fd, uint32_t what, uint64_t data) {
  struct epoll_event event = {.events = what, .data.u64 = data};
  must(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* --- Messages. */

static int near_end[SOCKETS], far_end[SOCKETS];

static void make_tcp_pair(int out[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof(address);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  must(bind(listener, (struct sockaddr*)&address, length) == 0 && listen(listener, 8) == 0,
       "listen");
  must(getsockname(listener, (struct sockaddr*)&address, &length) == 0, "getsockname");
  out[0] = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(out[0], (struct sockaddr*)&address, length) == 0, "connect");
  out[1] = accept(listener, NULL, NULL);
  close(listener);
}

static volatile int over;
static long long sent;

static void* send_messages(void* seconds) {
  long long end = now_ns() + (long long)(*(double*)seconds * 1e9);
  for (int i = 0; now_ns() < end; i = (i + 1) % SOCKETS) {
    long long now = now_ns();
    if (send(far_end[i], &now, sizeof(now), MSG_DONTWAIT) == sizeof(now)) ++sent;
    nap(500000);
  }
  over = 1;
  return NULL;
}

/* All that is there. Returns when the first of it was sent; 0: nothing. */
static long long read_messages(int fd) {
  long long first = 0, message;
  while (recv(fd, &message, sizeof(message), MSG_DONTWAIT) == sizeof(message)) {
    if (!first) first = message;
  }
  return first;
}

__attribute__((noinline)) void run_loop(const char* kind, const char* trigger, double seconds,
                                        int stall_us) {
  uint32_t what = EPOLLIN | (strcmp(trigger, "edge") == 0 ? EPOLLET : 0);
  int loop = epoll_create1(0);
  for (int i = 0; i < SOCKETS; ++i) {
    int pair[2];
    if (strcmp(kind, "tcp") == 0)
      make_tcp_pair(pair);
    else
      must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    near_end[i] = pair[0];
    far_end[i] = pair[1];
    watch(loop, near_end[i], what, i);
  }
  forget();
  over = 0;
  pthread_t sender;
  pthread_create(&sender, NULL, send_messages, &seconds);
  struct epoll_event got[SOCKETS];
  long long now;
  int stalls = 0;
  while (!over) {
    int n = wait_for_events(loop, got, SOCKETS, 20, &now);
    for (int i = 0; i < n; ++i) {
      long long first = read_messages(near_end[got[i].data.u64]);
      if (first && lag_count < MOST_LAGS) lags[lag_count++] = now - first;
    }
    if (n > 0) nap(stall_us * 1000ll * (1 + stalls++ % 4));
  }
  pthread_join(sender, NULL);
  answer();
  for (int i = 0; i < SOCKETS; ++i) {
    close(near_end[i]);
    close(far_end[i]);
  }
  close(loop);
}

/* --- Connections. */

struct callers {
  struct sockaddr_in address;
  int count;
  long long* began;
};

static void* connect_often(void* given) {
  struct callers* callers = given;
  for (int i = 0; i < callers->count; ++i) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    callers->began[i] = now_ns();
    must(connect(fd, (struct sockaddr*)&callers->address, sizeof(callers->address)) == 0,
         "connect");
    nap(3000000);
    close(fd);
  }
  return NULL;
}

static void accept_loop(int count, int stall_us) {
  struct callers callers = {.address = {.sin_family = AF_INET}, .count = count};
  socklen_t length = sizeof(callers.address);
  callers.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  callers.began = calloc(count, sizeof(*callers.began));
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), loop = epoll_create1(0);
  must(bind(listener, (struct sockaddr*)&callers.address, length) == 0, "bind");
  must(listen(listener, 128) == 0, "listen");
  must(getsockname(listener, (struct sockaddr*)&callers.address, &length) == 0, "getsockname");
  watch(loop, listener, EPOLLIN, 7);
  forget();
  pthread_t thread;
  pthread_create(&thread, NULL, connect_often, &callers);
  for (int accepted = 0; accepted < count;) {
    struct epoll_event got;
    long long now;
    int first = accepted, fd;
    if (wait_for_events(loop, &got, 1, 1000, &now) != 1) continue;
    for (; (fd = accept(listener, NULL, NULL)) >= 0; ++accepted) close(fd);
    if (accepted > first) lags[lag_count++] = now - callers.began[first];
    nap(stall_us * 1000ll);
  }
  pthread_join(thread, NULL);
  answer();
  close(listener);
  close(loop);
  free(callers.began);
}

/* --- What has no lag. */

static void watch_others(int count) {
  int loop = epoll_create1(0), counter = eventfd(0, 0), ends[2];
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec soon = {.it_value = {0, 1000}};
  uint64_t one = 1;
  must(pipe(ends) == 0, "pipe");
  watch(loop, counter, EPOLLIN, 1);
  watch(loop, ends[0], EPOLLIN, 2);
  watch(loop, timer, EPOLLIN, 3);
  forget();
  for (int i = 0; i < count * 3; ++i) {
    struct epoll_event got;
    long long now;
    if (i % 3 == 0) must(write(counter, &one, sizeof(one)) == sizeof(one), "write");
    if (i % 3 == 1) must(write(ends[1], &one, sizeof(one)) == sizeof(one), "write");
    if (i % 3 == 2) timerfd_settime(timer, 0, &soon, NULL);
    must(wait_for_events(loop, &got, 1, 1000, &now) == 1, "epoll_wait");
    int fd = got.data.u64 == 1 ? counter : got.data.u64 == 2 ? ends[0] : timer;
    must(read(fd, &one, sizeof(one)) == sizeof(one), "read");
    one = 1;
  }
  answer();
  close(loop);
}

/* --- Each of the calls. */

/* Once with a time-out of 0, once with one of 1 ms, once with something to read. */
__attribute__((noinline)) void call_each(int loop, int fd, int ready) {
  struct epoll_event got;
  struct pollfd one = {fd, POLLIN, 0};
  for (int wait = 0; wait < (ready ? 1 : 2); ++wait) {
    struct timespec short_time = {0, wait * 1000000}, short_times[2] = {short_time, short_time};
    struct timeval short_timeval = {0, wait * 1000};
    fd_set set;
    must(epoll_wait(loop, &got, 1, wait) == ready, "epoll_wait");
    must(epoll_pwait(loop, &got, 1, wait, NULL) == ready, "epoll_pwait");
    must(syscall(441, loop, &got, 1, &short_time, NULL, 0) == ready, "epoll_pwait2");
    must(syscall(7, &one, 1, wait) == ready, "poll");
    must(syscall(271, &one, 1, &short_times[0], NULL, 0) == ready, "ppoll");
    FD_ZERO(&set);
    FD_SET(fd, &set);
    must(syscall(23, fd + 1, &set, NULL, NULL, &short_timeval) == ready, "select");
    FD_ZERO(&set);
    FD_SET(fd, &set);
    must(syscall(270, fd + 1, &set, NULL, NULL, &short_times[1], NULL) == ready, "pselect6");
  }
}

static void make_calls(int count) {
  int loop = epoll_create1(0), ends[2];
  char byte = 0;
  must(pipe(ends) == 0, "pipe");
  watch(loop, ends[0], EPOLLIN, 0);
  for (int i = 0; i < count; ++i) {
    call_each(loop, ends[0], 0);
    must(write(ends[1], &byte, 1) == 1, "write");
    call_each(loop, ends[0], 1);
    must(read(ends[0], &byte, 1) == 1, "read");
  }
  forget();
  answer();
  close(loop);
}

/* --- Calls without end. */

__attribute__((noinline)) void* wait_without_end(void* unused) {
  struct epoll_event got;
  int loop = epoll_create1(0);
  epoll_wait(loop, &got, 1, -1);
  return unused;
}

__attribute__((noinline)) void* poll_without_end(void* unused) {
  poll(NULL, 0, -1);
  return unused;
}

int main(void) {
  char line[200], kind[20], trigger[20];
  double seconds;
  int count, stall_us;
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof(line), stdin)) {
    if (sscanf(line, "run %19s %19s %lf %d", kind, trigger, &seconds, &stall_us) == 4) {
      run_loop(kind, trigger, seconds, stall_us);
    } else if (sscanf(line, "accept %d %d", &count, &stall_us) == 2) {
      accept_loop(count, stall_us);
    } else if (sscanf(line, "others %d", &count) == 1) {
      watch_others(count);
    } else if (sscanf(line, "calls %d", &count) == 1) {
      make_calls(count);
    } else if (strncmp(line, "block", 5) == 0) {
      pthread_t thread;
      pthread_create(&thread, NULL, wait_without_end, NULL);
      pthread_create(&thread, NULL, poll_without_end, NULL);
      nap(200000000);
      forget();
      answer();
    } else {
      fprintf(stderr, "what is %s", line);
      return 1;
    }
  }
  return 0;
}
