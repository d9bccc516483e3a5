/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses between the kernel programs and user space: the only file that both include. Fixed-width fields,
 * explicit padding, no bool, arrays last. Times are CLOCK_MONOTONIC nanoseconds; pids are the initial namespace's.
 */
#ifndef STALLSCOPE_BPF_WIRE_H
#define STALLSCOPE_BPF_WIRE_H

#include <linux/types.h>

#ifdef __cplusplus
#define WIRE_ASSERT static_assert
#else
#define WIRE_ASSERT _Static_assert
#endif
#define WIRE_OFFSET(type, member, at) WIRE_ASSERT(__builtin_offsetof(struct type, member) == (at), #type "." #member)

/* --- stacks ------------------------------------------------------------------------------------------------------ */

/* STACK_MAX_STEPS: callers that are found by unwind tables before the frame pointers are followed. */
enum { STACK_MAX_ADDRESSES = 127, STACK_MAX_STEPS = 8 };

/* Why a walk ended. */
enum walk_end {
	WALK_COMPLETE = 0,   /* frame pointer 0, or goexit's */
	WALK_NONE = 1,       /* the thread has no user part */
	WALK_FULL = 2,       /* STACK_MAX_ADDRESSES */
	WALK_UNREADABLE = 3, /* a frame could not be read */
	WALK_LEFT_STACK = 4, /* the next frame pointer does not lie above on the same stack */
};

/*
 * Stack ids are content hashes with the top bit clear. 0: there is none. The rest of the numbers below 16 are reserved.
 * With the top bit set the id is a promise: user space reads that thread's stack itself (the low half is its tid).
 */
enum { STACK_NONE = 0, STACK_LOST = 1, STACK_MISSED = 2, STACK_ID_FIRST = 16 };
#define STACK_PROMISE (1ull << 63)

/* `flags` of a stack */
enum {
	STACK_LEAF_WORD = 1, /* addresses[1] is the word at the stack pointer: it follows a call, but may be stale */
	STACK_KERNEL = 2,
	STACK_GO_NO_G = 4,    /* a Go thread whose g was read: it carries no goroutine (curg is nil) */
	STACK_GO_UNKNOWN = 8, /* a Go process, but this thread's g could not be read */
};

/*
 * Innermost first. A user stack begins with the instruction pointer; then `steps` callers that unwind tables led to, or
 * without any of those perhaps the word at the stack pointer (STACK_LEAF_WORD); from `chain_at` on the frame pointers'.
 */
struct stack {
	__u8 count;
	__u8 goroutine_at; /* addresses from here on are of the goroutine below the system (g0, C) stack; == count: none */
	__u8 chain_at;
	__u8 steps;
	__u16 steps_check; /* frame_step_check() over the steps that were used */
	__u8 end;          /* enum walk_end */
	__u8 flags;
	__u64 addresses[STACK_MAX_ADDRESSES];
};
WIRE_ASSERT(sizeof(struct stack) == 8 + 8 * STACK_MAX_ADDRESSES, "struct stack");
WIRE_OFFSET(stack, addresses, 8);

/*
 * How to step from one instruction to its caller where the code keeps no frame pointer, in bytes above the stack pointer.
 * The caller's stack pointer is right above the return address.
 */
struct frame_step {
	__u16 return_address;
	__u16 saved_bp; /* FRAME_BP_KEPT: the frame pointer is still the caller's */
};
WIRE_ASSERT(sizeof(struct frame_step) == 4, "struct frame_step");
enum { FRAME_BP_KEPT = 0xffff };

/* Steps are shared by all processes and keyed by address: user space checks that those used were the process's own. */
static inline __u16 frame_step_check(__u16 check, struct frame_step step)
{
	return (__u16)(check * 31 + step.return_address + step.saved_bp * 7 + 1);
}

/* Where Go keeps what the walker needs, for one process. All offsets are bytes. */
struct go_layout {
	__s32 g_tls; /* of g from the thread pointer (fsbase) */
	__u16 enabled;
	__u16 g_m;        /* g.m */
	__u16 g_sched_sp; /* g.sched.sp */
	__u16 g_sched_bp; /* g.sched.bp */
	__u16 m_gsignal;  /* m.gsignal */
	__u16 m_curg;     /* m.curg */
	/* runtime.systemstack_switch: a g parked there has its return address at sched.sp */
	__u64 switch_start, switch_end;
};
WIRE_ASSERT(sizeof(struct go_layout) == 32, "struct go_layout");
WIRE_OFFSET(go_layout, switch_start, 16);

