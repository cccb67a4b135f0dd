/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file family. What is reported comes from the kernel's objects: a name in the caller's memory may have changed
 * meanwhile.
 */
#ifndef WARDER_FILE_BPF_H
#define WARDER_FILE_BPF_H

#include "filter.bpf.h"

/* Most files lie no deeper. */
enum { FILE_STEPS_INLINED = 6 };

/* What a call says about a file beside the file itself. */
struct file_call {
	__u64 filename;		/* in the caller's memory; 0 when there is none */
	const char *kernel_filename;	/* the kernel's copy of it, where there is one */
	__u64 count;
	__u32 flags;
	__u32 call;
	int error;
};

static __always_inline void fill_file(struct file_record *record, struct inode *inode)
{
	record->inode = READ(inode, i_ino);
	record->device = user_device(READ(inode, i_sb, s_dev));
	record->mode = READ(inode, i_mode);
	record->nlink = READ(inode, i_nlink);
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

static __always_inline bool maps_for_writing(__u64 protection, __u64 flags)
{
	__u64 sharing = flags & 3;

	return protection & PROT_WRITE && !(flags & MAP_ANONYMOUS) && (sharing == MAP_SHARED || sharing == MAP_SHARED_VALIDATE);
}

/* Is it the file that the canary acts with? The sensor's runtime may open another one at the same moment. */
static __always_inline bool is_canary_file(struct file *file)
{
	static const char canary[] = "canary";
	char name[sizeof(canary)] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), READ(file, f_path.dentry, d_name.name));
	return !bpf_strncmp(name, sizeof(name), canary);
}

__noinline int emit_file_at(__u32 kind, __u64 at, struct file_call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = (struct file *)at;
	struct inode *inode = READ(file, f_inode);
	struct own_processes *own = acting_sensor();
	bool canary = is_actor(own, task) && is_canary_file(file);
	struct walk walk = {};
	struct scratch *scratch;
	struct file_record *record;

	if (!call)
		return 0;
	if (is_actors_child(own, task) || (!canary && is_excluded(task))) {
		count_filtered(kind);
		return 0;
	}
	if (kind == RECORD_FILE_WRITE) {
		__u32 type = READ(inode, i_mode) & S_IFMT;

		if (type != S_IFREG && type != S_IFBLK)	/* pipes, sockets, terminals: not files to watch */
			return 0;
		if (!canary && (is_own(task) || (!call->error && !is_first_write(task, inode)))) {
			count_filtered(kind);
			return 0;
		}
	}
	scratch = claim_scratch(kind, RING_ACTIVITY);
	if (!scratch)
		return 0;
	walk_path(scratch, &walk, READ(file, f_path.mnt), READ(file, f_path.dentry), FILE_STEPS_INLINED);
	if (!canary && !walk_passes(scratch, &walk)) {
		count_filtered(kind);
		release_scratch(scratch);
		return 0;
	}
	if (kind == RECORD_FILE_WRITE && !canary && !call->error)
		note_write(task, inode);
	begin_record(scratch, kind, RING_ACTIVITY, sizeof(*record), task);
	record = (struct file_record *)scratch->bytes;
	if (!canary)
		record->header.flags &= ~FLAG_CANARY;
	fill_file(record, inode);
	record->count = call->count;
	record->flags = call->flags;
	record->created = !!(READ(file, f_mode) & FMODE_CREATED);
	record->call = call->call;
	record->error = call->error;
	append_walk(scratch, &record->path, &walk);
	if (call->kernel_filename)
		append_string(scratch, &record->filename, call->kernel_filename);
	else if (call->filename)
		append_user_name(scratch, &record->filename, call->filename);
	submit_record(scratch, &activity_ring);
	return 0;
}

/* An open or a write by this task, of a file that exists as an object. */
static __always_inline void emit_file(__u32 kind, struct file *file, struct file_call *call)
{
	if (file)
		emit_file_at(kind, (__u64)file, call);
}

static __always_inline bool text_passes(struct scratch *scratch, struct text *text, __u64 at)
{
	return path_passes(scratch, scratch->bytes + (at & (RECORD_SIZE_MAX - 1)), text->size, text->size < text->full_size);
}

/* What happened to names, or was refused. The names stand in the scratch memory, behind room for the record. */
struct named {
	struct text names[2];	/* the second one of a rename only */
	struct inode *inode;
	__u32 kind;
	__u32 call;
	__u32 flags;
	int error;
	bool unsure;		/* they may be those of another place: filters let them pass */
};

static __noinline int emit_named(struct scratch *scratch, struct task_struct *task, struct named *named)
{
	struct file_record *record = (struct file_record *)scratch->bytes;
	struct text *old = &named->names[0], *new = &named->names[1];
	__u16 kind = named->kind;
	__u64 size = scratch->size;

	if (!is_canary(task) && !named->unsure && !text_passes(scratch, old, sizeof(*record)) &&
	    !(new->full_size && text_passes(scratch, new, sizeof(*record) + old->size))) {
		count_filtered(kind);
		release_scratch(scratch);
		return 0;
	}
	begin_record(scratch, kind, RING_ACTIVITY, sizeof(*record), task);
	scratch->size = size;
	if (named->inode)
		fill_file(record, named->inode);
	record->path = *old;
	record->new_path = *new;
	record->call = named->call;
	record->flags = named->flags;
	record->error = named->error;
	submit_record(scratch, &activity_ring);
	return 0;
}

#endif
