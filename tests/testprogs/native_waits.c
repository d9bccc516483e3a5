// SPDX-License-Identifier: Apache-2.0
//
// Known waits, each at a site (a function) of its own, in threads that run side by side: sleeps,
// futex waits, pipe reads, flushes to a busy disk. Around each wait a site adds up elapsed time
// less thread CPU: what a recorder must find as blocked plus run-queue time. usage: native_waits
// ROUNDS FILE (read with O_DIRECT; created by the caller)
//
// Prints "ready", waits for a line, does the waits, prints its log as one JSON line, and stays
// quiet until stdin ends.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "inline_syscall.h"

struct tally {
  uint64_t waited_ns;  // elapsed less thread CPU, around the call only
  uint64_t elapsed_ns;
  long calls;
  long switches;   // voluntary context switches, to tell how long one wait was
  long preempted;  // involuntary ones: a run-queue wait that is no part of a wait
};

struct stamp {
  uint64_t wall_ns, cpu_ns;
  long switches, preempted;
};

NOINLINE static struct stamp stamp_now(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  struct stamp now = {clock_ns(CLOCK_MONOTONIC), 0, usage.ru_nvcsw, usage.ru_nivcsw};
  now.cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  return now;
}

NOINLINE static void tally_since(struct tally* tally, const struct stamp* before) {
  const uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before->cpu_ns;
  const uint64_t elapsed_ns = clock_ns(CLOCK_MONOTONIC) - before->wall_ns;
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  tally->waited_ns += elapsed_ns - cpu_ns;
  tally->elapsed_ns += elapsed_ns;
  tally->calls += 1;
  tally->switches += usage.ru_nvcsw - before->switches;
  tally->preempted += usage.ru_nivcsw - before->preempted;
}

static int rounds;
static const char* folder;
static int start_pipe[2], data_pipe[2];
static _Atomic uint32_t futex_word;
static pthread_barrier_t finished;

enum { kSleep10, kSleep50, kFutex, kFutexWaker, kPipe, kPipeWriter, kDisk, kSiteCount };
static const char* const site_names[kSiteCount] = {
    "site_sleep_10", "site_sleep_50",    "site_futex", "site_futex_waker",
    "site_pipe",     "site_pipe_writer", "site_disk"};
static struct tally tallies[kSiteCount];

#define SLEEP_SITE(name, ns)                               \
  NOINLINE static void name(struct tally* tally) {         \
    const struct timespec length = {0, ns};                \
    const struct stamp before = stamp_now();               \
    inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0); \
    tally_since(tally, &before);                           \
  }
SLEEP_SITE(site_sleep_10, 10000000)
SLEEP_SITE(site_sleep_50, 50000000)
SLEEP_SITE(site_futex_waker, 12000000)
SLEEP_SITE(site_pipe_writer, 15000000)

NOINLINE static void site_futex(struct tally* tally, uint32_t seen) {
  const struct stamp before = stamp_now();
  inline_syscall(SYS_futex, (long)&futex_word, FUTEX_WAIT_PRIVATE, seen, 0);
  tally_since(tally, &before);
}

NOINLINE static void site_pipe(struct tally* tally) {
  char byte;
  const struct stamp before = stamp_now();
  inline_syscall(SYS_read, data_pipe[0], (long)&byte, 1, 0);
  tally_since(tally, &before);
}

NOINLINE static void site_disk(struct tally* tally, int fd) {
  const struct stamp before = stamp_now();
  const long failed = inline_syscall(SYS_fdatasync, fd, 0, 0, 0);
  tally_since(tally, &before);
  if (failed) {
    fprintf(stderr, "native_waits: fdatasync gave %ld\n", failed);
    exit(1);
  }
}

static void* sleep_thread(void* unused) {
  for (int i = 0; i < rounds; i++) site_sleep_10(&tallies[kSleep10]);
  for (int i = 0; i < rounds / 4; i++) site_sleep_50(&tallies[kSleep50]);
  return unused;
}

static _Atomic int futex_done;

static void* futex_thread(void* unused) {
  for (;;) {
    const uint32_t seen =
        futex_word;  // before the look at futex_done: a later change ends the wait at once
    if (futex_done) return unused;
    site_futex(&tallies[kFutex], seen);
  }
}

