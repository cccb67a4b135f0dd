/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps. Those sized by the host (CPUs) or by settings get their size from the sensor before loading. */
#ifndef WARDER_MAPS_BPF_H
#define WARDER_MAPS_BPF_H

#include "event.h"
#include "settings.h"

/* A section of its own, so that the sensor finds it as a map of this name. */
const volatile struct kernel_settings settings SEC(".rodata.settings") = {};

enum {
	/*
	 * Two per CPU. One is enough where programs run with preemption off: at tracepoints, and anywhere on most kernels. Where
	 * another program can preempt one (sensor/preemption.ts), the second serves. A third is counted as discarded.
	 */
	SCRATCHES_PER_CPU = 2,
	EXITED_MAX = 16384,
	FILTERS_MAX = 4096,
	WRITES_MAX = 65536,
	COMMS_MAX = 256,
	LOSERS_MAX = 256,
};

/* A path, or one written backwards, with a '/' at its end: so that /etc is no prefix of /etcetera. */
struct path_key {
	__u32 bits;
	char text[FILTER_SIZE_MAX];
};

/* What a walk along a path has written until now, from the end of its buffer on. */
struct found {
	__u32 start;
	__u32 full_size;	/* of what was seen */
	__u32 room;		/* bytes that may be kept */
	__u32 back;		/* names that ".." has taken back, and that are still to come */
};

/*
 * Room to put one record together: too large for the stack. `bytes` has slack behind the largest record, so that the
 * verifier sees "any offset below RECORD_SIZE_MAX plus any allowed length" inside of it.
 */
struct scratch {
	__u32 taken;
	__u32 ring;
	__u64 size;				/* of the record so far */
	struct found found;			/* here, the verifier takes every value for possible, after each step the same */
	struct path_key key;			/* of a path, for the filters */
	char suffix[256];			/* the end of one, to be written backwards */
	char walk[PATH_SIZE_MAX + 256];		/* a path is written here from its end */
	__u8 bytes[RECORD_SIZE_MAX + ARGS_HEAD_SIZE_MAX] __attribute__((aligned(8)));
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024 * 1024);
} process_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024 * 1024);
} activity_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CPUS_MAX);
	__type(key, __u32);
	__type(value, struct cpu_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CPUS_MAX * SCRATCHES_PER_CPU);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/*
 * The snapshot's own: its program may sleep, and would hold a CPU's scratch meanwhile. The first is the sensor's first thread's,
 * which reads without arguments; one with them may hold the second for ever, and go on at any moment.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct scratch);
} snapshot_scratch SEC(".maps");

/* Processes whose exit was reported, on kernels whose hook does not say which thread is the last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, EXITED_MAX);
	__type(key, struct process_key);
	__type(value, __u8);
} exited SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTERS_MAX);
	__type(key, struct path_key);
	__type(value, __u8);
} watched_paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTERS_MAX);
	__type(key, struct path_key);
	__type(value, __u8);
} excluded_paths SEC(".maps");

/* Keys are written backwards. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTERS_MAX);
	__type(key, struct path_key);
	__type(value, __u8);
} watched_suffixes SEC(".maps");

struct comm {
	char text[16];
};

/* Processes of these names do nothing to files that is reported. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COMMS_MAX);
	__type(key, struct comm);
	__type(value, __u8);
} excluded_comms SEC(".maps");

/* A process and a file that it has written to. Snapshots of btrfs and layers of overlays share numbers, but no object. */
struct write_key {
	struct process_key process;
	__u64 object;
	__u64 inode;
	__u32 device;
	__u32 generation;	/* tells a file from the next one that gets its inode number */
};

/* When it was reported. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WRITES_MAX);
	__type(key, struct write_key);
	__type(value, __u64);
} writes SEC(".maps");

/* A rename or removal that a thread has begun: the names as they were, in folders that stay as they are until it has ended. */
struct pending {
	struct dentry *dentry;
	struct inode *inode;
	struct path old_folder;
	struct path new_folder;
	char old_name[256];
	char new_name[256];
};

/*
 * By thread, and gone with it: what is denied after it was noted stays noted until the thread's next one, and no thread can
 * push out the note of another.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} pending SEC(".maps");

/* A TCP connection that a thread has begun, as the socket said when it began: what the call was given may change meanwhile. */
struct begun {
	__u64 sk;		/* 0: none, or it has been reported */
	__u8 remote_addr[16];
	__u16 remote_port;
	__u16 reserved[3];
};

/* By thread, and gone with it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct begun);
} begun SEC(".maps");

/* Written for the sensor by on_message. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own_processes);
} own_processes SEC(".maps");

struct block {
	__u64 words[MESSAGE_WORDS];
};

/* So is what the sensor remembers: its layout is the sensor's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block);
} memory SEC(".maps");

/* Of struct loser. */
struct loser_key {
	char comm[16];
	__u32 kind;
	__u32 reserved;
};

/* Whose records were lost, and how many. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LOSERS_MAX);
	__type(key, struct loser_key);
	__type(value, __u64);
} losers SEC(".maps");

struct env_name {
	char text[ENV_NAME_SIZE_MAX];
};

/* Names in the environment that the settings allow to be reported. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENV_NAMES_MAX);
	__type(key, struct env_name);
	__type(value, __u8);
} env_names SEC(".maps");

#endif
