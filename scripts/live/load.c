// SPDX-License-Identifier: Apache-2.0
/*
 * Makes events for a while, and says how many of each: one "TYPE COUNT" a line.
 *
 *   load mix FOLDER SECONDS RATE       RATE times a second: a program that is run (this one, with its number), which opens,
 *                                      writes, renames and removes a file; each tenth time a connection
 *   load opens FILE SECONDS THREADS    opens and closes one file, as fast as it can
 *   load preempted FILE SECONDS        opens and closes one file on one CPU: threads that run while nobody else wants to,
 *                                      and one that keeps taking the CPU from them
 *   load runs SECONDS                  runs a program once a second
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_until(double when)
{
	double rest = when - now();

	if (rest > 0)
		usleep(rest * 1e6);
}

static void handle_file(const char *folder, int number)
{
	char name[512], other[512];
	int fd;

	snprintf(name, sizeof(name), "%s/load-%d", folder, number);
	snprintf(other, sizeof(other), "%s/moved-%d", folder, number);
	fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0644);
	if (fd < 0 || write(fd, "load", 4) != 4 || close(fd) || rename(name, other) || unlink(other))
		fail(name);
}

/* A program of its own, which ends at once; with a folder, it has handled a file there by then. */
static void run_leaf(const char *self, int number, const char *folder)
{
	char text[16];
	char *arguments[] = { "load", "leaf", text, (char *)folder, NULL }, *environment[] = { NULL };
	pid_t child;

	snprintf(text, sizeof(text), "%d", number);
	errno = posix_spawn(&child, self, NULL, NULL, arguments, environment);
	if (errno || waitpid(child, NULL, 0) != child)
		fail("posix_spawn");
}

static void call(const struct sockaddr_in *address, int listener)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), other;

	if (fd < 0 || connect(fd, (const void *)address, sizeof(*address)))
		fail("connect");
	other = accept(listener, NULL, NULL);
	if (other < 0 || close(other) || close(fd))
		fail("accept");
}

static int mix(const char *self, const char *folder, double seconds, double rate)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	double begin = now();
	int count = 0, calls = 0;

	if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 8) ||
	    getsockname(listener, (void *)&address, &size))
		fail("listen");
	for (; now() - begin < seconds; count++) {
		run_leaf(self, count, folder);
		if (count % 10 == 0) {
			call(&address, listener);
			calls++;
		}
		pause_until(begin + (count + 1) / rate);
	}
	printf("file_open %d\nfile_write %d\nfile_rename %d\nfile_unlink %d\n", count, count, count, count);
	printf("process_start %d\nnetwork_connect %d\nnetwork_accept %d\n", count, calls, calls);
	return 0;
}

static const char *opened;
static double until;

static void *open_often(void *count)
{
	while (now() < until) {
		for (int i = 0; i < 1000; i++) {
			int fd = open(opened, O_RDONLY);

			if (fd < 0)
				fail(opened);
			close(fd);
		}
		*(long *)count += 1000;
	}
	return NULL;
}

static int opens(const char *file, double seconds, int threads)
{
	long counts[64] = { 0 }, sum = 0;
	pthread_t thread[64];

	opened = file;
	until = now() + seconds;
	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, open_often, &counts[i]);
	for (int i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		sum += counts[i];
	}
	printf("file_open %ld\n", sum);
	return 0;
}

static int preempted(const char *file, double seconds)
{
	struct timespec pause = { .tv_nsec = 100000 };
	struct sched_param none = { 0 };
	long counts[4] = { 0 };
	pthread_t thread[3];
	cpu_set_t last;
	int fd;

	CPU_ZERO(&last);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
	if (sched_setaffinity(0, sizeof(last), &last) || sched_setscheduler(0, SCHED_IDLE, &none))
		fail("SCHED_IDLE");
	opened = file;
	until = now() + seconds;
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, open_often, &counts[i]);
	if (sched_setscheduler(0, SCHED_OTHER, &none))
		fail("SCHED_OTHER");
	for (; now() < until; counts[3]++) {
		nanosleep(&pause, NULL);
		fd = open(file, O_RDONLY);
		if (fd < 0)
			fail(file);
		close(fd);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	printf("file_open %ld\n", counts[0] + counts[1] + counts[2] + counts[3]);
	return 0;
}

static int runs(const char *self, int seconds)
{
	double begin = now();

	for (int i = 0; i < seconds; i++) {
		run_leaf(self, i, NULL);
		pause_until(begin + i + 1);
	}
	printf("process_start %d\n", seconds);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "leaf")) {
		if (argc == 4)
			handle_file(argv[3], atoi(argv[2]));
		return 0;
	}
	if (argc == 5 && !strcmp(argv[1], "mix"))
		return mix(argv[0], argv[2], atof(argv[3]), atof(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "opens"))
		return opens(argv[2], atof(argv[3]), atoi(argv[4]) < 64 ? atoi(argv[4]) : 64);
	if (argc == 4 && !strcmp(argv[1], "preempted"))
		return preempted(argv[2], atof(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "runs"))
		return runs(argv[0], atoi(argv[2]));
	fprintf(stderr, "load mix FOLDER SECONDS RATE | load opens FILE SECONDS THREADS | load preempted FILE SECONDS | "
			"load runs SECONDS\n");
	return 2;
}
