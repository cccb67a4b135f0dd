/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The contract between the kernel side, the sensor and the evaluator: every byte that crosses a border is laid out here.
 *
 * `bun run abi` compiles this header, reads its BTF and writes event.gen.ts from it; nobody writes a layout twice.
 * A hash over all of it, the event ABI, opens every stream and every capture.
 *
 * Rules for this file: only __u8 to __u64, __s32, __s64, char[N] and structs of these; no member is ever an enum, a bit-field
 * or a pointer; padding has a name; numbers are never reused. A member of type `struct text` or `struct text_list` announces
 * bytes in the record's variable part, which follows the struct, in the order of the members.
 */
#ifndef WARDER_EVENT_H
#define WARDER_EVENT_H

#include <linux/types.h>

/* ---- limits ------------------------------------------------------------------------------------------------------ */

enum limit {
	CPUS_MAX = 1024,		/* CPUs that can be counted */
	RINGS_MAX = 4,			/* ring buffers that a stream can carry */
	KINDS_MAX = 128,		/* record kinds; a kind is an index into the counters */
	PATH_SIZE_MAX = 4096,		/* bytes of a path in a record; its end is kept (kernel: PATH_MAX) */
	ARGS_HEAD_SIZE_MAX = 24576,	/* bytes kept of the beginning of an argument list */
	ARGS_TAIL_SIZE_MAX = 8192,	/* bytes kept of the end of one that is longer */
	ENV_SIZE_MAX = 4096,		/* bytes of allow-listed environment entries */
	ENV_NAMES_MAX = 16,		/* names in the environment's allow-list */
	ENV_NAME_SIZE_MAX = 32,		/* bytes of such a name, with its NUL */
	FILTER_SIZE_MAX = 248,		/* bytes of a path that are compared with a filter, with the '/' at its end */
	CGROUP_SIZE_MAX = 512,		/* bytes of a cgroup's path; its end is kept */
	RECORD_SIZE_MAX = 65536,	/* bytes of one record, all in all */
	FRAME_SIZE_MAX = 1048576,	/* bytes of a frame's payload */
};

/* ---- records: what happened -------------------------------------------------------------------------------------- */

/* Grouped by family: 1-31 process, 32-63 file, 64-95 network. */
enum record_kind {
	RECORD_EXEC = 1,	/* a program was executed */
	RECORD_FORK = 2,	/* a process was created; threads are not processes */
	RECORD_EXIT = 3,	/* the last thread of a process ended */
	RECORD_SNAPSHOT = 4,	/* a process that was running when the evaluator connected; the layout of RECORD_EXEC */

	RECORD_FILE_OPEN = 32,		/* a file was opened */
	RECORD_FILE_WRITE = 33,		/* a process wrote to a file, for the first time or again after a while */
	RECORD_FILE_RENAME = 34,	/* a name moved */
	RECORD_FILE_UNLINK = 35,	/* a name was removed */

	RECORD_CONNECT = 64,	/* a connection was attempted */
	RECORD_BIND = 65,	/* a socket got a local address */
	RECORD_LISTEN = 66,	/* a socket accepts connections */
	RECORD_ACCEPT = 67,	/* a connection was accepted */
};

enum ring {
	RING_PROCESS = 0,	/* the process family: no flood of another kind can cost one of these */
	RING_ACTIVITY = 1,	/* files and network */
};

/* Facts about a whole record, in record_header.flags. */
enum record_flag {
	FLAG_KERNEL_THREAD = 1,		/* the process is a thread of the kernel: it has no executable and no arguments */
	FLAG_ARGS_UNREADABLE = 2,	/* the argument list could not be read (paged out, or its file system does not answer) */
	FLAG_ENV_UNREADABLE = 4,	/* the same for the environment */
	FLAG_CANARY = 8,		/* an act of the sensor, to see that this hook still reports: never an event */
	FLAG_LINEAGE = 16,		/* of a kind that settings switch off: told for the lineage of other events only */
};

/* Who asked for an exec. */
enum exec_source {
	SOURCE_UNKNOWN = 0,	/* the process was there before the sensor */
	SOURCE_EXECVE = 1,
	SOURCE_EXECVEAT = 2,	/* of a descriptor, or relative to one; relative to the working directory it is an execve */
	SOURCE_KERNEL = 3,	/* the kernel itself (a user-mode helper) */
};

/*
 * Which process, so that a reused number is another process: thread group id and the start time (boot clock, ns) of its leader.
 * All zeros where the kernel could not tell.
 */
