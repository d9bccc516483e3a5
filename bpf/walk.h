/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The stack walker. It follows frame pointers through the memory of the current task, as it stands at a switch-out,
 * and keeps what user space needs to judge each step:
 *
 *   - the callers of the innermost frames that keep no frame pointer (libc's system call wrappers, and what calls them
 *     inside libc), by steps that user space has taken from unwind tables.
 *   - where no table is known, the word at the stack pointer, when it follows a call instruction: the caller of a leaf
 *     without a frame (Syscall6 in Go). Only unwind tables can prove that it is; user space has them.
 *   - the goroutine below a system stack: C called through cgo, or the runtime itself, runs on another stack (g0).
 *     There the chain is cut at the stack's bounds, and the walk goes on where the goroutine left off (curg.sched).
 *   - why the walk ended.
 */
#ifndef STALLSCOPE_BPF_WALK_H
#define STALLSCOPE_BPF_WALK_H

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

#define USER_ADDRESS_MAX 0x7fffffffffffull
#define USER_CODE_SEGMENT_32 0x23
/* A frame chain on a stack of unknown bounds may reach this far. */
#define STACK_REACH (64ull << 20)

const volatile __u64 hash_seed = 0;

static __always_inline u64 hash_step(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 32);
}

static __always_inline u64 hash_to_id(u64 hash)
{
	hash &= ~STACK_PROMISE;
	return hash < STACK_ID_FIRST ? hash + STACK_ID_FIRST : hash;
}

/* Does a call instruction end right before `address`? One read of the eight bytes before it. */
static __always_inline bool follows_call(u64 address)
{
	u64 code = 0;

	if (address < 4096 + 8 || address > USER_ADDRESS_MAX)
		return false;
	if (bpf_probe_read_user(&code, sizeof(code), (void *)(address - 8)))
		return false;
#define CODE_BYTE(back) ((code >> (8 * (8 - (back)))) & 0xff)
#define CALL_INDIRECT(back) (CODE_BYTE(back) == 0xff && (CODE_BYTE((back)-1) & 0x38) == 0x10)
	return CODE_BYTE(5) == 0xe8 || CALL_INDIRECT(2) || CALL_INDIRECT(3) || CALL_INDIRECT(4) || CALL_INDIRECT(6) ||
	       CALL_INDIRECT(7);
#undef CALL_INDIRECT
#undef CODE_BYTE
}

volatile __u32 frame_steps_used = 0;

/*
 * By instruction. User space fills this from unwind tables for the places where threads wait, and for their callers as it
 * meets them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct frame_step);
} frame_steps SEC(".maps");

/*
 * A walk on its way. It lives in a map and not on the BPF stack, so that the verifier sees plain numbers at each step and
 * has one path to look at instead of every combination.
 */
struct walk {
	u64 low, limit; /* the next frame pointer is in [low, limit) */
	u64 bp;
	u64 goroutine; /* the g to go on with when this stack ends; 0: none */
	u64 hash;
	struct stack stack;
};

/* Finds the stack bounds of a Go thread, and the goroutine below when the thread is not on it. */
static __always_inline void find_goroutine(u64 fsbase, u64 sp, const struct go_layout *go, struct walk *walk)
{
	u64 g = 0, curg = 0, gsignal = 0;
	struct {
		u64 low, high, between[4], m;
	} g_head = {};

	if (bpf_probe_read_user(&g, sizeof(g), (void *)(fsbase + go->g_tls)) || !g ||
	    bpf_probe_read_user(&g_head, sizeof(g_head), (void *)g) || !g_head.m ||
	    bpf_probe_read_user(&curg, sizeof(curg), (void *)(g_head.m + go->m_curg))) {
		walk->stack.flags |= STACK_GO_UNKNOWN;
		return;
	}
	if (sp >= g_head.low && sp < g_head.high)
		walk->limit = g_head.high;
	if (!curg) {
		walk->stack.flags |= STACK_GO_NO_G;
		return;
	}
	if (curg == g) {
		walk->stack.goroutine_at = 0;
		return;
	}
	/* In a signal handler curg.sched is an old one: the interrupted place is not known from here. */
	if (bpf_probe_read_user(&gsignal, sizeof(gsignal), (void *)(g_head.m + go->m_gsignal)) || gsignal == g)
		return;
	walk->goroutine = curg;
}

