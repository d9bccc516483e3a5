// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Calls that wait for events: epoll_wait, poll, select and their kin. How long, how many events, how often none; by user
 * stack, summed in the kernel. And each event loop, which is its eventpoll object whatever descriptors lead to it: what
 * its threads did on it, the longest time that nobody looked at it, and its lag.
 *
 *   sys_enter    the thread is in a call: its stack, its loop
 *   sys_exit     the call is added to its sum, to its thread's row of the loop, and its events are looked up
 *   sk_data_ready    socket -> its wait queue -> epitem -> (eventpoll, data): ready since now
 *
 * The lag of an event is the time from the first sk_data_ready since its item was handed out last to the return of the
 * call that hands it out. What becomes ready without data that arrives on a socket (eventfds, pipes, timers, room to
 * send) has none, and so has an item that is handed out again because it was not read to the end.
 *
 * An item that was read without having been handed out leaves its mark behind. It is told by the kernel's own list: an
 * item that is not on the list of those that are ready becomes so now, whatever we have noted before. And a mark counts
 * only for the same item on the same socket: items and their memory are used again.
 */
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "target.h"
#include "wire.h"

enum { COUNTERS = EPOLL_COUNTERS };
#include "counters.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* System calls do not interrupt each other: one place for all of them. */
enum {
	WALKER_CALL = 0,
	WALKERS,
	TOLD_STACK_KIND = EPOLL_RECORD_STACK,
	TOLD_STACK_RING_FULL = EPOLL_STACK_RING_FULL,
	TOLD_STACK_MAP_FULL = EPOLL_STACK_MAP_FULL,
};
#include "histogram.h"
#include "recorded.h"
#include "task.h"
#include "told_stacks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/uapi/linux/eventpoll.h: of the kernel's interface. */
#define EPOLLIN 0x001
#define EPOLLPRI 0x002
#define EPOLLRDNORM 0x040
#define EPOLLRDBAND 0x080
#define READABLE (EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND)

/* x86-64 numbers */
#define NR_POLL 7
#define NR_SELECT 23
#define NR_EPOLL_WAIT 232
#define NR_PSELECT6 270
#define NR_PPOLL 271
#define NR_EPOLL_PWAIT 281
#define NR_EPOLL_PWAIT2 441

#define OFFSET_OF(type, member) __builtin_preserve_field_info(((type *)0)->member, BPF_FIELD_BYTE_OFFSET)

#define MOST_WAITERS 64 /* on the wait queue of one socket */
#define EVENTS_A_CHUNK 8
#define MOST_EVENTS 65536 /* of one call */

/* --- knobs ------------------------------------------------------------------------------------------------------- */

const volatile __u32 per_thread = 0;
const volatile __u32 with_lag = 0; /* there is a sk_data_ready */
const volatile __u64 min_ns = 0;
const volatile __u64 max_ns = ~0ull;

volatile __u64 begun_ns = 0;   /* start_ns, or when the latest target was added */
volatile __u32 generation = 0; /* which of the two sample maps is written */
volatile __u32 closing = 0;    /* what the iterator is asked to do: report what is in progress */
volatile __u32 storage_failed = 0;

/* --- maps -------------------------------------------------------------------------------------------------------- */

/* STATE_BEFORE: in a call that began before we came; `state` is all that is written down of it. */
enum thread_state { STATE_UNKNOWN = 0, STATE_OUT = 1, STATE_IN = 2, STATE_BEFORE = 3 };

struct thread {
	u64 since;
	u64 stack;
	struct loop_key loop; /* of the call, and after it still the last one */
	u32 state;
	s32 syscall;
	u32 flags; /* EPOLL_* */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct sample_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct epoll_key);
	__type(value, struct epoll_sum);
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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct loop_key);
	__type(value, struct loop_row);
} loops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct loop_thread_key);
	__type(value, struct loop_thread);
} loop_threads SEC(".maps");

