// SPDX-License-Identifier: Apache-2.0
/*
 * Does with sockets what attackers do to escape a sensor, harmlessly, and says what really happened.
 *
 *   evade_sockets ACT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "evade.h"

static struct sockaddr_in target;
static socklen_t target_size = sizeof(target);
static int server, client;

/* A listener that takes no further connection before one was accepted: whoever connects waits. */
static void listen_full(void)
{
	struct sockaddr_in address;

	target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	server = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(server, (struct sockaddr *)&target, target_size) || getsockname(server, (struct sockaddr *)&target, &target_size) ||
	    listen(server, 0))
		fail("server");
	address = target;
	if (connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, target_size))
		fail("connect");
}

/* Who is at the other end, as the socket says it. */
static int say_peer(int fd)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &size))
		fail("getpeername");
	return printf("%d\n", ntohs(peer.sin_port)) < 0;
}

static void *accept_all(void *argument)
{
	while (accept(server, NULL, NULL) >= 0)
		;
	return argument;
}

/* What another thread does to a call while it waits. */
static void change_port(void)
{
	target.sin_port = htons(1);
}

static void change_family(void)
{
	target.sin_family = AF_UNSPEC;
}

static void change_descriptor(void)
{
	dup2(open("/dev/null", O_RDONLY), client);
}

static void *meddle(void *change)
{
	usleep(200000);
	((void (*)(void))change)();
	return accept_all(NULL);
}

static int connect_while(void (*change)(void))
{
	pthread_t thread;
	int kept;

	listen_full();
	client = socket(AF_INET, SOCK_STREAM, 0);
	kept = dup(client);
	pthread_create(&thread, NULL, meddle, change);
	if (connect(client, (struct sockaddr *)&target, target_size))
		fail("connect");
	return say_peer(kept);
}

static int flip_port(void)
{
	return connect_while(change_port);
}

static int flip_family(void)
{
	return connect_while(change_family);
}

static int swap_descriptor(void)
{
	return connect_while(change_descriptor);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A signal ends the call, and not the connection. */
static int interrupt(void)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	pthread_t thread;

	listen_full();
	sigaction(SIGALRM, &action, NULL);
	ualarm(200000, 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (!connect(client, (struct sockaddr *)&target, target_size) || errno != EINTR)
		fail("a connect that was to be interrupted");
	pthread_create(&thread, NULL, accept_all, NULL);
	while (getpeername(client, (struct sockaddr *)&peer, &size))
		usleep(10000);
	return say_peer(client);
}

/* The same connect() again and again, to find out how far it is. */
static int poll_connect(void)
{
	pthread_t thread;
	int calls = 0;

	listen_full();
	client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	while (connect(client, (struct sockaddr *)&target, target_size)) {
		if (errno != EINPROGRESS && errno != EALREADY)
			fail("connect");
		if (++calls == 3)
			pthread_create(&thread, NULL, accept_all, NULL);
		usleep(10000);
	}
	return say_peer(client);
}

/* Nobody listens there. */
static int call_nobody(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = { htonl(INADDR_LOOPBACK) } };

	return !connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address)) || errno != ECONNREFUSED;
}

static int connect_multipath(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

	server = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (server < 0)	/* a kernel without it */
		return 0;
	client = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (bind(server, (struct sockaddr *)&address, target_size) || getsockname(server, (struct sockaddr *)&address, &target_size) ||
	    listen(server, 4) || connect(client, (struct sockaddr *)&address, target_size))
		fail("mptcp");
	return say_peer(client);
}

/* A datagram socket gets a peer, and loses it again. */
static int undo_connect(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(4020), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	client = socket(AF_INET, SOCK_DGRAM, 0);
	return connect(client, (struct sockaddr *)&address, sizeof(address)) || connect(client, &none, sizeof(none));
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

int main(int argc, char **argv)
{
	static const struct act acts[] = {
		{ "flip-port", .alone = flip_port }, { "flip-family", .alone = flip_family },
		{ "swap-descriptor", .alone = swap_descriptor }, { "interrupted", .alone = interrupt },
		{ "polled", .alone = poll_connect }, { "multipath", .alone = connect_multipath },
		{ "refused", .alone = call_nobody }, { "undone", .alone = undo_connect }, { "unconnected", .alone = send_unconnected },
		{ "mapped-address", .alone = connect_mapped },
	};

	return act(acts, sizeof(acts) / sizeof(acts[0]), argc, argv);
}