/* --- the ledger -------------------------------------------------------------------------------------------------- */

/* One life of one program in one process. */
struct space_key {
	__u64 start_boot_ns; /* of the thread group leader */
	__u32 tgid;
	__u32 exec_id;
};
WIRE_ASSERT(sizeof(struct space_key) == 16, "struct space_key");

/* A stack that a process has for the first time, as bpf/told_stacks.h tells it. Its id is of this process alone. */
struct stack_record {
	__u32 kind; /* as the probe numbers its records */
	__u32 pad;
	struct space_key space;
	__u64 id;
	struct stack stack;
};
WIRE_ASSERT(sizeof(struct stack_record) == 32 + sizeof(struct stack), "struct stack_record");
WIRE_OFFSET(stack_record, stack, 32);

enum { SAMPLE_IN_IOWAIT = 1, SAMPLE_KERNEL_THREAD = 2, SAMPLE_COMPAT = 4 /* a 32-bit system call */ };

/* What waits are summed by. */
struct sample_key {
	struct space_key space;
	__u64 user_stack;
	__u64 kernel_stack;
	__u32 tid;     /* 0 unless each thread is told apart */
	__s32 syscall; /* -1: none */
	__u32 state;   /* TASK_* of the switch-out */
	__u32 flags;   /* SAMPLE_* */
};
WIRE_ASSERT(sizeof(struct sample_key) == 48, "struct sample_key");
WIRE_OFFSET(sample_key, user_stack, 16);
WIRE_OFFSET(sample_key, tid, 32);

enum wire_file_type {
	WIRE_FILE_UNKNOWN = 0,
	WIRE_FILE_PIPE,
	WIRE_FILE_SOCKET,
	WIRE_FILE_TTY,
	WIRE_FILE_REGULAR,
	WIRE_FILE_OTHER,
};

struct sample_value {
	__u64 blocked_ns;
	__u64 runq_ns; /* from the wake-up to the CPU */
	__u64 count;
	__u32 file_type; /* of the first such wait: enum wire_file_type */
	__u32 pad;
};
WIRE_ASSERT(sizeof(struct sample_value) == 32, "struct sample_value");

/* The totals of a process: what ended threads left behind, and at the close those of living ones. */
struct space_totals {
	__u64 running_ns;
	__u64 runnable_ns;
	__u64 blocked_ns;
	__u64 unknown_ns; /* between two switches of which one was never seen */
	__u64 switches;
};
WIRE_ASSERT(sizeof(struct space_totals) == 40, "struct space_totals");

/* Counters of loss and repair, summed over all threads. */
enum ledger_counter {
	LEDGER_STACK_MAP_FULL = 0, /* user or kernel stacks that found no room; the wait is kept without it */
	LEDGER_SAMPLE_MAP_FULL,    /* waits that found no room */
	LEDGER_SAMPLE_MAP_FULL_NS, /* their blocked time */
	LEDGER_SWITCH_IN_REPAIRED, /* missed switch-ins whose time the scheduler's own record gave */
	LEDGER_START_UNKNOWN,      /* missed switch-ins without one */
	LEDGER_END_UNKNOWN,        /* missed switch-outs */
	LEDGER_UNKNOWN_NS,         /* time between those */
	LEDGER_NO_STORAGE,         /* threads that got no ledger */
	LEDGER_BELOW_MIN,          /* waits that --min and --max left out */
	LEDGER_BELOW_MIN_NS,
	LEDGER_ABOVE_MAX,
	LEDGER_ABOVE_MAX_NS,
	LEDGER_TOTALS_FULL, /* threads whose totals found no room */
	LEDGER_STACKS_KEPT, /* stacks put into the map so far */
	LEDGER_WAITS,       /* waits that ended, or were still going on at the end */
	LEDGER_COUNTERS,    /* their number */
};

enum target_mode { TARGET_ONE = 0, TARGET_SET = 1, TARGET_ALL = 2 };

/* What the task iterator is asked to do. */
enum pass {
	PASS_OPEN = 0, /* put every thread that waits now into the ledger, report those that user space has to unwind */
	PASS_VERIFY = 1, /* report the switch counts again */
	PASS_CLOSE = 2,  /* account what is still open at the end, report the threads that are blocked then */
};

