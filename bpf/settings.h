/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the sensor tells the programs before it loads them. Constants from then on, so that what is off costs nothing. */
#ifndef WARDER_SETTINGS_H
#define WARDER_SETTINGS_H

#include <linux/types.h>

struct kernel_settings {
	__u32 collect_args;
	__u32 collect_cwd;
	__u32 collect_env;
	__u32 call_kinds[4];		/* bit N of all: records of kind N are wanted, and served by the end of their calls */
	__u32 lineage_kinds;		/* bit N: records of kind N are told for the lineage of others, FLAG_LINEAGE */
	__u32 watched_paths;		/* how many entries the filters have; with 0 in both watch lists, everything passes */
	__u32 watched_suffixes;
	__u32 excluded_paths;
	__u32 excluded_comms;
	__u32 every_write;		/* 1: not only the first of a process and file */
	__u32 failed_network;		/* 1: connections that failed, too */
	__u32 failed_files;		/* 1: calls on files that failed, too; they are all served by the end of their calls then */
	__u32 reserved;
	__u64 write_window;		/* ns, after which a write counts as a first one again */
};

/* The sensor and the evaluator it serves, as the kernel side was told last. */
struct own_processes {
	__u32 sensor;		/* process ids; what these two write for their reader is no event */
	__u32 evaluator;
	__u64 sensor_start;	/* when they started, in hundredths of a second since boot; 0: unknown, any process of this id */
	__u64 evaluator_start;
	__u32 canary;		/* 1 while the sensor's first thread acts as a canary */
	__u32 bare;		/* 1: a snapshot without arguments is wanted */
	__u64 strangers;	/* messages of processes that were not the sensor by then: of each new sensor its first one */
	__u32 reading;		/* the process whose arguments are being read for a snapshot, which may take for ever; 0: none */
	__u32 reserved;
};

enum {
	MESSAGE_WORDS = 64,	/* of a message: what is longer comes in blocks */
};

/* What a message is about. */
enum message_to {
	TO_OWN = 1,	/* a struct own_processes, as far as its count */
	TO_MEMORY = 2,	/* a block of what the sensor remembers while its programs are in the kernel */
};

/* What the sensor tells the programs while they run: the only way to write what root cannot. */
struct message {
	__u32 to;		/* enum message_to */
	__u32 block;
	__u64 words[MESSAGE_WORDS];
};

#endif
