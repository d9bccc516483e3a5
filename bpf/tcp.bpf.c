// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One row a connection, kept in the kernel from its first sight to its end: who opened it and on which stack, when it
 * was established or why not, and the socket's own totals. A connection is charged to the code that opened it (or that
 * accepted it), whatever task an interrupt stood on when a segment was sent again.
 *
 *   CLOSE -> SYN_SENT, CLOSE -> LISTEN   in the caller's context: a row, with its stack
 *   SYN_RECV -> ESTABLISHED              on a port that a target listens on: a row that waits in the accept queue
 *   accept() returns                     it is the acceptor's from here on
 *   -> CLOSE                             the last totals, and sk_err
 *   tcp_retransmit_skb                   why segments are sent again
 *   -> FIN_WAIT1, -> CLOSE_WAIT, resets  who ends it
 *   sock_send_length, sk_data_ready      questions and answers (tcp_turns.h)
 *   tcp_destroy_sock                     the row goes through the ring, without a wake-up
 *
 * Why a connect failed is the first that is known of: sk_err at -> CLOSE, connect()'s return, SO_ERROR as the program
 * read it. A failure before SYN_SENT (no route) shows in connect()'s return alone.
 *
 * The programs on one tracepoint are two because the kernel passes over a program that is still running on the CPU: the
 * one that walks stacks, in a task's context, may be interrupted by a segment that arrives; the other is short.
 */
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "target.h"
#include "task.h"
#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h, include/linux/socket.h, asm-generic/errno.h: all of them are of the kernel's interface. */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LISTEN 10
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262
#define SOL_SOCKET 1
#define SO_ERROR 4
#define EPERM 1
#define EACCES 13
#define ENOPROTOOPT 92
#define EADDRNOTAVAIL 99
#define ENETDOWN 100
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTDOWN 112
#define EHOSTUNREACH 113
/* net/sock.h, net/tcp.h, net/inet_connection_sock.h: the kernel's own, the same since before it had BTF. */
#define SOCK_DEAD 0
#define SOCK_DONE 1
#define TCP_CA_RECOVERY 3
#define TCP_CA_LOSS 4
#define ICSK_TIME_LOSS_PROBE 5
#define TCP_CHRONO_RWND_LIMITED 2

/* --- maps -------------------------------------------------------------------------------------------------------- */

/* By the address of the sock, until it is destroyed. Most programs have few: memory is taken as it is needed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct tcp_row);
} rows SEC(".maps");

struct listener_key {
	u32 netns;
	u32 port;
};

/* Several may listen on one port, on other addresses or with SO_REUSEPORT; the newest stands for all. */
struct listener {
	u64 sock;
	u32 count;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener_key);
	__type(value, struct listener);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

enum { COUNTERS = TCP_COUNTERS };
#include "counters.h"

enum walker { WALKER_OPENED = 0, WALKER_CONNECT, WALKER_ACCEPT, WALKER_ACCEPT4, WALKER_SYS_EXIT, WALKERS };
enum {
	TOLD_STACK_KIND = TCP_RECORD_STACK,
	TOLD_STACK_RING_FULL = TCP_STACK_RING_FULL,
	TOLD_STACK_MAP_FULL = TCP_STACK_MAP_FULL,
};
#include "told_stacks.h"

#include "tcp_turns.h"

const volatile __u32 ticks_a_second = 250; /* of jiffies */
const volatile bool walk_stacks = true;

__u64 last_id = 0;
const struct tcp_row empty_row = {};

/* --- small parts ------------------------------------------------------------------------------------------------- */

/* The TCP socket that `sk` is, or begins with (MPTCP); NULL when it is none. */
static __always_inline struct sock *tcp_of(struct sock *sk)
{
	u16 family, protocol;

	if (!sk)
		return NULL;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return NULL;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_MPTCP && bpf_core_type_exists(struct mptcp_sock)) {
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
		if (!sk)
			return NULL;
		protocol = BPF_CORE_READ(sk, sk_protocol);
	}
	return protocol == IPPROTO_TCP ? sk : NULL;
}