struct process_key {
	__u64 start_time;
	__u32 tgid;
	__u32 reserved;
};

/* `size` bytes are in the record's variable part, the kernel had `full_size`. A smaller size means truncated. */
struct text {
	__u32 size;
	__u32 full_size;
};

/* NUL-terminated strings: the first `size` bytes, then the last `tail_size` of `full_size`; `count` strings in all (0: unknown). */
struct text_list {
	__u32 size;
	__u32 tail_size;
	__u32 full_size;
	__u32 count;
};

/* Opens every record. All of it is about the process that the record is about: for a fork, that is the child. */
struct record_header {
	__u64 sequence;			/* per CPU and ring, taken before space is reserved: a hole is a loss */
	__u64 time;			/* boot clock, ns */
	__u16 kind;			/* enum record_kind */
	__u16 cpu;
	__u32 flags;			/* enum record_flag */
	struct process_key process;
	struct process_key parent;	/* the real parent at this moment */
	__u32 tid;			/* the thread that acted */
	__u32 exec_id;			/* counts the programs this process and its forebears have executed: names the image */
	__u32 uid;			/* real ids, in the initial user namespace, and effective ones below */
	__u32 gid;
	__u32 euid;
	__u32 egid;
	char comm[16];			/* of the thread that acted */
};

/* RECORD_EXEC and RECORD_SNAPSHOT. What a snapshot cannot know (source, filename, interpreter) is empty there. */
struct exec_record {
	struct record_header header;
	__u64 cap_effective;		/* bit N is capability N */
	__u64 cgroup_id;
	__u64 inode;			/* of the executable, like device, nlink, mode and owner */
	__u64 device;			/* as stat(2) shows it in st_dev */
	__u32 nlink;
	__u32 mode;			/* file type and permission bits, as in st_mode */
	__u32 owner_uid;
	__u32 owner_gid;
	__u32 fileless;			/* 1: the executable is a memfd or has no name left */
	__u32 source;			/* enum exec_source */
	__u32 auid;			/* login uid; 4294967295 when there was no login */
	__u32 session_id;		/* audit session; 4294967295 when there is none */
	__u32 pid_namespace;		/* namespaces by the inode number seen in /proc/PID/ns */
	__u32 mnt_namespace;
	__u32 net_namespace;
	__u32 user_namespace;
	char parent_comm[16];		/* of the parent's first thread */
	struct text exe_path;		/* the file that runs, from the root of its mount namespace */
	struct text parent_exe_path;
	struct text cwd;
	struct text root;		/* the process's root directory, when chroot has changed it; else empty */
	struct text filename;		/* as the caller passed it: may be relative, may be a script */
	struct text interpreter;	/* what runs a script or a foreign binary; empty for others */
	struct text cgroup;		/* path in the unified hierarchy */
	struct text_list args;
	struct text_list env;		/* only entries whose names are allowed by the settings */
};

/* RECORD_FORK: header.process is the child, header.parent its real parent; the creator differs from it under CLONE_PARENT. */
struct fork_record {
	struct record_header header;
	struct process_key creator;
	__u32 creator_tid;
	__u32 reserved;
	char creator_comm[16];
	char parent_comm[16];
	struct text exe_path;		/* of the child: its creator's, until it executes another */
};

/* RECORD_EXIT */
struct exit_record {
	struct record_header header;
	__u32 status;			/* as wait(2) gives it to the parent */
	__u32 reserved;
	struct text exe_path;		/* empty before Linux 6.16, where the hook runs after the memory is gone */
};

/* The call that did it, whatever its number is for the program that made it. */
enum call {
	CALL_UNKNOWN = 0,
	CALL_OPEN = 1,
	CALL_CREAT = 2,
	CALL_OPENAT = 3,
	CALL_OPENAT2 = 4,
	CALL_OPEN_BY_HANDLE_AT = 5,
	CALL_WRITE = 16,
	CALL_PWRITE64 = 17,
	CALL_WRITEV = 18,
	CALL_PWRITEV = 19,
	CALL_PWRITEV2 = 20,
	CALL_SENDFILE = 21,
	CALL_SPLICE = 22,
	CALL_COPY_FILE_RANGE = 23,
	CALL_MMAP = 24,
	CALL_IO_URING = 25,		/* a request in a ring, done by the kernel when it likes */
	CALL_IO_SUBMIT = 26,
	CALL_MPROTECT = 27,
	CALL_RENAME = 32,
	CALL_RENAMEAT = 33,
	CALL_RENAMEAT2 = 34,
	CALL_UNLINK = 40,
	CALL_UNLINKAT = 41,
	CALL_RMDIR = 42,
	CALL_CONNECT = 48,
	CALL_BIND = 49,
	CALL_LISTEN = 50,
	CALL_ACCEPT = 51,
	CALL_ACCEPT4 = 52,
	CALL_SOCKETCALL = 53,		/* i386's envelope for the five above; a record names the call inside */
};

