/* SPDX-License-Identifier: GPL-2.0-only */
/* The tracepoint profile: every call that has ended, and what it did to files and sockets. */
#ifndef WARDER_CALLS_BPF_H
#define WARDER_CALLS_BPF_H

#include "file.bpf.h"
#include "network.bpf.h"

static __always_inline __u16 kind_of(__u32 call)
{
	switch (call) {
	case CALL_OPEN ... CALL_OPEN_BY_HANDLE_AT:
		return RECORD_FILE_OPEN;
	case CALL_WRITE ... CALL_MMAP:
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

SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = { .result = result };
	bool failed = result < 0 && result > -4096;
	__u16 kind;

	syscall.call = call_of(regs, task, &syscall.compat);
	if (!syscall.call)
		return 0;
	if (failed && syscall.call < CALL_CONNECT)
		return 0;
	read_arguments(&syscall, regs);
	if (syscall.call == CALL_SOCKETCALL)
		open_envelope(&syscall);
	kind = kind_of(syscall.call);
	if (!kind || !wanted(kind))
		return 0;
	if (failed && (kind != RECORD_CONNECT || (!settings.failed_network && result != -EINPROGRESS)))
		return 0;
	switch (kind) {
	case RECORD_FILE_OPEN:
		open_ended(task, &syscall);
		break;
	case RECORD_FILE_WRITE:
		if (result > 0 || syscall.call == CALL_MMAP)
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

#endif