static __always_inline struct sock *tcp_of_file(struct file *file)
{
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = (struct socket *)BPF_CORE_READ(file, private_data);
	return socket ? tcp_of(BPF_CORE_READ(socket, sk)) : NULL;
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM;
}

static __always_inline struct tcp_row *row_of(const struct sock *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&rows, &key);
}

/*
 * Reading by way of a helper costs as much as all else of a row together. It is for sockets that were found by their
 * address; a tracepoint's own can be read like memory of ours.
 */
#define PLAIN(pointer, member) ((pointer)->member)
#define PROBED(pointer, member) BPF_CORE_READ(pointer, member)

#define READ_TOTALS(READ, sk, tcp, totals)                                                            \
	do {                                                                                          \
		(totals)->bytes_sent = READ(tcp, bytes_sent);                                         \
		(totals)->bytes_retrans = READ(tcp, bytes_retrans);                                   \
		(totals)->bytes_received = READ(tcp, bytes_received);                                 \
		if ((totals)->bytes_received)                                                         \
			(totals)->bytes_received -= READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1; \
		(totals)->retrans = READ(tcp, total_retrans);                                         \
		(totals)->data_segs_out = READ(tcp, data_segs_out);                                   \
		(totals)->srtt_us = READ(tcp, srtt_us) >> 3;                                          \
		(totals)->receiver_limited = READ(tcp, chrono_stat[TCP_CHRONO_RWND_LIMITED - 1]);     \
		if (BPF_CORE_READ_BITFIELD_PROBED(tcp, chrono_type) == TCP_CHRONO_RWND_LIMITED)       \
			(totals)->receiver_limited += (u32)bpf_jiffies64() - READ(tcp, chrono_start); \
	} while (0)

/* `tcp`: the same socket as a tracepoint gives it; NULL: it was found by its address. */
static __always_inline void read_totals(const struct sock *sk, struct tcp_sock *tcp, struct tcp_totals *totals)
{
	if (tcp)
		READ_TOTALS(PLAIN, sk, tcp, totals);
	else
		READ_TOTALS(PROBED, sk, (const struct tcp_sock *)sk, totals);
}

/* Jiffies since data was sent or came. */
static __always_inline u32 idle_ticks(const struct sock *sk, struct tcp_sock *tcp)
{
	u32 now = bpf_jiffies64(), came, sent;

	if (tcp) {
		came = ((struct inet_connection_sock *)tcp)->icsk_ack.lrcvtime;
		sent = now - tcp->lsndtime;
	} else {
		came = BPF_CORE_READ((const struct inet_connection_sock *)sk, icsk_ack.lrcvtime);
		sent = now - BPF_CORE_READ((const struct tcp_sock *)sk, lsndtime);
	}
	return came && now - came < sent ? now - came : sent;
}

#define READ_ENDS(READ, sk, row)                                                         \
	do {                                                                             \
		(row)->family = READ(sk, __sk_common.skc_family);                        \
		(row)->local_port = READ(sk, __sk_common.skc_num);                       \
		(row)->remote_port = __builtin_bswap16(READ(sk, __sk_common.skc_dport)); \
	} while (0)