/* The RECORD_FILE_* kinds. */
struct file_record {
	struct record_header header;
	__u64 inode;
	__u64 device;		/* as stat(2) shows it in st_dev */
	__u64 count;		/* bytes of the write */
	__u32 mode;		/* file type and permission bits, as in st_mode */
	__u32 nlink;
	__u32 flags;		/* of the open, as in <fcntl.h> */
	__u32 created;		/* 1: the open created the file */
	__u32 call;		/* enum call */
	__s32 error;		/* 0, or the errno of a call that failed */
	struct text path;	/* from the root of the mount namespace; of a rename, the old name */
	struct text new_path;	/* of a rename */
	struct text filename;	/* of an open, as the caller passed it; empty when it could not be read */
};

/* RECORD_CONNECT to RECORD_ACCEPT. Addresses are in network order; an IPv4 address takes the first four bytes. */
struct network_record {
	struct record_header header;
	__u16 family;		/* AF_INET, AF_INET6 or AF_UNIX */
	__u16 type;		/* SOCK_STREAM, SOCK_DGRAM ... */
	__u16 protocol;		/* IPPROTO_TCP, IPPROTO_UDP ... */
	__u16 local_port;	/* in host order, like the other */
	__u16 remote_port;
	__u16 reserved;
	__u32 backlog;		/* of a listen */
	__s32 fd;
	__s32 error;		/* 0, or the errno of a call that failed or has not ended (EINPROGRESS) */
	__u32 call;		/* enum call */
	__u32 requested;	/* 1: the remote address is the one the caller asked for, because the socket kept none */
	__u8 local_addr[16];
	__u8 remote_addr[16];
	struct text path;	/* of a Unix socket: the listening end's name; begins with a NUL when it is abstract */
};

/* ---- counters: what did not become a record ---------------------------------------------------------------------- */

/* attempts = submitted + lost + discarded, at rest. Never reset while the programs stay attached. */
struct kind_counters {
	__u64 attempts;		/* a hook fired and its event is wanted */
	__u64 submitted;	/* it is in the ring */
	__u64 lost;		/* the ring was full */
	__u64 discarded;	/* it could not be put together: no scratch memory was free on this CPU */
	__u64 filtered;		/* left out by settings, before attempts */
	__u64 unheard;		/* of those lost and discarded: acts of the sensor, FLAG_CANARY */
};

/* One CPU's row of the counters. */
struct cpu_counters {
	__u64 sequence[RINGS_MAX];	/* the next sequence number */
	struct kind_counters kinds[KINDS_MAX];
};

/* ---- the stream: socket, capture and replay are the same bytes --------------------------------------------------- */

/* The first bytes of every stream; the line end shows a transfer that has changed line ends. */
#define STREAM_MAGIC "WARDER\r\n"

/*
 * A stream is one preamble, then frames. Records come in rounds: of each ring what was in it at one moment, first all of
 * RING_PROCESS, then all of RING_ACTIVITY.
 */
struct stream_preamble {
	char magic[8];		/* STREAM_MAGIC */
	char abi[32];		/* the event ABI: the first half of a SHA-256, in hex */
	__u8 boot_id[16];
	__u8 host_id[16];	/* keyed hash of the machine id; zeros where there is none */
	__u64 instance;		/* names the ring buffers; positions of another instance cannot be compared */
	__u64 attached;		/* boot clock, ns: since when the programs of this instance have been in the kernel */
	__u32 cpus;		/* possible CPUs of the host */
	__u32 checksums;	/* 1: every frame carries one, as in a capture; 0: none does, as on a socket */
};

enum frame_type {
	FRAME_RECORDS = 1,	/* a span of ring memory, untouched */
	FRAME_SNAPSHOT = 2,	/* records of running processes, each behind a ring_entry as in a ring; sent before any FRAME_RECORDS */
	FRAME_COVERAGE = 3,	/* JSON: what is observed on this host, and what not */
	FRAME_CLOCK = 4,	/* struct clock_frame */
	FRAME_COUNTERS = 5,	/* struct counters_frame, then `cpus` times struct cpu_counters */
	FRAME_END = 6,		/* empty: the sender closed the stream on purpose, or its reader did; a stream without it was cut */
	FRAME_LOSERS = 7,	/* struct loser, some of them: sent before the counters when records were lost */
	FRAME_TAKEN = 8,	/* struct taken_frame, then `cpus` times struct cpu_counters; sent before the first counters */
};

