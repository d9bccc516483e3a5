// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every change of state of the goroutines of one Go runtime, from one uprobe on runtime.casgstatus(gp, old, new), which
 * each of them passes through: when it comes to the probe, gp is in rax, old in ebx and new in ecx.
 *
 *   running -> waiting | runnable | syscall    the stack is walked, its time begins
 *   waiting -> runnable                        the wait is summed; as runnable it keeps the stack
 *   any     -> running, dead                   what it did is summed
 *
 * Some changes do not come by: a goroutine that the collector stops to look at its stack ([preempted]), one that goes on
 * as a coroutine, and from go1.26 on the way into and out of most system calls. Those states are not measured here, and
 * the state that a goroutine is said to leave is compared with the one that it was seen to enter.
 *
 * Two changes of one goroutine never run at once: the runtime does the next only after it has done this one.
 */
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "recorded.h"
#include "walk.h"
#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* --- knobs ------------------------------------------------------------------------------------------------------- */

const volatile __u32 g_waitreason = 0, g_gopc = 0, g_syscallpc = 0;
/* The probe is on the branch behind the stack check: those hits that go off to grow the stack come back. */
const volatile __u32 after_stack_check = 0;
const volatile __u32 syscalls_come_by = 0;
/* Numbers of the runtime's wait reasons; 0xffffffff: it has none such. */
const volatile __u32 reason_coroutine = ~0u, reason_preempted = ~0u;

/* Of the runtime; of it, where sched.sp, .pc and .bp are, and systemstack_switch. */
struct go_layout layout = {};

#define FLAG_CARRY 0x1
#define FLAG_ZERO 0x40
/* From the probe in casgstatus to what called entersyscall: casgstatus, reentersyscall, entersyscall. */
#define FRAMES_TO_SYSCALL 5

/* --- maps -------------------------------------------------------------------------------------------------------- */

/* A runtime reuses its gs and never frees them: this grows to their number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64); /* address of the g */
	__type(value, struct goroutine_state);
} goroutines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct stack);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct goroutine_key);
	__type(value, struct goroutine_sum);
} sums SEC(".maps");

enum { COUNTERS = GOSCHED_COUNTERS };
#include "counters.h"

/* A uprobe's program can be preempted by that of another thread on its CPU: each thread puts stacks together in its own place. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct walk);
} walks SEC(".maps");

/* --- small parts ------------------------------------------------------------------------------------------------- */

/* States whose time is summed. */
static __always_inline bool is_off(u32 status)
{
	return status == GOROUTINE_WAITING || status == GOROUTINE_RUNNABLE || status == GOROUTINE_SYSCALL;
}

static __always_inline u32 wait_reason(u64 g)
{
	u8 reason = 0;

	bpf_probe_read_user(&reason, sizeof(reason), (void *)(g + g_waitreason));
	return reason;
}

