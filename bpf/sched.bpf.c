// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The ledger: for each thread of the target, what it is doing (running, runnable, blocked), since when, with which
 * stack, and the totals of each. Everything about threads and time is read off it, so no two figures can disagree.
 *
 *   running --switch-out, not preempted, state != running--> blocked
 *   running --switch-out otherwise--> runnable
 *   blocked --sched_waking--> blocked, woken (its run-queue time begins)
 *   any     --switch-in--> running; a wait that ended is summed by (stacks, raw reason)
 *
 * Switch events can be missing (a kernel drops them when tracing programs nest). A switch-out of a thread that is not
 * held as running means a missed switch-in: the scheduler's own record of it, sched_info.last_arrival, closes the gap;
 * without one the time is counted as unknown. It is never booked as run queue.
 *
 * The user stack is walked at the switch-out, while its memory is at hand; the kernel stack at the switch-in, by
 * bpf_get_task_stack() on the thread that has not run yet: cheaper, cleaner, and only for waits that are kept.
 */
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "go_layouts.h"
#include "recorded.h"
#include "target.h"
#include "task.h"
#include "walk.h"
#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* --- knobs ------------------------------------------------------------------------------------------------------- */

const volatile __u64 min_ns = 0;
const volatile __u64 max_ns = ~0ull;
const volatile __u32 per_thread = 0;

volatile __s64 clock_offset_ns = 0; /* as last measured on any CPU; 0: not yet */
volatile __u32 generation = 0;      /* which of the two sample maps is written */

/* The iterator's orders. */
volatile __u32 pass = PASS_OPEN;
const volatile __u32 pid_namespace_inum = 0;

/* --- maps -------------------------------------------------------------------------------------------------------- */

/* 0: nothing is known of the thread yet. THREAD_OPENING: so, and the opening pass is writing down what it sees. */
enum thread_state {
	THREAD_RUNNING = 1,
	THREAD_RUNNABLE = 2,
	THREAD_WAITING = 3,
	THREAD_DEAD = 4,
	THREAD_OPENING = 5,
};

struct ledger {
	u64 since; /* the last change of state */
	u64 woken; /* THREAD_WAITING: the wake-up; 0 before it */
	u64 user_stack;
	struct space_key space; /* as of the last switch-out */
	struct space_totals totals;
	u32 state;
	s32 syscall;
	u32 task_state;
	u32 flags; /* SAMPLE_* */
};

/*
 * Created where a thread begins or is first seen, and never in a switch: before 6.4 that would allocate under a run
 * queue's lock, and at any time fail when it interrupts another creation.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ledger);
} ledgers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct stack);
} stacks SEC(".maps");

struct sample_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sample_key);
	__type(value, struct sample_value);
} samples_0 SEC(".maps"), samples_1 SEC(".maps");

struct barrier_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
};

/* Updating a map of maps makes the kernel wait for every running program: the barrier between two generations. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct barrier_map);
} barrier SEC(".maps");

/* Preallocated: it is filled under a run queue's lock. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct space_key);
	__type(value, struct space_totals);
} totals SEC(".maps");

enum { COUNTERS = LEDGER_COUNTERS };
#include "counters.h"

/* Where a stack is put together. sched_switch runs with interrupts off, so one a CPU is enough for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct walk);
} scratch SEC(".maps");

/* The iterator can be preempted by a switch on its own CPU: it has its own. One runs at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct walk);
} iterator_scratch SEC(".maps");

/* What the scheduler's clock lags CLOCK_MONOTONIC by, a CPU. */
struct clock_offset {
	u64 offset_ns;
	u64 measured_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct clock_offset);
} clock_offsets SEC(".maps");

/* --- small parts ------------------------------------------------------------------------------------------------- */

