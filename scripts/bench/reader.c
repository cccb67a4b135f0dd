// SPDX-License-Identifier: Apache-2.0
/*
 * Reads an evaluator's NDJSON from standard input as fast as it comes, and prints the last line of it at the end.
 *
 *   reader last
 *   reader first SOCKET               also "connected NS" and "first NS": boot times at which somebody connected to SOCKET,
 *                                     and at which the first event was read
 *   reader latency FILE COUNT GAP_MS  opens FILE every GAP_MS, and prints "latency NS" for each: from the hook until the
 *                                     event's line was read. Begins with the first line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PIPE_SIZE = 1 << 20, SETTLE_MS = 1500 };

static char bytes[2 * PIPE_SIZE];
static const char *file;
static int count, gap_ms, seen;

static void fail(const char *what)
{
	fprintf(stderr, "reader: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long boot_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *open_often(void *unused)
{
	(void)unused;
	usleep(SETTLE_MS * 1000);
	for (int i = 0; i < count; i++) {
		int fd = open(file, O_RDONLY);

		if (fd < 0)
			fail(file);
		close(fd);
		usleep(gap_ms * 1000);
	}
	return NULL;
}

/* One line, without its end. */
static void take(const char *line, long long now, const char *mode)
{
	const char *time = strstr(line, "\"timestamp_ns\":");
	pthread_t thread;

	if (!strcmp(mode, "latency") && !seen++)
		pthread_create(&thread, NULL, open_often, NULL);
	if (!strcmp(mode, "latency") && time && strstr(line, "\"file_open\"") && strstr(line, file))
		printf("latency %lld\n", now - atoll(time + strlen("\"timestamp_ns\":")));
	if (!strcmp(mode, "first") && time && strstr(line, "\"network_connect\"") && strstr(line, file))
		printf("connected %lld\n", atoll(time + strlen("\"timestamp_ns\":")));
	if (!strcmp(mode, "first") && !seen && strstr(line, "\"pid\":") && ++seen)
		printf("first %lld\n", now);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	size_t begin = 0, end = 0, last = 0;
	ssize_t got;

	if (!strcmp(mode, "latency") && argc == 5) {
		file = argv[2];
		count = atoi(argv[3]);
		gap_ms = atoi(argv[4]);
	} else if (!strcmp(mode, "first") && argc == 3) {
		file = argv[2];
	} else if (strcmp(mode, "last") || argc != 2) {
		fprintf(stderr, "reader last | reader first SOCKET | reader latency FILE COUNT GAP_MS\n");
		return 2;
	}
	fcntl(0, F_SETPIPE_SZ, PIPE_SIZE);
	/* What stands from `last` on is the last whole line and what came of the next. */
	while ((got = read(0, bytes + end, sizeof(bytes) - 1 - end)) > 0) {
		long long now = boot_ns();
		char *line_end;

		end += got;
		if (!strcmp(mode, "last")) {
			line_end = memrchr(bytes + begin, '\n', end - begin);
			if (line_end) {
				char *before = line_end > bytes ? memrchr(bytes, '\n', line_end - bytes) : NULL;

				last = before ? before + 1 - bytes : 0;
				begin = line_end + 1 - bytes;
			}
		}
		while (strcmp(mode, "last") && (line_end = memchr(bytes + begin, '\n', end - begin))) {
			*line_end = 0;
			take(bytes + begin, now, mode);
			*line_end = '\n';
			last = begin;
			begin = line_end + 1 - bytes;
		}
		if (end > PIPE_SIZE) {
			memmove(bytes, bytes + last, end - last);
			begin -= last;
			end -= last;
			last = 0;
		}
		if (end >= sizeof(bytes) - 1)
			fail("a line is too long");
	}
	fwrite(bytes + last, 1, begin - last, stdout);
	return 0;
}
