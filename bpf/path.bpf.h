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
	struct scratch *scratch;	/* where the path is written */
	__u32 ended;			/* 1: at the top of a mount; 2: outside of it */
};

/*
 * Copies a short name word by word, the last one up to its end. Up to seven bytes before its beginning are read and written, too:
 * it lies within an object, or in a buffer.
 */
static __always_inline void copy_name(char *to, const char *name, __u32 size)
{
	for_verifier(size);
	size &= 63;
	for (__u32 done = 0; done + sizeof(__u64) < SHORT_NAME_SIZE_MAX && done + sizeof(__u64) < size; done += sizeof(__u64))
		*(__u64 *)(to + done) = READ_AT((const __u64 *)(name + done));
	*(__u64 *)(to + size - sizeof(__u64)) = READ_AT((const __u64 *)(name + size - sizeof(__u64)));
}

/*
 * Puts "/name" before what is written, or only counts it when there is no more room. Of a name that is too long for most file
 * systems, but not for FUSE and FAT, its end is kept, and nothing that is before it.
 */
static __always_inline void prepend_name(struct scratch *scratch, struct found *found, const void *name, __u32 size, bool slash)
{
	char *buffer = scratch->walk;
	__u32 start;

	found->full_size += size + slash;
	if (found->full_size > found->room)
		return;
	if (MAY_LOAD && size - 1 < SHORT_NAME_SIZE_MAX) {
		start = (found->start - size - slash) & (PATH_SIZE_MAX - 1);
		copy_name(buffer + start + slash, name, size);
	} else {
		if (size > NAME_SIZE_MAX) {
			name += size - NAME_SIZE_MAX;
			size = NAME_SIZE_MAX;
			slash = false;
			found->room = 0;
		}
		start = (found->start - size - slash) & (PATH_SIZE_MAX - 1);
		for_verifier(size);
		if (bpf_probe_read_kernel(buffer + start + slash, size & 255, name))
			return;
	}
	if (slash)
		buffer[start] = '/';
	found->start = start;
}

/* The same for a NUL-terminated string. It is read behind the part of the buffer that the path uses, and copied from there. */
static __always_inline void prepend_string(struct walk *walk, const char *name)
{
	struct scratch *scratch = walk->scratch;
	long size = bpf_probe_read_kernel_str(scratch->walk + PATH_SIZE_MAX, 256, name);

	if (size > 1)
		prepend_name(scratch, &scratch->found, scratch->walk + PATH_SIZE_MAX, size - 1, true);
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
	struct dentry *dentry = HELD(walk->dentry), *parent;
	struct mount *mount = walk->mount, *above;
	struct found found = walk->scratch->found;
	__u32 sequence;

	if (dentry == walk->root) {
		above = READ(mount, mnt_parent);
		if (!above || above == mount) {
			walk->ended = 1;
			return 1;
		}
		begin_mount(walk, above, READ(mount, mnt_mountpoint));
		return 0;
	}
	sequence = OF(dentry, d_seq.seqcount.sequence) & ~1;	/* even, or it does not come back */
	parent = OF(dentry, d_parent);
	if (!parent || parent == dentry) {
		/* Outside of its mount. Of a memfd, the bare name is all there is; of a pipe, not even that. */
		if (!found.full_size && OF(dentry, d_name.len))
			prepend_name(walk->scratch, &walk->scratch->found, OF(dentry, d_name.name), OF(dentry, d_name.len), false);
		walk->ended = 2;
		return 1;
	}
	prepend_name(walk->scratch, &found, OF(dentry, d_name.name), OF(dentry, d_name.len), true);
	/* Once more where a rename came in between: name and size, or name and folder, may not belong together. */
	if (OF(dentry, d_seq.seqcount.sequence) != sequence)
		return 0;
	walk->scratch->found = found;
	walk->dentry = parent;
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
	struct found *found = &scratch->found;
	__u64 size = PATH_SIZE_MAX - found->start;

	if (!found->full_size && walk->ended) {	/* the root itself */
		scratch->walk[0] = '/';
		append_text(scratch, text, scratch->walk, 1);
		return;
	}
	if (size > PATH_SIZE_MAX)
		return;
	append_text(scratch, text, scratch->walk + (found->start & (PATH_SIZE_MAX - 1)), size);
	text->full_size = found->full_size + !walk->ended;
}

static __always_inline void begin_walk(struct scratch *scratch, struct walk *walk, __u32 room)
{
	walk->scratch = scratch;
	scratch->found = (struct found){ .start = PATH_SIZE_MAX, .room = room };
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

/* Finds a path; it stands in scratch->walk from scratch->found.start on. */
static __always_inline void walk_path(struct scratch *scratch, struct walk *walk, struct vfsmount *mnt, struct dentry *dentry,
				      int inlined)
{
	begin_walk(scratch, walk, PATH_SIZE_MAX);
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

/* Appends a path that an object of the kernel holds; nothing when there is none. */
static __always_inline void append_path(struct scratch *scratch, struct text *text, const struct path *path)
{
	struct vfsmount *mnt = READ_AT(&path->mnt);
	struct dentry *dentry = READ_AT(&path->dentry);

	if (mnt && dentry)
		append_path_at(scratch, text, (__u64)mnt, (__u64)dentry);
}

/* Appends a cgroup's path in the unified hierarchy. */
static __noinline int append_cgroup(struct scratch *scratch, struct text *text, struct kernfs_node *node)
{
	struct walk walk = { .node = node };

	if (!node)
		return 0;
	begin_walk(scratch, &walk, CGROUP_SIZE_MAX);
	bpf_loop(CGROUP_DEPTH_MAX, cgroup_step, &walk, 0);
	append_walk(scratch, text, &walk);
	return 0;
}

#endif