/* The eventpoll objects that targets wait on. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u8);
} watched SEC(".maps");

struct ready {
	u64 since;
	u64 item;      /* the epitem, which may be gone */
	u64 cookie;    /* of the socket: no two have the same */
	u64 ambiguous; /* another item hands out the same */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ready_key);
	__type(value, struct ready);
} ready_items SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lag_key);
	__type(value, u64);
} lags SEC(".maps");

/* --- small parts ------------------------------------------------------------------------------------------------- */

static __always_inline bool is_epoll(s32 nr)
{
	return nr == NR_EPOLL_WAIT || nr == NR_EPOLL_PWAIT || nr == NR_EPOLL_PWAIT2;
}

static __always_inline bool waits_for_events(s32 nr)
{
	return is_epoll(nr) || nr == NR_POLL || nr == NR_PPOLL || nr == NR_SELECT || nr == NR_PSELECT6;
}

/* The eventpoll behind a descriptor; 0 when it is none. */
static __always_inline u64 eventpoll_of(struct task_struct *task, u64 fd)
{
	struct file *file = task_file(task, fd);
	struct eventpoll *loop;

	if (!file)
		return 0;
	loop = BPF_CORE_READ(file, private_data);
	/* Only an eventpoll leads back to its own file. */
	return loop && BPF_CORE_READ(loop, file) == file ? (u64)loop : 0;
}

/* Was the call told not to wait? */
static __always_inline bool has_no_timeout(struct pt_regs *regs, s32 nr)
{
	u64 times[2], at;

	switch (nr) {
	case NR_POLL:
		return (s32)regs->dx == 0;
	case NR_EPOLL_WAIT:
	case NR_EPOLL_PWAIT:
		return (s32)regs->r10 == 0;
	case NR_EPOLL_PWAIT2:
		at = regs->r10;
		break;
	case NR_PPOLL:
		at = regs->dx;
		break;
	default: /* select, pselect6 */
		at = regs->r8;
	}
	return at && !bpf_probe_read_user(times, sizeof(times), (void *)at) && !times[0] && !times[1];
}

/* --- loops ------------------------------------------------------------------------------------------------------- */

static __always_inline struct loop_row *row_of(const struct loop_key *key, u32 fd)
{
	struct loop_row *row = bpf_map_lookup_elem(&loops, key), fresh = {.fd = fd};
	u64 loop = key->loop;
	u8 one = 1;

	if (row)
		return row;
	bpf_map_update_elem(&watched, &loop, &one, BPF_ANY);
	bpf_map_update_elem(&loops, key, &fresh, BPF_NOEXIST);
	row = bpf_map_lookup_elem(&loops, key);
	if (!row)
		count(EPOLL_LOOP_MAP_FULL);
	return row;
}

static __always_inline struct loop_thread *thread_row_of(const struct loop_key *key, u32 tid, u64 since)
{
	struct loop_thread_key thread = {.loop = *key, .tid = tid};
	struct loop_thread *row = bpf_map_lookup_elem(&loop_threads, &thread), fresh = {.since_ns = since};

	if (row)
		return row;
	bpf_map_update_elem(&loop_threads, &thread, &fresh, BPF_NOEXIST);
	row = bpf_map_lookup_elem(&loop_threads, &thread);
	if (!row)
		count(EPOLL_LOOP_MAP_FULL);
	return row;
}

/* A thread begins a call on a loop at `now`. */
static __always_inline void enter_loop(const struct loop_key *key, u32 tid, u32 fd, u64 now)
{
	struct loop_row *row = row_of(key, fd);
	struct loop_thread *thread = thread_row_of(key, tid, now);

	if (thread) {
		if (thread->left_ns && now - thread->left_ns > thread->longest_busy_ns)
			thread->longest_busy_ns = now - thread->left_ns;
		thread->left_ns = 0;
	}
	if (!row)
		return;
	if (__sync_fetch_and_add(&row->inside, 1) <= 0) {
		u64 left = row->left_ns;

		if (left && left < now && now - left > row->longest_unattended_ns)
			row->longest_unattended_ns = now - left;
	}
}

