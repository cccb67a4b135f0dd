/* SPDX-License-Identifier: GPL-2.0-only */
/* The file family. What is reported comes from struct file: a name in the caller's memory may have changed meanwhile. */
#ifndef WARDER_FILE_BPF_H
#define WARDER_FILE_BPF_H

#include "filter.bpf.h"
#include "syscall.bpf.h"

/* What a call says about a file beside the file itself. */
struct file_call {
	__u64 filename;		/* in the caller's memory; 0 when there is none */
	__u64 count;
	__u32 flags;
	__u32 call;
};

static __always_inline void fill_file(struct file_record *record, struct inode *inode)
{
	record->inode = BPF_CORE_READ(inode, i_ino);
	record->device = user_device(BPF_CORE_READ(inode, i_sb, s_dev));
	record->mode = BPF_CORE_READ(inode, i_mode);
	record->nlink = BPF_CORE_READ(inode, i_nlink);
}

/* Appends a name from the caller's memory; nothing when it is not to be read. */
static __always_inline void append_user_name(struct scratch *scratch, struct text *text, __u64 from)
{
	long size = bpf_probe_read_user_str(record_end(scratch), PATH_SIZE_MAX, (void *)from);

	if (size <= 1)
		return;
	text->size = size - 1;
	text->full_size = size == PATH_SIZE_MAX ? size : size - 1;
	scratch->size += size - 1;
}

/* An open or a write, of a file that exists as an object. */
static __noinline int emit_file(struct task_struct *task, __u32 kind, struct file *file, struct file_call *call)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct walk walk = {};
	struct scratch *scratch;
	struct file_record *record;

	if (!file)
		return 0;
	if (comm_excluded(task)) {
		count_filtered(kind);
		return 0;
	}
	if (kind == RECORD_FILE_WRITE) {
		__u32 type = BPF_CORE_READ(inode, i_mode) & S_IFMT;

		if (type != S_IFREG && type != S_IFBLK)	/* pipes, sockets, terminals: not files to watch */
			return 0;
		if (is_own(task)) {
			count_filtered(kind);
			return 0;
		}
	}
	scratch = claim_scratch(kind, RING_ACTIVITY);
	if (!scratch)
		return 0;
	walk_path(scratch, &walk, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry));
	if (!walk_passes(scratch, &walk) || (kind == RECORD_FILE_WRITE && !first_write(task, inode))) {
		count_filtered(kind);
		release_scratch(scratch);
		return 0;
	}
	begin_record(scratch, kind, RING_ACTIVITY, sizeof(*record), task);
	record = (struct file_record *)scratch->bytes;
	fill_file(record, inode);
	record->count = call->count;
	record->flags = call->flags;
	record->created = !!(BPF_CORE_READ(file, f_mode) & FMODE_CREATED);
	record->call = call->call;
	append_walk(scratch, &record->path, &walk);
	if (call->filename)
		append_user_name(scratch, &record->filename, call->filename);
	submit_record(scratch, &activity_ring);
	return 0;
}

/* Flags that the kernel forgets once the file is open. */
#define OPENING_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)

static __always_inline void open_ended(struct task_struct *task, struct syscall *syscall)
{
	struct file *file = file_of(task, syscall->result);
	struct file_call call = { .call = syscall->call, .flags = BPF_CORE_READ(file, f_flags) };
	__u64 how = 0;

	switch (syscall->call) {
	case CALL_OPEN:
		call.filename = syscall->args[0];
		call.flags |= syscall->args[1] & OPENING_FLAGS;
		break;
	case CALL_CREAT:
		call.filename = syscall->args[0];
		call.flags |= O_CREAT | O_TRUNC;
		break;
	case CALL_OPENAT:
		call.filename = syscall->args[1];
		call.flags |= syscall->args[2] & OPENING_FLAGS;
		break;
	case CALL_OPENAT2:
		call.filename = syscall->args[1];
		bpf_probe_read_user(&how, sizeof(how), (void *)syscall->args[2]);
		call.flags |= how & OPENING_FLAGS;
		break;
	case CALL_OPEN_BY_HANDLE_AT:
		call.flags |= syscall->args[2] & OPENING_FLAGS;
		break;
	}
	emit_file(task, RECORD_FILE_OPEN, file, &call);
}

