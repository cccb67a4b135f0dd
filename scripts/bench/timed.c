// SPDX-License-Identifier: Apache-2.0
/*
 * Does one thing often, on one CPU, and prints how many nanoseconds it took each time: the median of many short stretches,
 * so that what else runs on that CPU does not count.
 *
 *   timed calls CPU COUNT             getppid
 *   timed opens CPU COUNT FILE        open and close of a file
 *   timed spawns CPU COUNT PROGRAM    starts a program and waits for its end
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STRETCHES_MAX = 1000 };

static void fail(const char *what)
{
	fprintf(stderr, "timed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void call(const char *unused)
{
	(void)unused;
	syscall(SYS_getppid);
}

static void open_and_close(const char *file)
{
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		fail(file);
	close(fd);
}

static void spawn(const char *program)
{
	char *arguments[] = { (char *)program, NULL }, *environment[] = { NULL };
	pid_t child;

	errno = posix_spawn(&child, program, NULL, NULL, arguments, environment);
	if (errno || waitpid(child, NULL, 0) != child)
		fail(program);
}

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv)
{
	static double times[STRETCHES_MAX];
	void (*deed)(const char *) = NULL;
	cpu_set_t cpus;
	int count, stretches;

	if (argc >= 4 && !strcmp(argv[1], "calls"))
		deed = call;
	else if (argc == 5 && !strcmp(argv[1], "opens"))
		deed = open_and_close;
	else if (argc == 5 && !strcmp(argv[1], "spawns"))
		deed = spawn;
	if (!deed) {
		fprintf(stderr, "timed calls CPU COUNT | timed opens CPU COUNT FILE | timed spawns CPU COUNT PROGRAM\n");
		return 2;
	}
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[2]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
	count = atoi(argv[3]);
	stretches = count < STRETCHES_MAX ? count : STRETCHES_MAX;
	count = (count + stretches - 1) / stretches;
	for (int i = 0; i < stretches; i++) {
		double begin = now_ns();

		for (int j = 0; j < count; j++)
			deed(argv[4]);
		times[i] = (now_ns() - begin) / count;
	}
	qsort(times, stretches, sizeof(double), ascending);
	printf("%.1f\n", times[stretches / 2]);
	return 0;
}