static __always_inline void read_addresses(const struct sock *sk, struct tcp_sock *tcp, struct tcp_row *row)
{
	const struct sock_common *common = &sk->__sk_common;

	if (tcp) {
		READ_ENDS(PLAIN, sk, row);
		row->netns = common->skc_net.net->ns.inum;
	} else {
		READ_ENDS(PROBED, sk, row);
		row->netns = BPF_CORE_READ(common, skc_net.net, ns.inum);
	}
	if (row->family == AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr)) {
		bpf_core_read(row->local, sizeof(row->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(row->remote, sizeof(row->remote), &common->skc_v6_daddr);
	} else {
		bpf_core_read(row->local, 4, &common->skc_rcv_saddr);
		bpf_core_read(row->remote, 4, &common->skc_daddr);
	}
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static __always_inline u64 opener_stack(struct task_struct *task, u32 walker)
{
	return walk_stacks ? walk_current(task, walker) : STACK_NONE;
}

static __always_inline void emit_row(struct tcp_row *row)
{
	struct tcp_row_record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record) {
		count(TCP_RING_FULL);
		return;
	}
	record->kind = TCP_RECORD_ROW;
	record->pad = 0;
	record->row = *row;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* A new row for a socket; a row that it has already ends. NULL when there is no room. */
static __always_inline struct tcp_row *begin_row(const struct sock *sk, struct tcp_sock *tcp, u64 now, u32 role)
{
	u64 key = (u64)sk;
	struct tcp_row *row = bpf_map_lookup_elem(&rows, &key);

	if (row)
		emit_row(row);
	if (bpf_map_update_elem(&rows, &key, &empty_row, BPF_ANY) || !(row = bpf_map_lookup_elem(&rows, &key))) {
		count(TCP_ROW_MAP_FULL);
		return NULL;
	}
	count(TCP_ROWS);
	row->id = __sync_fetch_and_add(&last_id, 1) + 1;
	row->role = role;
	row->open_ns = now;
	read_addresses(sk, tcp, row);
	read_totals(sk, tcp, &row->baseline);
	row->last = row->baseline;
	row->seen_retrans = row->baseline.retrans;
	row->seen_retrans_bytes = row->baseline.bytes_retrans;
	if (follow_turns)
		begin_turns(tcp ? tcp->write_seq : BPF_CORE_READ((struct tcp_sock *)sk, write_seq),
			    row->baseline.bytes_received, &row->turns);
	return row;
}

/* Whose it is: the current task's. */
static __always_inline void name_owner(struct task_struct *task, struct tcp_row *row)
{
	name_space(task, &row->space);
	row->tid = task->pid;
	__builtin_memcpy(row->comm, task->comm, sizeof(row->comm));
}

static __always_inline void add_listener(const struct tcp_row *row, u64 sock)
{
	struct listener_key key = {.netns = row->netns, .port = row->local_port};
	struct listener *known = bpf_map_lookup_elem(&listeners, &key), one = {.sock = sock, .count = 1};

	if (known) {
		__sync_fetch_and_add(&known->count, 1);
		known->sock = sock;
	} else if (bpf_map_update_elem(&listeners, &key, &one, BPF_NOEXIST)) {
		count(TCP_LISTENER_MAP_FULL);
	}
}

static __always_inline void remove_listener(const struct tcp_row *row)
{
	struct listener_key key = {.netns = row->netns, .port = row->local_port};
	struct listener *known = bpf_map_lookup_elem(&listeners, &key);

	if (known && __sync_fetch_and_add(&known->count, -1) <= 1)
		bpf_map_delete_elem(&listeners, &key);
}

/* The target's listener on the local port of a socket; NULL when there is none. */
static __always_inline struct listener *listener_of(const struct sock *sk)
{
	struct listener_key key = {
		.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
	};

	return bpf_map_lookup_elem(&listeners, &key);
}

static __always_inline void close_row(const struct sock *sk, struct tcp_sock *tcp, struct tcp_row *row)
{
	if (row->closed_ns)
		return;
	row->closed_ns = bpf_ktime_get_ns();
	if (!row->error)
		row->error = BPF_CORE_READ(sk, sk_err);
	read_totals(sk, tcp, &row->last);
	if (!row->end)
		row->idle = idle_ticks(sk, tcp);
	if (row->role == TCP_ROLE_LISTENER)
		remove_listener(row);
}

static __always_inline void note_end(const struct sock *sk, struct tcp_sock *tcp, struct tcp_row *row, u8 end)
{
	if (row->end)
		return;
	row->end = end;
	row->idle = idle_ticks(sk, tcp);
}

/* --- states ------------------------------------------------------------------------------------------------------ */

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_opened, const struct sock *sk, const int oldstate, const int newstate)
{
	struct task_struct *task;
	struct tcp_row *row;

	if (oldstate != TCP_CLOSE || (newstate != TCP_SYN_SENT && newstate != TCP_LISTEN))
		return 0;
	task = bpf_get_current_task_btf();
	if (!is_target(task->tgid) || !is_tcp(sk))
		return 0;
	row = begin_row(sk, bpf_skc_to_tcp_sock((void *)sk), bpf_ktime_get_ns(),
			newstate == TCP_LISTEN ? TCP_ROLE_LISTENER : TCP_ROLE_OPENED);
	if (!row)
		return 0;
	name_owner(task, row);
	if (newstate == TCP_LISTEN)
		add_listener(row, (u64)sk);
	row->stack = opener_stack(task, WALKER_OPENED);
	name_turn_group(row);
	return 0;
}

/* A connection to a port that a target listens on. Nobody has it yet: it is its listener's. */
static __always_inline void child_established(const struct sock *sk, struct tcp_sock *tcp, u16 flags)
{
	struct listener *listener = listener_of(sk);
	struct tcp_row *row, *parent;
	u64 parent_key, now;

	if (!listener)
		return;
	now = bpf_ktime_get_ns();
	row = begin_row(sk, tcp, now, TCP_ROLE_ACCEPTED);
	if (!row)
		return;
	row->flags = TCP_IN_QUEUE | flags;
	row->established_ns = now;
	parent_key = listener->sock;
	parent = bpf_map_lookup_elem(&rows, &parent_key);
	if (!parent)
		return;
	row->space = parent->space;
	row->stack = parent->stack;
	row->tid = parent->tid;
	__builtin_memcpy(row->comm, parent->comm, sizeof(row->comm));
}

static __always_inline void row_established(const struct sock *sk, struct tcp_row *row)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	if (row->role != TCP_ROLE_OPENED || row->established_ns)
		return;
	row->established_ns = bpf_ktime_get_ns();
	row->established_retrans = row->seen_retrans = BPF_CORE_READ(tcp, total_retrans);
	row->local_port = sk->__sk_common.skc_num;
	if (follow_turns)
		begin_turns(BPF_CORE_READ(tcp, write_seq), 0, &row->turns);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_changed, const struct sock *sk, const int oldstate, const int newstate)
{
	struct tcp_row *row;

	if (newstate != TCP_CLOSE && newstate != TCP_ESTABLISHED && newstate != TCP_FIN_WAIT1 &&
	    newstate != TCP_CLOSE_WAIT)
		return 0;
	if (!is_tcp(sk))
		return 0;
	row = row_of(sk);
	if (newstate == TCP_ESTABLISHED) {
		if (row)
			row_established(sk, row);
		else if (oldstate == TCP_SYN_RECV)
			child_established(sk, bpf_skc_to_tcp_sock((void *)sk), 0);
	} else if (row && newstate == TCP_CLOSE) {
		close_row(sk, bpf_skc_to_tcp_sock((void *)sk), row);
	} else if (row) {
		note_end(sk, bpf_skc_to_tcp_sock((void *)sk), row,
			 newstate == TCP_FIN_WAIT1 ? TCP_END_FIN_SENT : TCP_END_FIN_RECEIVED);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	struct tcp_row *row = row_of(sk);
	u64 key = (u64)sk;

	if (!row)
		return 0;
	close_row(sk, bpf_skc_to_tcp_sock(sk), row);
	emit_row(row);
	bpf_map_delete_elem(&rows, &key);
	return 0;
}

/* The kernel counts these before there is a connection: they are the listener's. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_synack_again, const struct sock *sk, const struct request_sock *request)
{
	struct tcp_row *row = row_of(sk);

	if (row && row->role == TCP_ROLE_LISTENER)
		__sync_fetch_and_add(&row->synack_retrans, 1);
	return 0;
}

/*
 * Why this segment is sent again. The kernel does not say; a probe for the tail's loss is what goes out from its timer
 * while nothing is known to be lost.
 */
static __always_inline u32 resent_kind(const struct sock *sk)
{
	const struct inet_connection_sock *inet = (const struct inet_connection_sock *)sk;
	u8 state = BPF_CORE_READ_BITFIELD_PROBED(inet, icsk_ca_state);

	if (state == TCP_CA_LOSS)
		return TCP_RESENT_TIMEOUT;
	if (state < TCP_CA_RECOVERY && BPF_CORE_READ(inet, icsk_pending) == ICSK_TIME_LOSS_PROBE &&
	    !BPF_CORE_READ((const struct tcp_sock *)sk, tlp_high_seq))
		return TCP_RESENT_PROBE;
	return TCP_RESENT_FAST;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_sent_again, const struct sock *sk)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;
	struct tcp_row *row = row_of(sk);
	u32 all, kind, segments;
	u64 bytes;

	if (!row)
		return 0;
	all = BPF_CORE_READ(tcp, total_retrans);
	bytes = BPF_CORE_READ(tcp, bytes_retrans);
	segments = all - row->seen_retrans;
	if (!segments)
		row->unsent++;
	else if (sk->__sk_common.skc_state != TCP_SYN_SENT && sk->__sk_common.skc_state != TCP_SYN_RECV) {
		kind = resent_kind(sk);
		if (kind < TCP_RESENT_KINDS) {
			row->resent[kind] += segments;
			row->resent_bytes[kind] += bytes - row->seen_retrans_bytes;
		}
	}
	row->seen_retrans = all;
	row->seen_retrans_bytes = bytes;
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, const struct sock *sk)
{
	struct tcp_row *row;

	/* None: to a segment of no connection. */
	if (!sk)
		return 0;
	row = row_of(sk);
	if (!row)
		return 0;
	row->resets |= TCP_RESET_SENT;
	note_end(sk, NULL, row, TCP_END_RESET_SENT);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_received, struct sock *sk)
{
	struct tcp_row *row = row_of(sk);

	if (!row || sk->__sk_common.skc_state == TCP_SYN_SENT)
		return 0;
	row->resets |= TCP_RESET_RECEIVED;
	if (row->turns.after_idle || idle_ticks(sk, NULL) >= ticks_a_second)
		row->resets |= TCP_RESET_AFTER_IDLE;
	note_end(sk, NULL, row, TCP_END_RESET_RECEIVED);
	return 0;
}