/* THREAD_WHOLE_TIME: at the close, since before the recording began. */
enum { THREAD_BLOCKED = 1, THREAD_WHOLE_TIME = 2 };

/* One thread as the iterator reports it; one record each through the iterator's file. */
struct thread_record {
	struct space_key space;
	__u32 tid;
	__u32 flags;      /* THREAD_* */
	__u64 switches;   /* voluntary and involuntary */
	__u64 user_stack; /* the id in the ledger */
	__u64 kernel_stack;
	__u64 ip, sp, bp, fsbase;
	__s32 syscall;
	__u32 state;
	__u32 sample_flags; /* SAMPLE_* */
	__u32 file_type;
	char comm[16];
};
WIRE_ASSERT(sizeof(struct thread_record) == 112, "struct thread_record");
WIRE_OFFSET(thread_record, switches, 24);
WIRE_OFFSET(thread_record, syscall, 80);
WIRE_OFFSET(thread_record, comm, 96);

/* One task of the pid-namespace translation. */
struct pid_record {
	__u32 tid, tgid;       /* the initial namespace's */
	__u32 ns_tid, ns_tgid; /* as seen from the namespace that was asked for */
};
WIRE_ASSERT(sizeof(struct pid_record) == 16, "struct pid_record");

/* --- goroutines, measured ------------------------------------------------------------------------------------------ */

/* g.atomicstatus, as the runtime numbers it, without the scan bit. */
enum goroutine_status {
	GOROUTINE_IDLE = 0,
	GOROUTINE_RUNNABLE = 1,
	GOROUTINE_RUNNING = 2,
	GOROUTINE_SYSCALL = 3,
	GOROUTINE_WAITING = 4,
	GOROUTINE_DEAD = 6,
	GOROUTINE_COPYSTACK = 8,
	GOROUTINE_LEAKED = 10,
	GOROUTINE_UNSEEN = 0xff, /* ours: in a state that it enters and leaves without casgstatus */
};

/* What a goroutine is doing, since when, where; by the address of its g. */
struct goroutine_state {
	__u64 since;
	__u64 stack;      /* id; a promise's low half counts stacks that user space has read itself */
	__u64 created_at; /* g.gopc */
	__u32 status;
	__u32 reason; /* g.waitreason, while it waits; else 0 */
};
WIRE_ASSERT(sizeof(struct goroutine_state) == 32, "struct goroutine_state");
WIRE_OFFSET(goroutine_state, status, 24);

/* What goroutines' time is summed by. */
struct goroutine_key {
	__u64 stack;
	__u64 created_at;
	__u32 status;
	__u32 reason;
};
WIRE_ASSERT(sizeof(struct goroutine_key) == 24, "struct goroutine_key");

struct goroutine_sum {
	__u64 time_ns;
	__u64 count;
};
WIRE_ASSERT(sizeof(struct goroutine_sum) == 16, "struct goroutine_sum");

enum gosched_counter {
	GOSCHED_TRANSITIONS = 0,
	GOSCHED_STACK_MAP_FULL,     /* stacks that found no room; the wait is kept without it */
	GOSCHED_NO_STACK,           /* stacks that could not be read, or were too much for the memory at hand */
	GOSCHED_SUM_MAP_FULL,       /* waits that found no room */
	GOSCHED_SUM_MAP_FULL_NS,    /* their time */
	GOSCHED_GOROUTINE_MAP_FULL, /* transitions of goroutines that found no room */
	GOSCHED_START_UNKNOWN,      /* waits that were left and never seen to be entered */
	GOSCHED_END_UNKNOWN,        /* waits that were never seen to be left; their time is not kept */
	GOSCHED_END_UNKNOWN_NS,     /* the time to the next transition */
	GOSCHED_COUNTERS,           /* their number */
};

/* --- TCP --------------------------------------------------------------------------------------------------------- */

enum tcp_role {
	TCP_ROLE_UNKNOWN = 0, /* older than the recording */
	TCP_ROLE_OPENED = 1,
	TCP_ROLE_ACCEPTED = 2,
	TCP_ROLE_LISTENER = 3,
};

