/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The bucket of a value in a log-linear histogram: what userspace/net/histogram.cc finds too
 * (tests/net/histogram_test.cc compares the two). Values below 32 have a bucket each; from there on each octave has 32.
 * Needs __u32 and __u64: include kernel_types.h or linux/types.h before it.
 */
#ifndef STALLSCOPE_BPF_HISTOGRAM_H
#define STALLSCOPE_BPF_HISTOGRAM_H

enum { HISTOGRAM_BUCKETS = 1920 }; /* 32 below 32, and 59 octaves */

static inline __attribute__((always_inline)) __u32 histogram_bucket(__u64 value)
{
	__u64 rest = value;
	__u32 top = 0; /* the place of the highest bit */

	if (value < 32)
		return value;
	for (__u32 step = 32; step; step >>= 1) {
		if (rest >> step) {
			rest >>= step;
			top += step;
		}
	}
	return ((top - 4) << 5) + ((value >> (top - 5)) & 31);
}

#endif