/* --- turns ------------------------------------------------------------------------------------------------------- */

/* In the sender's context; send() is about to return, or a part of a longer call. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(tcp_sent, struct sock *sk, int length)
{
	struct task_struct *task;
	const struct tcp_sock *tcp;
	struct sock *subflow;
	struct tcp_row *row;
	u32 came;

	if (length <= 0)
		return 0;
	subflow = sk->sk_protocol == IPPROTO_MPTCP ? tcp_of(sk) : is_tcp(sk) ? sk : NULL;
	if (!subflow)
		return 0;
	row = row_of(subflow);
	if (!row)
		return 0;
	task = bpf_get_current_task_btf();
	if (task->tgid != row->space.tgid) {
		row->holder_tgid = task->tgid;
		__builtin_memcpy(row->holder_comm, task->group_leader->comm, sizeof(row->holder_comm));
	}
	tcp = (const struct tcp_sock *)subflow;
	if (row->role == TCP_ROLE_OPENED) {
		came = (u32)bpf_jiffies64() -
		       BPF_CORE_READ((const struct inet_connection_sock *)tcp, icsk_ack.lrcvtime);
		question_sent(&row->turns, BPF_CORE_READ(tcp, write_seq), task->pid,
			      (u64)came * (1000000000u / ticks_a_second));
	} else if (row->role == TCP_ROLE_ACCEPTED) {
		answer_sent(&row->turns, BPF_CORE_READ(tcp, write_seq));
	}
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(tcp_arrived, const struct sock *sk)
{
	u32 received, before, full_segment;
	struct tcp_sock *tcp;
	struct tcp_row *row;

	if (!is_tcp(sk))
		return 0;
	row = row_of(sk);
	if (!row || row->role == TCP_ROLE_LISTENER)
		return 0;
	tcp = bpf_skc_to_tcp_sock((void *)sk);
	if (!tcp)
		return 0;
	received = tcp->bytes_received - (sk->__sk_common.skc_flags >> SOCK_DONE & 1);
	before = row->turns.received;
	if (received == before)
		return 0; /* the end alone */
	row->turns.received = received;
	if (row->role == TCP_ROLE_OPENED) {
		answer_arrived(&row->turns, tcp->write_seq);
	} else if (row->role == TCP_ROLE_ACCEPTED) {
		full_segment = ((struct inet_connection_sock *)tcp)->icsk_ack.rcv_mss;
		question_arrived(&row->turns, tcp->write_seq, full_segment && (received - before) % full_segment == 0);
	}
	return 0;
}