static void* futex_waker_thread(void* unused) {
  for (int i = 0; i < rounds; i++) {
    site_futex_waker(&tallies[kFutexWaker]);
    if (i == rounds - 1) futex_done = 1;
    futex_word++;
    inline_syscall(SYS_futex, (long)&futex_word, FUTEX_WAKE_PRIVATE, 1, 0);
  }
  return unused;
}

static void* pipe_thread(void* unused) {
  for (int i = 0; i < rounds; i++) site_pipe(&tallies[kPipe]);
  return unused;
}

static void* pipe_writer_thread(void* unused) {
  for (int i = 0; i < rounds; i++) {
    site_pipe_writer(&tallies[kPipeWriter]);
    if (write(data_pipe[1], "x", 1) != 1) exit(1);
  }
  return unused;
}

static _Atomic int disk_done, hammers_at_work;

enum { kBlock = 4096, kHammerBytes = 16 << 20 };

static int open_unnamed(int flags) {
  const int fd = open(folder, O_TMPFILE | O_RDWR | flags, 0600);
  if (fd < 0) {
    perror("native_waits: a file in the folder");
    exit(3);
  }
  return fd;
}

// One block to flush, which queues behind what the hammers write: a long wait with little work in
// the call. (A large direct read is work: the hypervisor's part of it is neither CPU of the thread
// nor a wait.)
static void* disk_thread(void* unused) {
  char block[kBlock];
  const int fd = open_unnamed(0);
  while (hammers_at_work < 2) usleep(10000);
  for (int i = 0; i < rounds / 4; i++) {
    memset(block, i + 1, sizeof block);
    if (pwrite(fd, block, sizeof block, 0) != sizeof block) exit(1);
    site_disk(&tallies[kDisk], fd);
  }
  disk_done = 1;
  return unused;
}

static void* disk_hammer_thread(void* unused) {
  void* buffer;
  if (posix_memalign(&buffer, kBlock, kHammerBytes) != 0) exit(1);
  memset(buffer, 1, kHammerBytes);
  const int fd = open_unnamed(O_DIRECT);
  int hammering = 0;
  while (!disk_done) {
    if (pwrite(fd, buffer, kHammerBytes, 0) != kHammerBytes) exit(1);
    if (!hammering) {
      hammering = 1;
      hammers_at_work++;
    }
  }
  return unused;
}

NOINLINE static void wait_for_go(void) {
  char byte;
  while (inline_syscall(SYS_read, start_pipe[0], (long)&byte, 1, 0) != 1) {
  }
}

NOINLINE static void quiet_until_end(void) {
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
}

struct job {
  void* (*run)(void*);
};

static void* job_thread(void* argument) {
  wait_for_go();
  ((struct job*)argument)->run(NULL);
  pthread_barrier_wait(&finished);
  quiet_until_end();
  return NULL;
}

static void print_log(void) {
  printf("{\"sites\": {");
  for (int i = 0; i < kSiteCount; i++) {
    printf(
        "%s\"%s\": {\"waited_ns\": %llu, \"elapsed_ns\": %llu, \"calls\": %ld, \"switches\": %ld, "
        "\"preempted\": %ld}",
        i ? ", " : "", site_names[i], (unsigned long long)tallies[i].waited_ns,
        (unsigned long long)tallies[i].elapsed_ns, tallies[i].calls, tallies[i].switches,
        tallies[i].preempted);
  }
  printf("}}\n");
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  rounds = atoi(argv[1]);
  folder = argv[2];
  static struct job jobs[] = {{sleep_thread},       {futex_thread},       {futex_waker_thread},
                              {pipe_thread},        {pipe_writer_thread}, {disk_thread},
                              {disk_hammer_thread}, {disk_hammer_thread}};
  enum { kJobs = sizeof jobs / sizeof jobs[0] };
  if (pipe(start_pipe) != 0 || pipe(data_pipe) != 0) return 1;
  pthread_barrier_init(&finished, NULL, kJobs + 1);
  for (int i = 0; i < kJobs; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, job_thread, &jobs[i]);
  }
  usleep(100000);  // let every thread reach wait_for_go
  puts("ready");
  fflush(stdout);
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 1;
  for (int i = 0; i < kJobs; i++) {
    if (write(start_pipe[1], "g", 1) != 1) return 1;
  }
  pthread_barrier_wait(&finished);
  print_log();
  while (fgets(line, sizeof line, stdin)) {
  }
  return 0;
}
