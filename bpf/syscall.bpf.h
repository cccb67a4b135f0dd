/* SPDX-License-Identifier: GPL-2.0-only */
/* Which call a number means, for 64-bit programs and for 32-bit ones, and where its arguments are. x86-64 only. */
#ifndef WARDER_SYSCALL_BPF_H
#define WARDER_SYSCALL_BPF_H

#include "kernel.h"
#include "event.h"

enum {
	CALL_NUMBERS = 512,
	CALL_OLD_MMAP = 255,	/* i386's first mmap; a record names it mmap */
};

/* arch/x86/entry/syscalls/syscall_64.tbl */
static const __u8 calls_64[CALL_NUMBERS] = {
	[1] = CALL_WRITE, [2] = CALL_OPEN, [9] = CALL_MMAP, [18] = CALL_PWRITE64, [20] = CALL_WRITEV, [40] = CALL_SENDFILE,
	[42] = CALL_CONNECT, [43] = CALL_ACCEPT, [49] = CALL_BIND, [50] = CALL_LISTEN, [82] = CALL_RENAME, [84] = CALL_RMDIR,
	[85] = CALL_CREAT, [87] = CALL_UNLINK, [209] = CALL_IO_SUBMIT, [257] = CALL_OPENAT, [263] = CALL_UNLINKAT, [264] = CALL_RENAMEAT,
	[275] = CALL_SPLICE, [288] = CALL_ACCEPT4, [296] = CALL_PWRITEV, [304] = CALL_OPEN_BY_HANDLE_AT,
	[316] = CALL_RENAMEAT2, [326] = CALL_COPY_FILE_RANGE, [328] = CALL_PWRITEV2, [437] = CALL_OPENAT2,
};

/* arch/x86/entry/syscalls/syscall_32.tbl */
static const __u8 calls_32[CALL_NUMBERS] = {
	[4] = CALL_WRITE, [5] = CALL_OPEN, [8] = CALL_CREAT, [10] = CALL_UNLINK, [38] = CALL_RENAME, [40] = CALL_RMDIR,
	[90] = CALL_OLD_MMAP, [102] = CALL_SOCKETCALL, [146] = CALL_WRITEV, [181] = CALL_PWRITE64, [187] = CALL_SENDFILE, [192] = CALL_MMAP,
	[239] = CALL_SENDFILE, [248] = CALL_IO_SUBMIT, [295] = CALL_OPENAT, [301] = CALL_UNLINKAT, [302] = CALL_RENAMEAT, [313] = CALL_SPLICE,
	[334] = CALL_PWRITEV, [342] = CALL_OPEN_BY_HANDLE_AT, [353] = CALL_RENAMEAT2, [361] = CALL_BIND, [362] = CALL_CONNECT,
	[363] = CALL_LISTEN, [364] = CALL_ACCEPT4, [377] = CALL_COPY_FILE_RANGE, [379] = CALL_PWRITEV2, [437] = CALL_OPENAT2,
};

/* A call that has ended. */
struct syscall {
	__u64 args[6];
	long result;
	__u32 call;
	bool compat;
};

/* The kernel takes the lower half of the register for the number, and leaves the register as it is. */
static __always_inline __u32 number_of(struct pt_regs *regs)
{
	return (__u32)READ(regs, orig_ax) & ~0x40000000U;	/* the bit of x32 */
}

/* Is the number that of an observed call, for programs of either kind? For nearly all other calls, this look is all there is. */
static __always_inline bool may_be_observed(struct pt_regs *regs)
{
	__u32 number = number_of(regs), at = number & (CALL_NUMBERS - 1);

	return number < CALL_NUMBERS && (calls_64[at] | calls_32[at]);
}

/* Fills in which call it was; CALL_UNKNOWN for those that are not observed. */
static __always_inline __u32 call_of(struct pt_regs *regs, struct task_struct *task, bool *compat)
{
	__u32 number = number_of(regs);

	if (number >= CALL_NUMBERS)
		return CALL_UNKNOWN;
	*compat = READ(task, thread_info.status) & TS_COMPAT;
	return *compat ? calls_32[number & (CALL_NUMBERS - 1)] : calls_64[number & (CALL_NUMBERS - 1)];
}

