// SPDX-License-Identifier: Apache-2.0
/*
 * Does what it is asked for, and says what it has done as it knows it itself: from fstat, getsockname and getpeername.
 *
 *   generate files FOLDER COUNT     opens (creates), writes twice, renames, unlinks
 *   generate network COUNT          bind, listen, connect, accept: TCP over IPv4 and IPv6; UDP: bind, connect
 *   generate calls FOLDER           every call that opens, writes, renames or removes, old ones and 32-bit ones too
 *   generate flood FILE COUNT       opens and closes one file
 *   generate threads FOLDER         opens a file from a second thread, and connects from it
 *   generate cpus FOLDER            opens one file on each CPU
 *   generate uring FOLDER           opens, writes, renames, removes, connects and accepts through io_uring, without and with its workers
 *   generate fastopen               connects twice with the first data (TCP Fast Open)
 *   generate ports PORT...          connects to listeners on these ports of a network of its own, as IPv4 and in IPv6 clothes
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int files(const char *folder, int count)
{
	for (int i = 0; i < count; i++) {
		char name[512], other[512];
		struct stat status;
		int fd;

		snprintf(name, sizeof(name), "%s/file-%d", folder, i);
		snprintf(other, sizeof(other), "%s/renamed-%d", folder, i);
		fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0644);
		if (fd < 0 || fstat(fd, &status))
			fail(name);
		printf("file_open %s %llu\n", name, (unsigned long long)status.st_ino);
		if (write(fd, "first", 5) != 5 || write(fd, "second", 6) != 6)
			fail("write");
		printf("file_write %s %llu\n", name, (unsigned long long)status.st_ino);
		close(fd);
		if (rename(name, other))
			fail("rename");
		printf("file_rename %s %s %llu\n", name, other, (unsigned long long)status.st_ino);
		if (unlink(other))
			fail("unlink");
		printf("file_unlink %s %llu\n", other, (unsigned long long)status.st_ino);
	}
	return 0;
}

static void show(const char *type, int fd, int peer)
{
	struct sockaddr_in6 address;
	socklen_t size = sizeof(address);
	char text[64];

	memset(&address, 0, sizeof(address));
	if (peer ? getpeername(fd, (struct sockaddr *)&address, &size) : getsockname(fd, (struct sockaddr *)&address, &size))
		fail("name");
	if (address.sin6_family == AF_INET) {
		struct sockaddr_in *four = (struct sockaddr_in *)&address;

		inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
		printf("%s %s %d\n", type, text, ntohs(four->sin_port));
	} else {
		inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof(text));
		printf("%s %s %d\n", type, text, ntohs(address.sin6_port));
	}
}

static void network(int family, int type)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
	socklen_t size = family == AF_INET ? sizeof(four) : sizeof(six);
	struct linger now = { 1, 0 };	/* no port is left waiting */
	int server = socket(family, type, 0), client = socket(family, type, 0), accepted = -1;

	if (bind(server, address, size))
		fail("bind");
	show("network_bind", server, 0);
	if (getsockname(server, address, &size))
		fail("getsockname");
	if (type == SOCK_STREAM) {
		if (listen(server, 7))
			fail("listen");
		show("network_listen", server, 0);
	}
	if (connect(client, address, size))
		fail("connect");
	show("network_connect", client, 1);
	if (type == SOCK_STREAM) {
		accepted = accept(server, NULL, NULL);
		if (accepted < 0)
			fail("accept");
		show("network_accept", accepted, 1);
		setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(client);
	close(accepted);
	close(server);
}