/* And returns from it. */
static __always_inline void leave_loop(const struct thread *state, u32 tid, u32 fd, s64 ret, u64 now)
{
	const struct loop_key *key = &state->loop;
	bool no_wait = state->flags & EPOLL_NO_WAIT;
	struct loop_row *row = row_of(key, fd);
	struct loop_thread *thread = thread_row_of(key, tid, state->since);

	if (thread) {
		thread->left_ns = now;
		thread->calls++;
		if (ret > 0)
			thread->events += ret;
		else if (!ret)
			thread->empty++;
		if (!no_wait) {
			thread->waiting_ns += now - state->since;
		} else {
			thread->polls++;
			if (!ret)
				thread->empty_polls++;
		}
	}
	if (row) {
		row->left_ns = now;
		__sync_fetch_and_add(&row->inside, -1);
	}
}

/* --- lag --------------------------------------------------------------------------------------------------------- */

static __always_inline u64 socket_cookie(struct epitem *item)
{
	struct socket *socket = (struct socket *)BPF_CORE_READ(item, ffd.file, private_data);

	return BPF_CORE_READ(socket, sk, __sk_common.skc_cookie.counter);
}

/* Is the item that was noted still the one, on the same socket? What was removed has no place on a wait queue. */
static __always_inline bool is_same(const struct ready *ready, const struct ready_key *key)
{
	struct epitem *item = (struct epitem *)ready->item;

	return BPF_CORE_READ(item, pwqlist) && (u64)BPF_CORE_READ(item, ep) == key->loop &&
	       BPF_CORE_READ(item, event.data) == key->data && socket_cookie(item) == ready->cookie;
}