/* `flags` of a connection */
enum {
	TCP_BEFORE_ATTACH = 1, /* found when the recording began: its opener's stack is not known */
	TCP_IN_QUEUE = 2,      /* established, and nobody has accepted it yet; the rest is its listener's */
	TCP_NO_ATTEMPT = 4,    /* connect() failed before anything was tried: there is no time */
	TCP_START_UNKNOWN = 8, /* accepted, but when it was established is not known */
	TCP_QUEUED_BEFORE =
		16, /* with TCP_BEFORE_ATTACH: it was in the accept queue; "established" is its first sight */
};

/* A socket's own totals. */
struct tcp_totals {
	__u64 bytes_sent; /* what was sent again too */
	__u64 bytes_retrans;
	__u64 bytes_received; /* in order */
	__u32 retrans;        /* segments */
	__u32 data_segs_out;
	__u32 receiver_limited; /* jiffies in which the peer's window was too small */
	__u32 srtt_us;          /* of now; 0: none was measured */
};
WIRE_ASSERT(sizeof(struct tcp_totals) == 40, "struct tcp_totals");

/* What ended a connection, the first of it. */
enum tcp_end {
	TCP_END_NONE = 0, /* or not seen */
	TCP_END_FIN_SENT = 1,
	TCP_END_FIN_RECEIVED = 2,
	TCP_END_RESET_SENT = 3,
	TCP_END_RESET_RECEIVED = 4,
};

/* `resets` of a connection */
enum {
	TCP_RESET_SENT = 1,
	TCP_RESET_RECEIVED = 2,
	TCP_RESET_AFTER_IDLE = 4, /* received, when nothing had passed for a second, or nothing but what it answered */
};

/* Why segments were sent again, as far as the socket's state tells; SYNs apart. */
enum tcp_resent_kind {
	TCP_RESENT_TIMEOUT = 0, /* and what was still missing after one */
	TCP_RESENT_FAST = 1,
	TCP_RESENT_PROBE = 2, /* for the tail's loss: inferred */
	TCP_RESENT_KINDS,
};

#define TCP_HELD_TURNS 8

/*
 * Questions and answers of a connection. Of one that was opened, a question is sent and its answer arrives; of one that
 * was accepted, it is the other way round. Pending: asked_ns != 0.
 */
struct tcp_turns {
	__u64 group;        /* of the connections whose times are summed in one histogram */
	__u64 asked_ns;     /* opened: the last send; accepted: the last arrival; 0: nothing is asked */
	__u32 asked_seq;    /* opened: what had been written with that send; accepted: when it arrived */
	__u32 answered_seq; /* opened: what had been written when the last answer began */
	__u32 received;     /* low part of the bytes that had arrived */
	__u32 asked_tid;    /* opened: who sent */
	__u32 count;
	__u32 measured; /* of them, with a time. The first are here, the others in the histogram of their group */
	__u16 held[TCP_HELD_TURNS]; /* buckets (bpf/histogram.h) */
	__u8 multiplexed;           /* something was asked when something else was unanswered */
	__u8 full;                  /* accepted: the last arrival was of full segments, so more may come */
	__u8 after_idle;            /* opened: what is asked was sent after a second of silence */
	__u8 pad[5];
};
WIRE_ASSERT(sizeof(struct tcp_turns) == 64, "struct tcp_turns");

/* One connection, or one listener. Whose it is: who opened it, accepted it, or called listen. Times are 0 where unknown. */
struct tcp_row {
	__u64 id; /* ours, given at first sight */
	struct space_key space;
	__u64 stack;   /* of the opener */
	__u64 open_ns; /* SYN_SENT, LISTEN, or first sight */
	__u64 established_ns;
	__u64 accepted_ns;          /* accept() returned */
	__u64 closed_ns;            /* the state became CLOSE */
	struct tcp_totals baseline; /* at first sight */
	struct tcp_totals last;     /* at CLOSE or at the end of the recording */
	struct tcp_turns turns;
	__u64 resent_bytes[TCP_RESENT_KINDS];
	__u64 seen_retrans_bytes;       /* with seen_retrans */
	__u32 resent[TCP_RESENT_KINDS]; /* segments */
	__u32 seen_retrans;             /* total of retransmitted segments when the last of them was looked at */
	__u32 unsent;                   /* attempts to send something again that sent nothing */
	__u32 idle;                     /* jiffies without data, either way, when it ended */
	__u32 holder_tgid;              /* who sent on it last where that is not who it is of; 0: nobody */
	__u32 tid;
	__u32 netns;
	__s32 error;               /* errno; 0: none known */
	__u32 established_retrans; /* total of retransmitted segments when it was established */
	__u32 synack_retrans;      /* listener: retransmitted SYN-ACKs */
	__u16 role;                /* enum tcp_role */
	__u16 flags;               /* TCP_* */
	__u16 family;              /* AF_INET, AF_INET6 */
	__u16 local_port;
	__u16 remote_port;
	__u8 end;    /* enum tcp_end */
	__u8 resets; /* TCP_RESET_* */
	__u32 pad;
	__u8 local[16]; /* AF_INET: the first four */
	__u8 remote[16];
	char comm[16]; /* of the thread */
	char holder_comm[16];
};
WIRE_ASSERT(sizeof(struct tcp_row) == 368, "struct tcp_row");
WIRE_OFFSET(tcp_row, baseline, 64);
WIRE_OFFSET(tcp_row, turns, 144);
WIRE_OFFSET(tcp_row, tid, 268);
WIRE_OFFSET(tcp_row, holder_comm, 352);