/* A 32-bit call from a 64-bit program; its pointers must lie below 4 GiB. */
static long call_32(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static const char *in(const char *folder, const char *name)
{
	static char paths[16][512];
	static int next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void opened(const char *call, int fd, const char *path)
{
	if (fd < 0)
		fail(call);
	printf("file_open %s %s\n", call, path);
	close(fd);
}

static void wrote(const char *call, long result, const char *path)
{
	if (result < 0)
		fail(call);
	printf("file_write %s %s\n", call, path);
}

/* Each write goes to a file of its own: it is the first. */
static int fresh(const char *folder, const char *name)
{
	int fd = openat(AT_FDCWD, in(folder, name), O_CREAT | O_RDWR, 0644);

	if (fd < 0)
		fail(name);
	printf("file_open openat %s\n", in(folder, name));
	return fd;
}

/* An asynchronous write. */
static long submit(int fd)
{
	struct iocb request = { .aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (long)"data", .aio_nbytes = 4 };
	struct iocb *requests[] = { &request };
	struct io_event done;
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, 1, &context) || syscall(SYS_io_submit, context, 1, requests) != 1 ||
	    syscall(SYS_io_getevents, context, 1, 1, &done, NULL) != 1)
		fail("io_submit");
	return done.res;
}

static int calls(const char *folder)
{
	struct open_how how = { .flags = O_RDONLY };
	struct iovec vector = { "data", 4 };
	union {
		struct file_handle handle;
		char room[256];
	} handle = { .handle.handle_bytes = 128 };
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	const char *a = in(folder, "a");
	int mount, fd, source, folder_fd, pipes[2];

	opened("creat", syscall(SYS_creat, a, 0644), a);
	opened("open", syscall(SYS_open, a, O_RDONLY), a);
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	printf("file_open openat %s\n", folder);
	opened("openat", syscall(SYS_openat, folder_fd, "./././a", O_RDONLY), a);
	opened("openat2", syscall(SYS_openat2, folder_fd, "a", &how, sizeof(how)), a);
	if (name_to_handle_at(folder_fd, "a", &handle.handle, &mount, 0))
		fail("name_to_handle_at");
	opened("open_by_handle_at", open_by_handle_at(folder_fd, &handle.handle, O_RDONLY), a);
	strcpy(low, a);
	opened("open", call_32(5, (long)low, O_RDONLY, 0), a);

	fd = fresh(folder, "write"), wrote("write", syscall(SYS_write, fd, "data", 4), in(folder, "write"));
	fd = fresh(folder, "pwrite64"), wrote("pwrite64", pwrite(fd, "data", 4, 0), in(folder, "pwrite64"));
	fd = fresh(folder, "writev"), wrote("writev", writev(fd, &vector, 1), in(folder, "writev"));
	fd = fresh(folder, "pwritev"), wrote("pwritev", pwritev(fd, &vector, 1, 0), in(folder, "pwritev"));
	fd = fresh(folder, "pwritev2"), wrote("pwritev2", syscall(SYS_pwritev2, fd, &vector, 1, 0, 0, 1), in(folder, "pwritev2"));
	source = open(in(folder, "write"), O_RDONLY);
	printf("file_open openat %s\n", in(folder, "write"));
	fd = fresh(folder, "sendfile"), wrote("sendfile", sendfile(fd, source, NULL, 4), in(folder, "sendfile"));
	lseek(source, 0, SEEK_SET);
	fd = fresh(folder, "copy"), wrote("copy_file_range", copy_file_range(source, NULL, fd, NULL, 4, 0), in(folder, "copy"));
	if (pipe(pipes) || write(pipes[1], "data", 4) != 4)
		fail("pipe");
	fd = fresh(folder, "splice"), wrote("splice", splice(pipes[0], NULL, fd, NULL, 4, 0), in(folder, "splice"));
	fd = fresh(folder, "mmap");
	if (ftruncate(fd, 4096) || mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		fail("mmap");
	wrote("mmap", 0, in(folder, "mmap"));
	fd = fresh(folder, "write32");
	strcpy(low, "data");
	wrote("write", call_32(4, fd, (long)low, 4), in(folder, "write32"));
	fd = fresh(folder, "mmap32");
	memcpy(low, (unsigned[]){ 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0 }, 6 * sizeof(unsigned));
	if (ftruncate(fd, 4096) || (unsigned)call_32(90, (long)low, 0, 0) > -4096u)
		fail("mmap32");
	wrote("mmap", 0, in(folder, "mmap32"));
	fd = fresh(folder, "submitted"), wrote("io_submit", submit(fd), in(folder, "submitted"));

	if (syscall(SYS_rename, in(folder, "write"), in(folder, "r1")))
		fail("rename");
	printf("file_rename rename %s %s\n", in(folder, "write"), in(folder, "r1"));
	if (syscall(SYS_renameat, folder_fd, "r1", folder_fd, "r2"))
		fail("renameat");
	printf("file_rename renameat %s %s\n", in(folder, "r1"), in(folder, "r2"));
	if (syscall(SYS_renameat2, folder_fd, "r2", AT_FDCWD, in(folder, "r3"), 0))
		fail("renameat2");
	printf("file_rename renameat2 %s %s\n", in(folder, "r2"), in(folder, "r3"));
	if (syscall(SYS_unlink, in(folder, "r3")))
		fail("unlink");
	printf("file_unlink unlink %s\n", in(folder, "r3"));
	if (syscall(SYS_unlinkat, folder_fd, "copy", 0))
		fail("unlinkat");
	printf("file_unlink unlinkat %s\n", in(folder, "copy"));
	if (mkdir(in(folder, "sub"), 0755) || syscall(SYS_rmdir, in(folder, "sub")))
		fail("rmdir");
	printf("file_unlink rmdir %s\n", in(folder, "sub"));
	strcpy(low, in(folder, "splice"));
	if (call_32(10, (long)low, 0, 0))
		fail("unlink32");
	printf("file_unlink unlink %s\n", in(folder, "splice"));
	return 0;
}

static int flood(const char *file, int count)
{
	for (int i = 0; i < count; i++) {
		int fd = open(file, O_RDONLY);

		if (fd < 0)
			fail(file);
		close(fd);
	}
	return 0;
}

static void *from_thread(void *folder)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	pthread_setname_np(pthread_self(), "other-name");
	if (open(in(folder, "from-thread"), O_CREAT | O_RDONLY, 0644) < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("thread");
	return NULL;
}

static int cpus(const char *folder)
{
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		char name[32];
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			fail("affinity");
		snprintf(name, sizeof(name), "cpu-%d", cpu);
		if (open(in(folder, name), O_CREAT | O_RDONLY, 0644) < 0)
			fail(name);
		printf("%d %s\n", cpu, in(folder, name));
	}
	return 0;
}

