/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What more than one probe reads of a task. */
#ifndef STALLSCOPE_BPF_TASK_H
#define STALLSCOPE_BPF_TASK_H

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

static __always_inline void name_space(struct task_struct *task, struct space_key *space)
{
	space->tgid = task->tgid;
	space->exec_id = task->self_exec_id;
	space->start_boot_ns = task->group_leader->start_boottime;
}

/* The file behind a descriptor of a task; NULL when there is none. */
static __always_inline struct file *task_file(struct task_struct *task, u64 fd)
{
	struct files_struct *files;
	struct fdtable *table;
	struct file **slots, *file = NULL;

	files = BPF_CORE_READ(task, files);
	if (!files)
		return NULL;
	table = BPF_CORE_READ(files, fdt);
	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	slots = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), slots + fd))
		return NULL;
	return file;
}

#endif
