/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types that the programs read, cut to the members they read: a list of everything that is trusted inside the
 * kernel. Offsets are relocated to the running kernel when the object is loaded (CO-RE), so nothing here is a layout.
 */
#ifndef WARDER_KERNEL_H
#define WARDER_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define PF_KTHREAD 0x00200000
#define PF_IO_WORKER 0x00000010
#define SIGNAL_GROUP_EXIT 0x00000004
#define TS_COMPAT 0x00000002
#define ERRNO_MAX 4095
#define MNT_NS_ANON_INO 0xEFFFFFF7	/* since Linux 6.18; 0 before */
#define FMODE_EXEC 0x20
#define FMODE_CREATED 0x100000
#define FMODE_NOACCOUNT 0x20000000
#define MAY_WRITE 0x02
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AT_FDCWD -100
#define PROT_WRITE 2
#define VM_SHARED 8
#define VM_WRITE 2
#define MAP_SHARED 1
#define MAP_SHARED_VALIDATE 3
#define MAP_ANONYMOUS 0x20
#define EINTR 4
#define EALREADY 114
#define EINPROGRESS 115
#define ERESTARTSYS 512		/* the first and the last of the kernel's own */
#define ERESTART_RESTARTBLOCK 516
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NOCTTY 0400
#define O_TRUNC 01000
#define O_WRONLY 01

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct ns_common {
	unsigned int inum;
};

struct user_namespace {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct upid {
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[];
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_generation;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct seqcount {
	unsigned int sequence;
};

struct seqcount_spinlock {
	struct seqcount seqcount;
};

struct dentry {
	struct seqcount_spinlock d_seq;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	void *private_data;
};

struct filename {
	const char *name;
};

struct open_flags {
	int open_flag;
};

struct renamedata {
	struct dentry *old_dentry;
};

struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct in6_addr {
	__u8 bytes[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	__u16 sk_type;
	__u32 sk_max_ack_backlog;
	struct socket *sk_socket;
};

struct socket {
	struct sock *sk;
	struct file *file;
};

struct tcp_sock {
	bool is_mptcp;		/* where the kernel has MPTCP */
};

struct inet_sock {
	__be32 inet_saddr;
	__be16 inet_sport;
};

struct sockaddr_un {
	unsigned short sun_family;	/* the path follows */
};

struct unix_address {
	int len;
	struct sockaddr_un name[];
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

struct thread_info {
	__u32 status;
};

struct pt_regs {
	unsigned long bp;
	unsigned long bx;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
	struct file *exe_file;
};

/* Two words of 32 bits before Linux 6.3, one of 64 since: eight bytes either way, read as such. */
typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct kernfs_node {
	struct kernfs_node *__parent;
	const char *name;
	__u64 id;
};

/* The same before Linux 6.15. */
struct kernfs_node___parent {
	struct kernfs_node *parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct mm_struct *mm;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	kuid_t loginuid;
	unsigned int sessionid;
	__u64 self_exec_id;
	struct css_set *cgroups;
	struct io_uring_task *io_uring;
};

struct linux_binprm {
	int argc;
	const char *filename;
	const char *interp;
	const char *fdpath;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* Since Linux 6.16 the hook says whether the last thread goes. The programs ask for it with bpf_core_type_matches. */
typedef void (*btf_trace_sched_process_exit)(void *, struct task_struct *, bool);

/*
 * A kfunc since Linux 6.2: gives a number a type, so that the verifier lets programs load from there. Older kernels get an
 * object that does without (scripts/build): where libbpf does not find a function it looks into all modules, even if it may
 * be missing, and that takes CAP_SYS_ADMIN.
 */
#ifdef WITHOUT_LOADS
enum { MAY_LOAD = 0 };
#define bpf_rdonly_cast(object, type) ((void *)0)
#else
enum { MAY_LOAD = 1 };
extern void *bpf_rdonly_cast(const void *object, __u32 type) __attribute__((section(".ksyms")));
#endif

/* Gives an address the type of a kernel object. What it leads to, from member to member, has its type from the kernel. */
#define TYPED(from) ((typeof(from))bpf_rdonly_cast(from, bpf_core_type_id_kernel(__typeof_unqual__(*(from)))))

/* The kernel's plainest struct: words. What is loaded through it is a number, whatever it is to the kernel. */
struct cpumask {
	unsigned long bits[1];
};

#define AS_WORDS(at) bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct cpumask))

/*
 * Numbers in an object that a hook or a helper has handed over are read without any of this (task->pid): that is one load, where
 * one from an address that may be wrong takes eight instructions. Pointers are not: kernels differ in which of them they trust,
 * and search all of their types for the answer each time, which took a third of the time that it takes to start.
 *
 * Reads a member of a kernel object, or a chain of them, each through the one before; zero where memory cannot be read. As
 * BPF_CORE_READ does, but with loads instead of calls, where the kernel allows it: an open is reported in a third of the time.
 */
#define READ(from, ...) (MAY_LOAD ? LOADED(TYPED(from), __VA_ARGS__) : BPF_CORE_READ(from, __VA_ARGS__))
#define LOADED(from, ...) LOADED_COUNTED(__VA_ARGS__, LOADED_4, LOADED_3, LOADED_2, LOADED_1)(from, __VA_ARGS__)
#define LOADED_COUNTED(_1, _2, _3, _4, name, ...) name
#define LOADED_4(from, a, b, c, d) ((from)->a->b->c->d)
#define LOADED_3(from, a, b, c) ((from)->a->b->c)
#define LOADED_2(from, a, b) ((from)->a->b)
#define LOADED_1(from, a) ((from)->a)

/* The same of an object of which several members are read, and which is given its type once. */
#define HELD(from) (MAY_LOAD ? TYPED(from) : (from))
#define OF(held, member) (MAY_LOAD ? LOADED_1(held, member) : BPF_CORE_READ(held, member))

/* Reads what a pointer into the kernel points to: a number, which functions that are verified once take. */
#define READ_AT(at) ({										\
	typeof(at) at_ = (at);									\
	__typeof_unqual__(*at_) value_;								\
	if (MAY_LOAD)										\
		value_ = *(typeof(at_))AS_WORDS((const void *)at_);				\
	else											\
		bpf_probe_read_kernel(&value_, sizeof(value_), (const void *)at_);		\
	value_;											\
})

/*
 * The compiler knows the bound of a value and drops a mask that repeats it; the verifier of Linux 6.1 follows another
 * register and needs the mask. This hides the bound from the compiler; and of a pointer, that it may not be used before here.
 */
#define for_verifier(value) asm volatile("" : "+r"(value))

#endif