static struct {
	int fd;
	struct io_uring_params params;
	char *submissions, *completions;
	struct io_uring_sqe *entries;
} ring;

static void open_ring(void)
{
	ring.fd = syscall(SYS_io_uring_setup, 8, &ring.params);
	if (ring.fd < 0)
		fail("io_uring_setup");
	ring.submissions = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	ring.completions = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
	ring.entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
	if (ring.submissions == MAP_FAILED || ring.completions == MAP_FAILED || ring.entries == MAP_FAILED)
		fail("io_uring mmap");
}

/* Has one request done, by a worker if asked, and waits for its result. */
static int request(struct io_uring_sqe entry, int worker)
{
	unsigned *tail = (unsigned *)(ring.submissions + ring.params.sq_off.tail);
	unsigned *mask = (unsigned *)(ring.submissions + ring.params.sq_off.ring_mask);
	unsigned *array = (unsigned *)(ring.submissions + ring.params.sq_off.array);
	unsigned *head = (unsigned *)(ring.completions + ring.params.cq_off.head);
	unsigned *cq_mask = (unsigned *)(ring.completions + ring.params.cq_off.ring_mask);
	struct io_uring_cqe *results = (struct io_uring_cqe *)(ring.completions + ring.params.cq_off.cqes);
	unsigned slot = *tail & *mask;
	int result;

	entry.flags = worker ? IOSQE_ASYNC : 0;
	ring.entries[slot] = entry;
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		fail("io_uring_enter");
	result = results[*head & *cq_mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	if (result < 0) {
		errno = -result;
		fail("io_uring request");
	}
	return result;
}

/* A TCP server on a port of the kernel's choice. */
static int serve(struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int server = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	if (bind(server, (struct sockaddr *)address, size) || getsockname(server, (struct sockaddr *)address, &size) || listen(server, 4))
		fail("server");
	show("network_bind", server, 0);
	show("network_listen", server, 0);
	return server;
}

static int uring(const char *folder)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int server = serve(&address);

	open_ring();
	for (int worker = 0; worker < 2; worker++) {
		const char *name = in(folder, worker ? "by-worker" : "inline"), *other = in(folder, "renamed");
		int client = socket(AF_INET, SOCK_STREAM, 0), accepted;
		int fd = request((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (long)name,
							.open_flags = O_CREAT | O_RDWR, .len = 0644 }, worker);

		printf("file_open io_uring %s\n", name);
		request((struct io_uring_sqe){ .opcode = IORING_OP_WRITE, .fd = fd, .addr = (long)"data", .len = 4 }, worker);
		printf("file_write io_uring %s\n", name);
		request((struct io_uring_sqe){ .opcode = IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = (long)name,
					       .len = AT_FDCWD, .off = (long)other }, worker);
		printf("file_rename io_uring %s %s\n", name, other);
		request((struct io_uring_sqe){ .opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (long)other }, worker);
		printf("file_unlink io_uring %s\n", other);
		request((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = client, .addr = (long)&address, .off = size }, worker);
		show("network_connect", client, 1);
		accepted = request((struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = server }, worker);
		show("network_accept", accepted, 1);
	}
	return 0;
}

