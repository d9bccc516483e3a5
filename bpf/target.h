/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whom a recording is about. A process that is not the target of a one-process recording costs one compare. */
#ifndef STALLSCOPE_BPF_TARGET_H
#define STALLSCOPE_BPF_TARGET_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

#include "wire.h"

const volatile __u32 target_mode = TARGET_ONE;
const volatile __u32 target_tgid = 0;
const volatile __u32 own_tgid = 0; /* never trace the tracer */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* tgid */
	__type(value, u8);
} targets SEC(".maps");

static __always_inline bool is_target(u32 tgid)
{
	if (target_mode == TARGET_ONE)
		return tgid == target_tgid;
	if (target_mode == TARGET_SET)
		return bpf_map_lookup_elem(&targets, &tgid) != NULL;
	return tgid != 0 && tgid != own_tgid;
}

#endif
