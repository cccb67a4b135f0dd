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

/* By number, what a call is to programs of either kind. */
static const struct {
	__u8 of_64, of_32;
} calls[CALL_NUMBERS] __attribute__((aligned(2))) = {
	/* arch/x86/entry/syscalls/syscall_64.tbl */
	[1].of_64 = CALL_WRITE, [2].of_64 = CALL_OPEN, [9].of_64 = CALL_MMAP, [18].of_64 = CALL_PWRITE64,
	[20].of_64 = CALL_WRITEV, [40].of_64 = CALL_SENDFILE, [42].of_64 = CALL_CONNECT, [43].of_64 = CALL_ACCEPT,
	[49].of_64 = CALL_BIND, [50].of_64 = CALL_LISTEN, [82].of_64 = CALL_RENAME, [84].of_64 = CALL_RMDIR,
	[85].of_64 = CALL_CREAT, [87].of_64 = CALL_UNLINK, [209].of_64 = CALL_IO_SUBMIT, [257].of_64 = CALL_OPENAT,
	[263].of_64 = CALL_UNLINKAT, [264].of_64 = CALL_RENAMEAT, [275].of_64 = CALL_SPLICE, [288].of_64 = CALL_ACCEPT4,
	[296].of_64 = CALL_PWRITEV, [304].of_64 = CALL_OPEN_BY_HANDLE_AT, [316].of_64 = CALL_RENAMEAT2,
	[326].of_64 = CALL_COPY_FILE_RANGE, [328].of_64 = CALL_PWRITEV2, [437].of_64 = CALL_OPENAT2,

	/* arch/x86/entry/syscalls/syscall_32.tbl */
	[4].of_32 = CALL_WRITE, [5].of_32 = CALL_OPEN, [8].of_32 = CALL_CREAT, [10].of_32 = CALL_UNLINK,
	[38].of_32 = CALL_RENAME, [40].of_32 = CALL_RMDIR, [90].of_32 = CALL_OLD_MMAP, [102].of_32 = CALL_SOCKETCALL,
	[146].of_32 = CALL_WRITEV, [181].of_32 = CALL_PWRITE64, [187].of_32 = CALL_SENDFILE, [192].of_32 = CALL_MMAP,
	[239].of_32 = CALL_SENDFILE, [248].of_32 = CALL_IO_SUBMIT, [295].of_32 = CALL_OPENAT, [301].of_32 = CALL_UNLINKAT,
	[302].of_32 = CALL_RENAMEAT, [313].of_32 = CALL_SPLICE, [334].of_32 = CALL_PWRITEV,
	[342].of_32 = CALL_OPEN_BY_HANDLE_AT, [353].of_32 = CALL_RENAMEAT2, [361].of_32 = CALL_BIND,
	[362].of_32 = CALL_CONNECT, [363].of_32 = CALL_LISTEN, [364].of_32 = CALL_ACCEPT4,
	[377].of_32 = CALL_COPY_FILE_RANGE, [379].of_32 = CALL_PWRITEV2, [437].of_32 = CALL_OPENAT2,
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
	return (__u32)regs->orig_ax & ~0x40000000U;	/* the bit of x32 */
}

/* An entry of the table, of_32 in the upper byte; 0 for nearly all calls, for which this one look is all there is. */
static __always_inline __u16 meanings_of(struct pt_regs *regs)
{
	__u32 number = number_of(regs);
	__u16 meanings = 0;

	if (number < CALL_NUMBERS)
		__builtin_memcpy(&meanings, &calls[number & (CALL_NUMBERS - 1)], sizeof(meanings));
	return meanings;
}

/* Fills in which call it was; CALL_UNKNOWN for those that are not observed. */
static __always_inline void fill_call(struct syscall *syscall, __u16 meanings, struct task_struct *task)
{
	syscall->compat = task->thread_info.status & TS_COMPAT;
	syscall->call = syscall->compat ? meanings >> 8 : meanings & 0xff;
}

static __always_inline void read_registers(struct syscall *call, struct pt_regs *regs)
{
	if (call->compat) {
		call->args[0] = (__u32)regs->bx;
		call->args[1] = (__u32)regs->cx;
		call->args[2] = (__u32)regs->dx;
		call->args[3] = (__u32)regs->si;
		call->args[4] = (__u32)regs->di;
		call->args[5] = (__u32)regs->bp;
		return;
	}
	call->args[0] = regs->di;
	call->args[1] = regs->si;
	call->args[2] = regs->dx;
	call->args[3] = regs->r10;
	call->args[4] = regs->r8;
	call->args[5] = regs->r9;
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

	fill_call(syscall, meanings_of(regs), task);
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
	if (task->flags & PF_IO_WORKER)
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
