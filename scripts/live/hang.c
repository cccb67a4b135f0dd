// SPDX-License-Identifier: Apache-2.0
/*
 * A file system whose one file never answers a read(2), or late, and a process that keeps its arguments there. Run it in a mount
 * namespace of its own.
 *
 *   hang FOLDER SECONDS         mounts it at FOLDER, starts the process, and ends both after SECONDS: all who wait are freed
 *   hang FOLDER SECONDS MS      the same, but it answers after MS
 *
 * Prints the process's id when its arguments are there. Protocol: kernel, include/uapi/linux/fuse.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOT_NODE = 1, FILE_NODE = 2, PAGE = 4096, FILE_SIZE = 1 << 20, ARGUMENT_SIZE = 5 * PAGE, VALID_SECONDS = 100 };

static int device;
static int answer_ms = -1;

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

/* The started process: puts the file in the place of the pages of its first argument. */
static int keep(char *argument, const char *file, const char *seconds)
{
	char *page = (char *)(((uintptr_t)argument + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		return fail(file);
	if (mmap(page, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		return fail("mmap");
	printf("%d\n", getpid());
	fflush(stdout);
	sleep(atoi(seconds));
	return 0;
}

static void start(const char *folder, char *seconds)
{
	static char argument[ARGUMENT_SIZE];
	char file[PAGE];

	if (fork())
		return;
	close(device);
	memset(argument, 'a', sizeof(argument) - 1);
	snprintf(file, sizeof(file), "%s/file", folder);
	execl("/proc/self/exe", argument, "keep", file, seconds, (char *)0);
	_exit(fail("exec"));
}

static void answer(const struct fuse_in_header *request, int error, const void *body, size_t size)
{
	struct fuse_out_header head = { .len = sizeof(head) + size, .error = error, .unique = request->unique };
	struct iovec parts[] = { { &head, sizeof(head) }, { (void *)body, size } };

	if (writev(device, parts, size ? 2 : 1) < 0)
		exit(fail("writev"));
}

static struct fuse_attr attributes(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .size = FILE_SIZE, .blksize = PAGE };

	attr.mode = node == ROOT_NODE ? S_IFDIR | 0755 : S_IFREG | 0644;
	return attr;
}

static void answer_late(const struct fuse_in_header *request)
{
	static char zeros[1 << 17];
	const struct fuse_read_in *wanted = (const void *)(request + 1);

	if (answer_ms < 0 || fork())
		return;
	usleep(answer_ms * 1000);
	answer(request, 0, zeros, wanted->size < sizeof(zeros) ? wanted->size : sizeof(zeros));
	_exit(0);
}

static void handle(const struct fuse_in_header *request, const char *folder, char *seconds)
{
	const struct fuse_init_in *theirs = (const void *)(request + 1);
	struct fuse_init_out ours = { .major = FUSE_KERNEL_VERSION, .max_write = PAGE };
	struct fuse_entry_out entry = { .nodeid = FILE_NODE, .attr_valid = VALID_SECONDS, .entry_valid = VALID_SECONDS };
	struct fuse_attr_out attr = { .attr_valid = VALID_SECONDS };
	struct fuse_open_out opened = { .fh = 1 };

	switch (request->opcode) {
	case FUSE_INIT:
		ours.minor = theirs->minor < FUSE_KERNEL_MINOR_VERSION ? theirs->minor : FUSE_KERNEL_MINOR_VERSION;
		answer(request, 0, &ours, sizeof(ours));
		start(folder, seconds);
		break;
	case FUSE_LOOKUP:
		entry.attr = attributes(FILE_NODE);
		answer(request, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		attr.attr = attributes(request->nodeid);
		answer(request, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		answer(request, 0, &opened, sizeof(opened));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		answer(request, 0, 0, 0);
		break;
	case FUSE_READ:
		answer_late(request);
		break;
	case FUSE_FORGET:	/* these want no answer */
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(request, -ENOSYS, 0, 0);
	}
}

int main(int argc, char **argv)
{
	static char request[1 << 18];
	char options[200];

	if (argc == 4 && !strcmp(argv[1], "keep"))
		return keep(argv[0], argv[2], argv[3]);
	if (argc != 3 && argc != 4)
		return 2;
	if (argc == 4)
		answer_ms = atoi(argv[3]);
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return fail("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
	if (mount("hang", argv[1], "fuse", MS_NOSUID | MS_NODEV, options))
		return fail("mount");
	alarm(atoi(argv[2]));
	for (;;) {
		if (read(device, request, sizeof(request)) > 0)
			handle((const void *)request, argv[1], argv[2]);
		else if (errno != EINTR && errno != ENOENT)
			return fail("read");
	}
}
