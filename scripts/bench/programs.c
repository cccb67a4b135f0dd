// SPDX-License-Identifier: Apache-2.0
/*
 * What each eBPF program does while a command runs: turns the kernel's statistics on, and prints a line of each program that
 * was there before and after it: ID NAME RUNS NS MISSES. A miss is a run that did not happen: the program was at work already.
 *
 *   programs COMMAND...
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 1024 };

static void fail(const char *what)
{
	fprintf(stderr, "programs: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Of all programs, in the order of their ids. One that has just gone is all zeros. */
static int look(struct bpf_prog_info *all)
{
	int count = 0;

	for (__u32 id = 0; count < PROGRAMS_MAX && !bpf_prog_get_next_id(id, &id); count++) {
		__u32 size = sizeof(*all);
		int fd = bpf_prog_get_fd_by_id(id);

		bpf_obj_get_info_by_fd(fd, &all[count], &size);
		close(fd);
	}
	return count;
}

static void run(char **command)
{
	posix_spawn_file_actions_t quiet;
	pid_t child;
	int status = 0;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_adddup2(&quiet, STDERR_FILENO, STDOUT_FILENO);
	errno = posix_spawnp(&child, command[0], &quiet, NULL, command, NULL);
	if (errno || waitpid(child, &status, 0) != child)
		fail(command[0]);
	if (status) {
		fprintf(stderr, "programs: %s failed\n", command[0]);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static struct bpf_prog_info before[PROGRAMS_MAX], after[PROGRAMS_MAX];
	int were, are;

	if (argc < 2) {
		fprintf(stderr, "programs COMMAND...\n");
		return 2;
	}
	/* Until this process ends. */
	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		fail("bpf_enable_stats");
	were = look(before);
	run(argv + 1);
	are = look(after);
	for (int i = 0, j = 0; i < were && j < are; i++) {
		while (j < are - 1 && after[j].id < before[i].id)
			j++;
		if (!before[i].id || after[j].id != before[i].id)
			continue;
		printf("%u %s %llu %llu %llu\n", before[i].id, *before[i].name ? before[i].name : "-",
		       after[j].run_cnt - before[i].run_cnt, after[j].run_time_ns - before[i].run_time_ns,
		       after[j].recursion_misses - before[i].recursion_misses);
	}
	return 0;
}