static __always_inline void write_ended(struct task_struct *task, struct syscall *syscall)
{
	struct file_call call = { .call = syscall->call, .count = syscall->result };
	__u64 fd = syscall->args[0];

	switch (syscall->call) {
	case CALL_SPLICE:
	case CALL_COPY_FILE_RANGE:
		fd = syscall->args[2];
		break;
	case CALL_MMAP: {
		__u64 sharing = syscall->args[3] & 3;

		if (!(syscall->args[2] & PROT_WRITE) || (sharing != MAP_SHARED && sharing != MAP_SHARED_VALIDATE))
			return;
		fd = syscall->args[4];
		call.count = syscall->args[1];
		break;
	}
	}
	emit_file(task, RECORD_FILE_WRITE, file_of(task, (__u32)fd), &call);
}

/*
 * Appends a name of the caller's, behind the folder that it starts from. This profile has no kernel object for it: symlinks
 * and ".." in the name stay as they are.
 */
static __noinline int append_user_path(struct scratch *scratch, struct text *text, struct task_struct *task, int dirfd, __u64 name)
{
	struct file *folder;
	struct vfsmount *mnt;
	struct dentry *dentry;
	struct text part = {};
	char first = 0;

	bpf_probe_read_user(&first, 1, (void *)name);
	if (first == '/') {
		mnt = BPF_CORE_READ(task, fs, root.mnt);
		dentry = BPF_CORE_READ(task, fs, root.dentry);
	} else if (dirfd == AT_FDCWD) {
		mnt = BPF_CORE_READ(task, fs, pwd.mnt);
		dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	} else {
		folder = file_of(task, dirfd);
		mnt = BPF_CORE_READ(folder, f_path.mnt);
		dentry = BPF_CORE_READ(folder, f_path.dentry);
	}
	append_path(scratch, text, mnt, dentry);
	if (text->size == 1) {	/* "/": the name brings its own, or gets one */
		text->size = text->full_size = 0;
		scratch->size -= 1;
	}
	if (first != '/') {
		*(char *)record_end(scratch) = '/';
		scratch->size += 1;
		text->size += 1;
		text->full_size += 1;
	}
	append_user_name(scratch, &part, name);
	text->size += part.size;
	text->full_size += part.full_size;
	return 0;
}

static __always_inline bool text_passes(struct scratch *scratch, struct text *text, __u64 at)
{
	return path_passes(scratch, scratch->bytes + (at & (RECORD_SIZE_MAX - 1)), text->size, text->size < text->full_size);
}

/* A rename or unlink that has ended well. */
static __always_inline void names_ended(struct task_struct *task, __u32 kind, struct syscall *syscall)
{
	struct scratch *scratch;
	struct text old = {}, new = {};
	struct file_record *record;
	int old_folder = AT_FDCWD, new_folder = AT_FDCWD;
	__u64 old_name = syscall->args[0], new_name = syscall->args[1], size;
	bool passes;

	if (comm_excluded(task)) {
		count_filtered(kind);
		return;
	}
	scratch = claim_scratch(kind, RING_ACTIVITY);
	if (!scratch)
		return;
	if (syscall->call == CALL_RENAMEAT || syscall->call == CALL_RENAMEAT2) {
		old_folder = syscall->args[0];
		old_name = syscall->args[1];
		new_folder = syscall->args[2];
		new_name = syscall->args[3];
	} else if (syscall->call == CALL_UNLINKAT) {
		old_folder = syscall->args[0];
		old_name = syscall->args[1];
	}
	scratch->size = sizeof(*record);
	append_user_path(scratch, &old, task, old_folder, old_name);
	passes = text_passes(scratch, &old, sizeof(*record));
	if (kind == RECORD_FILE_RENAME) {
		__u64 at = scratch->size;

		append_user_path(scratch, &new, task, new_folder, new_name);
		passes = passes || text_passes(scratch, &new, at);
	}
	if (!passes) {
		count_filtered(kind);
		release_scratch(scratch);
		return;
	}
	size = scratch->size;
	begin_record(scratch, kind, RING_ACTIVITY, sizeof(*record), task);
	scratch->size = size;
	record = (struct file_record *)scratch->bytes;
	record->path = old;
	record->new_path = new;
	record->call = syscall->call;
	submit_record(scratch, &activity_ring);
}

#endif