static __always_inline void read_registers(struct syscall *call, struct pt_regs *regs)
{
	if (call->compat) {
		call->args[0] = (__u32)READ(regs, bx);
		call->args[1] = (__u32)READ(regs, cx);
		call->args[2] = (__u32)READ(regs, dx);
		call->args[3] = (__u32)READ(regs, si);
		call->args[4] = (__u32)READ(regs, di);
		call->args[5] = (__u32)READ(regs, bp);
		return;
	}
	call->args[0] = READ(regs, di);
	call->args[1] = READ(regs, si);
	call->args[2] = READ(regs, dx);
	call->args[3] = READ(regs, r10);
	call->args[4] = READ(regs, r8);
	call->args[5] = READ(regs, r9);
}

/* i386's socketcall: the number of the call inside, and where its arguments are. */
static __always_inline void open_envelope(struct syscall *syscall)
{
	__u32 inside[3] = {};

	bpf_probe_read_user(inside, sizeof(inside), (void *)syscall->args[1]);
	switch (syscall->args[0]) {
	case 2: syscall->call = CALL_BIND; break;
	case 3: syscall->call = CALL_CONNECT; break;
	case 4: syscall->call = CALL_LISTEN; break;
	case 5: syscall->call = CALL_ACCEPT; break;
	case 18: syscall->call = CALL_ACCEPT4; break;
	default: syscall->call = CALL_UNKNOWN;
	}
	syscall->args[0] = inside[0];
	syscall->args[1] = inside[1];
	syscall->args[2] = inside[2];
}

/* i386's first mmap takes its arguments from memory. */
static __always_inline void open_old_mmap(struct syscall *syscall)
{
	__u32 inside[6] = {};

	bpf_probe_read_user(inside, sizeof(inside), (void *)syscall->args[0]);
	for (int i = 0; i < 6; i++)
		syscall->args[i] = inside[i];
	syscall->call = CALL_MMAP;
}

static __always_inline void read_call(struct syscall *syscall, struct pt_regs *regs)
{
	read_registers(syscall, regs);
	if (syscall->call == CALL_SOCKETCALL)
		open_envelope(syscall);
	else if (syscall->call == CALL_OLD_MMAP)
		open_old_mmap(syscall);
}

/* The call that this task is in. */
static __always_inline void current_call(struct task_struct *task, struct syscall *syscall)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	syscall->call = call_of(regs, task, &syscall->compat);
	read_call(syscall, regs);
}

/* The event that a call ends in. */
static __always_inline __u16 kind_of(__u32 call)
{
	switch (call) {
	case CALL_OPEN ... CALL_OPEN_BY_HANDLE_AT:
		return RECORD_FILE_OPEN;
	case CALL_WRITE ... CALL_MMAP:
	case CALL_IO_SUBMIT:
	case CALL_MPROTECT:
		return RECORD_FILE_WRITE;
	case CALL_RENAME ... CALL_RENAMEAT2:
		return RECORD_FILE_RENAME;
	case CALL_UNLINK ... CALL_RMDIR:
		return RECORD_FILE_UNLINK;
	case CALL_CONNECT:
		return RECORD_CONNECT;
	case CALL_BIND:
		return RECORD_BIND;
	case CALL_LISTEN:
		return RECORD_LISTEN;
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
		return RECORD_ACCEPT;
	}
	return 0;
}

/*
 * What an event in the kernel was asked for by. A request in a ring may be done by a thread of its own, or at the end of
 * any other call; what the kernel does of itself (a core dump) has no call.
 */
static __always_inline __u32 call_for(struct task_struct *task, const struct syscall *syscall, __u16 kind)
{
	if (READ(task, flags) & PF_IO_WORKER)
		return CALL_IO_URING;
	if (kind_of(syscall->call) == kind)
		return syscall->call;
	return READ(task, io_uring) ? CALL_IO_URING : CALL_UNKNOWN;
}

/* The open file behind a descriptor of this task; NULL when there is none. */
static __always_inline struct file *file_of(struct task_struct *task, __u64 fd)
{
	struct fdtable *table = READ(task, files, fdt);
	struct file **files = READ(table, fd);

	return fd < READ(table, max_fds) ? READ_AT(files + fd) : 0;
}

#endif
