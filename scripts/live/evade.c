// SPDX-License-Identifier: Apache-2.0
/*
 * Does what attackers do to escape a sensor, harmlessly, and says what really happened. See evasions.ts for the cases.
 *
 *   evade CASE [FOLDER]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *in(const char *folder, const char *name)
{
	static char paths[8][4096];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static int create(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR, 0755);

	if (fd < 0)
		fail(path);
	return fd;
}

/* Overwrites the end of a text in turn with two others of its length, until the program ends. */
struct flip {
	char *at;
	const char *texts[2];
};

static void *flip_forever(void *argument)
{
	struct flip *flip = argument;

	for (unsigned i = 0;; i++)
		memcpy(flip->at, flip->texts[i & 1], strlen(flip->texts[0]));
	return NULL;
}

static int flip_path(const char *folder)
{
	char *path = strdup(in(folder, "harmless"));
	static struct flip flip = { .texts = { "harmless", "secret__" } };	/* its thread outlives this function */
	ino_t inodes[2];
	int counts[2] = {};
	struct stat status;
	pthread_t thread;

	flip.at = path + strlen(path) - strlen(flip.texts[0]);
	for (int i = 0; i < 2; i++) {
		int fd = create(in(folder, flip.texts[i]));

		fstat(fd, &status);
		inodes[i] = status.st_ino;
		counts[i]++;
		close(fd);
	}
	pthread_create(&thread, NULL, flip_forever, &flip);
	for (int i = 0; i < 20000; i++) {
		int fd = openat(AT_FDCWD, path, O_RDONLY);

		if (fd < 0)	/* half of each name */
			continue;
		fstat(fd, &status);
		for (int which = 0; which < 2; which++)
			counts[which] += status.st_ino == inodes[which];
		close(fd);
	}
	for (int i = 0; i < 2; i++)
		printf("%s %lu %d\n", flip.texts[i], inodes[i], counts[i]);
	return 0;
}

static char *blocked_path;

static void *open_other_end(void *argument)
{
	char *name = strdup(blocked_path);

	usleep(100000);
	memcpy(blocked_path + strlen(blocked_path) - 4, "none", 4);
	if (open(name, O_WRONLY) < 0)
		fail("fifo");
	return argument;
}

static int flip_fifo(const char *folder)
{
	pthread_t thread;

	blocked_path = strdup(in(folder, "fifo"));
	if (mkfifo(blocked_path, 0600))
		fail("mkfifo");
	pthread_create(&thread, NULL, open_other_end, NULL);
	if (open(blocked_path, O_RDONLY) < 0)
		fail("open");
	return pthread_join(thread, NULL);
}

static struct sockaddr_in target;
static int server;

static void *flip_address(void *argument)
{
	usleep(200000);
	target.sin_port = htons(1);
	while (accept(server, NULL, NULL) >= 0)
		;
	return argument;
}

static int flip_connect(void)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(target);
	pthread_t thread;

	target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	server = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(server, (struct sockaddr *)&target, size) || getsockname(server, (struct sockaddr *)&target, &size) || listen(server, 0))
		fail("server");
	peer = target;
	if (connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&peer, size))	/* the backlog is full now */
		fail("connect");
	pthread_create(&thread, NULL, flip_address, NULL);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&target, size))
		fail("connect");
	if (getpeername(fd, (struct sockaddr *)&peer, &size))
		fail("getpeername");
	printf("%d\n", ntohs(peer.sin_port));
	return 0;
}

/* What the kernel gave a program as its arguments, said by that program. */
static int flip_arguments(const char *self)
{
	for (int i = 0; i < 100; i++) {
		pid_t child = fork();

		if (child == 0) {
			char word[] = "harmless";
			struct flip flip = { word, { "harmless", "secret__" } };
			char *arguments[] = { "evade", "dump", word, NULL };
			pthread_t thread;

			pthread_create(&thread, NULL, flip_forever, &flip);
			usleep(500);
			execv(self, arguments);
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

static int write_mapped(const char *folder)
{
	int fd = create(in(folder, "mapped"));
	char *memory;

	if (ftruncate(fd, 4096))
		fail("ftruncate");
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memory[0] = 1;
	return 0;
}

static int cut_files(const char *folder)
{
	close(create(in(folder, "cut")));
	return truncate(in(folder, "cut"), 0);
}

static int name_late(const char *folder)
{
	char path[64];
	int fd = open(folder, O_TMPFILE | O_RDWR, 0600);

	if (fd < 0)
		fail("O_TMPFILE");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, AT_FDCWD, in(folder, "named"), AT_SYMLINK_FOLLOW))
		fail("linkat");
	return 0;
}

static int send_unconnected(void)
{
	struct sockaddr_in addresses[3];
	struct iovec part = { "data", 4 };
	struct mmsghdr messages[3] = {};

	for (int i = 0; i < 3; i++) {
		addresses[i] = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(4001 + i), .sin_addr = { htonl(INADDR_LOOPBACK) } };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &addresses[i], .msg_namelen = sizeof(addresses[i]), .msg_iov = &part, .msg_iovlen = 1 };
	}
	return sendmmsg(socket(AF_INET, SOCK_DGRAM, 0), messages, 3, 0) != 3;
}

static int connect_mapped(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(4010) };

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
	return connect(socket(AF_INET6, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof(address));
}

static int change_root(const char *folder)
{
	if (chroot(folder) || chdir("/"))
		fail("chroot");
	close(create("/inside"));
	return 0;
}

static int odd_names(const char *folder)
{
	close(create(in(folder, "a\nb\033[31m")));
	for (int byte = 1; byte < 256; byte++) {
		char name[] = { 'x', byte, 0 };

		if (byte != '/')
			close(create(in(folder, name)));
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";
	const struct {
		const char *name;
		int (*run)(const char *folder);
	} with_folder[] = {
		{ "flip-path", flip_path }, { "flip-fifo", flip_fifo }, { "comm", rename_self }, { "deleted", run_deleted },
		{ "mapped", write_mapped }, { "truncate", cut_files }, { "tmpfile", name_late }, { "names", odd_names },
		{ "chroot", change_root },
	};
	const struct {
		const char *name;
		int (*run)(void);
	} alone[] = {
		{ "flip-address", flip_connect }, { "argv0", forge_argv0 }, { "memfd", run_memfd }, { "clone-parent", forge_parent },
		{ "double-fork", fork_twice }, { "unconnected", send_unconnected }, { "mapped-address", connect_mapped },
	};

	if (argc == 3 && !strcmp(wanted, "dump"))
		return printf("%d %s\n", getpid(), argv[2]) < 0;
	if (argc == 2 && !strcmp(wanted, "flip-arguments"))
		return flip_arguments("/proc/self/exe");
	for (size_t i = 0; argc == 3 && i < sizeof(with_folder) / sizeof(with_folder[0]); i++)
		if (!strcmp(wanted, with_folder[i].name))
			return with_folder[i].run(argv[2]);
	for (size_t i = 0; argc == 2 && i < sizeof(alone) / sizeof(alone[0]); i++)
		if (!strcmp(wanted, alone[i].name))
			return alone[i].run();
	fprintf(stderr, "evade: no case %s\n", wanted);
	return 2;
}