/* Data arrived for an item of a loop that is watched. */
static __always_inline void item_ready(const struct sock *sk, struct epitem *item, const struct ready_key *key, u64 now)
{
	struct list_head *linked = BPF_CORE_READ(item, rdllink.next);
	bool was_ready = (u64)linked != (u64)item + OFFSET_OF(struct epitem, rdllink);
	struct ready *known = bpf_map_lookup_elem(&ready_items, key);
	struct ready fresh = {.since = now, .item = (u64)item};

	if (known && known->item == (u64)item) {
		if (!was_ready)
			known->since = now;
		return;
	}
	if (known && is_same(known, key)) {
		known->ambiguous = 1;
		return;
	}
	fresh.cookie = bpf_get_socket_cookie((void *)sk);
	if (bpf_map_update_elem(&ready_items, key, &fresh, BPF_ANY))
		count(EPOLL_READY_MAP_FULL);
	else if (!known)
		count(EPOLL_READY_KEPT);
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(data_ready, const struct sock *sk)
{
	struct socket_wq *queue = BPF_CORE_READ(sk, sk_wq);
	struct list_head *head, *next;
	u64 now = 0;

	if (!queue)
		return 0;
	head = &queue->wait.head;
	next = BPF_CORE_READ(head, next);
	for (int i = 0; i < MOST_WAITERS && next && next != head; i++) {
		struct eppoll_entry *entry = (void *)next - OFFSET_OF(struct eppoll_entry, wait.entry);
		struct ready_key key = {};
		struct epitem *item;

		next = BPF_CORE_READ(next, next);
		/* A waiter of another kind has something else there. */
		if (BPF_CORE_READ(entry, whead) != &queue->wait)
			continue;
		item = BPF_CORE_READ(entry, base);
		key.loop = (u64)BPF_CORE_READ(item, ep);
		if (!bpf_map_lookup_elem(&watched, &key.loop) || !(BPF_CORE_READ(item, event.events) & READABLE))
			continue;
		key.data = BPF_CORE_READ(item, event.data);
		if (!now)
			now = bpf_ktime_get_ns();
		item_ready(sk, item, &key, now);
	}
	return 0;
}

static __always_inline void book_lag(const struct loop_key *loop, u64 lag)
{
	struct lag_key key = {.loop = *loop, .bucket = histogram_bucket(lag)};
	u64 *times = bpf_map_lookup_elem(&lags, &key), zero = 0;
	struct loop_row *row = bpf_map_lookup_elem(&loops, loop);

	if (!times) {
		bpf_map_update_elem(&lags, &key, &zero, BPF_NOEXIST);
		times = bpf_map_lookup_elem(&lags, &key);
		if (!times) {
			count(EPOLL_LAG_MAP_FULL);
			return;
		}
	}
	__sync_fetch_and_add(times, 1);
	if (row && lag > row->longest_lag_ns)
		row->longest_lag_ns = lag;
}

/* What was handed out is not waited for any more. */
static __always_inline void hand_out(const struct loop_key *loop, u64 data, u64 now)
{
	struct ready_key key = {.loop = loop->loop, .data = data};
	struct ready *ready = bpf_map_lookup_elem(&ready_items, &key);

	if (!ready || ready->since > now) /* later data: it was handed out before */
		return;
	if (!ready->ambiguous && is_same(ready, &key))
		book_lag(loop, now - ready->since);
	if (!bpf_map_delete_elem(&ready_items, &key))
		count(EPOLL_READY_TAKEN);
}

struct returned {
	struct loop_key loop;
	u64 array; /* of the program: struct epoll_event[] */
	u64 now;
	u32 events;
};

static long take_chunk(u32 index, struct returned *returned)
{
	struct epoll_event chunk[EVENTS_A_CHUNK];
	u32 first = index * EVENTS_A_CHUNK, left = returned->events - first;

	if (left > EVENTS_A_CHUNK)
		left = EVENTS_A_CHUNK;
	if (bpf_probe_read_user(chunk, left * sizeof(chunk[0]), (void *)(returned->array + first * sizeof(chunk[0]))))
		return 1;
	for (int i = 0; i < EVENTS_A_CHUNK; i++) {
		if (i >= left)
			break;
		hand_out(&returned->loop, chunk[i].data, returned->now);
	}
	return 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static __always_inline void book_call(struct task_struct *task, const struct thread *state, s64 ret, u64 now)
{
	struct epoll_key key = {
		.loop = state->loop,
		.stack = state->stack,
		.tid = per_thread ? task->pid : 0,
		.syscall = state->syscall,
		.flags = state->flags & EPOLL_UNFINISHED,
	};
	void *map = generation ? (void *)&samples_1 : (void *)&samples_0;
	struct epoll_sum *sum = bpf_map_lookup_elem(map, &key), zero = {};
	u64 time_ns = now - state->since;

	if (time_ns < min_ns || time_ns > max_ns) {
		count(time_ns < min_ns ? EPOLL_BELOW_MIN : EPOLL_ABOVE_MAX);
		count_by(time_ns < min_ns ? EPOLL_BELOW_MIN_NS : EPOLL_ABOVE_MAX_NS, time_ns);
		return;
	}
	if (!sum) {
		bpf_map_update_elem(map, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(map, &key);
		if (!sum) {
			count(EPOLL_SAMPLE_MAP_FULL);
			count_by(EPOLL_SAMPLE_MAP_FULL_NS, time_ns);
			return;
		}
	}
	__sync_fetch_and_add(&sum->time_ns, time_ns);
	__sync_fetch_and_add(&sum->count, 1);
	if (ret > 0)
		__sync_fetch_and_add(&sum->events, ret);
	else if (!ret)
		__sync_fetch_and_add(&sum->empty, 1);
}

/* A call that began before we looked, or before the recording: it is ours from `begun_ns` on, and what it is its registers say. */
static __always_inline void take_up(struct task_struct *task, s32 nr, struct thread *state)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	state->since = begun_ns;
	state->flags = EPOLL_UNFINISHED;
	state->syscall = nr;
	name_space(task, &state->loop.space);
	state->loop.loop = is_epoll(nr) ? eventpoll_of(task, regs->di) : 0;
}

/* The functions are global, so that the verifier looks at each of them once by itself. */
__noinline u32 begin_call(s32 nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct thread *state;

	if (!is_target(task->tgid))
		return 0;
	state = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		storage_failed = 1;
		count(EPOLL_NO_STORAGE);
		return 0;
	}
	state->stack = walk_current(task, WALKER_CALL);
	state->syscall = nr;
	state->flags = has_no_timeout(regs, nr) ? EPOLL_NO_WAIT : 0;
	name_space(task, &state->loop.space);
	state->loop.loop = is_epoll(nr) ? eventpoll_of(task, regs->di) : 0;
	state->since = bpf_ktime_get_ns();
	if (state->since >= stop_ns)
		return 0;
	if (state->since < start_ns) {
		state->state = STATE_UNKNOWN;
		return 0;
	}
	if (state->loop.loop)
		enter_loop(&state->loop, task->pid, regs->di, state->since);
	state->state = STATE_IN;
	return 0;
}

__noinline u32 end_call(s32 nr, s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	u64 now = bpf_ktime_get_ns();
	struct returned returned = {};
	struct thread *state;
	u32 before;

	if (!is_target(task->tgid) || now < start_ns || now >= stop_ns)
		return 0;
	state = bpf_task_storage_get(&threads, task, NULL, storage_failed ? 0 : BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state)
		return 0;
	before = __sync_lock_test_and_set(&state->state, STATE_OUT);
	if (before == STATE_OUT || (before == STATE_UNKNOWN && storage_failed)) /* its begin was lost, and is counted */
		return 0;
	if (before != STATE_IN) {
		take_up(task, nr, state);
		state->stack = walk_current(task, WALKER_CALL);
		if (before == STATE_UNKNOWN && state->loop.loop)
			enter_loop(&state->loop, task->pid, regs->di, state->since);
	}
	count(EPOLL_CALLS);
	book_call(task, state, ret, now);
	if (!state->loop.loop)
		return 0;
	leave_loop(state, task->pid, regs->di, ret, now);
	if (!with_lag || ret <= 0 || ret > MOST_EVENTS)
		return 0;
	returned.loop = state->loop;
	returned.array = regs->si;
	returned.now = now;
	returned.events = ret;
	bpf_loop((returned.events + EVENTS_A_CHUNK - 1) / EVENTS_A_CHUNK, take_chunk, &returned, 0);
	return 0;
}

struct syscall_context {
	u64 common;
	s32 nr;
	u32 pad;
	s64 ret; /* sys_exit */
};

/* On the tracepoints of each of these system calls. */
SEC("tracepoint/syscalls/sys_enter_epoll_wait")
int call_begins(struct syscall_context *ctx)
{
	begin_call(ctx->nr);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_epoll_wait")
int call_ends(struct syscall_context *ctx)
{
	end_call(ctx->nr, ctx->ret);
	return 0;
}

static __always_inline bool is_compat(struct task_struct *task)
{
	return bpf_core_field_exists(task->thread_info.status) && (task->thread_info.status & TS_COMPAT);
}

/* Both where the kernel does not let us have those: at every system call of the machine. */
SEC("tp_btf/sys_enter")
int BPF_PROG(any_begins, struct pt_regs *regs, long nr)
{
	if (waits_for_events(nr) && !is_compat(bpf_get_current_task_btf()))
		begin_call(nr);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(any_ends, struct pt_regs *regs, long ret)
{
	s32 nr = regs->orig_ax;

	if (waits_for_events(nr) && !is_compat(bpf_get_current_task_btf()))
		end_call(nr, ret);
	return 0;
}

/* --- before and after -------------------------------------------------------------------------------------------- */

/* Tells user space what a thread that ends did on its last loop. What it did on others stays in the map. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(thread_ends, struct task_struct *task)
{
	struct thread *state = bpf_task_storage_get(&threads, task, NULL, 0);
	struct loop_thread_key key = {};
	struct loop_thread_record *record;
	struct loop_thread *row;
	u64 now = bpf_ktime_get_ns();

	if (!state || !state->loop.loop || now >= stop_ns)
		return 0;
	key.loop = state->loop;
	key.tid = task->pid;
	row = bpf_map_lookup_elem(&loop_threads, &key);
	if (!row)
		return 0;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) /* its row is read at the end */
		return 0;
	record->kind = EPOLL_RECORD_THREAD;
	record->pad = 0;
	record->key = key;
	record->row = *row;
	record->ended_ns = now;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	bpf_map_delete_elem(&loop_threads, &key);
	return 0;
}

static __always_inline void report_call(struct seq_file *seq, struct task_struct *task, const struct thread *state,
					struct pt_regs *regs)
{
	struct epoll_call call = {
		.key = {.loop = state->loop,
			.stack = state->stack,
			.tid = task->pid,
			.syscall = state->syscall,
			.flags = state->flags | EPOLL_UNFINISHED},
		.since_ns = state->since,
		.switches = task->nvcsw + task->nivcsw,
		.ip = regs->ip,
		.sp = regs->sp,
		.bp = regs->bp,
		.fsbase = task->thread.fsbase,
	};

	bpf_seq_write(seq, &call, sizeof(call));
}

/*
 * At the beginning: the threads that are in a call already. Only those that sleep: what else a thread's saved registers
 * say may be of an earlier call. At the end: every call that is in progress.
 */
SEC("iter/task")
int iterate_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread *state, found = {};
	struct pt_regs *regs;

	if (!task || !is_target(task->tgid) || (task->flags & (PF_KTHREAD | PF_IO_WORKER)))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if (closing) {
		state = bpf_task_storage_get(&threads, task, NULL, 0);
		if (!state)
			return 0;
		if (state->state == STATE_IN) {
			report_call(ctx->meta->seq, task, state, regs);
		} else if (state->state == STATE_BEFORE) {
			take_up(task, regs->orig_ax, &found);
			found.stack = STACK_PROMISE | (u32)task->pid;
			report_call(ctx->meta->seq, task, &found, regs);
		}
		return 0;
	}
	if (task->on_cpu || task->__state == TASK_RUNNING || !waits_for_events(regs->orig_ax) || is_compat(task))
		return 0;
	state = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count(EPOLL_NO_STORAGE);
		return 0;
	}
	/* Its fields are the thread's own to write. */
	take_up(task, regs->orig_ax, &found);
	if (__sync_val_compare_and_swap(&state->state, STATE_UNKNOWN, STATE_BEFORE) == STATE_UNKNOWN && found.loop.loop)
		enter_loop(&found.loop, task->pid, regs->di, found.since);
	return 0;
}

/* The eventpolls that targets have open. */
SEC("iter/task_file")
int find_loops(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct loop_key key = {};
	struct eventpoll *loop;

	if (!task || !file || !is_target(task->tgid))
		return 0;
	loop = BPF_CORE_READ(file, private_data);
	if (!loop || BPF_CORE_READ(loop, file) != file)
		return 0;
	name_space(task, &key.space);
	key.loop = (u64)loop;
	bpf_seq_write(ctx->meta->seq, &key, sizeof(key));
	return 0;
}

/* The items that data was noted for and that are there no more: user space takes them out. */
SEC("iter/bpf_map_elem")
int report_stale(struct bpf_iter__bpf_map_elem *ctx)
{
	struct ready_key *key = ctx->key;
	struct ready *ready = ctx->value;
	struct ready_key copy;
	struct ready noted;

	if (!key || !ready)
		return 0;
	copy = *key;
	noted = *ready;
	if (!is_same(&noted, &copy))
		bpf_seq_write(ctx->meta->seq, &copy, sizeof(copy));
	return 0;
}