static __always_inline void add_totals(struct ledger *ledger)
{
	struct space_totals *sum = bpf_map_lookup_elem(&totals, &ledger->space);

	if (!sum) {
		struct space_totals zero = {};

		bpf_map_update_elem(&totals, &ledger->space, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&totals, &ledger->space);
		if (!sum) {
			count(LEDGER_TOTALS_FULL);
			return;
		}
	}
	__sync_fetch_and_add(&sum->running_ns, ledger->totals.running_ns);
	__sync_fetch_and_add(&sum->runnable_ns, ledger->totals.runnable_ns);
	__sync_fetch_and_add(&sum->blocked_ns, ledger->totals.blocked_ns);
	__sync_fetch_and_add(&sum->unknown_ns, ledger->totals.unknown_ns);
	__sync_fetch_and_add(&sum->switches, ledger->totals.switches);
	__builtin_memset(&ledger->totals, 0, sizeof(ledger->totals));
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */

static __always_inline u64 keep_stack(u64 id, struct stack *stack)
{
	bool added = false;

	if (!put_stack(&stacks, id, stack, &added)) {
		count(LEDGER_STACK_MAP_FULL);
		return STACK_LOST;
	}
	if (added)
		count(LEDGER_STACKS_KEPT);
	return id;
}

/*
 * The stack functions are global, so that the verifier looks at them once by themselves and not again for each path
 * that leads to them. Global functions take numbers only.
 */

/* Begins the walk of the current task, which has these registers, in this CPU's scratch place. */
__noinline u32 begin_user_walk(u64 ip, u64 sp, u64 bp, u64 fsbase, u32 tgid)
{
	u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&scratch, &zero);

	if (walk)
		begin_walk(ip, sp, bp, fsbase, go_layout_of(tgid), walk);
	return 0;
}

/* Ends it, and keeps the stack. Returns its id. */
__noinline u64 finish_user_walk(u32 tgid)
{
	u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&scratch, &zero);

	return walk ? keep_stack(finish_walk(go_layout_of(tgid), walk), &walk->stack) : STACK_NONE;
}

static __always_inline struct stack *scratch_stack(u32 iterator)
{
	u32 zero = 0;
	struct walk *walk =
		iterator ? bpf_map_lookup_elem(&iterator_scratch, &zero) : bpf_map_lookup_elem(&scratch, &zero);

	return walk ? &walk->stack : NULL;
}

/* Keeps the kernel stack of `count` addresses that lies in the scratch place, the iterator's or this CPU's. */
__noinline u64 keep_kernel_stack(u32 count, u32 iterator)
{
	struct stack *stack = scratch_stack(iterator);

	if (!stack || !count)
		return STACK_NONE;
	return keep_stack(seal_kernel_stack(count, stack), stack);
}

/* The kernel stack of a task that is not running on another CPU. Returns its id. */
static __always_inline u64 take_kernel_stack(struct task_struct *task, u32 iterator)
{
	struct stack *stack = scratch_stack(iterator);
	long bytes;

	if (!stack)
		return STACK_NONE;
	bytes = bpf_get_task_stack(task, stack->addresses, sizeof(stack->addresses), 0);
	return bytes > 0 ? keep_kernel_stack(bytes / 8, iterator) : STACK_NONE;
}

/* --- the raw reason ---------------------------------------------------------------------------------------------- */

/* System calls on a file descriptor in their first argument whose reason is the file's type (x86-64 numbers). */
static __always_inline bool waits_on_file(s32 nr)
{
	switch (nr) {
	case 0:   /* read */
	case 1:   /* write */
	case 17:  /* pread64 */
	case 18:  /* pwrite64 */
	case 19:  /* readv */
	case 20:  /* writev */
	case 40:  /* sendfile */
	case 44:  /* sendto */
	case 45:  /* recvfrom */
	case 46:  /* sendmsg */
	case 47:  /* recvmsg */
	case 295: /* preadv */
	case 296: /* pwritev */
	case 299: /* recvmmsg */
	case 307: /* sendmmsg */
	case 327: /* preadv2 */
	case 328: /* pwritev2 */
		return true;
	}
	return false;
}

