// SPDX-License-Identifier: Apache-2.0
/*
 * Does with files what attackers do to escape a sensor, harmlessly, and says what really happened.
 *
 *   evade_files ACT FOLDER
 */
#define _GNU_SOURCE
#include <linux/landlock.h>
#include <linux/mount.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evade.h"

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

/* A thread flips the name while it is removed. Only one of the two exists. */
static int flip_removal(const char *folder)
{
	char *path = strdup(in(folder, "harmless"));
	static struct flip flip = { .texts = { "harmless", "secret__" } };
	int removed = 0;
	pthread_t thread;

	flip.at = path + strlen(path) - strlen(flip.texts[0]);
	pthread_create(&thread, NULL, flip_forever, &flip);
	for (int i = 0; i < 5000; i++) {
		close(create(in(folder, "secret__")));
		removed += !unlink(path);
	}
	printf("%d\n", removed);
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

/* Nobody wants to write when it is mapped. */
static int write_protected(const char *folder)
{
	int fd = create(in(folder, "protected"));
	char *memory;

	if (ftruncate(fd, 4096))
		fail("ftruncate");
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (mprotect(memory, 4096, PROT_READ | PROT_WRITE))
		fail("mprotect");
	memory[0] = 1;
	return 0;
}

static int pipes[2], closed;

static void *close_and_feed(void *argument)
{
	usleep(100000);
	close(closed);
	if (write(pipes[1], "data", 4) != 4)
		fail("pipe");
	return argument;
}

/* The descriptor that a write goes to is closed while the write waits. */
static int splice_closed(const char *folder)
{
	pthread_t thread;

	closed = create(in(folder, "spliced"));
	if (pipe(pipes))
		fail("pipe");
	pthread_create(&thread, NULL, close_and_feed, NULL);
	return splice(pipes[0], NULL, closed, NULL, 4, 0) != 4;
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

static int make_names(const char *folder)
{
	close(create(in(folder, "file")));
	return mkdir(in(folder, "made-folder"), 0755) || mknod(in(folder, "made-node"), S_IFREG | 0644, 0) ||
	       symlink("/etc/shadow", in(folder, "made-symlink")) || link(in(folder, "file"), in(folder, "made-link"));
}

/* In a folder that hangs in no namespace. Says the inodes that were opened. */
static int change_in(int folder)
{
	int fd = openat(folder, "secret", O_RDWR);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) || write(fd, "data", 4) != 4 || renameat(folder, "old", folder, "new") ||
	    unlinkat(folder, "gone", 0))
		fail("detached");
	printf("%lu\n", status.st_ino);
	return 0;
}

static void make_some(const char *folder)
{
	close(create(in(folder, "secret")));
	close(create(in(folder, "old")));
	close(create(in(folder, "gone")));
}

/* A copy of the mount that is nowhere in the tree. */
static int clone_tree(const char *folder)
{
	int tree;

	make_some(folder);
	tree = syscall(SYS_open_tree, AT_FDCWD, folder, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		fail("open_tree");
	return change_in(tree);
}

/* A mount that was taken out of the tree, but is still held. */
static int detach_mount(const char *folder)
{
	int held;

	make_some(folder);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(folder, folder, NULL, MS_BIND, NULL))
		fail("mount");
	held = open(folder, O_RDONLY | O_DIRECTORY);
	if (held < 0 || umount2(folder, MNT_DETACH))
		fail("umount");
	return change_in(held);
}

/* By handle, when the kernel has forgotten the name. */
static int open_forgotten(const char *folder)
{
	union {
		struct file_handle handle;
		char room[256];
	} handle = { .handle.handle_bytes = 128 };
	int mount, mount_fd = open(folder, O_RDONLY | O_DIRECTORY), forget, fd = create(in(folder, "forgotten"));
	struct stat status;

	if (fsync(fd) || close(fd) || name_to_handle_at(AT_FDCWD, in(folder, "forgotten"), &handle.handle, &mount, 0))
		fail("name_to_handle_at");
	forget = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (forget < 0 || write(forget, "2", 1) != 1)
		fail("drop_caches");
	fd = open_by_handle_at(mount_fd, &handle.handle, O_RDONLY);
	if (fd < 0 || fstat(fd, &status))
		fail("open_by_handle_at");
	printf("%lu\n", status.st_ino);
	return 0;
}

