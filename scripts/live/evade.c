// SPDX-License-Identifier: Apache-2.0
/*
 * Does with processes what attackers do to escape a sensor, harmlessly, and says what really happened.
 *
 *   evade ACT [FOLDER]
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evade.h"

/* What the kernel gave a program as its arguments, said by that program. */
static int flip_arguments(void)
{
	for (int i = 0; i < 50; i++) {
		pid_t child = fork();

		if (child == 0) {
			char word[] = "harmless";
			struct flip flip = { word, { "harmless", "secret__" } };
			char *arguments[] = { "evade", "dump", word, NULL };
			pthread_t thread;

			pthread_create(&thread, NULL, flip_forever, &flip);
			usleep(500);
			execv("/proc/self/exe", arguments);
			_exit(1);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}

static int rename_self(const char *folder)
{
	prctl(PR_SET_NAME, "systemd");
	close(create(in(folder, "renamed")));
	return 0;
}

static int forge_argv0(void)
{
	execl("/usr/bin/true", "[kworker/0]", NULL);
	return 1;
}

static void copy_to(const char *program, int to)
{
	int from = open(program, O_RDONLY);
	char bytes[65536];
	ssize_t size;

	while ((size = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, size) != size)
			fail("copy");
	close(from);
}

static int run_memfd(void)
{
	char *arguments[] = { "from-memory", NULL }, *environment[] = { NULL };
	int fd = memfd_create("hidden", MFD_CLOEXEC);

	copy_to("/usr/bin/true", fd);
	syscall(SYS_execveat, fd, "", arguments, environment, AT_EMPTY_PATH);
	return 1;
}

static int run_deleted(const char *folder)
{
	char *arguments[] = { "from-deleted", NULL }, *environment[] = { NULL };
	int fd = create(in(folder, "gone")), reading;

	copy_to("/usr/bin/true", fd);
	close(fd);
	reading = open(in(folder, "gone"), O_RDONLY | O_CLOEXEC);
	unlink(in(folder, "gone"));
	syscall(SYS_execveat, reading, "", arguments, environment, AT_EMPTY_PATH);
	return 1;
}

/* The child appears as a child of our parent. */
static int forge_parent(void)
{
	struct clone_args how = { .flags = CLONE_PARENT };
	long child = syscall(SYS_clone3, &how, sizeof(how));

	if (child == 0) {
		execl("/usr/bin/true", "forged", NULL);
		_exit(1);
	}
	if (child < 0)
		fail("clone3");
	printf("%ld %d %d\n", child, getpid(), getppid());
	fflush(stdout);
	usleep(100000);
	return 0;
}

static int fork_twice(void)
{
	pid_t middle = fork();

	if (middle == 0) {
		if (fork() == 0) {
			usleep(100000);	/* the middle one is gone */
			execl("/usr/bin/true", "orphan", NULL);
			_exit(1);
		}
		_exit(0);
	}
	waitpid(middle, NULL, 0);
	printf("%d %d\n", getpid(), middle);
	fflush(stdout);
	usleep(300000);
	return 0;
}

static int dump(const char *word)
{
	return printf("%d %s\n", getpid(), word) < 0;
}

int main(int argc, char **argv)
{
	static const struct act acts[] = {
		{ "dump", .in_folder = dump }, { "comm", .in_folder = rename_self }, { "deleted", .in_folder = run_deleted },
		{ "flip-arguments", .alone = flip_arguments }, { "argv0", .alone = forge_argv0 }, { "memfd", .alone = run_memfd },
		{ "clone-parent", .alone = forge_parent }, { "double-fork", .alone = fork_twice },
	};

	return act(acts, sizeof(acts) / sizeof(acts[0]), argc, argv);
}
