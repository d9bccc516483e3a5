// SPDX-License-Identifier: Apache-2.0
//
// Two pairs of threads that wait in libc's read(), poll() and pause(), each always from one
// function: call_read, call_poll, call_pause. glibc's wrappers of a program with threads keep no
// frame pointer and move the stack pointer, so the caller is the frame that a careless walker gets
// wrong. usage: callers ROUNDS
//
// Prints "ready", waits for a line, plays ROUNDS rounds in both pairs, prints how often the threads
// switched as JSON, stays quiet until stdin ends.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "inline_syscall.h"

#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static long rounds;
static int to_reader[2], to_poller[2], from_pauser[2];
static pthread_t pauser;
static _Atomic long switches;
static _Atomic int pauser_done, began;
static pthread_barrier_t finished;

NOINLINE static void call_read(int fd) {
  char byte;
  if (read(fd, &byte, 1) != 1) exit(1);
  KEEP_FRAME();
}

NOINLINE static int call_poll(int fd, int timeout_ms) {
  struct pollfd entry = {fd, POLLIN, 0};
  const int ready = poll(&entry, 1, timeout_ms);
  KEEP_FRAME();
  return ready;
}

NOINLINE static void call_pause(void) {
  pause();
  KEEP_FRAME();
}

// The byte is there already: this read does not wait.
NOINLINE static void take_byte(int fd) {
  char byte;
  if (inline_syscall(SYS_read, fd, (long)&byte, 1, 0) != 1) exit(1);
}

NOINLINE static void put_byte(int fd) {
  if (inline_syscall(SYS_write, fd, (long)"x", 1, 0) != 1) exit(1);
}

static void add_switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  switches += usage.ru_nvcsw;
}

static void rest(void) {
  add_switches();
  pthread_barrier_wait(&finished);
  for (;;) inline_syscall(SYS_pause, 0, 0, 0, 0);
}

static void wait_for_go(void) {
  const struct timespec length = {0, 1000000};
  while (!began) inline_syscall(SYS_nanosleep, (long)&length, 0, 0, 0);
}

NOINLINE static void* reader_thread(void* unused) {
  wait_for_go();
  for (long i = 0; i < rounds; i++) {
    call_read(to_reader[0]);
    put_byte(to_poller[1]);
  }
  rest();
  return unused;
}

NOINLINE static void* poller_thread(void* unused) {
  wait_for_go();
  for (long i = 0; i < rounds; i++) {
    put_byte(to_reader[1]);
    while (call_poll(to_poller[0], 1000) != 1) {
    }
    take_byte(to_poller[0]);
  }
  rest();
  return unused;
}

static void on_signal(int number) { (void)number; }

NOINLINE static void* pauser_thread(void* unused) {
  wait_for_go();
  for (long i = 0; i < rounds; i++) {
    call_pause();
    put_byte(from_pauser[1]);
  }
  pauser_done = 1;
  rest();
  return unused;
}

NOINLINE static void* signaller_thread(void* unused) {
  wait_for_go();
  while (!pauser_done) {
    pthread_kill(pauser, SIGUSR1);
    // A signal before pause() is lost to it: send another when no answer comes.
    if (call_poll(from_pauser[0], 2) == 1) take_byte(from_pauser[0]);
  }
  rest();
  return unused;
}

// Not through libc: its read() would have another caller here. 0 at the end of stdin.
NOINLINE static int line_came(void) {
  char line[64];
  return inline_syscall(SYS_read, 0, (long)line, sizeof line, 0) > 0;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  rounds = atol(argv[1]);
  signal(SIGUSR1, on_signal);
  if (pipe(to_reader) != 0 || pipe(to_poller) != 0 || pipe(from_pauser) != 0) return 1;
  pthread_barrier_init(&finished, NULL, 5);
  pthread_t thread;
  pthread_create(&thread, NULL, reader_thread, NULL);
  pthread_create(&thread, NULL, poller_thread, NULL);
  pthread_create(&pauser, NULL, pauser_thread, NULL);
  pthread_create(&thread, NULL, signaller_thread, NULL);
  puts("ready");
  fflush(stdout);
  if (!line_came()) return 1;
  began = 1;
  pthread_barrier_wait(&finished);
  printf("{\"switches\": %ld}\n", (long)switches);
  fflush(stdout);
  while (line_came()) {
  }
  return 0;
}
