/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of every record: filter, take a sequence number, claim scratch memory, fill, submit. Each step that fails is
 * counted by CPU and kind, so that attempts = submitted + lost + discarded.
 */
#ifndef WARDER_EMIT_BPF_H
#define WARDER_EMIT_BPF_H

#include "kernel.h"
#include "event.h"
#include "maps.bpf.h"

/* A process, by its first thread: the key of every table. */
static __always_inline struct process_key process_key(struct task_struct *task)
{
	struct process_key key = {
		.tgid = READ(task, tgid),
		.start_time = READ(task, group_leader, start_boottime),
	};

	return key;
}

/* The name of a thread, with what lies behind its NUL. */
static __always_inline void read_comm(char *comm, struct task_struct *task)
{
	const __u64 *from = (const __u64 *)task->comm;
	__u64 *to = (__u64 *)comm;

	to[0] = READ_AT(from);
	to[1] = READ_AT(from + 1);
}

/* The sensor acts, to see what its hooks report: who it is; NULL when it does not. */
static __always_inline struct own_processes *acting_sensor(void)
{
	__u32 zero = 0;
	struct own_processes *own = bpf_map_lookup_elem(&own_processes, &zero);

	return own && own->canary ? own : 0;
}

/* As /proc/PID/stat shows it: how the sensor knows when a process began. */
#define NS_PER_CLOCK_TICK 10000000

/* Is this the process of that id, and not a later one that got the same? */
static __always_inline bool is_process(struct task_struct *task, __u32 tgid, __u64 start)
{
	if ((__u32)READ(task, tgid) != tgid)
		return false;
	return !start || READ(task, group_leader, start_boottime) / NS_PER_CLOCK_TICK == start;
}

/* Is it the acting sensor's first thread, which acts on files and sockets? */
static __always_inline bool is_actor(struct own_processes *own, struct task_struct *task)
{
	return own && is_process(task, own->sensor, own->sensor_start) && (__u32)task->pid == own->sensor;
}

/* Is it the child that this thread starts and waits for? What its loader opens is not part of the act. */
static __always_inline bool is_actors_child(struct own_processes *own, struct task_struct *task)
{
	return own && is_process(READ(task, real_parent), own->sensor, own->sensor_start);
}

/* Is what this task does to a file or a socket an act of the sensor? */
static __always_inline bool is_canary(struct task_struct *task)
{
	return is_actor(acting_sensor(), task);
}

/* Is what this task does an act of the sensor, or a part of one? */
static __always_inline bool is_act(struct task_struct *task)
{
	struct own_processes *own = acting_sensor();

	return is_actor(own, task) || is_actors_child(own, task);
}

static __always_inline void fill_header(struct record_header *header, __u16 kind, struct task_struct *task)
{
	const struct cred *cred = READ(task, cred);

	header->time = bpf_ktime_get_boot_ns();
	header->kind = kind;
	header->flags = task->flags & PF_KTHREAD ? FLAG_KERNEL_THREAD : 0;
	if (is_act(task))
		header->flags |= FLAG_CANARY;
	if (settings.lineage_kinds >> (kind & 31) & 1 && kind < 32)
		header->flags |= FLAG_LINEAGE;
	header->process = process_key(task);
	header->parent = process_key(READ(task, real_parent));
	header->tid = task->pid;
	header->exec_id = task->self_exec_id;
	header->uid = READ(cred, uid.val);
	header->gid = READ(cred, gid.val);
	header->euid = READ(cred, euid.val);
	header->egid = READ(cred, egid.val);
	read_comm(header->comm, task);
}

static __always_inline struct kind_counters *kind_counters(__u32 cpu, __u16 kind)
{
	struct cpu_counters *row = bpf_map_lookup_elem(&counters, &cpu);

	if (!row)
		return 0;
	for_verifier(row);
	return &row->kinds[kind & (KINDS_MAX - 1)];
}

/* Something was to be reported, and there is no memory to do it in. */
static __always_inline void count_discarded(__u16 kind, __u32 ring)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *row = bpf_map_lookup_elem(&counters, &cpu);

	if (!row)	/* more CPUs than CPUS_MAX: the sensor refuses to start there */
		return;
	__sync_fetch_and_add(&row->kinds[kind & (KINDS_MAX - 1)].attempts, 1);
	__sync_fetch_and_add(&row->kinds[kind & (KINDS_MAX - 1)].discarded, 1);
	__sync_fetch_and_add(&row->sequence[ring], 1);
	if (is_act(bpf_get_current_task_btf()))
		__sync_fetch_and_add(&row->kinds[kind & (KINDS_MAX - 1)].unheard, 1);
}

/* Scratch memory of this CPU, for a filter or a record of `kind`. NULL: counted as an attempt that was discarded. */
static __always_inline struct scratch *claim_scratch(__u16 kind, __u32 ring)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct scratch *scratch;

	for (__u32 i = 0; i < SCRATCHES_PER_CPU; i++) {
		__u32 slot = cpu * SCRATCHES_PER_CPU + i;

		scratch = bpf_map_lookup_elem(&scratches, &slot);
		if (scratch && __sync_val_compare_and_swap(&scratch->taken, 0, 1) == 0)
			return scratch;
	}
	count_discarded(kind, ring);
	return 0;
}

