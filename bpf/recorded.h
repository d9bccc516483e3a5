/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What of a time is recorded. Before and after the recording a probe follows states, but sums nothing. */
#ifndef STALLSCOPE_BPF_RECORDED_H
#define STALLSCOPE_BPF_RECORDED_H

#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

/* The recording is the time in [start_ns, stop_ns). */
volatile __u64 start_ns = ~0ull;
volatile __u64 stop_ns = ~0ull;

/* The part of [from, to) that lies inside the recording. */
static __always_inline u64 recorded(u64 from, u64 to)
{
	u64 start = start_ns, stop = stop_ns;

	if (from < start)
		from = start;
	if (to > stop)
		to = stop;
	return to > from ? to - from : 0;
}

#endif
