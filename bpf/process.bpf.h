/* SPDX-License-Identifier: GPL-2.0-only */
/* The process family: exec, fork, exit, and the snapshot of what is running already. */
#ifndef WARDER_PROCESS_BPF_H
#define WARDER_PROCESS_BPF_H

#include "path.bpf.h"

enum {
	/* The snapshot's records pass through a seq_file of eight pages: 4 paths, a cgroup and these must fit. */
	SNAPSHOT_ARGS_HEAD_SIZE_MAX = 4096,
	SNAPSHOT_ARGS_TAIL_SIZE_MAX = 4096,
	ENV_STEPS_MAX = 16384,
};

/*
 * Who asked. The number of the system call says nothing: the kernel itself writes that of execve over it. A name made for a
 * descriptor betrays execveat, and only a kernel thread executes without having been executed.
 */
static __always_inline __u32 exec_source(struct task_struct *task, struct linux_binprm *bprm)
{
	if (task->self_exec_id == 1)
		return SOURCE_KERNEL;
	return READ(bprm, fdpath) ? SOURCE_EXECVEAT : SOURCE_EXECVE;
}

/* As /proc/PID/ns/pid shows it: the namespace the process lives in, not the one its children get. */
static __always_inline __u32 pid_namespace(struct task_struct *task)
{
	struct pid *pid = READ(task, thread_pid);
	__u64 numbers = bpf_core_field_offset(struct pid, numbers);
	struct upid *upid = (void *)pid + numbers + READ(pid, level) * bpf_core_type_size(struct upid);

	return READ(upid, ns, ns.inum);
}

