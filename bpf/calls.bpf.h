/* SPDX-License-Identifier: GPL-2.0-only */
/* The tracepoint profile: every call that has ended, and what it did to files and sockets. */
#ifndef WARDER_CALLS_BPF_H
#define WARDER_CALLS_BPF_H

#include <linux/aio_abi.h>

#include "file.bpf.h"
#include "network.bpf.h"
#include "syscall.bpf.h"

enum { REQUESTS_MAX = 1024 };	/* requests of one io_submit that are looked at */

/* Flags that the kernel forgets once the file is open. */
#define OPENING_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)

/* What the caller passed to an open: which flags, which name, and from which folder on. */
static __always_inline void read_open(struct syscall *syscall, __u64 *filename, __u32 *flags, int *folder)
{
	__u64 how = 0;

	switch (syscall->call) {
	case CALL_OPEN:
		*filename = syscall->args[0];
		*flags = syscall->args[1];
		break;
	case CALL_CREAT:
		*filename = syscall->args[0];
		*flags = O_CREAT | O_TRUNC | O_WRONLY;
		break;
	case CALL_OPENAT:
		*folder = syscall->args[0];
		*filename = syscall->args[1];
		*flags = syscall->args[2];
		break;
	case CALL_OPENAT2:
		*folder = syscall->args[0];
		*filename = syscall->args[1];
		bpf_probe_read_user(&how, sizeof(how), (void *)syscall->args[2]);
		*flags = how;
		break;
	case CALL_OPEN_BY_HANDLE_AT:
		*flags = syscall->args[2];
		break;
	}
}

static __noinline int open_ended(struct task_struct *task, struct syscall *syscall)
{
	struct file *file = file_of(task, syscall->result);
	struct file_call call = { .call = syscall->call };
	int folder;

	read_open(syscall, &call.filename, &call.flags, &folder);
	call.flags = READ(file, f_flags) | (call.flags & OPENING_FLAGS);
	emit_file(RECORD_FILE_OPEN, file, &call);
	return 0;
}

struct batch {
	__u64 list;		/* of pointers to requests */
	bool compat;
};

static long request_ended(__u32 i, struct batch *batch)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file_call call = { .call = CALL_IO_SUBMIT };
	struct {	/* this part of struct iocb: all of it is too large for the stack */
		__u16 aio_lio_opcode;
		__s16 aio_reqprio;
		__u32 aio_fildes;
	} request = {};
	__u64 at = 0;

	if (batch->compat)
		bpf_probe_read_user(&at, sizeof(__u32), (void *)batch->list + i * sizeof(__u32));
	else
		bpf_probe_read_user(&at, sizeof(__u64), (void *)batch->list + i * sizeof(__u64));
	bpf_probe_read_user(&request, sizeof(request), (void *)at + offsetof(struct iocb, aio_lio_opcode));
	if (request.aio_lio_opcode == IOCB_CMD_PWRITE || request.aio_lio_opcode == IOCB_CMD_PWRITEV)
		emit_file(RECORD_FILE_WRITE, file_of(task, request.aio_fildes), &call);
	return 0;
}

/* Asynchronous writes: as many requests as the kernel took. How much each of them wrote turns out later. */
static __noinline int requests_ended(struct syscall *syscall)
{
	struct batch batch = { .list = syscall->args[2], .compat = syscall->compat };

	if (syscall->result > 0)
		bpf_loop(syscall->result < REQUESTS_MAX ? syscall->result : REQUESTS_MAX, request_ended, &batch, 0);
	return 0;
}

static __noinline int write_ended(struct task_struct *task, struct syscall *syscall)
{
	bool failed = syscall->result < 0;
	struct file_call call = {
		.call = syscall->call,
		.count = failed ? 0 : syscall->result,
		.error = failed ? -syscall->result : 0,
	};
	__u64 fd = syscall->args[0];

	switch (syscall->call) {
	case CALL_SPLICE:
	case CALL_COPY_FILE_RANGE:
		fd = syscall->args[2];
		break;
	case CALL_MMAP:
		if (!maps_for_writing(syscall->args[2], syscall->args[3]))
			return 0;
		fd = syscall->args[4];
		call.count = failed ? 0 : syscall->args[1];
		break;
	}
	emit_file(RECORD_FILE_WRITE, file_of(task, (__u32)fd), &call);
	return 0;
}

