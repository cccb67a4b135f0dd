/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fentry profile, as far as it goes: hooks on the kernel's own security functions. They see an open or a write whoever
 * asked for it, io_uring included, and cost other calls nothing.
 */
#ifndef WARDER_OBJECTS_BPF_H
#define WARDER_OBJECTS_BPF_H

#include "file.bpf.h"

#define FMODE_EXEC 0x20
#define MAY_WRITE 0x02

/* The call that this task is in, or CALL_IO_URING when it works for a ring of requests. */
static __always_inline __u32 current_call(struct task_struct *task, struct syscall *syscall)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u32 call = call_of(regs, task, &syscall->compat);

	if (BPF_CORE_READ(task, flags) & PF_IO_WORKER)
		return CALL_IO_URING;
	syscall->call = call;
	read_arguments(syscall, regs);
	return call ? call : CALL_IO_URING;
}

SEC("fexit/security_file_open")
int BPF_PROG(on_file_open, struct file *file, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = {};
	struct file_call call = { .flags = file->f_flags };

	/* Programs and their interpreters are opened too: that is what process_start is about. */
	if (refused || file->f_flags & FMODE_EXEC || task->flags & PF_KTHREAD)
		return 0;
	call.call = current_call(task, &syscall);
	switch (call.call) {
	case CALL_OPEN:
	case CALL_CREAT:
		call.filename = syscall.args[0];
		break;
	case CALL_OPENAT:
	case CALL_OPENAT2:
		call.filename = syscall.args[1];
		break;
	}
	emit_file(task, RECORD_FILE_OPEN, file, &call);
	return 0;
}

SEC("fexit/security_file_permission")
int BPF_PROG(on_file_write, struct file *file, int mask, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = {};
	struct file_call call = {};

	if (refused || !(mask & MAY_WRITE) || task->flags & PF_KTHREAD)
		return 0;
	call.call = current_call(task, &syscall);
	emit_file(task, RECORD_FILE_WRITE, file, &call);
	return 0;
}

SEC("fexit/security_mmap_file")
int BPF_PROG(on_file_map, struct file *file, unsigned long protection, unsigned long flags, int refused)
{
	struct file_call call = { .call = CALL_MMAP };
	unsigned long sharing = flags & 3;

	if (refused || !file || !(protection & PROT_WRITE) || (sharing != MAP_SHARED && sharing != MAP_SHARED_VALIDATE))
		return 0;
	emit_file(bpf_get_current_task_btf(), RECORD_FILE_WRITE, file, &call);
	return 0;
}

#endif
