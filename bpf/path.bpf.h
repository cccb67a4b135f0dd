/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paths, from kernel objects alone. bpf_d_path is refused in tracing programs, so the walk is ours: from the last name back
 * to the root of the mount namespace, written from the end of a buffer, so that a path too long keeps its end.
 */
#ifndef WARDER_PATH_BPF_H
#define WARDER_PATH_BPF_H

#include "emit.bpf.h"

enum {
	/* Steps of a walk: names and mount points. PATH_MAX allows 2048 names; a deeper path is reported as cut. */
	WALK_STEPS_MAX = 4096,
	NAME_SIZE_MAX = 255,
	SHORT_NAME_SIZE_MAX = 40,
	CGROUP_DEPTH_MAX = 128,
};

struct walk {
	struct dentry *dentry;
	struct dentry *root;		/* of the mount */
	union {
		struct mount *mount;
		struct kernfs_node *node;	/* of a cgroup's path */
	};
	char *buffer;			/* of PATH_SIZE_MAX + 256 bytes */
	__u32 start;			/* of what is written */
	__u32 full_size;		/* of what was seen */
	__u32 room;			/* bytes that may be kept */
	__u32 ended;			/* 1: at the top of a mount; 2: outside of it */
	struct {			/* as it was before a step, to undo it */
		__u32 start;
		__u32 full_size;
		__u32 room;
		__u32 sequence;		/* even, or it does not come back */
	} before;
};

/*
 * Copies a name to `start`. A short one word by word, from its end, so that what is there behind it stays. Up to seven bytes
 * before its beginning are written, too, but nothing is there yet.
 */
static __always_inline bool copy_name(struct walk *walk, __u32 start, const char *name, __u32 size)
{
	if (!MAY_LOAD || size > SHORT_NAME_SIZE_MAX) {
		for_verifier(size);
		return !bpf_probe_read_kernel(walk->buffer + start, size & 255, name);
	}
	for (__u32 done = 0; done < SHORT_NAME_SIZE_MAX && done < size; done += sizeof(__u64)) {
		__u32 end = size - done;
		char *to = walk->buffer - sizeof(__u64) + ((start + end) & (2 * PATH_SIZE_MAX - 1));

		*(__u64 *)to = READ_AT((const __u64 *)(name - sizeof(__u64) + end));
	}
	return true;
}

/*
 * Puts "/name" before what is written, or only counts it when there is no more room. Of a name that is too long for most file
 * systems, but not for FUSE and FAT, its end is kept, and nothing that is before it.
 */
static __always_inline void prepend_name(struct walk *walk, const void *name, __u32 size, bool slash)
{
	__u32 whole, start;

	walk->full_size += size + slash;
	if (walk->full_size > walk->room)
		return;
	if (size > NAME_SIZE_MAX) {
		name += size - NAME_SIZE_MAX;
		size = NAME_SIZE_MAX;
		slash = false;
		walk->room = 0;
	}
	whole = size + slash;
	start = (walk->start - whole) & (PATH_SIZE_MAX - 1);
	if (!copy_name(walk, start + slash, name, size))
		return;
	if (slash)
		walk->buffer[start] = '/';
	walk->start -= whole;
}

/* The same for a NUL-terminated string. Its size is found by reading it behind the part of the buffer that the path uses. */
static __always_inline void prepend_string(struct walk *walk, const char *name)
{
	long size = bpf_probe_read_kernel_str(walk->buffer + PATH_SIZE_MAX, 256, name);

	if (size > 1)
		prepend_name(walk, name, size - 1, true);
}

static __always_inline void begin_step(struct walk *walk, struct dentry *dentry)
{
	walk->before.start = walk->start;
	walk->before.full_size = walk->full_size;
	walk->before.room = walk->room;
	walk->before.sequence = READ(dentry, d_seq.seqcount.sequence) & ~1;
}

/* To the folder; or back, where a rename came in between: its name and size, or name and folder, may not belong together. */
static __always_inline void end_step(struct walk *walk, struct dentry *parent)
{
	if (READ(walk->dentry, d_seq.seqcount.sequence) == walk->before.sequence) {
		walk->dentry = parent;
		return;
	}
	walk->start = walk->before.start;
	walk->full_size = walk->before.full_size;
	walk->room = walk->before.room;
}

static __always_inline void begin_mount(struct walk *walk, struct mount *mount, struct dentry *dentry)
{
	walk->dentry = dentry;
	walk->mount = mount;
	walk->root = READ(mount, mnt.mnt_root);
}

/* From a name to the folder that it is in, or from a mount to where it is mounted. Returns 1 at the end. */
static __always_inline long step_up(struct walk *walk)
{
	struct dentry *dentry = walk->dentry;
	struct mount *mount = walk->mount, *above;
	struct dentry *parent;

	if (dentry == walk->root) {
		above = READ(mount, mnt_parent);
		if (!above || above == mount) {
			walk->ended = 1;
			return 1;
		}
		begin_mount(walk, above, READ(mount, mnt_mountpoint));
		return 0;
	}
	begin_step(walk, dentry);
	parent = READ(dentry, d_parent);
	if (!parent || parent == dentry) {
		/* Outside of its mount. Of a memfd or a pipe, the bare name is all there is. */
		if (!walk->full_size)
			prepend_name(walk, READ(dentry, d_name.name), READ(dentry, d_name.len), false);
		walk->ended = 2;
		return 1;
	}
	prepend_name(walk, READ(dentry, d_name.name), READ(dentry, d_name.len), true);
	end_step(walk, parent);
	return 0;
}

