// SPDX-License-Identifier: Apache-2.0
//
// What a context switch costs under the kernel programs of a recording, resolved to nanoseconds.
//
// Two threads (or two processes) on one CPU pass a byte over two pipes: one switch and one wake-up
// each way. The programs are attached and detached in turn around short bursts of it: bare, empty,
// bare, ours, bare ... A burst's cost is the CPU time of both threads per switch, so what
// neighbours take does not count; an effect is the median, over all rounds, of a burst less the
// mean of the bare bursts right before and after it.
//
//   switch_burst [-c CPU] [-n ROUNDS] [-s SECONDS] [-t TRIPS] [-d DEPTH] [-P] [-a ARM,...]
//   switch_burst -l [-c CPU] [-d DEPTH] [-P]    only the load, until it is killed; prints "ready"
//     -s  no new round after so many seconds, if there have been 40
//     -P  two processes, not two threads of one; of them "target" records the first, "all" both
//     arms: nothing (control), empty, other (records another process), other_timed (the same, while
//     the kernel times each run of a program, as a recording asks for a twentieth of the time),
//     target, all
//
// Prints one JSON object: per arm the added ns a switch, its standard error and the ratio to bare.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bpf/wire.h"
#include "empty.skel.h"
#include "process.skel.h"
#include "sched.skel.h"

static void die(const char* what) {
  perror(what);
  exit(1);
}

/* --- the load
 * ----------------------------------------------------------------------------------------------------
 */

struct pair {
  int to_partner[2], to_us[2];
  clockid_t partner_clock;
  int depth;
};

/* The system calls stand inline, so that the stack is our frames and nothing of libc's. */
static inline long transfer(long number, int fd, char* byte) {
  long result;

  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"((long)fd), "S"(byte), "d"(1L)
                   : "rcx", "r11", "memory");
  return result;
}

static __attribute__((noinline)) void answer(struct pair* pair) {
  char byte;

  while (transfer(SYS_read, pair->to_partner[0], &byte) == 1 &&
         transfer(SYS_write, pair->to_us[1], &byte) == 1)
    ;
  __asm__ volatile("" ::: "memory");
}

/* Calls `work` below `depth` frames of its own. */
static __attribute__((noinline)) void below(int depth, void (*work)(struct pair*),
                                            struct pair* pair) {
  if (depth > 1)
    below(depth - 1, work, pair);
  else
    work(pair);
  __asm__ volatile("" ::: "memory");
}

static void* partner_thread(void* argument) {
  struct pair* pair = argument;

  below(pair->depth, answer, pair);
  return NULL;
}

static double seconds(clockid_t clock) {
  struct timespec t;

  if (clock_gettime(clock, &t)) die("clock_gettime");
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static double cpu_seconds(const struct pair* pair) {
  double own = seconds(CLOCK_PROCESS_CPUTIME_ID);

  return pair->partner_clock == CLOCK_PROCESS_CPUTIME_ID ? own : own + seconds(pair->partner_clock);
}

/* ns of CPU per switch */
static double burst(struct pair* pair, int trips) {
  double from = cpu_seconds(pair);
  char byte = 0;

  for (int i = 0; i < trips; i++)
    if (transfer(SYS_write, pair->to_partner[1], &byte) != 1 ||
        transfer(SYS_read, pair->to_us[0], &byte) != 1)
      die("pipe");
  return (cpu_seconds(pair) - from) * 1e9 / trips / 2;
}

static void start_partner(struct pair* pair, bool processes) {
  if (pipe(pair->to_partner) || pipe(pair->to_us)) die("pipe");
  if (processes) {
    pid_t child = fork();

    if (child < 0) die("fork");
    if (!child) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(pair->to_partner[1]);
      below(pair->depth, answer, pair);
      _exit(0);
    }
    if (clock_getcpuclockid(child, &pair->partner_clock)) die("clock_getcpuclockid");
  } else {
    pthread_t thread;

    pair->partner_clock = CLOCK_PROCESS_CPUTIME_ID;
    if (pthread_create(&thread, NULL, partner_thread, pair)) die("pthread_create");
  }
}