/* execve, execveat (x86-64 numbers; the 32-bit table's are others). */
static __always_inline bool is_exec(s32 nr, u32 flags)
{
	return flags & SAMPLE_COMPAT ? nr == 11 || nr == 358 : nr == 59 || nr == 322;
}

/*
 * The system call that a thread waits in. One that goes on after a stop has the number of restart_syscall: it is the one
 * that the thread was in when it was stopped.
 */
static __always_inline s32 system_call(struct pt_regs *regs, u32 flags, s32 before)
{
	s32 nr = (s32)regs->orig_ax;

	return nr == 219 && !(flags & SAMPLE_COMPAT) && before >= 0 ? before : nr;
}

static __always_inline u32 file_type(struct task_struct *task, s32 nr, u64 fd)
{
	struct file *file;
	u16 mode;

	if (!waits_on_file(nr))
		return WIRE_FILE_UNKNOWN;
	file = task_file(task, fd);
	if (!file)
		return WIRE_FILE_UNKNOWN;
	mode = BPF_CORE_READ(file, f_inode, i_mode);
	switch (mode & S_IFMT) {
	case S_IFIFO:
		return WIRE_FILE_PIPE;
	case S_IFSOCK:
		return WIRE_FILE_SOCKET;
	case S_IFREG:
		return WIRE_FILE_REGULAR;
	case S_IFCHR: {
		/* Majors of terminals: 4 tty, 5 /dev/tty and console, 136 to 143 pseudo terminals. */
		u32 major = BPF_CORE_READ(file, f_inode, i_rdev) >> 20;

		return major == 4 || major == 5 || (major >= 136 && major <= 143) ? WIRE_FILE_TTY : WIRE_FILE_OTHER;
	}
	}
	return WIRE_FILE_OTHER;
}

static __always_inline u32 task_flags(struct task_struct *task)
{
	u32 flags = 0;

	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		flags |= SAMPLE_IN_IOWAIT;
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER))
		flags |= SAMPLE_KERNEL_THREAD;
	if (bpf_core_field_exists(task->thread_info.status) && (task->thread_info.status & TS_COMPAT))
		flags |= SAMPLE_COMPAT;
	return flags;
}

/* --- booking ----------------------------------------------------------------------------------------------------- */

