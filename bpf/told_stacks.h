/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The user stacks of rare events whose sums outlive their processes: each new stack of a process goes through the probe's
 * ring as it is first seen, so that user space judges it while the process lives. Before it includes this the probe has
 *
 *   counters.h                                  its counters
 *   events                                      its ring
 *   enum { WALKERS = ... }                      how many of its programs walk
 *   enum { TOLD_STACK_KIND = ...,               what a stack's record is called in that ring,
 *          TOLD_STACK_RING_FULL = ...,          and the counters of stacks that found no room there
 *          TOLD_STACK_MAP_FULL = ... }          or in the map of those that have been told
 */
#ifndef STALLSCOPE_BPF_TOLD_STACKS_H
#define STALLSCOPE_BPF_TOLD_STACKS_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "go_layouts.h"
#include "task.h"
#include "walk.h"
#include "wire.h"

/* The stacks that user space has been told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u8);
} known_stacks SEC(".maps");

/* Where a stack is put together: a place for each program that walks, since each runs once at a time on a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WALKERS);
	__type(key, u32);
	__type(value, struct walk);
} scratch SEC(".maps");

/* Tells user space a stack that the current process has not had before. Returns its id. */
static __always_inline u64 tell_stack(u64 hash, struct task_struct *task, struct stack *stack)
{
	/* Of this program alone: user space judges it by what is mapped there. */
	struct space_key space = {};
	struct stack_record *record;
	u64 id;
	u8 one = 1;

	name_space(task, &space);
	id = hash_to_id(hash_step(hash_step(hash, (u64)space.tgid << 32 | space.exec_id), space.start_boot_ns));
	if (bpf_map_lookup_elem(&known_stacks, &id))
		return id;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(TOLD_STACK_RING_FULL);
		return id;
	}
	if (bpf_map_update_elem(&known_stacks, &id, &one, BPF_ANY)) {
		count(TOLD_STACK_MAP_FULL);
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return STACK_LOST;
	}
	record->kind = TOLD_STACK_KIND;
	record->pad = 0;
	record->space = space;
	record->id = id;
	bpf_probe_read_kernel(&record->stack, sizeof(record->stack), stack);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return id;
}

/*
 * The walk is split into global functions, which the verifier looks at once by themselves. They take numbers only.
 * `walker`: whose place to walk in.
 */
__noinline u32 begin_user_walk(u32 walker)
{
	struct walk *walk = bpf_map_lookup_elem(&scratch, &walker);
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (walk)
		begin_walk(regs->ip, regs->sp, regs->bp, task->thread.fsbase, go_layout_of(task->tgid), walk);
	return 0;
}

__noinline u64 finish_user_walk(u32 walker)
{
	struct walk *walk = bpf_map_lookup_elem(&scratch, &walker);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!walk)
		return STACK_NONE;
	return tell_stack(finish_walk(go_layout_of(task->tgid), walk), task, &walk->stack);
}

/* The user stack of the current task, told when it is new. Returns its id. */
static __always_inline u64 walk_current(struct task_struct *task, u32 walker)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if ((task->flags & (PF_KTHREAD | PF_IO_WORKER)) || !regs->ip || regs->cs == USER_CODE_SEGMENT_32)
		return STACK_NONE;
	begin_user_walk(walker);
	return finish_user_walk(walker);
}

#endif
