/* SPDX-License-Identifier: GPL-2.0-only */
/* What produce.c asks of produce.bpf.c. */
#ifndef WARDER_PRODUCE_H
#define WARDER_PRODUCE_H

#include <linux/types.h>

enum {
	/* The processes that records are made about: numbers that no real process has. */
	PRODUCED_TGID = 1 << 24,
	PRODUCED_EXEC_ID = 7,
};

struct production {
	__u32 kind;		/* enum record_kind: RECORD_FILE_OPEN or RECORD_EXEC */
	__u32 count;		/* records to be made by one run */
	__u32 path_size;	/* bytes of their paths, from 16 on */
	__u32 processes;	/* that they are about, by turns */
	__u64 number;		/* of the first record; counted on */
};

#endif
