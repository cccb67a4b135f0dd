/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fentry profile: hooks on the functions of the kernel that every way leads through. They see what happened whoever
 * asked for it, io_uring included, have the kernel's own objects in hand, and cost other calls nothing.
 *
 * Each function is called from another file or through a pointer, so that no compiler can have inlined it. Results are read
 * with bpf_get_func_ret, because the number of arguments differs between kernels.
 */
#ifndef WARDER_OBJECTS_BPF_H
#define WARDER_OBJECTS_BPF_H

#include "file.bpf.h"
#include "network.bpf.h"
#include "syscall.bpf.h"

static __always_inline long result_of(void *ctx)
{
	__u64 result = 0;

	bpf_get_func_ret(ctx, &result);
	return result;
}

/* What functions that return int return: the upper half of the register means nothing. */
static __always_inline int error_of(void *ctx)
{
	return result_of(ctx);
}

static __always_inline bool by_kernel(struct task_struct *task)
{
	return task->flags & PF_KTHREAD;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static __always_inline int opened(void *ctx, const char *filename, const struct open_flags *how)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = {};
	struct file_call call = { .kernel_filename = filename, .flags = READ(how, open_flag) };
	long result = result_of(ctx);

	/* Programs and their interpreters are opened too: that is what process_start is about. */
	if (result < 0 && result > -4096)
		return 0;
	if (call.flags & FMODE_EXEC || by_kernel(task))
		return 0;
	current_call(task, &syscall);
	call.call = call_for(task, &syscall, RECORD_FILE_OPEN);
	emit_file(RECORD_FILE_OPEN, (struct file *)result, &call);
	return 0;
}

SEC("fexit/do_filp_open")
int BPF_PROG(on_open, int folder, struct filename *filename, const struct open_flags *how)
{
	return opened(ctx, READ(filename, name), how);
}

/* By handle, or below a given root. */
SEC("fexit/do_file_open_root")
int BPF_PROG(on_open_root, const struct path *root, const char *filename, const struct open_flags *how)
{
	return opened(ctx, filename, how);
}

/* The verifier of Linux 6.1 takes no pointer of a hook for a number. What is read from memory is one. */
static __always_inline struct file *as_number(struct file *file)
{
	struct file *number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &file);
	return number;
}

SEC("fexit/security_file_permission")
int BPF_PROG(on_write, struct file *file, int mask)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = {};
	struct file_call call = {};

	if (error_of(ctx) || !(mask & MAY_WRITE) || by_kernel(task))
		return 0;
	/* The file that an overlay keeps below the one that was written to. */
	if (file->f_mode & FMODE_NOACCOUNT)
		return 0;
	current_call(task, &syscall);
	call.call = call_for(task, &syscall, RECORD_FILE_WRITE);
	emit_file(RECORD_FILE_WRITE, as_number(file), &call);
	return 0;
}

SEC("fexit/security_mmap_file")
int BPF_PROG(on_map, struct file *file, unsigned long protection, unsigned long flags)
{
	struct file_call call = { .call = CALL_MMAP };

	if (error_of(ctx) || !file || !maps_for_writing(protection, flags))
		return 0;
	emit_file(RECORD_FILE_WRITE, as_number(file), &call);
	return 0;
}

/* Memory that was mapped for reading can be made writable later. */
SEC("fexit/security_file_mprotect")
int BPF_PROG(on_protect, struct vm_area_struct *area, unsigned long asked, unsigned long protection)
{
	struct file_call call = { .call = CALL_MPROTECT };

	if (error_of(ctx) || !area->vm_file || !(protection & PROT_WRITE) || (area->vm_flags & (VM_SHARED | VM_WRITE)) != VM_SHARED)
		return 0;
	emit_file(RECORD_FILE_WRITE, as_number(area->vm_file), &call);
	return 0;
}

static __always_inline void copy_folder(struct path *to, const struct path *from)
{
	to->mnt = READ(from, mnt);
	to->dentry = READ(from, dentry);
}

/* Notes the names that a rename or removal is about. Once it has ended, the file system has changed or forgotten them. */
static __always_inline int begin_names(__u16 kind, const struct path *old_folder, struct dentry *old,
				       const struct path *new_folder, struct dentry *new)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *names;

	if (by_kernel(task))
		return 0;
	names = bpf_task_storage_get(&pending, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!names) {	/* the kernel has no memory for it */
		count_discarded(kind, RING_ACTIVITY);
		return 0;
	}
	names->dentry = old;
	names->inode = READ(old, d_inode);
	copy_folder(&names->old_folder, old_folder);
	bpf_probe_read_kernel_str(names->old_name, sizeof(names->old_name), READ(old, d_name.name));
	if (new) {
		copy_folder(&names->new_folder, new_folder);
		bpf_probe_read_kernel_str(names->new_name, sizeof(names->new_name), READ(new, d_name.name));
	}
	return 0;
}

__noinline int append_name(struct scratch *scratch, struct text *text, struct pending *names, int which)
{
	struct walk walk = {};

	if (!scratch || !text || !names)
		return 0;
	begin_walk(scratch, &walk, PATH_SIZE_MAX);
	prepend_string(&walk, which ? names->new_name : names->old_name);
	if (which)
		walk_up(&walk, names->new_folder.mnt, names->new_folder.dentry, 0);
	else
		walk_up(&walk, names->old_folder.mnt, names->old_folder.dentry, 0);
	append_walk(scratch, text, &walk);
	return 0;
}

