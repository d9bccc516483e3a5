// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The life of target processes: fork, exec, exit, one record each. With `follow_children` a child of a target becomes
 * one before it first runs.
 */
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "target.h"
#include "wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 follow_children = 0;
/* --comm: a process that takes this name by exec becomes a target. */
const volatile char wanted_comm[16] = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

volatile __u64 events_lost = 0;
volatile __u64 targets_lost = 0; /* processes that found no room among the targets */

static __always_inline void emit(struct task_struct *task, u32 kind, u32 parent_tgid)
{
	struct process_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->space.tgid = task->tgid;
	event->space.exec_id = task->self_exec_id;
	event->space.start_boot_ns = task->group_leader->start_boottime;
	event->kind = kind;
	event->parent_tgid = parent_tgid;
	__builtin_memcpy(event->comm, task->comm, sizeof(event->comm));
	event->memory = (struct memory_mark){};
	if (kind == PROCESS_EXEC) {
		event->memory.start_code = task->mm->start_code;
		event->memory.end_code = task->mm->end_code;
		event->memory.start_stack = task->mm->start_stack;
	}
	/* No wake-up: a timer in user space drains the ring. */
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline void add_target(u32 tgid)
{
	u8 one = 1;

	if (bpf_map_update_elem(&targets, &tgid, &one, BPF_ANY))
		__sync_fetch_and_add(&targets_lost, 1);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->tgid != child->pid || !is_target(parent->tgid)) /* a thread, or not ours */
		return 0;
	if (target_mode != TARGET_ALL) {
		if (!follow_children)
			return 0;
		add_target(child->tgid);
	}
	emit(child, PROCESS_FORK, parent->tgid);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *binary)
{
	if (wanted_comm[0]) {
		bool same = true;

		for (int i = 0; i < 16; i++) {
			if (task->comm[i] != wanted_comm[i]) {
				same = false;
				break;
			}
			if (!wanted_comm[i])
				break;
		}
		if (same)
			add_target(task->tgid);
	}
	if (is_target(task->tgid))
		emit(task, PROCESS_EXEC, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	/* Each thread passes here; the last one to enter do_exit() ends the process. */
	if (is_target(task->tgid) && task->signal->live.counter == 0)
		emit(task, PROCESS_EXIT, 0);
	return 0;
}