/* As stat(2) shows it (the kernel's new_encode_dev). */
static __always_inline __u64 user_device(__u32 device)
{
	__u32 major = device >> 20, minor = device & 0xfffff;

	return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

static __always_inline void append_exe(struct scratch *scratch, struct text *text, struct task_struct *task)
{
	struct file *file = READ(task, mm, exe_file);

	append_path(scratch, text, &file->f_path);
}

static __always_inline void fill_executable(struct scratch *scratch, struct exec_record *record, struct task_struct *task)
{
	struct file *file = READ(task, mm, exe_file);
	struct inode *inode = READ(file, f_inode);

	record->inode = READ(inode, i_ino);
	record->device = user_device(READ(inode, i_sb, s_dev));
	record->nlink = READ(inode, i_nlink);
	record->mode = READ(inode, i_mode);
	record->owner_uid = READ(inode, i_uid.val);
	record->owner_gid = READ(inode, i_gid.val);
	record->fileless = file && record->nlink == 0;
	append_exe(scratch, &record->exe_path, task);
}

/* All that exec and snapshot share, up to the paths. */
static __always_inline void fill_image(struct scratch *scratch, struct exec_record *record, struct task_struct *task)
{
	const struct cred *cred = READ(task, cred);
	struct task_struct *parent = READ(task, real_parent);
	struct fs_struct *fs = READ(task, fs);

	bpf_core_read(&record->cap_effective, sizeof(record->cap_effective), &cred->cap_effective);
	record->auid = bpf_core_field_exists(task->loginuid) ? READ(task, loginuid.val) : -1;
	record->session_id = bpf_core_field_exists(task->sessionid) ? READ(task, sessionid) : -1;
	record->pid_namespace = pid_namespace(task);
	record->mnt_namespace = READ(task, nsproxy, mnt_ns, ns.inum);
	record->net_namespace = READ(task, nsproxy, net_ns, ns.inum);
	record->user_namespace = READ(cred, user_ns, ns.inum);
	record->cgroup_id = READ(task, cgroups, dfl_cgrp, kn, id);
	read_comm(record->parent_comm, READ(parent, group_leader));

	fill_executable(scratch, record, task);
	append_exe(scratch, &record->parent_exe_path, parent);
	if (settings.collect_cwd)
		append_path(scratch, &record->cwd, &fs->pwd);
	append_path(scratch, &record->root, &fs->root);
	if (record->root.size == 1) {	/* "/", like almost everybody's */
		record->root.size = record->root.full_size = 0;
		scratch->size -= 1;
	}
}

/* One part of the argument list, from this process or (the snapshot) from another. Returns the bytes appended. */
static __always_inline __u32 append_user(struct scratch *scratch, unsigned long from, __u64 size, struct task_struct *other)
{
	long refused;

	if (size > ARGS_HEAD_SIZE_MAX)
		size = ARGS_HEAD_SIZE_MAX;
	refused = other ? bpf_copy_from_user_task(record_end(scratch), size, (void *)from, other, 0) :
			  bpf_probe_read_user(record_end(scratch), size, (void *)from);
	if (refused)
		return 0;
	scratch->size += size;
	return size;
}

/* The argument list as the new program got it, from its own memory: its beginning and, of a long one, its end. */
static __always_inline void append_args(struct scratch *scratch, struct exec_record *record, struct task_struct *task,
					struct task_struct *other, __u32 head_max, __u32 tail_max)
{
	unsigned long start = READ(task, mm, arg_start);
	unsigned long end = READ(task, mm, arg_end);
	__u64 full = end - start, head = full, tail = 0;

	if (!start || end <= start)
		return;
	if (full > head_max + tail_max) {
		head = head_max;
		tail = tail_max;
	}
	record->args.full_size = full;
	record->args.size = append_user(scratch, start, head, other);
	if (tail)
		record->args.tail_size = append_user(scratch, end - tail, tail, other);
	if (record->args.size < head || record->args.tail_size < tail)
		record->header.flags |= FLAG_ARGS_UNREADABLE;
}

struct env_walk {
	struct scratch *scratch;
	struct exec_record *record;
	unsigned long at, end;
	__u32 room;
	bool inside;	/* of an entry whose beginning has been read */
};

/* One entry of the environment, or the next part of a very long one. */
static long env_step(__u32 step, struct env_walk *walk)
{
	struct scratch *scratch = walk->scratch;
	struct env_name name = {};
	bool inside = walk->inside, named = false;
	long size;

	if (walk->at >= walk->end)
		return 1;
	size = bpf_probe_read_user_str(scratch->walk, PATH_SIZE_MAX, (void *)walk->at);
	if (size <= 0) {
		walk->record->header.flags |= FLAG_ENV_UNREADABLE;
		return 1;
	}
	/* A full buffer ends in a NUL of the helper's making: the entry goes on there. */
	walk->inside = size == PATH_SIZE_MAX;
	walk->at += walk->inside ? size - 1 : size;
	if (inside)
		return 0;
	for (__u32 i = 0; i < ENV_NAME_SIZE_MAX; i++) {
		char c = scratch->walk[i];

		if (c == '=')
			named = true;
		if (c == '=' || !c)
			break;
		name.text[i] = c;
	}
	if (!named || !bpf_map_lookup_elem(&env_names, &name))
		return 0;
	walk->record->env.full_size += walk->inside ? size + 1 : size;	/* at least */
	if (size > walk->room || size > PATH_SIZE_MAX)
		return 0;
	if (bpf_probe_read_kernel(record_end(scratch), size & (PATH_SIZE_MAX * 2 - 1), scratch->walk))
		return 0;
	walk->room -= size;
	walk->record->env.size += size;
	scratch->size += size;
	return 0;
}

static __always_inline void append_env(struct scratch *scratch, struct exec_record *record, struct task_struct *task)
{
	struct env_walk walk = {
		.scratch = scratch,
		.record = record,
		.at = READ(task, mm, env_start),
		.end = READ(task, mm, env_end),
		.room = ENV_SIZE_MAX,
	};

	bpf_loop(ENV_STEPS_MAX, env_step, &walk, 0);
}

/* Runs when the new program is in place, so its memory and credentials are the final ones. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	struct scratch *scratch = open_record(RECORD_EXEC, RING_PROCESS, sizeof(struct exec_record), task);
	const char *filename = READ(bprm, filename), *interpreter = READ(bprm, interp);
	struct exec_record *record;

	if (!scratch)
		return 0;
	record = (struct exec_record *)scratch->bytes;
	record->source = exec_source(task, bprm);
	record->args.count = READ(bprm, argc);
	fill_image(scratch, record, task);
	append_string(scratch, &record->filename, filename);
	if (interpreter != filename)	/* replaced for each #! line and each binfmt_misc handler */
		append_string(scratch, &record->interpreter, interpreter);
	append_cgroup(scratch, &record->cgroup, READ(task, cgroups, dfl_cgrp, kn));
	if (settings.collect_args)
		append_args(scratch, record, task, 0, ARGS_HEAD_SIZE_MAX, ARGS_TAIL_SIZE_MAX);
	if (settings.collect_env)
		append_env(scratch, record, task);
	submit_record(scratch, &process_ring);
	return 0;
}