static int fastopen(void)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int one = 1;

	serve(&address);
	for (int way = 0; way < 2; way++) {
		int client = socket(AF_INET, SOCK_STREAM, 0);

		if (way == 0) {
			if (sendto(client, "data", 4, MSG_FASTOPEN, (struct sockaddr *)&address, size) != 4)
				fail("sendto");
		} else if (setsockopt(client, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)) ||
			   connect(client, (struct sockaddr *)&address, size) || write(client, "data", 4) != 4)
			fail("connect");
		show("network_connect", client, 1);
	}
	return 0;
}

/* No port of this host is touched: each process may have a loopback of its own. */
static void own_network(void)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (unshare(CLONE_NEWNET) || ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &loopback))
		fail("network namespace");
}

static void call_port(int port)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int server = socket(AF_INET, SOCK_STREAM, 0);
	int clients[] = { socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET6, SOCK_STREAM, 0) };

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr);
	if (bind(server, (struct sockaddr *)&four, sizeof(four)) || listen(server, 4))
		fail("server");
	if (connect(clients[0], (struct sockaddr *)&four, sizeof(four)) || connect(clients[1], (struct sockaddr *)&six, sizeof(six)))
		fail("connect");
	for (int i = 0; i < 2; i++)
		printf("network_connect 127.0.0.1 %d\n", port);
}

static int ports(int count, char **numbers)
{
	own_network();
	for (int i = 0; i < count; i++)
		call_port(atoi(numbers[i]));
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc == 3 && !strcmp(argv[1], "calls"))
		return calls(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "uring"))
		return uring(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "fastopen"))
		return fastopen();
	if (argc == 3 && !strcmp(argv[1], "cpus"))
		return cpus(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "flood"))
		return flood(argv[2], atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "threads"))
		return pthread_create(&thread, NULL, from_thread, argv[2]) || pthread_join(thread, NULL);
	if (argc > 2 && !strcmp(argv[1], "ports"))
		return ports(argc - 2, argv + 2);
	if (argc == 4 && !strcmp(argv[1], "files"))
		return files(argv[2], atoi(argv[3]));
	if (argc != 3 || strcmp(argv[1], "network"))
		return 2;
	for (int i = 0; i < atoi(argv[2]); i++) {
		network(AF_INET, SOCK_STREAM);
		network(AF_INET6, SOCK_STREAM);
		network(i % 2 ? AF_INET : AF_INET6, SOCK_DGRAM);
	}
	return 0;
}