static __always_inline void release_scratch(struct scratch *scratch)
{
	__sync_lock_test_and_set(&scratch->taken, 0);
}

/* Left out by settings: known before the record is one. */
static __always_inline void count_filtered(__u16 kind)
{
	struct kind_counters *counter = kind_counters(bpf_get_smp_processor_id(), kind);

	if (counter)
		__sync_fetch_and_add(&counter->filtered, 1);
}

/* Begins a record of `fixed_size` bytes about `task` in claimed scratch memory, zeroed but for its header. */
static __always_inline void begin_record(struct scratch *scratch, __u16 kind, __u32 ring, __u64 fixed_size,
					 struct task_struct *task)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_counters *row = bpf_map_lookup_elem(&counters, &cpu);
	struct record_header *header = (struct record_header *)scratch->bytes;

	scratch->size = fixed_size;
	__builtin_memset(scratch->bytes, 0, fixed_size);
	header->cpu = cpu;
	if (row) {
		__sync_fetch_and_add(&row->kinds[kind & (KINDS_MAX - 1)].attempts, 1);
		header->sequence = __sync_fetch_and_add(&row->sequence[ring], 1);
	}
	fill_header(header, kind, task);
}

/*
 * Claims and begins. What is begun must be submitted on the same CPU: programs do not migrate while they run.
 * NULL: counted as discarded.
 */
static __always_inline struct scratch *open_record(__u16 kind, __u32 ring, __u64 fixed_size, struct task_struct *task)
{
	struct scratch *scratch = claim_scratch(kind, ring);

	if (scratch)
		begin_record(scratch, kind, ring, fixed_size, task);
	return scratch;
}

/* The ring was full: remembers whose record it was. */
static __always_inline void count_loser(struct record_header *header)
{
	struct loser_key key = { .kind = header->kind };
	__u64 none = 0, *lost;

	__builtin_memcpy(key.comm, header->comm, sizeof(key.comm));
	lost = bpf_map_lookup_elem(&losers, &key);
	if (!lost) {
		bpf_map_update_elem(&losers, &key, &none, BPF_NOEXIST);
		lost = bpf_map_lookup_elem(&losers, &key);
	}
	if (lost)
		__sync_fetch_and_add(lost, 1);
}

/* Copies the record into the ring, or counts it as lost. The scratch memory is free again. */
static __always_inline void submit_record(struct scratch *scratch, void *ring)
{
	struct record_header *header = (struct record_header *)scratch->bytes;
	struct kind_counters *counter = kind_counters(header->cpu, header->kind);
	__u64 size = scratch->size;
	long refused = -1;

	if (size <= RECORD_SIZE_MAX)
		refused = bpf_ringbuf_output(ring, scratch->bytes, size, 0);
	if (counter) {
		__sync_fetch_and_add(refused ? &counter->lost : &counter->submitted, 1);
		if (refused && header->flags & FLAG_CANARY)
			__sync_fetch_and_add(&counter->unheard, 1);
	}
	if (refused)
		count_loser(header);
	release_scratch(scratch);
}

/* Where the next variable part goes: a bounded offset, whatever the verifier believes of `size`. */
static __always_inline void *record_end(struct scratch *scratch)
{
	return scratch->bytes + (scratch->size & (RECORD_SIZE_MAX - 1));
}

enum { SHORT_SIZE_MAX = 128 };

/*
 * Copies scratch memory word by word, which costs less than a call as long as it is short. Reads and writes up to seven bytes
 * behind `size`. Returns false when it is not short.
 */
static __always_inline bool copy_own(void *to, const void *from, __u32 size)
{
	if (size > SHORT_SIZE_MAX)
		return false;
	for_verifier(size);
	for (__u32 done = 0; done < SHORT_SIZE_MAX && done < size; done += sizeof(__u64)) {
		__u64 word = *(const __u64 *)(from + done);

		for_verifier(word);	/* or the compiler calls memcpy */
		*(__u64 *)(to + done) = word;
	}
	return true;
}

/* Appends scratch memory as the whole of a text; what exceeds PATH_SIZE_MAX is cut at its end. */
static __always_inline void append_text(struct scratch *scratch, struct text *text, const void *from, __u64 size)
{
	__u64 kept = size < PATH_SIZE_MAX ? size : PATH_SIZE_MAX;

	for_verifier(kept);
	if (!copy_own(record_end(scratch), from, kept) &&
	    bpf_probe_read_kernel(record_end(scratch), kept & (2 * PATH_SIZE_MAX - 1), from))
		kept = 0;
	text->size = kept;
	text->full_size = size;
	scratch->size += kept;
}

/* The same for a NUL-terminated string of the kernel, which the NUL does not belong to. */
static __always_inline void append_string(struct scratch *scratch, struct text *text, const char *from)
{
	long size = bpf_probe_read_kernel_str(record_end(scratch), PATH_SIZE_MAX, from);

	if (size <= 1)
		return;
	text->size = size - 1;
	text->full_size = size == PATH_SIZE_MAX ? size : size - 1;	/* one more says: cut, maybe */
	scratch->size += size - 1;
}

#endif
