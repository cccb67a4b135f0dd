// SPDX-License-Identifier: Apache-2.0
/*
 * What any evaluator has to do at least: reads a sensor's stream, counts its records, acknowledges them. The bar for ours.
 *
 *   count SOCKET       at the end, prints the beginning of what an evaluator's last line has: lost, discarded, balanced
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "../../bpf/event.h"

enum { RECORD_SIZE_MASK = 0x3fffffff };

static unsigned char payload[FRAME_SIZE_MAX];

static void fail(const char *what)
{
	fprintf(stderr, "count: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Returns 0 at the end of the stream. */
static int get(int from, void *to, size_t size)
{
	while (size > 0) {
		ssize_t got = read(from, to, size);

		if (got < 0)
			fail("read");
		if (got == 0)
			return 0;
		to = (char *)to + got;
		size -= got;
	}
	return 1;
}

static unsigned long long records_in(size_t size)
{
	unsigned long long count = 0;

	for (size_t at = 0; at + sizeof(struct ring_entry) <= size; count++) {
		const struct ring_entry *entry = (const void *)(payload + at);

		at += (sizeof(*entry) + (entry->size & RECORD_SIZE_MASK) + 7) & ~7UL;
	}
	return count;
}

/* The last counters: what the kernel side has given out, and what it has lost. */
static unsigned long long submitted, lost, discarded;

static void take_counters(size_t size)
{
	const struct cpu_counters *row = (const void *)(payload + sizeof(struct counters_frame));

	submitted = lost = discarded = 0;
	for (; (const unsigned char *)(row + 1) <= payload + size; row++) {
		for (int kind = 0; kind < KINDS_MAX; kind++) {
			submitted += row->kinds[kind].submitted;
			lost += row->kinds[kind].lost;
			discarded += row->kinds[kind].discarded;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sensor = socket(AF_UNIX, SOCK_STREAM, 0);
	struct acknowledgement taken = { 0 };
	struct stream_preamble preamble;
	struct frame_header frame;
	unsigned long long received = 0;

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "count SOCKET\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	if (connect(sensor, (void *)&address, sizeof(address)))
		fail(argv[1]);
	if (!get(sensor, &preamble, sizeof(preamble)) || memcmp(preamble.magic, STREAM_MAGIC, sizeof(preamble.magic)))
		fail("no stream");
	while (get(sensor, &frame, sizeof(frame))) {
		if (frame.size > sizeof(payload) || !get(sensor, payload, frame.size))
			fail("a frame is not whole");
		if (frame.type == FRAME_COUNTERS) {
			take_counters(frame.size);
			taken.counters = ((const struct counters_frame *)payload)->time;
		}
		if (frame.type == FRAME_RECORDS) {
			received += records_in(frame.size);
			taken.position[frame.ring] = frame.position + frame.size;
		}
		if (frame.type == FRAME_END)
			break;
		if (write(sensor, &taken, sizeof(taken)) != sizeof(taken))
			fail("write");
	}
	printf("{\"ledger\":{\"received\":%llu,\"lost\":%llu,\"discarded\":%llu,\"balanced\":%s}}\n", received, lost,
	       discarded, received == submitted ? "true" : "false");
	return 0;
}