/* Reports the names, if the file system has done what this thread asked for. */
static __always_inline int end_names(__u16 kind, struct dentry *dentry, int error)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *names = bpf_task_storage_get(&pending, task, 0, 0);
	struct syscall syscall = {};
	struct named named = { .kind = kind };
	struct scratch *scratch;

	/* An overlay asks other file systems in turn: those are not what was asked for. */
	if (!names || names->dentry != dentry)
		return 0;
	names->dentry = 0;
	if (error)
		return 0;
	if (!is_canary(task) && is_excluded(task)) {
		count_filtered(kind);
		return 0;
	}
	scratch = claim_scratch(kind, RING_ACTIVITY);
	if (!scratch)
		return 0;
	current_call(task, &syscall);
	scratch->size = sizeof(struct file_record);
	append_name(scratch, &named.names[0], names, 0);
	if (kind == RECORD_FILE_RENAME)
		append_name(scratch, &named.names[1], names, 1);
	named.inode = names->inode;
	named.call = call_for(task, &syscall, kind);
	emit_named(scratch, task, &named);
	return 0;
}

SEC("fentry/security_path_rename")
int BPF_PROG(on_rename, const struct path *old_folder, struct dentry *old, const struct path *new_folder, struct dentry *new)
{
	return begin_names(RECORD_FILE_RENAME, old_folder, old, new_folder, new);
}

SEC("fexit/vfs_rename")
int BPF_PROG(on_renamed, struct renamedata *rename)
{
	return end_names(RECORD_FILE_RENAME, READ(rename, old_dentry), error_of(ctx));
}

SEC("fentry/security_path_unlink")
int BPF_PROG(on_unlink, const struct path *folder, struct dentry *dentry)
{
	return begin_names(RECORD_FILE_UNLINK, folder, dentry, 0, 0);
}

SEC("fexit/vfs_unlink")
int BPF_PROG(on_unlinked, void *mapping, struct inode *folder, struct dentry *dentry)
{
	return end_names(RECORD_FILE_UNLINK, dentry, error_of(ctx));
}

SEC("fentry/security_path_rmdir")
int BPF_PROG(on_rmdir, const struct path *folder, struct dentry *dentry)
{
	return begin_names(RECORD_FILE_UNLINK, folder, dentry, 0, 0);
}

SEC("fexit/vfs_rmdir")
int BPF_PROG(on_rmdired, void *mapping, struct inode *folder, struct dentry *dentry)
{
	return end_names(RECORD_FILE_UNLINK, dentry, error_of(ctx));
}

/* ---- sockets ----------------------------------------------------------------------------------------------------- */

static __always_inline int socket_ended(void *ctx, __u16 kind, struct socket *socket, const void *address)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct syscall syscall = {};
	struct network_call call = {
		.address = address,
		.kernel_address = true,
		.result = without_restart(error_of(ctx)),
		.fd = -1,
	};

	if (by_kernel(task) || (call.result < 0 && kind != RECORD_CONNECT))
		return 0;
	current_call(task, &syscall);
	call.call = call_for(task, &syscall, kind);
	if (kind == RECORD_CONNECT)
		take_begun(task, &call);
	/* The descriptor that an accept will return is not known yet. */
	if (kind != RECORD_ACCEPT && call.call != CALL_UNKNOWN && call.call != CALL_IO_URING)
		call.fd = syscall.args[0];
	emit_network(kind, READ_AT(&socket->sk), &call);
	return 0;
}

/* TCP Fast Open comes here with its first data; without an address when a connect() came before. */
SEC("fexit/__inet_stream_connect")
int BPF_PROG(on_connect_tcp, struct socket *socket, const void *address)
{
	struct sock *sk = READ(socket, sk);

	return !address || is_subflow(sk) ? 0 : socket_ended(ctx, RECORD_CONNECT, socket, address);
}

SEC("fexit/inet_dgram_connect")
int BPF_PROG(on_connect_udp, struct socket *socket, const void *address)
{
	return socket_ended(ctx, RECORD_CONNECT, socket, address);
}

SEC("fexit/unix_stream_connect")
int BPF_PROG(on_connect_unix, struct socket *socket, const void *address)
{
	return socket_ended(ctx, RECORD_CONNECT, socket, address);
}

SEC("fexit/unix_dgram_connect")
int BPF_PROG(on_connect_unix_dgram, struct socket *socket, const void *address)
{
	return socket_ended(ctx, RECORD_CONNECT, socket, address);
}

SEC("fexit/inet_bind")
int BPF_PROG(on_bind, struct socket *socket)
{
	return socket_ended(ctx, RECORD_BIND, socket, 0);
}

SEC("fexit/inet6_bind")
int BPF_PROG(on_bind_ipv6, struct socket *socket)
{
	return socket_ended(ctx, RECORD_BIND, socket, 0);
}

SEC("fexit/unix_bind")
int BPF_PROG(on_bind_unix, struct socket *socket)
{
	return socket_ended(ctx, RECORD_BIND, socket, 0);
}

SEC("fexit/inet_listen")
int BPF_PROG(on_listen, struct socket *socket)
{
	return socket_ended(ctx, RECORD_LISTEN, socket, 0);
}

SEC("fexit/unix_listen")
int BPF_PROG(on_listen_unix, struct socket *socket)
{
	return socket_ended(ctx, RECORD_LISTEN, socket, 0);
}

SEC("fexit/inet_accept")
int BPF_PROG(on_accept, struct socket *listener, struct socket *accepted)
{
	return socket_ended(ctx, RECORD_ACCEPT, accepted, 0);
}

SEC("fexit/unix_accept")
int BPF_PROG(on_accept_unix, struct socket *listener, struct socket *accepted)
{
	return socket_ended(ctx, RECORD_ACCEPT, accepted, 0);
}

#endif