/* Turns the walk to the goroutine's own stack. Returns its first address, 0 when it cannot be read. */
static __always_inline u64 enter_goroutine(struct walk *walk, const struct go_layout *go)
{
	struct {
		u64 low, high;
	} bounds = {};
	struct {
		u64 sp, pc;
	} sched = {};
	u64 g = walk->goroutine, bp = 0, address = 0;

	walk->goroutine = 0;
	if (bpf_probe_read_user(&bounds, sizeof(bounds), (void *)g) ||
	    bpf_probe_read_user(&sched, sizeof(sched), (void *)(g + go->g_sched_sp)) ||
	    bpf_probe_read_user(&bp, sizeof(bp), (void *)(g + go->g_sched_bp)))
		return 0;
	walk->low = sched.sp;
	walk->limit = bounds.high;
	walk->bp = bp;
	/* Elsewhere (mcall, morestack) the saved pc is the next frame itself. */
	if (sched.pc < go->switch_start || sched.pc >= go->switch_end)
		return sched.pc;
	/*
	 * Saved by asmcgocall or systemstack, with a pc that only marks the switch. Their return address is at sched.sp;
	 * since they save the frame pointer (Go 1.21) that lies there, and the return address above it.
	 */
	if (bp == sched.sp) {
		struct {
			u64 bp, caller;
		} frame = {};

		if (bpf_probe_read_user(&frame, sizeof(frame), (void *)bp))
			return 0;
		walk->low = bp + sizeof(frame);
		walk->bp = frame.bp;
		return frame.caller;
	}
	bpf_probe_read_user(&address, sizeof(address), (void *)sched.sp);
	return address;
}

/* Steps by tables from the instruction pointer on, as far as they are known. Returns the stack pointer where they end. */
static __always_inline u64 take_table_steps(u64 ip, u64 sp, struct walk *walk)
{
	struct stack *out = &walk->stack;
	u32 steps = 0;
	u16 check = 0;

	if (!frame_steps_used)
		return sp;
	for (; steps < STACK_MAX_STEPS; steps++) {
		struct frame_step *step = bpf_map_lookup_elem(&frame_steps, &ip);
		u64 caller, bp;

		if (!step)
			break;
		if (bpf_probe_read_user(&caller, sizeof(caller), (void *)(sp + step->return_address)))
			break;
		if (step->saved_bp != FRAME_BP_KEPT) {
			if (bpf_probe_read_user(&bp, sizeof(bp), (void *)(sp + step->saved_bp)))
				break;
			walk->bp = bp;
		}
		check = frame_step_check(check, *step);
		walk->hash = hash_step(walk->hash, caller);
		out->addresses[1 + steps] = caller;
		sp += step->return_address + sizeof(caller);
		ip = caller;
	}
	walk->hash = hash_step(walk->hash, check);
	out->steps = steps;
	out->steps_check = check;
	out->chain_at = 1 + steps;
	return sp;
}

static __always_inline void start_stack(u8 goroutine_at, u8 chain_at, struct stack *out)
{
	out->flags = 0;
	out->goroutine_at = goroutine_at;
	out->steps = 0;
	out->steps_check = 0;
	out->chain_at = chain_at;
}

/* The first steps of a walk: the instruction pointer, the callers before the frame pointers, and whose stack this is. */
static __always_inline void begin_walk(u64 ip, u64 sp, u64 bp, u64 fsbase, const struct go_layout *go,
				       struct walk *walk)
{
	struct stack *out = &walk->stack;
	u64 word = 0;

	walk->limit = sp + STACK_REACH;
	walk->bp = bp;
	walk->goroutine = 0;
	walk->hash = hash_step(hash_seed, ip);
	start_stack(/*goroutine_at=*/0xff, /*chain_at=*/1, out);
	if (go && go->enabled)
		find_goroutine(fsbase, sp, go, walk);
	out->addresses[0] = ip;
	walk->low = take_table_steps(ip, sp, walk);
	if (out->steps || bpf_probe_read_user(&word, sizeof(word), (void *)sp) || !follows_call(word))
		return;
	out->flags |= STACK_LEAF_WORD;
	out->addresses[1] = word;
	out->chain_at = 2;
	walk->hash = hash_step(walk->hash, word);
}