/* --- system calls ------------------------------------------------------------------------------------------------ */

/* Errors of connect() that say that the connection failed, and not that it goes on or was asked for wrongly. */
static __always_inline bool is_failure(s32 error)
{
	switch (error) {
	case EPERM:
	case EACCES:
	case ENOPROTOOPT:
	case EADDRNOTAVAIL:
	case ENETDOWN:
	case ENETUNREACH:
	case ECONNABORTED:
	case ECONNRESET:
	case ETIMEDOUT:
	case ECONNREFUSED:
	case EHOSTDOWN:
	case EHOSTUNREACH:
		return true;
	}
	return false;
}

/* A connect() that failed before the socket changed its state: all that is known of it is said here. */
static __always_inline void emit_no_attempt(struct task_struct *task, struct pt_regs *regs, s32 error, u32 walker)
{
	struct {
		u16 family, port;
		u32 v4, v6[4];
	} address = {}; /* sockaddr_in and sockaddr_in6; sin6_flowinfo lies where sin_addr does */
	u64 stack = opener_stack(task, walker);
	struct tcp_row_record *record;
	struct tcp_row *row;

	if (bpf_probe_read_user(&address, sizeof(address), (void *)regs->si))
		bpf_probe_read_user(&address, 8, (void *)regs->si);
	if (address.family != AF_INET && address.family != AF_INET6)
		return;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(TCP_RING_FULL);
		return;
	}
	count(TCP_ROWS);
	record->kind = TCP_RECORD_ROW;
	record->pad = 0;
	row = &record->row;
	*row = empty_row;
	row->id = __sync_fetch_and_add(&last_id, 1) + 1;
	row->role = TCP_ROLE_OPENED;
	row->flags = TCP_NO_ATTEMPT;
	row->error = error;
	row->stack = stack;
	row->open_ns = row->closed_ns = bpf_ktime_get_ns();
	name_owner(task, row);
	row->family = address.family;
	row->remote_port = __builtin_bswap16(address.port);
	if (address.family == AF_INET)
		__builtin_memcpy(row->remote, &address.v4, 4);
	else
		__builtin_memcpy(row->remote, address.v6, 16);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline int on_connect(struct task_struct *task, struct pt_regs *regs, s64 ret, u32 walker)
{
	struct tcp_row *row;
	struct sock *sk;

	if (ret >= 0 || !is_failure(-ret) || !is_target(task->tgid))
		return 0;
	sk = tcp_of_file(task_file(task, regs->di));
	if (!sk)
		return 0;
	row = row_of(sk);
	if (row && row->role == TCP_ROLE_OPENED) {
		if (row->established_ns || row->error == -ret)
			return 0;
		if (!row->error) {
			row->error = -ret;
			return 0;
		}
		/* An earlier attempt on this socket failed for another reason; this one did not come as far. */
	}
	emit_no_attempt(task, regs, -ret, walker);
	return 0;
}