/* A name as the caller passed it, taken apart from its end, then the folder that it starts from. */
struct name {
	struct walk walk;
	const char *bytes;
	__u32 size;
	__u32 end;		/* of the part that is looked at */
	__u32 folded;		/* a name and ".." behind it have cancelled out */
};

static __always_inline void take_part(struct name *name, __u32 start)
{
	const char *part = name->bytes + (start & (PATH_SIZE_MAX - 1));
	struct found *found = &name->walk.scratch->found;
	__u32 size = name->end - start;

	if (!size || (size == 1 && part[0] == '.'))
		return;
	if (size == 2 && part[0] == '.' && part[1] == '.') {
		found->back += 1;
	} else if (found->back) {
		found->back -= 1;
		name->folded = 1;
	} else {
		prepend_name(name->walk.scratch, found, part, size, true);
	}
}

static long name_step(__u32 step, struct name *name)
{
	__u32 at = name->size - 1 - step;

	if (name->bytes[at & (PATH_SIZE_MAX - 1)] == '/') {
		take_part(name, at + 1);
		name->end = at;
	} else if (!at) {
		take_part(name, 0);
	}
	return 0;
}

/* Where ".." leads no further: is it the root of the process? */
static __always_inline bool is_root(struct dentry *dentry, struct mount *mount)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return dentry == READ(task, fs, root.dentry) && &mount->mnt == READ(task, fs, root.mnt);
}

/* A step of the walk from that folder. */
static long folder_step(__u32 step, struct name *name)
{
	struct walk *walk = &name->walk;
	struct found *found = &walk->scratch->found, before;
	struct dentry *dentry = walk->dentry;
	struct mount *mount = walk->mount;
	long ended;

	if (is_root(dentry, mount))
		found->back = 0;
	before = *found;
	ended = walk_step(step, walk);
	if (found->back && walk->mount == mount && walk->dentry != dentry && !ended) {
		before.back -= 1;
		*found = before;
	}
	return ended;
}

/*
 * Appends a name of the caller's, behind the folder that it starts from, without ".", ".." and needless slashes. This profile
 * has no kernel object for it: a symbolic link in it is not followed. Returns whether ".." may have led elsewhere for that.
 */
__noinline int append_user_path(struct scratch *scratch, struct text *text, int dirfd, __u64 from)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct name name = {};
	struct dentry *dentry = READ(task, fs, root.dentry);
	struct vfsmount *mnt = READ(task, fs, root.mnt);
	struct file *folder;
	char first = 0;
	long size;

	if (!scratch || !text)
		return 0;
	size = bpf_probe_read_user_str(record_end(scratch), PATH_SIZE_MAX, (void *)from);
	begin_walk(scratch, &name.walk, PATH_SIZE_MAX);
	name.bytes = record_end(scratch);
	if (size > 1) {
		name.size = name.end = size - 1;
		bpf_loop(size - 1, name_step, &name, 0);
		first = name.bytes[0];
	}
	if (first != '/' && dirfd == AT_FDCWD) {
		mnt = READ(task, fs, pwd.mnt);
		dentry = READ(task, fs, pwd.dentry);
	} else if (first != '/') {
		folder = file_of(task, dirfd);
		mnt = READ(folder, f_path.mnt);
		dentry = READ(folder, f_path.dentry);
	}
	begin_mount(&name.walk, (void *)mnt - bpf_core_field_offset(struct mount, mnt), dentry);
	bpf_loop(WALK_STEPS_MAX, folder_step, &name, 0);
	name.walk.ended = !is_adrift(&name.walk);
	append_walk(scratch, text, &name.walk);
	return size < 0 || name.folded;
}

/* A rename or removal, or an open that failed. */
static __noinline int names_ended(struct task_struct *task, __u32 kind, struct syscall *syscall)
{
	struct scratch *scratch;
	struct named named = { .kind = kind, .call = syscall->call, .error = syscall->result < 0 ? -syscall->result : 0 };
	int old_folder = AT_FDCWD, new_folder = AT_FDCWD;
	__u64 old_name = syscall->args[0], new_name = syscall->args[1];

	if (!is_canary(task) && is_excluded(task)) {
		count_filtered(kind);
		return 0;
	}
	scratch = claim_scratch(kind, RING_ACTIVITY);
	if (!scratch)
		return 0;
	if (kind == RECORD_FILE_OPEN) {
		read_open(syscall, &old_name, &named.flags, &old_folder);
	} else if (syscall->call == CALL_RENAMEAT || syscall->call == CALL_RENAMEAT2) {
		old_folder = syscall->args[0];
		old_name = syscall->args[1];
		new_folder = syscall->args[2];
		new_name = syscall->args[3];
	} else if (syscall->call == CALL_UNLINKAT) {
		old_folder = syscall->args[0];
		old_name = syscall->args[1];
	}
	scratch->size = sizeof(struct file_record);
	named.unsure = append_user_path(scratch, &named.names[0], old_folder, old_name);
	if (kind == RECORD_FILE_RENAME)
		named.unsure |= append_user_path(scratch, &named.names[1], new_folder, new_name);
	if (named.error)	/* nothing has happened, wherever it was: compilers look for many files behind ".." */
		named.unsure = false;
	emit_named(scratch, task, &named);
	return 0;
}