/* Books a wait of [ledger->since, until) with a run-queue part of `runq_ns` after it. */
static __always_inline void book_wait(struct task_struct *task, struct ledger *ledger, u64 until, u64 runq_ns,
				      u64 kernel_stack)
{
	u64 blocked_ns = recorded(ledger->since, until);
	struct sample_key key = {
		.space = ledger->space,
		.user_stack = ledger->user_stack,
		.kernel_stack = kernel_stack,
		.tid = per_thread ? task->pid : 0,
		.syscall = ledger->syscall,
		.state = ledger->task_state,
		.flags = ledger->flags,
	};
	struct sample_value *value;
	void *map = generation ? (void *)&samples_1 : (void *)&samples_0;

	value = bpf_map_lookup_elem(map, &key);
	if (!value) {
		struct sample_value zero = {};

		if (!(ledger->flags & SAMPLE_KERNEL_THREAD)) {
			struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

			zero.file_type = file_type(task, ledger->syscall, regs->di);
		}
		bpf_map_update_elem(map, &key, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(map, &key);
		if (!value) {
			count(LEDGER_SAMPLE_MAP_FULL);
			count_by(LEDGER_SAMPLE_MAP_FULL_NS, blocked_ns);
			return;
		}
	}
	__sync_fetch_and_add(&value->blocked_ns, blocked_ns);
	__sync_fetch_and_add(&value->runq_ns, runq_ns);
	__sync_fetch_and_add(&value->count, 1);
}

/* Is a wait of this length one that was asked for? Counts those that are not. */
static __always_inline bool wanted(u64 blocked_ns, u64 recorded_ns)
{
	if (blocked_ns < min_ns) {
		count(LEDGER_BELOW_MIN);
		count_by(LEDGER_BELOW_MIN_NS, recorded_ns);
		return false;
	}
	if (blocked_ns > max_ns) {
		count(LEDGER_ABOVE_MAX);
		count_by(LEDGER_ABOVE_MAX_NS, recorded_ns);
		return false;
	}
	return true;
}

/* Ends the wait or the run-queue stay that the ledger holds, at `now`. `waits_yet`: its kernel stack still stands. */
static __always_inline void end_off_cpu(struct task_struct *task, struct ledger *ledger, u64 now, bool waits_yet)
{
	u64 until, blocked_ns, runq_ns, kernel_stack = STACK_MISSED;

	if (ledger->state == THREAD_RUNNABLE) {
		ledger->totals.runnable_ns += recorded(ledger->since, now);
		return;
	}
	/* A switch-in without a wake-up is tolerated: all of it was blocked. */
	until = ledger->woken ? ledger->woken : now;
	if (until > now)
		until = now;
	blocked_ns = recorded(ledger->since, until);
	runq_ns = recorded(until, now);
	ledger->totals.blocked_ns += blocked_ns;
	ledger->totals.runnable_ns += runq_ns;
	if (now <= start_ns)
		return;
	count(LEDGER_WAITS);
	if (!wanted(until - ledger->since, blocked_ns))
		return;
	if (waits_yet)
		kernel_stack = take_kernel_stack(task, false);
	book_wait(task, ledger, until, runq_ns, kernel_stack);
}

/* --- switches ---------------------------------------------------------------------------------------------------- */

/*
 * The switch-in of a running thread at `since` is known to both clocks: remember how far they are apart. The scheduler's
 * clock may differ from CPU to CPU and drift, so it is measured where it is used, ten times a second.
 */
static __always_inline void measure_clock(struct task_struct *task, u64 since, u64 now)
{
	u32 zero = 0;
	struct clock_offset *clock = bpf_map_lookup_elem(&clock_offsets, &zero);

	if (!clock || now - clock->measured_ns < 100000000)
		return;
	clock->offset_ns = since - task->sched_info.last_arrival;
	clock_offset_ns = clock->offset_ns;
	clock->measured_ns = now;
}

/*
 * When the scheduler says that the running `task` came to this CPU; 0 when its clock is not known yet. The clocks of two
 * CPUs are microseconds apart at most where they are not one: another CPU's offset does until this one has its own.
 */
static __always_inline u64 last_arrival(struct task_struct *task)
{
	u32 zero = 0;
	struct clock_offset *clock = bpf_map_lookup_elem(&clock_offsets, &zero);
	s64 offset = clock && clock->measured_ns ? (s64)clock->offset_ns : clock_offset_ns;

	return offset && task->sched_info.last_arrival ? task->sched_info.last_arrival + offset : 0;
}

/* The switch-in of `task` was never seen. Closes what the ledger holds at the time that the scheduler wrote down. */
static __always_inline void repair_switch_in(struct task_struct *task, struct ledger *ledger, u64 now)
{
	u64 arrived = last_arrival(task);

	if (arrived < ledger->since || arrived > now) {
		u64 unknown_ns = recorded(ledger->since, now);

		count(LEDGER_START_UNKNOWN);
		count_by(LEDGER_UNKNOWN_NS, unknown_ns);
		ledger->totals.unknown_ns += unknown_ns;
		ledger->since = now;
		return;
	}
	count(LEDGER_SWITCH_IN_REPAIRED);
	end_off_cpu(task, ledger, arrived, false);
	ledger->since = arrived;
}

/* The ledger of a thread of the target at a switch. Before the opening pass has been by there may be none. */
static __always_inline struct ledger *ledger_at_switch(struct task_struct *task, u64 now)
{
	struct ledger *ledger = bpf_task_storage_get(&ledgers, task, NULL, 0);

	if (!ledger && now >= start_ns)
		count(LEDGER_NO_STORAGE);
	return ledger;
}

static __always_inline void switch_out(struct task_struct *task, bool preempted, u32 task_state, u64 now)
{
	struct ledger *ledger = ledger_at_switch(task, now);
	struct pt_regs *regs;
	u32 state_now;

	if (!ledger)
		return;
	if (ledger->state == THREAD_RUNNING) {
		measure_clock(task, ledger->since, now);
	} else if (ledger->state && ledger->state != THREAD_OPENING) {
		repair_switch_in(task, ledger, now);
	} else {
		/* First sight, on its way out: it has been running since before, at the earliest since the start. */
		u64 arrived = last_arrival(task);

		ledger->since = arrived && arrived < now ? arrived : start_ns;
		if (ledger->since > now)
			ledger->since = now;
	}
	if (!ledger->space.tgid || ledger->space.exec_id != task->self_exec_id) {
		if (ledger->space.tgid)
			add_totals(ledger);
		name_space(task, &ledger->space);
	}
	ledger->totals.running_ns += recorded(ledger->since, now);
	ledger->totals.switches++;
	ledger->since = now;
	if (task_state & TASK_DEAD) {
		add_totals(ledger);
		ledger->state = THREAD_DEAD;
		return;
	}
	task_state &= ~TASK_FREEZABLE;
	if (preempted || task_state == TASK_RUNNING) {
		ledger->state = THREAD_RUNNABLE;
		return;
	}
	ledger->state = THREAD_WAITING;
	/* A wake-up that came between the deactivation and here was told while the ledger still held the thread as running. */
	state_now = task->__state;
	ledger->woken = state_now == TASK_RUNNING || (state_now & TASK_WAKING) ? now : 0;
	ledger->task_state = task_state;
	ledger->flags = task_flags(task);
	ledger->user_stack = STACK_NONE;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	/* Without registers it is a kernel thread on behalf of a process (vhost), which never was in user space. */
	if ((ledger->flags & SAMPLE_KERNEL_THREAD) || !regs->ip) {
		ledger->syscall = -1;
		return;
	}
	ledger->syscall = system_call(regs, ledger->flags, ledger->syscall);
	/* In an exec the registers are still the old program's, whatever the task calls itself by now. */
	if (is_exec(ledger->syscall, ledger->flags))
		return;
	if (regs->cs != USER_CODE_SEGMENT_32) {
		begin_user_walk(regs->ip, regs->sp, regs->bp, task->thread.fsbase, task->tgid);
		ledger->user_stack = finish_user_walk(task->tgid);
	}
}

static __always_inline void switch_in(struct task_struct *task, u64 now)
{
	struct ledger *ledger = ledger_at_switch(task, now);

	if (!ledger)
		return;
	if (ledger->state == THREAD_RUNNING) {
		u64 unknown_ns = recorded(ledger->since, now);

		count(LEDGER_END_UNKNOWN);
		count_by(LEDGER_UNKNOWN_NS, unknown_ns);
		ledger->totals.unknown_ns += unknown_ns;
	} else if (ledger->state && ledger->state != THREAD_OPENING) {
		end_off_cpu(task, ledger, now, true);
	} else {
		name_space(task, &ledger->space);
	}
	ledger->state = THREAD_RUNNING;
	ledger->since = now;
}

static __always_inline int on_switch(bool preempted, struct task_struct *prev, struct task_struct *next, u32 prev_state)
{
	bool out = is_target(prev->tgid), in = is_target(next->tgid);
	u64 now;

	if (!out && !in)
		return 0;
	now = bpf_ktime_get_ns();
	if (now >= stop_ns)
		return 0;
	if (out)
		switch_out(prev, preempted, prev_state, now);
	if (in)
		switch_in(next, now);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	return on_switch(preempt, prev, next, prev_state);
}

/* Before 5.18 the tracepoint does not carry the state. */
SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch_3, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return on_switch(preempt, prev, next, prev->__state);
}