static __always_inline int on_getsockopt(struct task_struct *task, struct pt_regs *regs, s64 ret)
{
	struct tcp_row *row;
	struct sock *sk;
	s32 error = 0;

	if (ret || (u32)regs->si != SOL_SOCKET || (u32)regs->dx != SO_ERROR || !is_target(task->tgid))
		return 0;
	sk = tcp_of_file(task_file(task, regs->di));
	if (!sk)
		return 0;
	row = row_of(sk);
	if (!row || row->role != TCP_ROLE_OPENED || row->established_ns || row->error)
		return 0;
	if (!bpf_probe_read_user(&error, sizeof(error), (void *)regs->r10) && error > 0)
		row->error = error;
	return 0;
}

static __always_inline int on_accept(struct task_struct *task, s64 fd, u32 walker)
{
	struct tcp_row *row;
	struct sock *sk;
	u64 key;

	if (fd < 0)
		return 0;
	sk = tcp_of_file(task_file(task, fd));
	if (!sk)
		return 0;
	row = row_of(sk);
	if (!is_target(task->tgid)) {
		/* The listener is a target's, its connection is not. */
		key = (u64)sk;
		if (row && (row->flags & TCP_IN_QUEUE))
			bpf_map_delete_elem(&rows, &key);
		return 0;
	}
	if (!row) {
		row = begin_row(sk, NULL, bpf_ktime_get_ns(), TCP_ROLE_ACCEPTED);
		if (!row)
			return 0;
		row->flags = TCP_START_UNKNOWN;
	}
	row->accepted_ns = bpf_ktime_get_ns();
	row->flags &= ~TCP_IN_QUEUE;
	name_owner(task, row);
	row->stack = opener_stack(task, walker);
	name_turn_group(row);
	return 0;
}