/* Turns beyond the first of their connections: how many took how long. */
struct tcp_turn_key {
	__u64 group;
	__u32 bucket; /* bpf/histogram.h; ns */
	__u32 pad;
};
WIRE_ASSERT(sizeof(struct tcp_turn_key) == 16, "struct tcp_turn_key");

/* A socket in TIME_WAIT: no process has it, and its totals are gone. */
struct tcp_time_wait {
	__u32 netns;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u16 pad;
	__u8 remote[16];
};
WIRE_ASSERT(sizeof(struct tcp_time_wait) == 28, "struct tcp_time_wait");

/* A process that has a socket of another's connection. */
struct tcp_holder {
	__u64 id; /* of the row */
	__u32 tgid;
	__u32 pad;
	char comm[16];
};
WIRE_ASSERT(sizeof(struct tcp_holder) == 32, "struct tcp_holder");

enum tcp_record_kind { TCP_RECORD_ROW = 1, TCP_RECORD_STACK = 2 };

/* A connection that ended. */
struct tcp_row_record {
	__u32 kind;
	__u32 pad;
	struct tcp_row row;
};
WIRE_ASSERT(sizeof(struct tcp_row_record) == 376, "struct tcp_row_record");

enum tcp_counter {
	TCP_ROW_MAP_FULL = 0,  /* connections that found no room */
	TCP_RING_FULL,         /* ended connections that found no room in the ring */
	TCP_STACK_MAP_FULL,    /* stacks that found no room; their connections are kept without */
	TCP_STACK_RING_FULL,   /* stacks that found no room in the ring: they come again */
	TCP_LISTENER_MAP_FULL, /* listeners whose queues are not timed */
	TCP_TURN_MAP_FULL,     /* turns whose time found no room */
	TCP_ROWS,              /* connections and listeners so far */
	TCP_COUNTERS,          /* their number */
};

/* --- epoll_wait, poll, select ------------------------------------------------------------------------------------ */

/* An event loop: an eventpoll object, by its address, in one program of one process. */
struct loop_key {
	struct space_key space;
	__u64 loop; /* 0: poll() and select() have none */
};
WIRE_ASSERT(sizeof(struct loop_key) == 24, "struct loop_key");

/* `flags` of a call */
enum {
	EPOLL_UNFINISHED = 1, /* it had begun before the recording, or went on when that ended: its time is a part */
	EPOLL_NO_WAIT = 2,    /* its time-out is 0 */
};

/* What calls are summed by. */
struct epoll_key {
	struct loop_key loop;
	__u64 stack;
	__u32 tid; /* 0 unless each thread is told apart */
	__s32 syscall;
	__u32 flags; /* EPOLL_UNFINISHED */
	__u32 pad;
};
WIRE_ASSERT(sizeof(struct epoll_key) == 48, "struct epoll_key");

struct epoll_sum {
	__u64 time_ns; /* in the call */
	__u64 count;
	__u64 events; /* that were handed out */
	__u64 empty;  /* calls that handed out none: timed out */
};
WIRE_ASSERT(sizeof(struct epoll_sum) == 32, "struct epoll_sum");

struct loop_thread_key {
	struct loop_key loop;
	__u32 tid;
	__u32 pad;
};
WIRE_ASSERT(sizeof(struct loop_thread_key) == 32, "struct loop_thread_key");

