// SPDX-License-Identifier: Apache-2.0
/*
 * What root could do to a running sensor, given its process id.
 *
 *   harm close PID FD           closes a descriptor inside of the process: a link's, and its program is detached
 *   harm write PID MAP          writes zeros over the first entry of a map
 *   harm pose PID FILE [kill]   poses as the evaluator while it writes to a file, and takes that back at once; with "kill",
 *                               kills the process before that
 *   harm move PID RING          moves the consumer position of a ring to behind all records
 *   harm list PID               the descriptors of maps and links: "FD MAP" or "FD link ID"
 *
 * Says "refused ERRNO" where the kernel refuses. The maps are found by the descriptors of the process.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

/* The number behind `key` in /proc/PID/fdinfo/FD; 0 when it is not there. */
static unsigned int fact(int pid, const char *fd, const char *key)
{
	char path[300], line[256];
	unsigned int number = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, fd);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, strlen(key)))
			number = atoi(line + strlen(key));
	}
	if (file)
		fclose(file);
	return number;
}

static DIR *descriptors_of(int pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	return opendir(path);
}

static int map_by_id(unsigned int id, struct bpf_map_info *info)
{
	union bpf_attr attr = { .map_id = id };
	int fd = bpf(BPF_MAP_GET_FD_BY_ID, &attr);

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = fd;
	attr.info.info_len = sizeof(*info);
	attr.info.info = (uintptr_t)info;
	return fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) ? -1 : fd;
}

/* Lists what the process holds, or finds the map whose name begins so. */
static int each(int pid, const char *wanted, struct bpf_map_info *info)
{
	struct dirent *entry;
	DIR *folder = descriptors_of(pid);

	while (folder && (entry = readdir(folder))) {
		unsigned int map = fact(pid, entry->d_name, "map_id:"), link = fact(pid, entry->d_name, "link_id:");
		int fd;

		if (link && !wanted)
			printf("%s link %u\n", entry->d_name, link);
		if (!map)
			continue;
		memset(info, 0, sizeof(*info));
		fd = map_by_id(map, info);
		if (fd < 0)
			continue;
		if (!wanted)
			printf("%s %s\n", entry->d_name, info->name);
		else if (!strncmp(info->name, wanted, strlen(info->name)))
			return fd;
		close(fd);
	}
	errno = ENOENT;
	return -1;
}

/* A map that the process does not hold, but its programs: the one of this name that was made next to one that it holds. */
static int neighbour(int pid, const char *wanted, struct bpf_map_info *info)
{
	int held = each(pid, "counters", info), best = -1;
	unsigned int near = info->id, distance = -1;
	union bpf_attr attr = {};

	while (held >= 0 && !bpf(BPF_MAP_GET_NEXT_ID, &attr)) {
		unsigned int id = attr.next_id, apart = id > near ? id - near : near - id;
		int fd = map_by_id(id, info);

		memset(&attr, 0, sizeof(attr));
		attr.start_id = id;
		if (fd < 0 || apart > distance || strncmp(info->name, wanted, BPF_OBJ_NAME_LEN - 1)) {
			close(fd);
			continue;
		}
		close(best);
		best = fd;
		distance = apart;
	}
	if (best >= 0) {
		attr.info.bpf_fd = best;
		attr.info.info_len = sizeof(*info);
		attr.info.info = (uintptr_t)info;
		bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	}
	return best;
}

enum { SYSCALL_SIZE = 2 };

/* Does the process stand behind an instruction that makes a system call? */
static int is_behind_call(int pid, const struct user_regs_struct *regs)
{
	errno = 0;
	return (ptrace(PTRACE_PEEKTEXT, pid, regs->rip - SYSCALL_SIZE, 0) & 0xffff) == 0x050f && !errno;
}

/* Lets the process go on to where it has just made a system call. */
static int go_behind_call(int pid)
{
	int status;

	for (int stop = 0; stop < 2; stop++) {	/* before a call, and after it */
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid)
			return -1;
	}
	return 0;
}

