// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records of things that have not happened, faster than anything could happen: put together and submitted by the sensor's
 * own code, with the sensor's own maps. Sequence numbers and counters go on as if a hook had fired.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "../../bpf/event.h"
#include "../../bpf/settings.h"
#include "../../bpf/kernel.h"
#include "../../bpf/maps.bpf.h"
#include "../../bpf/emit.bpf.h"
#include "produce.h"

/* Filled in before this is loaded. */
char path[PATH_SIZE_MAX] SEC(".data.path");

#define ARGUMENTS "produced\0--config\0/etc/produced.conf\0--verbose"

/* Copied word by word: there is something behind the last one. */
static const char arguments[sizeof(ARGUMENTS) + sizeof(__u64)] = ARGUMENTS;

static __always_inline void fill_process(struct record_header *header, const struct production *wanted)
{
	__u32 process = wanted->number % wanted->processes;

	header->process.tgid = PRODUCED_TGID + process;
	header->process.start_time = PRODUCED_TGID + process;
	header->tid = header->process.tgid;
	header->exec_id = PRODUCED_EXEC_ID;
}

/* A path of its own for each of a hundred thousand records: the number stands at its end. */
static __always_inline void append_numbered(struct scratch *scratch, struct text *text, const struct production *wanted)
{
	__u64 end, digits = 0, number = wanted->number % 100000;

	append_text(scratch, text, path, wanted->path_size);
	for (int i = 0; i < 5; i++) {
		digits = digits << 8 | ('0' + number % 10);
		number /= 10;
	}
	digits = digits << 24 | '-' << 16 | '-' << 8 | '-';
	end = (scratch->size - sizeof(digits)) & (RECORD_SIZE_MAX - 1);
	bpf_probe_read_kernel(scratch->bytes + end, sizeof(digits), &digits);
}

static __always_inline void produce_open(struct task_struct *task, const struct production *wanted)
{
	struct scratch *scratch = open_record(RECORD_FILE_OPEN, RING_ACTIVITY, sizeof(struct file_record), task);
	struct file_record *record;

	if (!scratch)
		return;
	record = (struct file_record *)scratch->bytes;
	fill_process(&record->header, wanted);
	record->inode = wanted->number;
	record->device = 0xfd00;
	record->mode = S_IFREG | 0644;
	record->nlink = 1;
	record->call = CALL_OPENAT;
	append_numbered(scratch, &record->path, wanted);
	submit_record(scratch, &activity_ring);
}

static __always_inline void produce_exec(struct task_struct *task, const struct production *wanted)
{
	struct scratch *scratch = open_record(RECORD_EXEC, RING_PROCESS, sizeof(struct exec_record), task);
	struct exec_record *record;
	struct text text = {};

	if (!scratch)
		return;
	record = (struct exec_record *)scratch->bytes;
	fill_process(&record->header, wanted);
	record->inode = 1 + wanted->number % 100;
	record->mode = S_IFREG | 0755;
	record->nlink = 1;
	record->source = SOURCE_EXECVE;
	append_numbered(scratch, &record->exe_path, wanted);
	append_text(scratch, &text, arguments, sizeof(ARGUMENTS));
	record->args.size = text.size;
	record->args.full_size = text.full_size;
	record->args.count = 4;
	submit_record(scratch, &process_ring);
}

static long produce_one(__u32 index, struct production *wanted)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (wanted->kind == RECORD_EXEC)
		produce_exec(task, wanted);
	else
		produce_open(task, wanted);
	wanted->number += 1;
	return 0;
}

SEC("syscall")
int produce(struct production *asked)
{
	struct production wanted = *asked;

	if (!wanted.processes || wanted.path_size < 16 || wanted.path_size > PATH_SIZE_MAX)
		return 1;
	bpf_loop(wanted.count, produce_one, &wanted, 0);
	asked->number = wanted.number;
	return 0;
}

char license_name[] SEC("license") = "GPL";