static long walk_step(__u32 step, struct walk *walk)
{
	return step_up(walk);
}

static long cgroup_step(__u32 step, struct walk *walk)
{
	struct kernfs_node *node = walk->node;
	struct kernfs_node___parent *old = (void *)node;
	struct kernfs_node *parent = bpf_core_field_exists(struct kernfs_node, __parent) ?
					     READ(node, __parent) :
					     READ(old, parent);

	if (!parent) {
		walk->ended = 1;
		return 1;
	}
	prepend_string(walk, READ(node, name));
	walk->node = parent;
	return 0;
}

/* Appends what a walk has found. A text shorter than its full size was cut at its beginning. */
static __always_inline void append_walk(struct scratch *scratch, struct text *text, struct walk *walk)
{
	__u64 size = PATH_SIZE_MAX - walk->start;

	if (!walk->full_size && walk->ended) {	/* the root itself */
		walk->buffer[0] = '/';
		append_text(scratch, text, walk->buffer, 1);
		return;
	}
	if (size > PATH_SIZE_MAX)
		return;
	append_text(scratch, text, walk->buffer + (walk->start & (PATH_SIZE_MAX - 1)), size);
	text->full_size = walk->full_size + !walk->ended;
}

static __always_inline void begin_walk(struct scratch *scratch, struct walk *walk)
{
	walk->buffer = scratch->walk;
	walk->start = PATH_SIZE_MAX;
	walk->room = PATH_SIZE_MAX;
}

/*
 * Is the beginning of a walked path missing, so that it may be anywhere? The mount was taken out of its namespace (umount -l)
 * or never put into one (open_tree, fsmount); or the file is outside of its mount: opened by handle and without a name yet,
 * or in a folder that was moved out of the part that is mounted. What is in the kernel alone, such as a memfd, has its name.
 */
static __always_inline bool is_adrift(struct walk *walk)
{
	struct mount *mount = walk->mount;
	struct mnt_namespace *ns = READ(mount, mnt_ns);
	__u32 number = READ(ns, ns.inum);

	if ((__u64)ns >= (__u64)-ERRNO_MAX)
		return false;
	return walk->ended != 1 || !ns || !number || number == MNT_NS_ANON_INO;
}

/*
 * Puts the path of a folder or file, as seen from the root of its mount namespace, before what the walk has found until now.
 * The first `inlined` steps take no calls, but the verifier's time for each.
 */
static __always_inline void walk_up(struct walk *walk, struct vfsmount *mnt, struct dentry *dentry, int inlined)
{
	long ended = 0;

	begin_mount(walk, (void *)mnt - bpf_core_field_offset(struct mount, mnt), dentry);
	for (int i = 0; i < inlined && !ended; i++)
		ended = step_up(walk);
	if (!ended)
		bpf_loop(WALK_STEPS_MAX, walk_step, walk, 0);
	walk->ended = !is_adrift(walk);
}

/* Finds a path; it stands in scratch->walk from walk->start on. */
static __always_inline void walk_path(struct scratch *scratch, struct walk *walk, struct vfsmount *mnt, struct dentry *dentry,
				      int inlined)
{
	begin_walk(scratch, walk);
	walk_up(walk, mnt, dentry, inlined);
}

/*
 * Functions that are not static are verified once, however often a program calls them. Their pointers into the kernel are
 * numbers, because the verifier takes a pointer for memory that the caller has.
 */
__noinline int append_path_at(struct scratch *scratch, struct text *text, __u64 mnt, __u64 dentry)
{
	struct walk walk = {};

	if (!scratch || !text)
		return 0;
	walk_path(scratch, &walk, (struct vfsmount *)mnt, (struct dentry *)dentry, 0);
	append_walk(scratch, text, &walk);
	return 0;
}

/* Appends a path. A NULL dentry appends nothing. */
static __always_inline void append_path(struct scratch *scratch, struct text *text, struct vfsmount *mnt, struct dentry *dentry)
{
	if (mnt && dentry)
		append_path_at(scratch, text, (__u64)mnt, (__u64)dentry);
}

/* Appends a cgroup's path in the unified hierarchy. */
static __noinline int append_cgroup(struct scratch *scratch, struct text *text, struct kernfs_node *node)
{
	struct walk walk = {
		.node = node,
		.buffer = scratch->walk,
		.start = PATH_SIZE_MAX,
		.room = CGROUP_SIZE_MAX,
	};

	if (!node)
		return 0;
	bpf_loop(CGROUP_DEPTH_MAX, cgroup_step, &walk, 0);
	append_walk(scratch, text, &walk);
	return 0;
}

#endif