static __always_inline void create_ledger(struct task_struct *task)
{
	if (!bpf_task_storage_get(&ledgers, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))
		count(LEDGER_NO_STORAGE);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(ledger_fork, struct task_struct *parent, struct task_struct *child)
{
	if (is_target(child->tgid))
		create_ledger(child);
	return 0;
}

/* A process can become a target by its exec (--comm): bpf/process.bpf.c, which is attached before this. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(ledger_exec, struct task_struct *task)
{
	if (is_target(task->tgid))
		create_ledger(task);
	return 0;
}

/* A thread's life begins on the run queue. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	struct ledger *ledger;

	if (!is_target(task->tgid))
		return 0;
	ledger = bpf_task_storage_get(&ledgers, task, NULL, 0);
	if (!ledger || ledger->state)
		return 0;
	name_space(task, &ledger->space);
	ledger->since = bpf_ktime_get_ns();
	ledger->state = THREAD_RUNNABLE;
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *task)
{
	struct ledger *ledger;

	if (!is_target(task->tgid))
		return 0;
	ledger = bpf_task_storage_get(&ledgers, task, NULL, 0);
	if (ledger && ledger->state == THREAD_WAITING && !ledger->woken)
		ledger->woken = bpf_ktime_get_ns();
	return 0;
}

/* --- passes over the threads that wait --------------------------------------------------------------------------- */

/*
 * Writes one thread's record. When the iterator's buffer is full that fails, and the kernel comes back with the same task
 * and an empty buffer: what a pass does must bear being begun twice.
 */
static __always_inline long report(struct seq_file *seq, struct task_struct *task, struct ledger *ledger, u32 flags,
				   u64 kernel_stack)
{
	struct thread_record record = {};

	record.space = ledger->space;
	record.tid = task->pid;
	record.flags = flags;
	record.switches = task->nvcsw + task->nivcsw;
	record.user_stack = ledger->user_stack;
	record.kernel_stack = kernel_stack;
	record.syscall = ledger->syscall;
	record.state = ledger->task_state;
	record.sample_flags = ledger->flags;
	if (!(ledger->flags & SAMPLE_KERNEL_THREAD)) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

		record.ip = regs->ip;
		record.sp = regs->sp;
		record.bp = regs->bp;
		record.fsbase = task->thread.fsbase;
		/* Once woken it may be in another call by now. */
		if (!ledger->woken)
			record.file_type = file_type(task, ledger->syscall, regs->di);
	}
	__builtin_memcpy(record.comm, task->comm, sizeof(record.comm));
	return bpf_seq_write(seq, &record, sizeof(record));
}