struct sys_exit_context {
	u64 common;
	s32 nr;
	s64 ret;
};

#define CURRENT_REGS(task) ((struct pt_regs *)bpf_task_pt_regs(task))

SEC("tracepoint/syscalls/sys_exit_connect")
int exit_connect(struct sys_exit_context *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return on_connect(task, CURRENT_REGS(task), ctx->ret, WALKER_CONNECT);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int exit_accept(struct sys_exit_context *ctx)
{
	return on_accept(bpf_get_current_task_btf(), ctx->ret, WALKER_ACCEPT);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(struct sys_exit_context *ctx)
{
	return on_accept(bpf_get_current_task_btf(), ctx->ret, WALKER_ACCEPT4);
}

SEC("tracepoint/syscalls/sys_exit_getsockopt")
int exit_getsockopt(struct sys_exit_context *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return on_getsockopt(task, CURRENT_REGS(task), ctx->ret);
}

/* All of them where the kernel does not let us have the four: it runs at the end of every system call of the machine. */
SEC("tp_btf/sys_exit")
int BPF_PROG(exit_any, struct pt_regs *regs, long ret)
{
	struct task_struct *task;
	u64 nr = regs->orig_ax; /* x86-64 numbers */

	if (nr != 42 && nr != 43 && nr != 288 && nr != 55)
		return 0;
	task = bpf_get_current_task_btf();
	if (bpf_core_field_exists(task->thread_info.status) && (task->thread_info.status & TS_COMPAT))
		return 0;
	if (nr == 42)
		return on_connect(task, CURRENT_REGS(task), ret, WALKER_SYS_EXIT);
	if (nr == 55)
		return on_getsockopt(task, CURRENT_REGS(task), ret);
	return on_accept(task, ret, WALKER_SYS_EXIT);
}

/* --- before and after -------------------------------------------------------------------------------------------- */

/* The sockets that targets have when the recording begins, in all network namespaces. It is run twice. */
SEC("iter/task_file")
int find_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_row *row;
	struct sock *sk;
	u32 role = TCP_ROLE_UNKNOWN;
	u8 state;

	if (!task || !file || !is_target(task->tgid))
		return 0;
	sk = tcp_of_file(file);
	if (!sk)
		return 0;
	row = row_of(sk);
	if (row) {
		/* The second time: all listeners are known. Who connects never has a listener's port. */
		if (row->role == TCP_ROLE_UNKNOWN && listener_of(sk))
			row->role = TCP_ROLE_ACCEPTED;
		name_turn_group(row);
		return 0;
	}
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE)
		return 0;
	if (state == TCP_LISTEN)
		role = TCP_ROLE_LISTENER;
	else if (state == TCP_SYN_SENT)
		role = TCP_ROLE_OPENED;
	row = begin_row(sk, NULL, bpf_ktime_get_ns(), role);
	if (!row)
		return 0;
	row->flags = TCP_BEFORE_ATTACH;
	row->stack = STACK_MISSED;
	name_owner(task, row);
	if (role == TCP_ROLE_LISTENER)
		add_listener(row, (u64)sk);
	return 0;
}

