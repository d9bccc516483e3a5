// SPDX-License-Identifier: Apache-2.0
//
// Waits again and again at one site, released by a line on stdin. usage: same_site KIND
//
// inline: a system call of its own; libc: read(). mutex, cond, sem: libc functions that wait in
// others of libc, all of them without frame pointers.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inline_syscall.h"

static int release_pipe[2];

NOINLINE static void site_libc(void) {
  char byte;
  if (read(release_pipe[0], &byte, 1) != 1) exit(1);
  __asm__ volatile("" ::: "memory");
}

NOINLINE static void site_inline(void) {
  char byte;
  if (inline_syscall(SYS_read, release_pipe[0], (long)&byte, 1, 0) != 1) exit(1);
}

// main holds both mutexes, lets go of the one that is waited for, and takes it back.
static pthread_mutex_t gates[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int permits;
static sem_t semaphore;

NOINLINE static void site_mutex(void) {
  static int next;
  pthread_mutex_lock(&gates[next]);
  pthread_mutex_unlock(&gates[next]);
  next = !next;
}

NOINLINE static void site_cond(void) {
  pthread_mutex_lock(&guard);
  while (permits == 0) pthread_cond_wait(&changed, &guard);
  permits--;
  pthread_mutex_unlock(&guard);
}

NOINLINE static void site_sem(void) {
  while (sem_wait(&semaphore) != 0) {
  }
  __asm__ volatile("" ::: "memory");
}

static void release(int round) {
  if (write(release_pipe[1], "x", 1) != 1) exit(1);
  pthread_mutex_unlock(&gates[round % 2]);
  usleep(20000);
  pthread_mutex_lock(&gates[round % 2]);
  pthread_mutex_lock(&guard);
  permits++;
  pthread_mutex_unlock(&guard);
  pthread_cond_signal(&changed);  // afterwards, so that the waiter need not wait for the mutex too
  sem_post(&semaphore);
}

static const struct {
  const char* kind;
  void (*wait)(void);
} sites[] = {{"inline", site_inline},
             {"libc", site_libc},
             {"mutex", site_mutex},
             {"cond", site_cond},
             {"sem", site_sem}};

NOINLINE static void* site_thread(void* argument) {
  void (*wait)(void) = NULL;
  for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
    if (strcmp(argument, sites[i].kind) == 0) wait = sites[i].wait;
  }
  if (!wait) exit(2);
  for (;;) {
    __asm__ volatile("" : "+r"(wait));  // or the compiler makes two call sites of this one
    wait();
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 2 || pipe(release_pipe) != 0 || sem_init(&semaphore, 0, 0) != 0) return 2;
  pthread_mutex_lock(&gates[0]);
  pthread_mutex_lock(&gates[1]);
  pthread_t thread;
  pthread_create(&thread, NULL, site_thread, argv[1]);
  usleep(100000);
  puts("ready");
  fflush(stdout);
  char line[16];
  for (int round = 0; fgets(line, sizeof line, stdin); round++) release(round);
  return 0;
}
