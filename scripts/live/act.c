// SPDX-License-Identifier: Apache-2.0
/*
 * Does what events describe, in a root and a network of its own, where nothing is worth protecting. Reads one act a line,
 * its words separated by tabs:
 *
 *	open PATH  write PATH  unlink PATH  rename OLD NEW
 *	program PATH		puts this program there
 *	link PATH NAME		gives a program another name
 *	run PARENT NAME		PARENT executes NAME
 *	connect NAME PORT	NAME connects to 127.0.0.1
 *	listen NAME PORT	NAME listens there
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF "/act"

static void make_folders(const char *path)
{
	char folder[4096];

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
		mkdir(folder, 0755);
	}
}

/* Opens a file, and makes it and its folders if they are not there. */
static int opened(const char *path, int flags)
{
	int fd;

	make_folders(path);
	fd = open(path, flags | O_CREAT, 0755);
	if (fd < 0)
		err(1, "open %s", path);
	return fd;
}

static void put(const char *from, const char *path, int (*join)(const char *, const char *))
{
	make_folders(path);
	unlink(path);
	if (join(from, path))
		err(1, "%s", path);
}

/* Executes a program and waits for it. */
static void execute(const char *path, const char *first, const char *second, const char *third)
{
	pid_t child = fork();

	if (child == 0) {
		execl(path, path, first, second, third, NULL);
		err(1, "exec %s", path);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		err(1, "fork");
}

static int at_port(int (*call)(int, const struct sockaddr *, socklen_t), const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	call(fd, (struct sockaddr *)&address, sizeof(address));
	return fd;
}

/* What a program does that was put somewhere. */
static int play(const char *role, const char *first, const char *second)
{
	if (!strcmp(role, "parent"))
		execute(first, "child", "", NULL);
	else if (!strcmp(role, "connect"))
		close(at_port(connect, second));
	else if (!strcmp(role, "listen"))
		listen(at_port(bind, second), 1);
	return 0;
}

static void act(const char *what, const char *first, const char *second)
{
	if (!strcmp(what, "open"))
		close(opened(first, O_RDONLY));
	else if (!strcmp(what, "write")) {
		int fd = opened(first, O_WRONLY);

		if (write(fd, "x", 1) != 1)
			err(1, "write %s", first);
		close(fd);
	} else if (!strcmp(what, "unlink")) {
		close(opened(first, O_RDONLY));
		unlink(first);
	} else if (!strcmp(what, "rename")) {
		close(opened(first, O_RDONLY));
		make_folders(second);
		if (rename(first, second))
			err(1, "rename %s", first);
	} else if (!strcmp(what, "program"))
		put(SELF, first, link);
	else if (!strcmp(what, "link"))
		put(first, second, symlink);
	else if (!strcmp(what, "run"))
		execute(first, "parent", second, NULL);
	else if (!strcmp(what, "connect") || !strcmp(what, "listen"))
		execute(first, what, first, second);
	else
		errx(1, "no act: %s", what);
}

/* A root that holds nothing but this program, and a loopback device. */
static void leave(const char *root)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	char copy[4096];
	char command[8192];

	snprintf(copy, sizeof(copy), "%s" SELF, root);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", root, "tmpfs", 0, NULL))
		err(1, "unshare");
	snprintf(command, sizeof(command), "cp /proc/%d/exe %s", getpid(), copy);
	if (system(command) || chdir(root) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		err(1, "pivot_root");
	if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &loopback))
		err(1, "lo");
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t size = 0;

	if (argc > 2)
		return play(argv[1], argv[2], argc > 3 ? argv[3] : "");
	if (argc != 2)
		errx(2, "act FOLDER");
	leave(argv[1]);
	while (getline(&line, &size, stdin) > 0) {
		char *rest = line, *what, *first, *second;

		line[strcspn(line, "\n")] = 0;
		what = strsep(&rest, "\t");
		first = strsep(&rest, "\t");
		second = strsep(&rest, "\t");
		act(what, first ?: "", second ?: "");
	}
	return 0;
}
