/* SPDX-License-Identifier: GPL-2.0-only */
/* The network family. Addresses come from struct sock. */
#ifndef WARDER_NETWORK_BPF_H
#define WARDER_NETWORK_BPF_H

#include "emit.bpf.h"

enum {
	SOCKADDR_SIZE_MAX = 128,
	UNIX_PATH_SIZE_MAX = 108,
};

/* What a call says about a socket beside the socket itself. */
struct network_call {
	const void *address;	/* that a connect asked for */
	long result;
	int fd;			/* -1 when it is not known */
	__u32 call;
	bool kernel_address;	/* the address is the kernel's copy */
	struct begun begun;	/* the TCP connection that began in this call */
};

/* A call that a signal has interrupted has a result of the kernel's own. Its program sees EINTR, or that it is made again. */
static __always_inline long without_restart(long result)
{
	return result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK ? -EINTR : result;
}

static __always_inline struct sock *sock_of(struct file *file)
{
	struct socket *socket;

	if (!file || (READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = READ(file, private_data);
	return READ_AT(&socket->sk);
}

/* The other end. An IPv4 address takes the first four bytes. */
static __always_inline void read_remote(struct sock *sk, __u8 *addr, __u16 *port)
{
	*port = __builtin_bswap16(READ(sk, __sk_common.skc_dport));
	if (READ(sk, __sk_common.skc_family) == AF_INET6)
		BPF_CORE_READ_INTO((struct in6_addr *)addr, sk, __sk_common.skc_v6_daddr);
	else
		BPF_CORE_READ_INTO((__be32 *)addr, sk, __sk_common.skc_daddr);
}

static __always_inline void fill_addresses(struct network_record *record, struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;

	record->local_port = READ(sk, __sk_common.skc_num);
	if (record->family == AF_INET6)
		BPF_CORE_READ_INTO(&record->local_addr, sk, __sk_common.skc_v6_rcv_saddr);
	else
		BPF_CORE_READ_INTO((__be32 *)record->local_addr, inet, inet_saddr);
	read_remote(sk, record->remote_addr, &record->remote_port);
}

/* An address as a caller passes it. */
struct asked {
	__u16 family;
	__u16 port;
	__u8 bytes[24];		/* IPv4: the address; IPv6: 4 bytes of flow, then the address */
};

static __always_inline void read_asked(struct asked *asked, const struct network_call *call, __u32 size)
{
	if (call->kernel_address)
		bpf_probe_read_kernel(asked, size, call->address);
	else
		bpf_probe_read_user(asked, size, call->address);
}

/* A connection that failed leaves no address in the socket: that of its beginning, or what was asked for, is all there is. */
static __always_inline void fill_requested(struct network_record *record, const struct network_call *call)
{
	struct asked asked = {};

	if (call->begun.remote_port) {
		record->remote_port = call->begun.remote_port;
		__builtin_memcpy(record->remote_addr, call->begun.remote_addr, sizeof(record->remote_addr));
		return;
	}
	read_asked(&asked, call, record->family == AF_INET6 ? 28 : 16);
	if (asked.family != record->family)
		return;
	record->requested = 1;
	record->remote_port = __builtin_bswap16(asked.port);
	if (record->family == AF_INET6)
		__builtin_memcpy(record->remote_addr, asked.bytes + 4, 16);
	else
		__builtin_memcpy(record->remote_addr, asked.bytes, 4);
}

/* The name of a Unix socket's listening end: its own where it listens, its peer's where it has connected. */
static __always_inline void append_unix(struct scratch *scratch, struct text *text, struct sock *sk, bool own)
{
	struct unix_sock *unix = (struct unix_sock *)(own ? sk : READ((struct unix_sock *)sk, peer));
	struct unix_address *address = READ(unix, addr);
	int length = READ(address, len);
	const char *name = (void *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16);
	__u32 size;

	if (!address || length <= (int)sizeof(__u16))
		return;
	size = length - sizeof(__u16);
	if (size > UNIX_PATH_SIZE_MAX)
		size = UNIX_PATH_SIZE_MAX;
	for_verifier(size);
	if (bpf_probe_read_kernel(record_end(scratch), size & 127, name))
		return;
	text->size = text->full_size = size;
	scratch->size += size;
}

/* A connection of TCP says itself when it begins, and to whom: see on_tcp_state. */
static __always_inline bool is_tcp(struct sock *sk)
{
	__u16 protocol = READ(sk, sk_protocol);

	return READ(sk, sk_type) == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

/* Is it a part of an MPTCP connection? Its program knows only of the whole. */
static __always_inline bool is_subflow(struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	return bpf_core_field_exists(tcp->is_mptcp) && READ(sk, sk_protocol) == IPPROTO_TCP &&
	       READ(tcp, is_mptcp);
}

/* Takes over the connection that this thread has begun, if there is one. */
static __always_inline void take_begun(struct task_struct *task, struct network_call *call)
{
	struct begun *noted = bpf_task_storage_get(&begun, task, 0, 0);

	if (!noted)
		return;
	call->begun = *noted;
	noted->sk = 0;
}

/* Has a connect() tried to make a connection? One that could not is an attempt only where the settings ask for them. */
static __always_inline bool is_attempt(struct sock *sk, const struct network_call *call)
{
	bool under_way = call->result == -EINPROGRESS || call->result == -EINTR;

	if (call->begun.sk && (!call->result || under_way))
		return true;
	if (call->result && !(under_way && is_tcp(sk)))
		return settings.failed_network && call->result != -EALREADY;
	/* TCP: it asked how an earlier attempt is getting on. Others: without a peer after it, an earlier one was undone. */
	return !is_tcp(sk) && READ(sk, __sk_common.skc_state) != TCP_CLOSE;
}

__noinline int emit_network_at(__u32 kind, __u64 at, struct network_call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock *sk = (struct sock *)at;
	__u16 family = READ(sk, __sk_common.skc_family);
	struct network_record *record;
	struct scratch *scratch;

	if (!call || (family != AF_INET && family != AF_INET6 && family != AF_UNIX))
		return 0;
	if (kind == RECORD_CONNECT && !is_attempt(sk, call))
		return 0;
	scratch = open_record(kind, RING_ACTIVITY, sizeof(*record), task);
	if (!scratch)
		return 0;
	record = (struct network_record *)scratch->bytes;
	record->family = family;
	record->type = READ(sk, sk_type);
	record->protocol = READ(sk, sk_protocol);
	record->call = call->call;
	record->fd = call->fd;
	record->error = call->result < 0 ? -call->result : 0;
	if (kind == RECORD_LISTEN)
		record->backlog = READ(sk, sk_max_ack_backlog);
	if (family == AF_UNIX)
		append_unix(scratch, &record->path, sk, kind != RECORD_CONNECT);
	else {
		fill_addresses(record, sk);
		if (kind == RECORD_CONNECT && !record->remote_port)
			fill_requested(record, call);
	}
	submit_record(scratch, &activity_ring);
	return 0;
}

static __always_inline void emit_network(__u32 kind, struct sock *sk, struct network_call *call)
{
	if (sk)
		emit_network_at(kind, (__u64)sk, call);
}

#endif
