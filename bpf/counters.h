/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A probe's counters, one set a CPU. Before it includes this the probe says how many: enum { COUNTERS = ... }. */
#ifndef STALLSCOPE_BPF_COUNTERS_H
#define STALLSCOPE_BPF_COUNTERS_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

static __always_inline void count_by(u32 counter, u64 by)
{
	u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		__sync_fetch_and_add(value, by);
}

static __always_inline void count(u32 counter)
{
	count_by(counter, 1);
}

#endif