/*
 * The first step of a walk of a goroutine that has left its stack, or is about to: where it goes on. `interrupted`: it may
 * stand at the entry of a function, before that has made its frame; then the word at the stack pointer is perhaps its
 * caller, which tables can tell. false: its place cannot be read.
 */
static __always_inline bool begin_goroutine_walk(u64 g, bool interrupted, const struct go_layout *go, struct walk *walk)
{
	struct stack *out = &walk->stack;
	u64 address, word = 0;

	start_stack(/*goroutine_at=*/0, /*chain_at=*/1, out);
	walk->goroutine = g;
	address = enter_goroutine(walk, go);
	if (!address)
		return false;
	walk->hash = hash_step(hash_seed, address);
	out->addresses[0] = address;
	if (!interrupted || bpf_probe_read_user(&word, sizeof(word), (void *)walk->low) || !word)
		return true;
	out->flags |= STACK_LEAF_WORD;
	out->addresses[1] = word;
	out->chain_at = 2;
	walk->hash = hash_step(walk->hash, word);
	return true;
}

/*
 * chain_at + i, hidden from the compiler. The verifier has to see a loop counter that begins with a known number (before
 * 6.4 it takes another for an endless loop), and an index that is compared before it is used.
 */
static __always_inline u32 chain_index(u32 chain_at, u32 i)
{
	asm volatile("%0 += %1" : "+r"(i) : "r"(chain_at));
	return i;
}

/* Follows the frame pointers to the end. Returns the stack's id. */
static __always_inline u64 finish_walk(const struct go_layout *go, struct walk *walk)
{
	struct stack *out = &walk->stack;
	u64 hash = walk->hash;
	u32 chain_at = out->chain_at & 0xf, count = chain_at;
	u8 end = WALK_FULL;

	for (u32 i = 0; i < STACK_MAX_ADDRESSES; i++) {
		u64 bp = walk->bp, address;
		struct {
			u64 bp, caller;
		} frame;

		count = chain_index(chain_at, i);
		end = WALK_FULL;
		if (count >= STACK_MAX_ADDRESSES)
			break;
		if (bp < walk->low || bp + sizeof(frame) > walk->limit || (bp & 7)) {
			end = bp ? WALK_LEFT_STACK : WALK_COMPLETE;
			if (!go || !walk->goroutine)
				break;
			address = enter_goroutine(walk, go);
			end = WALK_UNREADABLE;
			if (!address)
				break;
			out->goroutine_at = count;
		} else {
			end = WALK_UNREADABLE;
			if (bpf_probe_read_user(&frame, sizeof(frame), (void *)bp))
				break;
			address = frame.caller;
			walk->low = bp + sizeof(frame);
			walk->bp = frame.bp;
			end = WALK_COMPLETE;
			if (!address)
				break;
		}
		out->addresses[count] = address;
		hash = hash_step(hash, address);
	}
	out->end = end;
	out->count = count;
	if (out->goroutine_at > count)
		out->goroutine_at = count;
	/* Equal addresses that ended for another reason, or belong to another kind of stack, are another stack. */
	hash = hash_step(hash, (u64)out->goroutine_at << 16 | out->end << 8 | out->flags);
	return hash_to_id(hash);
}

/* Makes a stack of the `count` kernel addresses that lie in `out`. Returns its id. */
static __always_inline u64 seal_kernel_stack(u32 count, struct stack *out)
{
	u64 hash = hash_step(hash_seed, STACK_KERNEL);

	for (int i = 0; i < STACK_MAX_ADDRESSES; i++) {
		if (i >= count)
			break;
		hash = hash_step(hash, out->addresses[i]);
	}
	out->count = count;
	out->goroutine_at = count;
	out->chain_at = 0;
	out->steps = 0;
	out->steps_check = 0;
	out->end = WALK_COMPLETE;
	out->flags = STACK_KERNEL;
	return hash_to_id(hash);
}

/* Puts a stack into a map of them by id, if it is not there yet. false: there is no room. */
static __always_inline bool put_stack(void *stacks, u64 id, struct stack *stack, bool *added)
{
	*added = false;
	if (bpf_map_lookup_elem(stacks, &id))
		return true;
	if (bpf_map_update_elem(stacks, &id, stack, BPF_NOEXIST))
		return bpf_map_lookup_elem(stacks, &id) != NULL; /* another CPU was faster */
	*added = true;
	return true;
}

#endif
