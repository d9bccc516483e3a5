/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where the walker (walk.h) learns how the Go program of a process is laid out. User space fills it. */
#ifndef STALLSCOPE_BPF_GO_LAYOUTS_H
#define STALLSCOPE_BPF_GO_LAYOUTS_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

#include "target.h"
#include "wire.h"

/* The layout of the one target (TARGET_ONE), so that it costs no look-up. */
struct go_layout one_go = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32); /* tgid */
	__type(value, struct go_layout);
} go_layouts SEC(".maps");

static __always_inline const struct go_layout *go_layout_of(u32 tgid)
{
	if (target_mode == TARGET_ONE)
		return &one_go;
	return bpf_map_lookup_elem(&go_layouts, &tgid);
}

#endif
