// SPDX-License-Identifier: Apache-2.0
/*
 * Does what it is asked for, and says what it has done as it knows it itself: from fstat, getsockname and getpeername.
 *
 *   generate files FOLDER COUNT     opens (creates), writes twice, renames, unlinks
 *   generate network COUNT          bind, listen, connect, accept: TCP over IPv4 and IPv6; UDP: bind, connect
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
		printf("file_rename %s %s\n", name, other);
		if (unlink(other))
			fail("unlink");
		printf("file_unlink %s -\n", other);
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

int main(int argc, char **argv)
{
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