struct frame_header {
	__u16 type;		/* enum frame_type */
	__u16 ring;		/* enum ring, for FRAME_RECORDS */
	__u32 size;		/* bytes of payload that follow */
	__u64 position;		/* FRAME_RECORDS: the ring's consumer position at the first byte */
	__u32 checksum;		/* CRC-32 of the stream from its first byte to the frame's last, checksums read as 0 */
	__u32 more;		/* FRAME_RECORDS: 1 while the round goes on; FRAME_END, in a capture: 1 where the stream was cut */
};

/* Before each record in a ring: the kernel's struct bpf_ringbuf_hdr. The next one is at the next multiple of 8. */
struct ring_entry {
	__u32 size;		/* of the record; bit 31: not yet committed, bit 30: discarded */
	__u32 page_offset;	/* the kernel's own */
};

/* From here on, wall time = boot time + offset. Sent first, and whenever the wall clock was set. */
struct clock_frame {
	__u64 time;		/* boot clock, ns */
	__s64 wall_offset;	/* ns */
};

/* What was done to the sensor's things, in counters_frame.tampered. */
enum tamper {
	TAMPER_PINS = 1,		/* pins were removed, or their file system was unmounted */
	TAMPER_OWN = 2,			/* somebody else sent messages to the kernel side, such as which processes are the sensor's */
	TAMPER_POSITION = 4,		/* somebody else moved a ring's consumer position */
	TAMPER_CANARY = 8,		/* an act of the canary failed: its folder or its program is gone */
	TAMPER_ARGS = 16,		/* the arguments of a running process could not be read to an end: the snapshot has none */
};

/*
 * Sent at the start, every second, and at the end: what the kernel counted until now. Each row of counters is of one moment:
 * attempts of a ring's kinds = its sequence, or a program was running whenever it was read.
 */
struct counters_frame {
	__u64 time;		/* boot clock, ns */
	__u64 producer_position[RINGS_MAX];	/* of each ring, read after the counters */
	__u64 sent_position[RINGS_MAX];	/* records below it came before in this stream, or were acknowledged before it */
	__u64 redeliver_until[RINGS_MAX];	/* records below this position may have reached an earlier evaluator */
	__u64 waiting[RINGS_MAX];	/* in a stream's first counters: how many records are in each ring and not yet in this stream */
	__u64 refused;		/* connections that were refused since this sensor began to serve */
	__u32 tampered;		/* enum tamper */
	__u32 detached[KINDS_MAX / 32];	/* bit N of all: a hook of kind N is not attached any more */
	__u32 abandoned;	/* 1: the rings go with this sensor; what is in them and not in this stream is nobody's any more */
	__u64 missed[KINDS_MAX];	/* hooks that fired while their program ran already; [0] those that serve several kinds */
	__u64 canaries[KINDS_MAX];	/* acts of this sensor that a hook of this kind had to report, FLAG_CANARY */
};

/*
 * What an earlier evaluator has acknowledged last, and what it owes: what is between that and the first counters, nobody has
 * told. Zeros but for the time where there was no such evaluator.
 */
struct taken_frame {
	__u64 time;		/* of the counters that it has taken; else when the programs were attached */
	__u64 missed[KINDS_MAX];	/* as in those counters */
	__u64 unread[RINGS_MAX];	/* records in the rings of programs that these have replaced: nobody has acknowledged them */
	__u64 unwritten_events;	/* it could not write so many, and not even say so */
	__u64 unwritten_alerts;
};

/* Whose records were lost: counted since the programs were attached, for as many as the kernel side remembers. */
struct loser {
	char comm[16];
	__u32 kind;
	__u32 reserved;
	__u64 lost;
};

/* The only thing that a sensor reads from its peer: what it need not keep for another one. */
struct acknowledgement {
	__u64 position[RINGS_MAX];	/* all records of the ring before it were written out; 0: nothing to say yet */
	__u64 counters;		/* time of the last counters of this stream whose losses are told; 0: of none yet */
	__u64 unwritten_events;	/* that could not be written, as no line says yet */
	__u64 unwritten_alerts;
};

#endif