static const char *denied;

static void *try_removal(void *argument)
{
	if (!unlink(denied) || errno != EACCES)
		fail("a removal that was to be denied");
	return argument;
}

/* More threads than any table has room for try what Landlock denies, then somebody else does it. */
static int remove_denied(const char *folder)
{
	struct landlock_ruleset_attr attributes = { .handled_access_fs = LANDLOCK_ACCESS_FS_REMOVE_FILE };
	int rules = syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
	int status = 0;
	pid_t child;

	denied = in(folder, "denied");
	close(create(denied));
	child = fork();
	if (child == 0 && rules >= 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, rules, 0))
			fail("landlock");
		for (int i = 0; i < 1200; i++) {
			pthread_t thread;

			if (pthread_create(&thread, NULL, try_removal, NULL) || pthread_join(thread, NULL))
				fail("thread");
		}
	}
	if (child == 0)
		exit(0);
	waitpid(child, &status, 0);
	return status || unlink(denied);
}

/* The first write cannot be done, the second is. */
static int write_badly(const char *folder)
{
	int fd = create(in(folder, "written"));

	if (write(fd, (void *)8, 4) >= 0 || errno != EFAULT)
		fail("a write that was to fail");
	return write(fd, "data", 4) != 4;
}

/* The kernel looks at the lower half of the register with a call's number. */
static long wide_call(unsigned long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number | 1UL << 32), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return result;
}

static int call_widely(const char *folder)
{
	const char *name = in(folder, "wide"), *other = in(folder, "wider");
	long fd = wide_call(SYS_open, (long)name, O_CREAT | O_RDWR, 0644);

	return fd < 0 || wide_call(SYS_write, fd, (long)"data", 4) != 4 || wide_call(SYS_rename, (long)name, (long)other, 0) ||
	       wide_call(SYS_unlink, (long)other, 0, 0);
}

static const char *swinging[2];

static void *swing(void *argument)
{
	for (int i = 0;; i++)
		if (rename(swinging[i & 1], swinging[~i & 1]))
			fail("rename");
	return argument;
}

/* A file has a short name and a longer one in turn, while it is opened by its descriptor. */
static int open_swinging(const char *folder)
{
	char path[64];
	pthread_t thread;

	swinging[0] = in(folder, "one");
	swinging[1] = in(folder, "the-other-that-is-much-longer");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", create(swinging[0]));
	pthread_create(&thread, NULL, swing, NULL);
	for (int i = 0; i < 50000; i++)
		close(open(path, O_RDONLY));
	return 0;
}

/* What is shared is memory, whatever descriptor is passed along with it. */
static int map_anonymously(const char *folder)
{
	int fd = create(in(folder, "anonymous"));

	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, fd, 0) == MAP_FAILED;
}

static int exchange(const char *folder)
{
	close(create(in(folder, "one")));
	close(create(in(folder, "other")));
	return syscall(SYS_renameat2, AT_FDCWD, in(folder, "one"), AT_FDCWD, in(folder, "other"), 2 /* RENAME_EXCHANGE */);
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
	static const struct act acts[] = {
		{ "flip-path", .in_folder = flip_path }, { "flip-fifo", .in_folder = flip_fifo },
		{ "flip-removal", .in_folder = flip_removal }, { "mapped", .in_folder = write_mapped },
		{ "protected", .in_folder = write_protected }, { "spliced", .in_folder = splice_closed },
		{ "truncate", .in_folder = cut_files }, { "tmpfile", .in_folder = name_late },
		{ "new-names", .in_folder = make_names }, { "open-tree", .in_folder = clone_tree },
		{ "detached", .in_folder = detach_mount }, { "forgotten", .in_folder = open_forgotten },
		{ "wide-numbers", .in_folder = call_widely }, { "swinging", .in_folder = open_swinging },
		{ "anonymous", .in_folder = map_anonymously }, { "denied", .in_folder = remove_denied }, { "exchange", .in_folder = exchange },
		{ "bad-write", .in_folder = write_badly }, { "names", .in_folder = odd_names }, { "chroot", .in_folder = change_root },
	};

	return act(acts, sizeof(acts) / sizeof(acts[0]), argc, argv);
}