static __always_inline u64 creator(u64 g)
{
	u64 pc = 0;

	bpf_probe_read_user(&pc, sizeof(pc), (void *)(g + g_gopc));
	return pc;
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */

static __always_inline u64 keep_stack(u64 id, struct stack *stack)
{
	bool added;

	if (put_stack(&stacks, id, stack, &added))
		return id;
	count(GOSCHED_STACK_MAP_FULL);
	return STACK_LOST;
}

static __always_inline struct walk *own_walk(void)
{
	return bpf_task_storage_get(&walks, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* Whether the thread is on the goroutine's own stack, and where that ends. */
static __always_inline bool on_own_stack(u64 g, u64 sp, u64 *high)
{
	struct {
		u64 low, high;
	} bounds = {};

	if (bpf_probe_read_user(&bounds, sizeof(bounds), (void *)g) || sp < bounds.low || sp >= bounds.high)
		return false;
	*high = bounds.high;
	return true;
}

/*
 * The goroutine has not left its own stack: what it says of where it goes on is old. It is in the functions that the frame
 * pointers lead to.
 */
static __always_inline void begin_own_stack_walk(u64 sp, u64 bp, u64 high, struct walk *walk)
{
	start_stack(/*goroutine_at=*/0, /*chain_at=*/0, &walk->stack);
	walk->goroutine = 0;
	walk->low = sp;
	walk->limit = high;
	walk->bp = bp;
	walk->hash = hash_seed;
}

/* On the way into a system call entersyscall has written down the address that it returns to: the stack begins there. */
static __always_inline bool begin_syscall_walk(u64 g, u64 sp, u64 bp, struct walk *walk)
{
	u64 pc = 0, high = 0;

	if (!on_own_stack(g, sp, &high) || bpf_probe_read_user(&pc, sizeof(pc), (void *)(g + g_syscallpc)))
		return false;
	for (int i = 0; i < FRAMES_TO_SYSCALL; i++) {
		struct {
			u64 bp, caller;
		} frame;

		if (bp < sp || bp >= high || (bp & 7) || bpf_probe_read_user(&frame, sizeof(frame), (void *)bp))
			return false;
		if (frame.caller == pc) {
			begin_own_stack_walk(sp, bp, high, walk);
			return true;
		}
		sp = bp + sizeof(frame);
		bp = frame.bp;
	}
	return false;
}

/*
 * These are global, so that the verifier looks at them once by themselves. Each begins a walk in the thread's own place;
 * 0: there is nothing to walk.
 */
__noinline u32 begin_parked(u64 g, u32 interrupted, u64 sp, u64 bp)
{
	struct walk *walk = own_walk();
	u64 high = 0;

	if (!walk)
		return 0;
	if (on_own_stack(g, sp, &high)) {
		begin_own_stack_walk(sp, bp, high, walk);
		return 1;
	}
	return begin_goroutine_walk(g, interrupted, &layout, walk);
}

__noinline u32 begin_syscall(u64 g, u64 sp, u64 bp)
{
	struct walk *walk = own_walk();

	return walk && begin_syscall_walk(g, sp, bp, walk);
}

/* Ends the walk, and keeps the stack. Returns its id. */
__noinline u64 finish_goroutine_walk(void)
{
	struct walk *walk = own_walk();

	return walk ? keep_stack(finish_walk(&layout, walk), &walk->stack) : STACK_LOST;
}

/* --- booking ----------------------------------------------------------------------------------------------------- */

static __always_inline void book(struct goroutine_state *state, u64 now)
{
	u64 time_ns = recorded(state->since, now);
	struct goroutine_key key = {
		.stack = state->stack,
		.created_at = state->created_at,
		.status = state->status,
		.reason = state->reason,
	};
	struct goroutine_sum *sum;

	if (now <= start_ns)
		return;
	sum = bpf_map_lookup_elem(&sums, &key);
	if (!sum) {
		struct goroutine_sum zero = {};

		bpf_map_update_elem(&sums, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&sums, &key);
		if (!sum) {
			count(GOSCHED_SUM_MAP_FULL);
			count_by(GOSCHED_SUM_MAP_FULL_NS, time_ns);
			return;
		}
	}
	__sync_fetch_and_add(&sum->time_ns, time_ns);
	__sync_fetch_and_add(&sum->count, 1);
}

/* Ends what the goroutine was seen to do, which is to be what it says that it leaves. */
static __always_inline void end_state(u64 g, struct goroutine_state *state, u32 old, u64 now)
{
	if (is_off(state->status)) {
		if (state->status == old) {
			/* Go 1.19 writes some reasons down only after it has said that the goroutine waits. */
			if (old == GOROUTINE_WAITING)
				state->reason = wait_reason(g);
			book(state, now);
		} else if (now > start_ns) {
			count(GOSCHED_END_UNKNOWN);
			count_by(GOSCHED_END_UNKNOWN_NS, recorded(state->since, now));
		}
		return;
	}
	if (now <= start_ns || state->status == GOROUTINE_UNSEEN || !is_off(old))
		return;
	if (old == GOROUTINE_SYSCALL && !syscalls_come_by)
		return;
	if (old == GOROUTINE_WAITING) {
		u32 reason = wait_reason(g);

		if (reason == reason_preempted || reason == reason_coroutine)
			return;
	}
	count(GOSCHED_START_UNKNOWN);
}

/* 0: it could not be read. Preempted at the entry of a function, or not begun, it stands before its first frame. */
static __always_inline u32 begin_stack(u64 g, u32 old, u32 new, u64 sp, u64 bp)
{
	if (new == GOROUTINE_SYSCALL)
		return begin_syscall(g, sp, bp);
	return begin_parked(g, old != GOROUTINE_WAITING && new == GOROUTINE_RUNNABLE, sp, bp);
}

static __always_inline u64 take_stack(u64 g, u32 old, u32 new, u64 sp, u64 bp)
{
	if (!begin_stack(g, old, new, sp, bp)) {
		count(GOSCHED_NO_STACK);
		return STACK_NONE;
	}
	return finish_goroutine_walk();
}

static __always_inline void begin_state(u64 g, struct goroutine_state *state, u32 old, u32 new, u64 sp, u64 bp)
{
	bool goes_on = old == GOROUTINE_WAITING && state->status == GOROUTINE_WAITING && new == GOROUTINE_RUNNABLE;

	state->reason = 0;
	state->status = new;
	if (new == GOROUTINE_WAITING) {
		state->reason = wait_reason(g);
		if (state->reason == reason_coroutine)
			state->status = GOROUTINE_UNSEEN;
	} else if (new == GOROUTINE_SYSCALL && !syscalls_come_by) {
		state->status = GOROUTINE_UNSEEN;
	}
	if (is_off(state->status) && !goes_on)
		state->stack = take_stack(g, old, new, sp, bp);
}

static __always_inline void change_state(u64 g, u32 old, u32 new, u64 sp, u64 bp)
{
	u64 now = bpf_ktime_get_ns();
	struct goroutine_state *state;

	count(GOSCHED_TRANSITIONS);
	/* Its stack is moved, or the collector finds that nothing can wake it: it goes on doing what it did. */
	if (old == GOROUTINE_COPYSTACK || new == GOROUTINE_COPYSTACK || old == GOROUTINE_LEAKED ||
	    new == GOROUTINE_LEAKED || now >= stop_ns)
		return;
	state = bpf_map_lookup_elem(&goroutines, &g);
	if (!state) {
		struct goroutine_state first = {.status = GOROUTINE_RUNNING, .since = now};

		bpf_map_update_elem(&goroutines, &g, &first, BPF_NOEXIST);
		state = bpf_map_lookup_elem(&goroutines, &g);
		if (!state) {
			count(GOSCHED_GOROUTINE_MAP_FULL);
			return;
		}
		state->created_at = creator(g);
	} else if (old == GOROUTINE_DEAD || old == GOROUTINE_IDLE) {
		state->created_at = creator(g); /* another goroutine's g until now */
	}
	end_state(g, state, old, now);
	state->since = now;
	begin_state(g, state, old, new, sp, bp);
}

SEC("uprobe")
int casgstatus(struct pt_regs *regs)
{
	if (after_stack_check && (regs->flags & (FLAG_CARRY | FLAG_ZERO)))
		return 0;
	change_state(regs->ax, (u32)regs->bx, (u32)regs->cx, regs->sp, regs->bp);
	return 0;
}
