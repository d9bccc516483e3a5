/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Questions and answers of a connection, from the socket alone: how many there were, and how long the first byte of an
 * answer took. A program's send() is seen when it returns; by then its answer, or the next question, may have come. So
 * what belongs together is told by write_seq, up to where the program has written: what arrives after a send has been
 * put into the queue is its answer.
 *
 * Questions that follow each other within ONE_QUESTION_NS, of one thread, are one question in pieces. What follows later,
 * unanswered, is another at the same time (or a piece of a long one): from then on nothing of this connection is timed.
 */
#ifndef STALLSCOPE_BPF_TCP_TURNS_H
#define STALLSCOPE_BPF_TCP_TURNS_H

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "counters.h"
#include "histogram.h"
#include "walk.h"
#include "wire.h"

#define ONE_QUESTION_NS 100000
#define LONG_SILENCE_NS 1000000000ull

/* Off where nobody asks for turns, or the kernel has no tracepoints for them. */
const volatile bool follow_turns = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tcp_turn_key);
	__type(value, u64);
} turn_times SEC(".maps");

/* From here on it has an owner and a peer. */
static __always_inline void name_turn_group(struct tcp_row *row)
{
	u64 hash, remote[2];

	if (!follow_turns)
		return;
	__builtin_memcpy(remote, row->remote, sizeof(remote));
	hash = hash_step(hash_seed, (u64)row->role << 32 | (row->role == TCP_ROLE_OPENED ? row->remote_port : 0));
	hash = hash_step(hash, (u64)row->space.tgid << 32 | row->space.exec_id);
	hash = hash_step(hash, row->space.start_boot_ns);
	hash = hash_step(hash, row->stack);
	row->turns.group = hash_step(hash_step(hash, remote[0]), remote[1]);
}

/* Nothing is asked and all that was is answered. */
static __always_inline void begin_turns(u32 write_seq, u32 received, struct tcp_turns *turns)
{
	turns->asked_ns = 0;
	turns->asked_seq = turns->answered_seq = write_seq;
	turns->received = received;
}

static __always_inline void keep_time(struct tcp_turns *turns, u64 took_ns)
{
	struct tcp_turn_key key = {.group = turns->group, .bucket = histogram_bucket(took_ns)};
	u32 place = turns->measured++;
	u64 *times, one = 1;

	if (place < TCP_HELD_TURNS) {
		turns->held[place & (TCP_HELD_TURNS - 1)] = key.bucket;
		return;
	}
	times = bpf_map_lookup_elem(&turn_times, &key);
	if (!times && !bpf_map_update_elem(&turn_times, &key, &one, BPF_NOEXIST))
		return;
	if (!times)
		times = bpf_map_lookup_elem(&turn_times, &key);
	if (times)
		__sync_fetch_and_add(times, 1);
	else
		count(TCP_TURN_MAP_FULL);
}

/* --- opened: send, arrival --------------------------------------------------------------------------------------- */

/* `silence_ns`: since something arrived last. */
static __always_inline void question_sent(struct tcp_turns *turns, u32 write_seq, u32 tid, u64 silence_ns)
{
	u64 now = bpf_ktime_get_ns(), before = turns->asked_ns;
	bool pending = before && turns->asked_seq != turns->answered_seq;

	if (write_seq == turns->answered_seq)
		return; /* it has been answered while send() was returning */
	if (pending && (turns->asked_tid != tid || now - before > ONE_QUESTION_NS))
		turns->multiplexed = true;
	if (!pending)
		turns->after_idle = silence_ns > LONG_SILENCE_NS && now - before > LONG_SILENCE_NS;
	turns->asked_tid = tid;
	turns->asked_ns = now;
	turns->asked_seq = write_seq;
}

static __always_inline void answer_arrived(struct tcp_turns *turns, u32 write_seq)
{
	if (write_seq == turns->answered_seq)
		return; /* nothing was asked since the last answer began */
	turns->count++;
	turns->after_idle = false;
	/* Else a send() is about to return, and when it began is not known. */
	if (turns->asked_ns && turns->asked_seq == write_seq && !turns->multiplexed)
		keep_time(turns, bpf_ktime_get_ns() - turns->asked_ns);
	turns->answered_seq = write_seq;
}

/* --- accepted: arrival, send ------------------------------------------------------------------------------------- */

/* Takes the question that is pending since `asked_ns`; false: another CPU was faster. */
static __always_inline bool take_question(struct tcp_turns *turns, u64 asked_ns)
{
	return __sync_val_compare_and_swap(&turns->asked_ns, asked_ns, 0) == asked_ns;
}

/* `full`: in segments that are as large as they can be. */
static __always_inline void question_arrived(struct tcp_turns *turns, u32 write_seq, bool full)
{
	u64 now = bpf_ktime_get_ns(), before = turns->asked_ns;

	if (before && write_seq != turns->asked_seq) {
		/* Its answer is on its way, in a send() that has not returned yet. */
		if (take_question(turns, before))
			turns->count++;
	} else if (before && !turns->full && now - before > ONE_QUESTION_NS) {
		turns->multiplexed = true;
	}
	turns->full = full;
	turns->asked_seq = write_seq;
	turns->asked_ns = now;
}

static __always_inline void answer_sent(struct tcp_turns *turns, u32 write_seq)
{
	u64 asked_ns = turns->asked_ns;

	/* Nothing written since the last question: this send() returns late. */
	if (!asked_ns || write_seq == turns->asked_seq || !take_question(turns, asked_ns))
		return;
	turns->count++;
	if (!turns->multiplexed)
		keep_time(turns, bpf_ktime_get_ns() - asked_ns);
}

#endif