/* --- the programs
 * ------------------------------------------------------------------------------------------------
 */

enum { MAX_PROGRAMS = 8 };

struct arm {
  const char* name;
  struct bpf_program* programs[MAX_PROGRAMS];
  struct bpf_link* links[MAX_PROGRAMS];
  int count;
  struct sched_bpf* sched;
  bool timed;
  int stats_fd;
};

static struct empty_bpf* load_empty(void) {
  struct empty_bpf* empty = empty_bpf__open_and_load();

  if (!empty) die("empty programs");
  return empty;
}

static __u32 kernel_tgid(struct empty_bpf* empty) {
  LIBBPF_OPTS(bpf_test_run_opts, options);

  if (bpf_prog_test_run_opts(bpf_program__fd(empty->progs.tell_tgid), &options) ||
      !empty->bss->own_tgid)
    die("tell_tgid");
  return empty->bss->own_tgid;
}

static void add_ours(struct arm* arm, enum target_mode mode, __u32 tgid) {
  struct sched_bpf* sched = sched_bpf__open();
  struct process_bpf* process = process_bpf__open();

  if (!sched || !process) die("open");
  sched->rodata->target_tgid = process->rodata->target_tgid = tgid;
  sched->rodata->target_mode = process->rodata->target_mode = mode;
  bpf_program__set_autoload(sched->progs.sched_switch_3, false);
  if (sched_bpf__load(sched) || process_bpf__load(process)) die("load");
  sched->data->start_ns = 1;
  arm->sched = sched;
  arm->programs[arm->count++] = sched->progs.sched_switch;
  arm->programs[arm->count++] = sched->progs.sched_waking;
  arm->programs[arm->count++] = sched->progs.sched_wakeup_new;
  arm->programs[arm->count++] = sched->progs.ledger_fork;
  arm->programs[arm->count++] = sched->progs.ledger_exec;
  arm->programs[arm->count++] = process->progs.process_fork;
  arm->programs[arm->count++] = process->progs.process_exec;
  arm->programs[arm->count++] = process->progs.process_exit;
}

static void fill_arm(struct arm* arm, struct empty_bpf* empty, __u32 own_tgid) {
  if (!strcmp(arm->name, "nothing")) return;
  if (!strcmp(arm->name, "empty")) {
    arm->programs[arm->count++] = empty->progs.empty_switch;
    arm->programs[arm->count++] = empty->progs.empty_waking;
    arm->programs[arm->count++] = empty->progs.empty_new;
    arm->programs[arm->count++] = empty->progs.empty_fork;
    arm->programs[arm->count++] = empty->progs.empty_exec;
    arm->programs[arm->count++] = empty->progs.empty_exit;
  } else if (!strcmp(arm->name, "other")) {
    add_ours(arm, TARGET_ONE, 1);
  } else if (!strcmp(arm->name, "other_timed")) {
    add_ours(arm, TARGET_ONE, 1);
    arm->timed = true;
  } else if (!strcmp(arm->name, "target")) {
    add_ours(arm, TARGET_ONE, own_tgid);
  } else if (!strcmp(arm->name, "all")) {
    add_ours(arm, TARGET_ALL, 0);
  } else {
    fprintf(stderr, "no arm %s\n", arm->name);
    exit(2);
  }
}

/* Makes the ledgers of threads that began before, as a recording does. */
static void run_open_pass(struct sched_bpf* sched) {
  struct bpf_link* link = bpf_program__attach_iter(sched->progs.iterate_threads, NULL);
  int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
  char buffer[4096];

  if (fd < 0) die("the opening pass");
  while (read(fd, buffer, sizeof buffer) > 0) {
  }
  close(fd);
  bpf_link__destroy(link);
}