/* What one thread did on one loop. */
struct loop_thread {
	__u64 since_ns;        /* its first call, or the start of the recording */
	__u64 left_ns;         /* it returned from its last call; 0: it is in one */
	__u64 waiting_ns;      /* in calls that may wait: not with a time-out of 0 */
	__u64 longest_busy_ns; /* between two calls */
	__u64 calls;
	__u64 polls; /* of them: with a time-out of 0 */
	__u64 events;
	__u64 empty;
	__u64 empty_polls;
};
WIRE_ASSERT(sizeof(struct loop_thread) == 72, "struct loop_thread");

/* What all threads of a process did on one loop together. */
struct loop_row {
	__u64 left_ns;               /* the last of them returned */
	__u64 longest_unattended_ns; /* none of them was in a call */
	__u64 longest_lag_ns;
	__s32 inside; /* how many are in a call */
	__u32 fd;     /* of the first call */
};
WIRE_ASSERT(sizeof(struct loop_row) == 32, "struct loop_row");

/* How often a lag fell into a bucket of bpf/histogram.h. */
struct lag_key {
	struct loop_key loop;
	__u32 bucket;
	__u32 pad;
};
WIRE_ASSERT(sizeof(struct lag_key) == 32, "struct lag_key");

/* An item of an eventpoll, by what it hands out, while data waits for it. */
struct ready_key {
	__u64 loop;
	__u64 data;
};
WIRE_ASSERT(sizeof(struct ready_key) == 16, "struct ready_key");

/* A call that is in progress, as the iterator reports it. */
struct epoll_call {
	struct epoll_key key; /* `tid` is always set */
	__u64 since_ns;
	__u64 switches; /* voluntary and involuntary */
	__u64 ip, sp, bp, fsbase;
};
WIRE_ASSERT(sizeof(struct epoll_call) == 96, "struct epoll_call");

enum epoll_record_kind { EPOLL_RECORD_STACK = 1, EPOLL_RECORD_THREAD = 2 };

/* A thread that ended: what it did on the loop that it waited on last. */
struct loop_thread_record {
	__u32 kind;
	__u32 pad;
	struct loop_thread_key key;
	struct loop_thread row;
	__u64 ended_ns;
};
WIRE_ASSERT(sizeof(struct loop_thread_record) == 120, "struct loop_thread_record");

enum epoll_counter {
	EPOLL_CALLS = 0,       /* so far */
	EPOLL_SAMPLE_MAP_FULL, /* calls that found no room */
	EPOLL_SAMPLE_MAP_FULL_NS,
	EPOLL_STACK_MAP_FULL,  /* stacks that found no room; their calls are kept without */
	EPOLL_STACK_RING_FULL, /* stacks that found no room in the ring: they come again */
	EPOLL_NO_STORAGE,      /* calls of threads that got no place to be remembered in */
	EPOLL_LOOP_MAP_FULL,   /* calls on loops, or of threads on them, that found no room there */
	EPOLL_READY_MAP_FULL,  /* events that found no room: without lag */
	EPOLL_READY_KEPT,      /* events put into that map so far */
	EPOLL_READY_TAKEN,     /* and taken out */
	EPOLL_LAG_MAP_FULL,    /* lags that found no room */
	EPOLL_BELOW_MIN,       /* calls that --min and --max left out */
	EPOLL_BELOW_MIN_NS,
	EPOLL_ABOVE_MAX,
	EPOLL_ABOVE_MAX_NS,
	EPOLL_COUNTERS, /* their number */
};

/* --- process events ---------------------------------------------------------------------------------------------- */

enum process_event_kind { PROCESS_FORK = 1, PROCESS_EXEC = 2, PROCESS_EXIT = 3 };

/* What tells the memory of one program from that of the next in the same process, as /proc/PID/stat has it too. */
struct memory_mark {
	__u64 start_code, end_code, start_stack;
};

struct process_event {
	__u64 time_ns;
	struct space_key space;
	__u32 kind;
	__u32 parent_tgid; /* PROCESS_FORK */
	char comm[16];
	struct memory_mark memory; /* PROCESS_EXEC: the new program's */
};
WIRE_ASSERT(sizeof(struct process_event) == 72, "struct process_event");
WIRE_OFFSET(process_event, space, 8);
WIRE_OFFSET(process_event, comm, 32);
WIRE_OFFSET(process_event, memory, 48);

#endif
