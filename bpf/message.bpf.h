/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the sensor tells the programs while they run. Maps that only programs can write keep root's hands off; this program
 * writes for whoever runs it, and counts those who are not the sensor, so that this one sees it.
 */
#ifndef WARDER_MESSAGE_BPF_H
#define WARDER_MESSAGE_BPF_H

#include "emit.bpf.h"

/* Run by BPF_PROG_TEST_RUN. Returns 0, or 1 for a message that is to nothing. */
SEC("syscall")
int on_message(struct message *message)
{
	__u32 zero = 0, number = message->block;
	struct own_processes *own = bpf_map_lookup_elem(&own_processes, &zero);
	struct block *block = bpf_map_lookup_elem(&memory, &number);

	if (!own || !block)
		return 1;
	if (!is_process(bpf_get_current_task_btf(), own->sensor, own->sensor_start))
		__sync_fetch_and_add(&own->strangers, 1);
	if (message->to == TO_OWN)
		__builtin_memcpy(own, message->words, __builtin_offsetof(struct own_processes, strangers));
	else if (message->to == TO_MEMORY)
		__builtin_memcpy(block, message->words, sizeof(*block));
	else
		return 1;
	return 0;
}

#endif