static void attach(struct arm* arm) {
  if (arm->sched) run_open_pass(arm->sched);
  for (int i = 0; i < arm->count; i++) {
    arm->links[i] = bpf_program__attach(arm->programs[i]);
    if (!arm->links[i]) die(bpf_program__name(arm->programs[i]));
  }
  if (arm->timed) {
    arm->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
    if (arm->stats_fd < 0) die("bpf_enable_stats");
  }
}

static void detach(struct arm* arm) {
  if (arm->timed) close(arm->stats_fd);
  for (int i = 0; i < arm->count; i++) bpf_link__destroy(arm->links[i]);
}

/* --- the measurement
 * --------------------------------------------------------------------------------------------- */

static int compare(const void* left, const void* right) {
  double a = *(const double*)left, b = *(const double*)right;

  return a < b ? -1 : a > b;
}

struct spread {
  double quartile_1, median, quartile_3, error;
};

/* Sorts. `error` is the standard error of the median, from the distance of the quartiles. */
static struct spread spread_of(double* values, int count) {
  struct spread s;

  qsort(values, count, sizeof(*values), compare);
  s.quartile_1 = values[count / 4];
  s.median = values[count / 2];
  s.quartile_3 = values[count * 3 / 4];
  s.error = 1.2533 * (s.quartile_3 - s.quartile_1) / 1.349 / sqrt(count);
  return s;
}

/* Addresses in the deepest user stack that the arm kept, and in the deepest kernel stack. */
static void deepest_stacks(struct arm* arm, int* user, int* kernel) {
  static struct stack stack;
  int fd = bpf_map__fd(arm->sched->maps.stacks);
  __u64 id, *previous = NULL;

  *user = *kernel = 0;
  while (!bpf_map_get_next_key(fd, previous, &id)) {
    previous = &id;
    if (bpf_map_lookup_elem(fd, &id, &stack)) continue;
    int* deepest = stack.flags & STACK_KERNEL ? kernel : user;
    if (stack.count > *deepest) *deepest = stack.count;
  }
}

/* What the kernel counted while the arm was timed, over all of its programs. */
static void counted_runs(struct arm* arm, unsigned long long* runs, unsigned long long* ns) {
  *runs = *ns = 0;
  for (int i = 0; i < arm->count; i++) {
    struct bpf_prog_info info = {};
    __u32 size = sizeof(info);

    if (bpf_obj_get_info_by_fd(bpf_program__fd(arm->programs[i]), &info, &size))
      die("bpf_obj_get_info_by_fd");
    *runs += info.run_cnt;
    *ns += info.run_time_ns;
  }
}

static void print_arm(struct arm* arm, double* added, double* ratio, int rounds) {
  struct spread a = spread_of(added, rounds), r = spread_of(ratio, rounds);

  printf(
      "\"%s\": {\"added_ns\": %.2f, \"error_ns\": %.2f, \"quartiles_ns\": [%.2f, %.2f], \"ratio\": "
      "%.4f, "
      "\"ratio_quartiles\": [%.4f, %.4f]",
      arm->name, a.median, a.error, a.quartile_1, a.quartile_3, r.median, r.quartile_1,
      r.quartile_3);
  if (arm->sched) {
    int user, kernel;

    deepest_stacks(arm, &user, &kernel);
    printf(", \"user_addresses\": %d, \"kernel_addresses\": %d", user, kernel);
  }
  if (arm->timed) {
    unsigned long long runs, ns;

    counted_runs(arm, &runs, &ns);
    printf(", \"timed_runs\": %llu, \"ns_per_run\": %.1f", runs, runs ? (double)ns / runs : 0.0);
  }
  printf("}");
}

enum { ENOUGH_ROUNDS = 40 };

struct run {
  struct pair pair;
  struct arm arms[8];
  int arm_count, rounds, trips;
  double limit_seconds;
};