static __noinline int network_ended(struct task_struct *task, __u32 kind, struct syscall *syscall)
{
	__u64 fd = kind == RECORD_ACCEPT ? (__u64)syscall->result : syscall->args[0];
	struct network_call call = {
		.address = (void *)syscall->args[1],
		.result = without_restart(syscall->result),
		.fd = fd,
		.call = syscall->call,
	};
	struct sock *sk;

	if (kind == RECORD_CONNECT)
		take_begun(task, &call);
	/* The descriptor may lead elsewhere by now. */
	sk = call.begun.sk ? (struct sock *)call.begun.sk : sock_of(file_of(task, (__u32)fd));
	emit_network(kind, sk, &call);
	return 0;
}

/*
 * Linux 6.1 allows 512 bytes of stack, all callers together, and this is the deepest: so parts of it are not
 * inlined, and keep little. What a kernel refuses here costs it the whole profile.
 */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long result)
{
	bool failed = result < 0 && result > -4096;
	__u16 meanings = meanings_of(regs);
	struct task_struct *task;
	struct syscall syscall;
	__u16 kind;

	if (!meanings)
		return 0;
	syscall = (struct syscall){ .result = result };
	task = bpf_get_current_task_btf();
	fill_call(&syscall, meanings, task);
	if (!syscall.call)
		return 0;
	if (failed && syscall.call < CALL_CONNECT && !settings.failed_files)
		return 0;
	read_call(&syscall, regs);
	kind = kind_of(syscall.call);
	if (!kind || !wanted(kind))
		return 0;
	if (failed && (kind > RECORD_CONNECT || (kind < RECORD_CONNECT && !settings.failed_files)))
		return 0;
	switch (kind) {
	case RECORD_FILE_OPEN:
		if (failed)
			names_ended(task, kind, &syscall);
		else
			open_ended(task, &syscall);
		break;
	case RECORD_FILE_WRITE:
		if (syscall.call == CALL_IO_SUBMIT)
			requests_ended(&syscall);
		else if (result || syscall.call == CALL_MMAP)
			write_ended(task, &syscall);
		break;
	case RECORD_FILE_RENAME:
	case RECORD_FILE_UNLINK:
		names_ended(task, kind, &syscall);
		break;
	default:
		network_ended(task, kind, &syscall);
	}
	return 0;
}

/*
 * A TCP connection begins: the thread that asked for it sets this state itself. That of a connect() is noted, and reported
 * when the call has ended; without one (the first data of TCP Fast Open, io_uring) it is reported here, unless the fentry
 * profile does it. MPTCP says first that it begins, then its first subflow says to whom.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_tcp_state, struct sock *sk, int old, int new)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct network_call call = { .fd = -1, .result = -EINPROGRESS };
	struct syscall syscall = {};
	struct begun *noted;

	if (new != TCP_SYN_SENT || task->flags & PF_KTHREAD)
		return 0;
	noted = bpf_task_storage_get(&begun, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!noted) {	/* the kernel has no memory for it */
		count_discarded(RECORD_CONNECT, RING_ACTIVITY);
		return 0;
	}
	if (!is_subflow(sk) || !noted->sk)
		noted->sk = (__u64)sk;
	read_remote(sk, noted->remote_addr, &noted->remote_port);
	if (!wanted(RECORD_CONNECT) || READ(sk, sk_protocol) == IPPROTO_MPTCP)
		return 0;
	current_call(task, &syscall);
	call.call = call_for(task, &syscall, RECORD_CONNECT);
	if (call.call == CALL_CONNECT)
		return 0;
	take_begun(task, &call);
	emit_network(RECORD_CONNECT, (struct sock *)call.begun.sk, &call);
	return 0;
}

#endif