/*
 * Puts a thread into the ledger that has not switched since sched_switch was attached. It may be woken and switch on
 * another CPU at any moment: whoever moves the ledger first wins.
 */
static __always_inline void open_thread(struct seq_file *seq, struct task_struct *task, u64 now)
{
	struct ledger *ledger = bpf_task_storage_get(&ledgers, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	u32 task_state = task->__state & ~TASK_FREEZABLE, state = THREAD_RUNNABLE;

	if (!ledger) {
		count(LEDGER_NO_STORAGE);
		return;
	}
	if (ledger->state == THREAD_WAITING && ledger->user_stack == (STACK_PROMISE | (u32)task->pid)) {
		report(seq, task, ledger, THREAD_BLOCKED, STACK_NONE);
		return;
	}
	if (task->on_cpu || (task_state & TASK_DEAD) ||
	    __sync_val_compare_and_swap(&ledger->state, 0, THREAD_OPENING) != 0)
		return;
	name_space(task, &ledger->space);
	ledger->since = now;
	if (task_state != TASK_RUNNING) {
		state = THREAD_WAITING;
		ledger->task_state = task_state;
		ledger->flags = task_flags(task);
		ledger->syscall = -1;
		if (!(ledger->flags & SAMPLE_KERNEL_THREAD)) {
			struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

			if (regs->ip) {
				ledger->syscall = (s32)regs->orig_ax;
				ledger->user_stack = STACK_PROMISE | (u32)task->pid;
			}
		}
	}
	if (__sync_val_compare_and_swap(&ledger->state, THREAD_OPENING, state) == THREAD_OPENING &&
	    state == THREAD_WAITING)
		report(seq, task, ledger, THREAD_BLOCKED, STACK_NONE);
}

/* Books what is still going on at the end. */
static __always_inline void close_thread(struct seq_file *seq, struct task_struct *task, struct ledger *ledger,
					 u64 stop)
{
	/* Wake-ups go on to be noted after the end. */
	bool waits = ledger->state == THREAD_WAITING && (!ledger->woken || ledger->woken >= stop);
	u32 flags = ledger->since <= start_ns ? THREAD_BLOCKED | THREAD_WHOLE_TIME : THREAD_BLOCKED;
	u64 kernel_stack = STACK_MISSED, blocked_ns = waits ? recorded(ledger->since, stop) : 0;

	if (!ledger->state || ledger->state == THREAD_OPENING) {
		if (!task->on_cpu) /* nothing is known of it */
			return;
		/* It never left its CPU. */
		name_space(task, &ledger->space);
		ledger->since = start_ns;
		ledger->state = THREAD_RUNNING;
	}

	if (blocked_ns && !ledger->woken && !task->on_cpu && task->__state != TASK_RUNNING)
		kernel_stack = take_kernel_stack(task, true);
	/* The report first: nothing is booked before it is out. */
	if (blocked_ns && report(seq, task, ledger, flags, kernel_stack))
		return;
	if (ledger->state == THREAD_RUNNING) {
		ledger->totals.running_ns += recorded(ledger->since, stop);
	} else if (waits) {
		ledger->totals.blocked_ns += blocked_ns;
		if (blocked_ns) {
			count(LEDGER_WAITS);
			if (wanted(stop - ledger->since, blocked_ns))
				book_wait(task, ledger, stop, 0, kernel_stack);
		}
	} else if (ledger->state != THREAD_DEAD) {
		end_off_cpu(task, ledger, stop, false);
	}
	add_totals(ledger);
	ledger->state = THREAD_DEAD;
}

SEC("iter/task")
int iterate_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct ledger *ledger;

	if (!task || !is_target(task->tgid))
		return 0;
	if (pass == PASS_OPEN) {
		open_thread(ctx->meta->seq, task, bpf_ktime_get_ns());
		return 0;
	}
	ledger = bpf_task_storage_get(&ledgers, task, NULL, 0);
	if (!ledger)
		return 0;
	if (pass == PASS_VERIFY) {
		if (ledger->state == THREAD_WAITING && (ledger->user_stack & STACK_PROMISE))
			report(ctx->meta->seq, task, ledger, THREAD_BLOCKED, STACK_NONE);
		return 0;
	}
	close_thread(ctx->meta->seq, task, ledger, stop_ns);
	return 0;
}

/* --- pid namespaces ---------------------------------------------------------------------------------------------- */

/* Reports each task that is visible in the namespace `pid_namespace_inum`, with both of its numbers. */
SEC("iter/task")
int translate_pids(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct pid_record record = {};
	struct pid *pid, *leader;
	struct upid seen = {}, seen_leader = {};
	u32 level;

	if (!task)
		return 0;
	pid = task->thread_pid;
	leader = task->group_leader->thread_pid;
	for (level = 0; level < 32; level++) {
		if (level > BPF_CORE_READ(pid, level))
			return 0;
		bpf_probe_read_kernel(&seen, sizeof(seen), &pid->numbers[level]);
		if (BPF_CORE_READ(seen.ns, ns.inum) == pid_namespace_inum)
			break;
	}
	if (level == 32)
		return 0;
	bpf_probe_read_kernel(&seen_leader, sizeof(seen_leader), &leader->numbers[level]);
	record.tid = task->pid;
	record.tgid = task->tgid;
	record.ns_tid = seen.nr;
	record.ns_tgid = seen_leader.nr;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}
