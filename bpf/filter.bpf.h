/* SPDX-License-Identifier: GPL-2.0-only */
/* What settings leave out never enters the ring. The cost does not grow with the number of entries: tries, forwards and backwards. */
#ifndef WARDER_FILTER_BPF_H
#define WARDER_FILTER_BPF_H

#include "path.bpf.h"

/* Is this kind served by the end of its calls? In the fentry profile, some are not. */
static __always_inline bool wanted(__u16 kind)
{
	return settings.call_kinds[(kind >> 5) & 3] >> (kind & 31) & 1;
}

/* The key of a path: its beginning, with the '/' that ends each entry of the tries. */
static __always_inline void path_key(struct scratch *scratch, const void *path, __u32 size)
{
	if (size > FILTER_SIZE_MAX - 1)
		size = FILTER_SIZE_MAX - 1;
	for_verifier(size);
	if (!copy_own(scratch->key.text, path, size) && bpf_probe_read_kernel(scratch->key.text, size & 255, path))
		size = 0;
	scratch->key.text[size & 255] = '/';
	scratch->key.bits = (size + 1) * 8;
}

/* The key of a path, backwards. */
static __always_inline void suffix_key(struct scratch *scratch, const void *path, __u32 size)
{
	__u32 kept = size > FILTER_SIZE_MAX ? FILTER_SIZE_MAX : size;

	for_verifier(kept);
	if (bpf_probe_read_kernel(scratch->suffix, kept & 255, path + (size - kept)))
		kept = 0;
	for (__u32 i = 0; i < FILTER_SIZE_MAX && i < kept; i++)
		scratch->key.text[i] = scratch->suffix[(kept - 1 - i) & 255];
	scratch->key.bits = kept * 8;
}

static __noinline bool look_up_path(struct scratch *scratch, const void *path, __u32 size, bool cut)
{
	bool watched = cut || (!settings.watched_paths && !settings.watched_suffixes);

	if (settings.watched_paths || settings.excluded_paths) {
		path_key(scratch, path, size);
		if (!cut && settings.excluded_paths && bpf_map_lookup_elem(&excluded_paths, &scratch->key))
			return false;
		if (!watched && settings.watched_paths && bpf_map_lookup_elem(&watched_paths, &scratch->key))
			watched = true;
	}
	if (!watched && settings.watched_suffixes) {
		suffix_key(scratch, path, size);
		watched = bpf_map_lookup_elem(&watched_suffixes, &scratch->key);
	}
	return watched;
}

/* Does a path pass the filters? One whose beginning is missing passes: it cannot be told. */
static __always_inline bool path_passes(struct scratch *scratch, const void *path, __u32 size, bool cut)
{
	if (!settings.watched_paths && !settings.watched_suffixes && !settings.excluded_paths)
		return true;
	return look_up_path(scratch, path, size, cut);
}

/* The same for a walked path. */
static __always_inline bool walk_passes(struct scratch *scratch, struct walk *walk)
{
	__u32 start = scratch->found.start & (2 * PATH_SIZE_MAX - 1), size = PATH_SIZE_MAX - start;

	if (start > PATH_SIZE_MAX)
		return true;
	return path_passes(scratch, scratch->walk + start, size, scratch->found.full_size > size || !walk->ended);
}

/* Not inlined, for the stack: see on_call. */
static __noinline bool look_up_comm(struct task_struct *task)
{
	struct comm comm = {};

	/* As a string: what lies behind the NUL is not part of the name. */
	bpf_probe_read_kernel_str(comm.text, sizeof(comm.text), task->comm);
	return bpf_map_lookup_elem(&excluded_comms, &comm);
}

/* Is it a process of an excluded name? */
static __always_inline bool is_excluded(struct task_struct *task)
{
	return settings.excluded_comms && look_up_comm(task);
}

/* Is this the sensor or its evaluator? */
static __always_inline bool is_own(struct task_struct *task)
{
	__u32 zero = 0;
	struct own_processes *own = bpf_map_lookup_elem(&own_processes, &zero);

	return own && (is_process(task, own->sensor, own->sensor_start) ||
		       is_process(task, own->evaluator, own->evaluator_start));
}

static __always_inline void name_write(struct write_key *key, struct task_struct *task, struct inode *inode)
{
	key->process = process_key(task);
	key->object = (__u64)inode;
	key->inode = READ(inode, i_ino);
	key->device = READ(inode, i_sb, s_dev);
	key->generation = READ(inode, i_generation);
}

/*
 * Is this one of the first writes of a process to a file within the window? Asked before the path is walked: most writes are not.
 * Not inlined, for the stack: see on_call.
 */
static __noinline bool is_first_write(struct task_struct *task, struct inode *inode)
{
	struct write_key key = {};
	__u64 *reported;

	if (settings.every_write)
		return true;
	name_write(&key, task, inode);
	reported = bpf_map_lookup_elem(&writes, &key);
	return !reported || bpf_ktime_get_boot_ns() - *reported >= settings.write_window;
}

/* It is being reported: what is written to it from here on is not. */
static __noinline int note_write(struct task_struct *task, struct inode *inode)
{
	struct write_key key = {};
	__u64 now = bpf_ktime_get_boot_ns();

	if (settings.every_write)
		return 0;
	name_write(&key, task, inode);
	return bpf_map_update_elem(&writes, &key, &now, BPF_ANY);
}

#endif