/* Lets the stopped process make one system call, where it has just made one, and then go on as if nothing had happened. */
static int close_inside(int pid, int fd)
{
	struct user_regs_struct before, regs;
	int status;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid)
		return fail("ptrace");
	if (ptrace(PTRACE_GETREGS, pid, 0, &before))
		return fail("registers");
	if (!is_behind_call(pid, &before) && (go_behind_call(pid) || ptrace(PTRACE_GETREGS, pid, 0, &before)))
		return fail("call");
	regs = before;
	regs.orig_rax = -1;
	regs.rax = SYS_close;
	regs.rdi = fd;
	regs.rip -= SYSCALL_SIZE;
	if (ptrace(PTRACE_SETREGS, pid, 0, &regs) || ptrace(PTRACE_SINGLESTEP, pid, 0, 0) ||
	    waitpid(pid, &status, __WALL) != pid || ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return fail("step");
	printf("close %lld\n", (long long)regs.rax);
	if (ptrace(PTRACE_SETREGS, pid, 0, &before) || ptrace(PTRACE_DETACH, pid, 0, 0))
		return fail("detach");
	return 0;
}

static int write_map(int pid, const char *name)
{
	struct bpf_map_info info;
	int held = each(pid, name, &info), fd = held < 0 ? neighbour(pid, name, &info) : held;
	union bpf_attr attr = {};
	char key[1024] = { 0 };
	char *value;

	if (fd < 0)
		return fail(name);
	value = calloc(1, info.value_size);
	attr.map_fd = fd;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		printf("refused %s\n", strerrorname_np(errno));
	else
		printf("written\n");
	return 0;
}

/* Runs the program that writes for the sensor, as the sensor does. */
static int send_message(int program, unsigned int to, const void *bytes, size_t size)
{
	struct {
		uint32_t to, block;
		uint8_t bytes[512];
	} message = { .to = to };
	union bpf_attr attr = {};

	memcpy(message.bytes, bytes, size);
	attr.test.prog_fd = program;
	attr.test.ctx_in = (uintptr_t)&message;
	attr.test.ctx_size_in = sizeof(message);
	return bpf(BPF_PROG_TEST_RUN, &attr) || attr.test.retval;
}

static int program_of(int pid)
{
	struct dirent *entry;
	DIR *folder = descriptors_of(pid);

	while (folder && (entry = readdir(folder))) {
		union bpf_attr attr = { .prog_id = fact(pid, entry->d_name, "prog_id:") };

		/* BPF_PROG_TYPE_SYSCALL: no other program of the sensor is one */
		if (attr.prog_id && fact(pid, entry->d_name, "prog_type:") == 31)
			return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
	}
	errno = ENOENT;
	return -1;
}

/* The members of struct own_processes in bpf/settings.h that a message carries. */
struct own {
	uint32_t sensor, evaluator;
	uint64_t sensor_start, evaluator_start;
	uint32_t canary, reserved;
};

static int pose(int pid, const char *file, int killing)
{
	struct bpf_map_info info;
	int map = each(pid, "own_processes", &info), program = program_of(pid), fd;
	char before[64] = { 0 };
	uint32_t key = 0;
	union bpf_attr attr = {};
	struct own own;

	if (map < 0 || program < 0)
		return fail("pose");
	if (killing) {
		kill(pid, SIGKILL);
		usleep(200 * 1000);
	}
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)before;
	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
		return fail("lookup");
	memcpy(&own, before, sizeof(own));
	own.evaluator = getpid();
	own.evaluator_start = 0;
	if (send_message(program, 1, &own, sizeof(own)))
		return fail("message");
	fd = open(file, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1)
		return fail(file);
	if (send_message(program, 1, before, sizeof(own)))
		return fail("message");
	printf("posed\n");
	return 0;
}

static int move_position(int pid, const char *name)
{
	struct bpf_map_info info;
	int fd = each(pid, name, &info);
	uint64_t *consumer, *producer;

	if (fd < 0)
		return fail(name);
	consumer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	producer = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
	if (consumer == MAP_FAILED || producer == MAP_FAILED)
		return fail("mmap");
	*consumer = *producer + 4096;
	printf("moved\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct bpf_map_info info;

	if (argc == 4 && !strcmp(argv[1], "close"))
		return close_inside(atoi(argv[2]), atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "write"))
		return write_map(atoi(argv[2]), argv[3]);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "pose"))
		return pose(atoi(argv[2]), argv[3], argc == 5);
	if (argc == 4 && !strcmp(argv[1], "move"))
		return move_position(atoi(argv[2]), argv[3]);
	if (argc == 3 && !strcmp(argv[1], "list"))
		return each(atoi(argv[2]), NULL, &info) < 0 && errno != ENOENT;
	fprintf(stderr, "harm close PID FD | harm write PID MAP | harm pose PID FILE [kill] | harm move PID RING | harm list PID\n");
	return 2;
}