/* Runs for threads too; a thread is not a process. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *creator, struct task_struct *child)
{
	struct task_struct *parent = READ(child, real_parent, group_leader);
	struct scratch *scratch;
	struct fork_record *record;

	if (child->tgid != child->pid)
		return 0;
	scratch = open_record(RECORD_FORK, RING_PROCESS, sizeof(struct fork_record), child);
	if (!scratch)
		return 0;
	record = (struct fork_record *)scratch->bytes;
	record->creator = process_key(creator);
	record->creator_tid = creator->pid;
	read_comm(record->creator_comm, creator);
	read_comm(record->parent_comm, parent);
	append_exe(scratch, &record->exe_path, child);
	submit_record(scratch, &process_ring);
	return 0;
}

/* Does the last thread of the process go? True once for a process. */
static __always_inline bool last_thread(unsigned long long *ctx, struct task_struct *task)
{
	struct process_key key;
	__u8 reported = 1;

	if (bpf_core_type_matches(btf_trace_sched_process_exit))
		return ctx[1];
	/* Two threads that end at once may both see that none is left. */
	if (READ(task, signal, live.counter))
		return false;
	key = process_key(task);
	return bpf_map_update_elem(&exited, &key, &reported, BPF_NOEXIST) == 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(unsigned long long *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct scratch *scratch;
	struct exit_record *record;

	if (!last_thread(ctx, task))
		return 0;
	scratch = open_record(RECORD_EXIT, RING_PROCESS, sizeof(struct exit_record), task);
	if (!scratch)
		return 0;
	record = (struct exit_record *)scratch->bytes;
	/* As wait(2) sees it: what exit_group or a signal left for all, else what the first thread left. */
	record->status = READ(task, signal, flags) & SIGNAL_GROUP_EXIT ?
				 READ(task, signal, group_exit_code) :
				 READ(task, group_leader, exit_code);
	append_exe(scratch, &record->exe_path, task);
	submit_record(scratch, &process_ring);
	return 0;
}

/*
 * Writes one record per process to whoever reads the iterator. Sleepable, because arguments may have to be paged in: from what,
 * the process decides. A file system that never answers is possible, so whoever waits finds the process's name in `reading`.
 */
SEC("iter.s/task")
int on_snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct ring_entry entry = {};
	struct own_processes *own;
	struct scratch *scratch;
	struct exec_record *record;
	__u64 reader = bpf_get_current_pid_tgid();
	__u32 zero = 0, aside = (__u32)reader != reader >> 32;
	__u64 padding = 0;
	__u64 size;

	own = bpf_map_lookup_elem(&own_processes, &zero);
	if (!own || !task || task->tgid != task->pid)
		return 0;
	scratch = bpf_map_lookup_elem(&snapshot_scratch, &aside);
	if (!scratch)
		return 0;
	scratch->size = sizeof(*record);
	__builtin_memset(scratch->bytes, 0, sizeof(*record));
	record = (struct exec_record *)scratch->bytes;
	fill_header(&record->header, RECORD_SNAPSHOT, task);
	fill_image(scratch, record, task);
	append_cgroup(scratch, &record->cgroup, READ(task, cgroups, dfl_cgrp, kn));
	if (own->bare) {
		record->header.flags |= FLAG_ARGS_UNREADABLE;
	} else if (settings.collect_args && READ(task, mm)) {
		own->reading = task->tgid;
		append_args(scratch, record, task, task, SNAPSHOT_ARGS_HEAD_SIZE_MAX, SNAPSHOT_ARGS_TAIL_SIZE_MAX);
		own->reading = 0;
	}

	size = scratch->size;
	if (size > RECORD_SIZE_MAX)
		return 0;
	entry.size = size;
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	bpf_seq_write(ctx->meta->seq, scratch->bytes, size);
	bpf_seq_write(ctx->meta->seq, &padding, -size & 7);
	return 0;
}

#endif