/*
 * What no process has, in the network namespace of the thread that opened the iterator: what waits to be accepted gets a
 * row of its listener's, of what is in TIME_WAIT user space is told.
 */
SEC("iter/tcp")
int find_unowned(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_time_wait wait = {};
	struct tcp_sock *tcp;
	struct sock *sk;
	u8 state;

	if (!common)
		return 0;
	state = common->skc_state;
	if (state == TCP_TIME_WAIT) {
		wait.netns = BPF_CORE_READ(common, skc_net.net, ns.inum);
		wait.family = common->skc_family;
		wait.local_port = common->skc_num;
		wait.remote_port = __builtin_bswap16(common->skc_dport);
		if (wait.family == AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr))
			bpf_core_read(wait.remote, sizeof(wait.remote), &common->skc_v6_daddr);
		else
			bpf_core_read(wait.remote, 4, &common->skc_daddr);
		bpf_seq_write(ctx->meta->seq, &wait, sizeof(wait));
		return 0;
	}
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	sk = (struct sock *)tcp;
	if (BPF_CORE_READ(sk, sk_socket) || BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DEAD & 1 || row_of(sk))
		return 0;
	child_established(sk, tcp, TCP_BEFORE_ATTACH | TCP_QUEUED_BEFORE);
	return 0;
}

/* Who else has a socket at the end: it was passed on, or a fork has it too. */
SEC("iter/task_file")
int find_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_holder holder = {};
	struct tcp_row *row;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = tcp_of_file(file);
	row = sk ? row_of(sk) : NULL;
	if (!row || !row->space.tgid || row->space.tgid == task->tgid || (row->flags & TCP_IN_QUEUE))
		return 0;
	holder.id = row->id;
	holder.tgid = task->tgid;
	bpf_probe_read_kernel(holder.comm, sizeof(holder.comm), task->group_leader->comm);
	bpf_seq_write(ctx->meta->seq, &holder, sizeof(holder));
	return 0;
}

/* The connections that are still there when it ends, with what they have come to. */
SEC("iter/bpf_map_elem")
int report_rows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct tcp_row *row = ctx->value;
	u64 *key = ctx->key;
	struct tcp_totals totals;

	if (!key || !row)
		return 0;
	/* A row that is there has its sock. */
	if (!row->closed_ns) {
		read_totals((struct sock *)*key, NULL, &totals);
		row->last = totals;
	}
	bpf_seq_write(ctx->meta->seq, row, sizeof(*row));
	return 0;
}