/* One turn of an arm: a burst with it, held against the bare bursts around it. */
static void take_turn(struct pair* pair, struct arm* arm, int trips, double* before, double* with,
                      double* bare) {
  double after;

  attach(arm);
  burst(pair, 64); /* caches and branch predictors settle */
  *with = burst(pair, trips);
  detach(arm);
  burst(pair, 64);
  after = burst(pair, trips);
  *bare = (*before + after) / 2;
  *before = after;
}

static void measure(struct run* run) {
  int arms = run->arm_count, limit = run->rounds, rounds = 0;
  double *added = calloc(arms * limit, sizeof(double)),
         *ratio = calloc(arms * limit, sizeof(double));
  double *all_bare = calloc(arms * limit, sizeof(double)), before, started;

  if (!added || !ratio || !all_bare) die("calloc");
  burst(&run->pair, run->trips);
  before = burst(&run->pair, run->trips);
  started = seconds(CLOCK_MONOTONIC);
  for (; rounds < limit; rounds++) {
    if (rounds >= ENOUGH_ROUNDS && seconds(CLOCK_MONOTONIC) - started > run->limit_seconds) break;
    for (int turn = 0; turn < arms; turn++) {
      int which = (turn + rounds) % arms, at = which * limit + rounds;
      double with, bare;

      take_turn(&run->pair, &run->arms[which], run->trips, &before, &with, &bare);
      all_bare[rounds * arms + turn] = bare;
      added[at] = with - bare;
      ratio[at] = with / bare;
    }
  }
  printf("{\"rounds\": %d, \"trips\": %d, \"bare_ns\": %.1f, \"arms\": {", rounds, run->trips,
         spread_of(all_bare, arms * rounds).median);
  for (int i = 0; i < arms; i++) {
    if (i) printf(", ");
    print_arm(&run->arms[i], added + i * limit, ratio + i * limit, rounds);
  }
  printf("}}\n");
}

static void settle_on(int cpu) {
  cpu_set_t set;

  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set)) die("sched_setaffinity");
  if (setpriority(PRIO_PROCESS, 0, -20)) perror("setpriority (goes on without)");
}

static void run_measurement(struct pair* pair) {
  measure((struct run*)pair); /* the pair is the run's first member */
}

/* The load alone, for tools that are measured as a whole. */
static void run_forever(struct pair* pair) {
  puts("ready");
  fflush(stdout);
  for (;;) burst(pair, 100000);
}

int main(int argc, char** argv) {
  static struct run run = {.pair.depth = 5, .rounds = 200, .trips = 500, .limit_seconds = 1e9};
  char default_arms[] = "nothing,empty,other,target", *names = default_arms;
  bool processes = false, load_only = false;
  int cpu = 0, option;

  while ((option = getopt(argc, argv, "c:n:s:t:d:Pa:l")) != -1) {
    switch (option) {
      case 'c':
        cpu = atoi(optarg);
        break;
      case 'n':
        run.rounds = atoi(optarg);
        break;
      case 's':
        run.limit_seconds = atof(optarg);
        break;
      case 't':
        run.trips = atoi(optarg);
        break;
      case 'd':
        run.pair.depth = atoi(optarg);
        break;
      case 'P':
        processes = true;
        break;
      case 'l':
        load_only = true;
        break;
      case 'a':
        names = optarg;
        break;
      default:
        return 2;
    }
  }
  if (run.rounds < 4 || run.trips < 1 || run.pair.depth < 1) return 2;
  libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
  settle_on(cpu);
  if (load_only) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    start_partner(&run.pair, processes);
    below(run.pair.depth, run_forever, &run.pair);
  }
  struct empty_bpf* empty = load_empty();
  __u32 tgid = kernel_tgid(empty);
  for (char* name = strtok(names, ","); name && run.arm_count < 8; name = strtok(NULL, ",")) {
    run.arms[run.arm_count].name = name;
    fill_arm(&run.arms[run.arm_count++], empty, tgid);
  }
  start_partner(&run.pair, processes);
  below(run.pair.depth, run_measurement, &run.pair);
  return 0;
}
