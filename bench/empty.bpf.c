// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that do nothing, on the hooks that a recording uses: what the kernel charges for calling
 * any program there. And one that tells a process its number in the initial pid namespace, run by
 * hand (BPF_PROG_TEST_RUN).
 */
// libbpf's header needs the kernel's types before it.
// clang-format off
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

char LICENSE[] SEC("license") = "Dual BSD/GPL";

volatile __u32 own_tgid = 0;

SEC("tp_btf/sched_switch")
int empty_switch(void* ctx) { return 0; }

SEC("tp_btf/sched_waking")
int empty_waking(void* ctx) { return 0; }

SEC("tp_btf/sched_wakeup_new")
int empty_new(void* ctx) { return 0; }

SEC("tp_btf/sched_process_fork")
int empty_fork(void* ctx) { return 0; }

SEC("tp_btf/sched_process_exec")
int empty_exec(void* ctx) { return 0; }

SEC("tp_btf/sched_process_exit")
int empty_exit(void* ctx) { return 0; }

SEC("raw_tp")
int tell_tgid(void* ctx) {
  own_tgid = bpf_get_current_pid_tgid() >> 32;
  return 0;
}
