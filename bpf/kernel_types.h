/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that our programs touch, and of each only the members that they read. Offsets are relocated at load
 * (CO-RE), so one object serves every kernel with BTF; a `___suffix` names another shape of the same type in some
 * kernel, chosen with bpf_core_field_exists().
 */
#ifndef STALLSCOPE_BPF_KERNEL_TYPES_H
#define STALLSCOPE_BPF_KERNEL_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long long last_arrival; /* rq clock at the last switch-in */
};

struct thread_info {
	u32 status; /* x86: TS_COMPAT */
};

struct thread_struct {
	unsigned long fsbase; /* x86 */
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct inode {
	unsigned short i_mode;
	u32 i_rdev;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads that have not yet entered do_exit() */
};

struct mm_struct {
	unsigned long start_code, end_code, start_stack;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state; /* `state`, a long, before 5.14 */
	int on_cpu;
	unsigned int flags;
	int pid;
	int tgid;
	u32 self_exec_id; /* counts execs; set before the new program runs */
	unsigned in_iowait : 1;
	char comm[16];
	u64 start_boottime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct pid *thread_pid;
	struct sched_info sched_info;
	struct mm_struct *mm;
	struct files_struct *files;
	struct signal_struct *signal;
	struct thread_struct thread;
};

struct linux_binprm;

struct pt_regs {
	unsigned long bp;
	unsigned long bx;
	unsigned long r10;
	unsigned long r8;
	unsigned long cx;
	unsigned long ax;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long flags;
	unsigned long sp;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_map;

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct in6_addr {
	u8 in6_u[16];
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	s64 counter;
} atomic64_t;

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport; /* network order */
	u16 skc_num;   /* host order */
	unsigned short skc_family;
	unsigned long skc_flags; /* bits of enum sock_flags */
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct list_head {
	struct list_head *next;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	struct list_head entry;
};

struct socket_wq {
	struct wait_queue_head wait;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket; /* NULL before it is accepted, and after it is closed */
	int sk_err;
	u16 sk_type;
	u16 sk_protocol;
	struct socket_wq *sk_wq;
};

struct socket {
	struct sock *sk;
};

struct inet_connection_sock {
	u8 icsk_ca_state : 5;
	u8 icsk_pending; /* what its timer is for */
	struct {
		u32 lrcvtime; /* jiffies: data came last */
		u16 rcv_mss;  /* what a full segment of the peer holds, as far as is known */
	} icsk_ack;
};

/* Begins with an inet_connection_sock, as that does with a sock. */
struct tcp_sock {
	u32 write_seq; /* behind what the program has written */
	u32 total_retrans;
	u64 bytes_retrans;
	u32 data_segs_out;
	u64 bytes_sent;     /* what is sent again counts again */
	u64 bytes_received; /* the end, when it comes, counts as one */
	u32 srtt_us;        /* eighths of a microsecond */
	u32 lsndtime;       /* jiffies: data was sent last */
	u32 tlp_high_seq;
	u8 chrono_type : 2; /* what it waits for since chrono_start; chrono_stat has a place for each but none */
	u32 chrono_start;
	u32 chrono_stat[3];
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct mptcp_sock {
	struct sock *first; /* the subflow that it began with */
};

struct request_sock;

struct eventpoll {
	struct file *file;
};

struct epoll_filefd {
	struct file *file;
};

struct epoll_event {
	u32 events;
	u64 data;
} __attribute__((packed));

/* What an eventpoll watches: one file. */
struct epitem {
	struct list_head rdllink; /* on the list of those that are ready; else it points to itself */
	struct epoll_filefd ffd;
	struct eppoll_entry *pwqlist; /* NULL once it is removed */
	struct eventpoll *ep;
	struct epoll_event event; /* as epoll_ctl() was given it */
};

/* An epitem's place on the wait queue of its file. */
struct eppoll_entry {
	struct epitem *base;
	struct wait_queue_entry wait;
	struct wait_queue_head *whead;
};

#pragma clang attribute pop

/* include/linux/sched.h; the values below are the same in every kernel with BTF that has them. */
#define TASK_RUNNING 0x0000
#define TASK_DEAD 0x0080
#define TASK_WAKING 0x0200
#define TASK_FREEZABLE 0x2000 /* 6.1: a modifier of a blocked state, no state of its own */

#define TS_COMPAT 0x0002 /* x86: inside a 32-bit system call */

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_IFREG 0100000

#endif
