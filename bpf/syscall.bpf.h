/* SPDX-License-Identifier: GPL-2.0-only */
/* Which call a number means, for 64-bit programs and for 32-bit ones, and where its arguments are. x86-64 only. */
#ifndef WARDER_SYSCALL_BPF_H
#define WARDER_SYSCALL_BPF_H

#include "kernel.h"
#include "event.h"

enum { CALL_NUMBERS = 512 };

/* arch/x86/entry/syscalls/syscall_64.tbl */
static const __u8 calls_64[CALL_NUMBERS] = {
	[1] = CALL_WRITE, [2] = CALL_OPEN, [9] = CALL_MMAP, [18] = CALL_PWRITE64, [20] = CALL_WRITEV, [40] = CALL_SENDFILE,
	[42] = CALL_CONNECT, [43] = CALL_ACCEPT, [49] = CALL_BIND, [50] = CALL_LISTEN, [82] = CALL_RENAME, [84] = CALL_RMDIR,
	[85] = CALL_CREAT, [87] = CALL_UNLINK, [257] = CALL_OPENAT, [263] = CALL_UNLINKAT, [264] = CALL_RENAMEAT,
	[275] = CALL_SPLICE, [288] = CALL_ACCEPT4, [296] = CALL_PWRITEV, [304] = CALL_OPEN_BY_HANDLE_AT,
	[316] = CALL_RENAMEAT2, [326] = CALL_COPY_FILE_RANGE, [328] = CALL_PWRITEV2, [437] = CALL_OPENAT2,
};

/* arch/x86/entry/syscalls/syscall_32.tbl */
static const __u8 calls_32[CALL_NUMBERS] = {
	[4] = CALL_WRITE, [5] = CALL_OPEN, [8] = CALL_CREAT, [10] = CALL_UNLINK, [38] = CALL_RENAME, [40] = CALL_RMDIR,
	[102] = CALL_SOCKETCALL, [146] = CALL_WRITEV, [181] = CALL_PWRITE64, [187] = CALL_SENDFILE, [192] = CALL_MMAP,
	[239] = CALL_SENDFILE, [295] = CALL_OPENAT, [301] = CALL_UNLINKAT, [302] = CALL_RENAMEAT, [313] = CALL_SPLICE,
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

/* Fills in which call it was; CALL_UNKNOWN for those that are not observed, at the cost of one look into a table. */
static __always_inline __u32 call_of(struct pt_regs *regs, struct task_struct *task, bool *compat)
{
	__u64 number = BPF_CORE_READ(regs, orig_ax) & ~0x40000000;	/* the bit of x32 */

	if (number >= CALL_NUMBERS)
		return CALL_UNKNOWN;
	*compat = BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
	return *compat ? calls_32[number & (CALL_NUMBERS - 1)] : calls_64[number & (CALL_NUMBERS - 1)];
}

static __always_inline void read_arguments(struct syscall *call, struct pt_regs *regs)
{
	if (call->compat) {
		call->args[0] = (__u32)BPF_CORE_READ(regs, bx);
		call->args[1] = (__u32)BPF_CORE_READ(regs, cx);
		call->args[2] = (__u32)BPF_CORE_READ(regs, dx);
		call->args[3] = (__u32)BPF_CORE_READ(regs, si);
		call->args[4] = (__u32)BPF_CORE_READ(regs, di);
		call->args[5] = (__u32)BPF_CORE_READ(regs, bp);
		return;
	}
	call->args[0] = BPF_CORE_READ(regs, di);
	call->args[1] = BPF_CORE_READ(regs, si);
	call->args[2] = BPF_CORE_READ(regs, dx);
	call->args[3] = BPF_CORE_READ(regs, r10);
	call->args[4] = BPF_CORE_READ(regs, r8);
	call->args[5] = BPF_CORE_READ(regs, r9);
}

/* The open file behind a descriptor of this task; NULL when there is none. */
static __always_inline struct file *file_of(struct task_struct *task, __u64 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = 0;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

#endif
