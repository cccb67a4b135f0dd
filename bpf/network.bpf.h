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
};

static __always_inline struct sock *sock_of(struct file *file)
{
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline void fill_addresses(struct network_record *record, struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;

	record->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (record->family == AF_INET6) {
		BPF_CORE_READ_INTO(&record->local_addr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&record->remote_addr, sk, __sk_common.skc_v6_daddr);
	} else {
		__be32 local = BPF_CORE_READ(inet, inet_saddr), remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		__builtin_memcpy(record->local_addr, &local, sizeof(local));
		__builtin_memcpy(record->remote_addr, &remote, sizeof(remote));
	}
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

/* A connection that failed leaves no address in the socket: the one that was asked for is all there is. */
static __always_inline void fill_requested(struct network_record *record, const struct network_call *call)
{
	struct asked asked = {};

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

/* A connect to "no family" undoes an earlier one. */
static __always_inline bool disconnects(const struct network_call *call)
{
	struct asked asked = { .family = AF_INET };

	read_asked(&asked, call, sizeof(asked.family));
	return asked.family == AF_UNSPEC;
}

/* The name of a Unix socket's listening end: its own where it listens, its peer's where it has connected. */
static __always_inline void append_unix(struct scratch *scratch, struct text *text, struct sock *sk, bool own)
{
	struct unix_sock *unix = (struct unix_sock *)(own ? sk : BPF_CORE_READ((struct unix_sock *)sk, peer));
	struct unix_address *address = BPF_CORE_READ(unix, addr);
	int length = BPF_CORE_READ(address, len);
	const char *name = (void *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16);
	__u32 size;

	if (!address || length <= (int)sizeof(__u16))
		return;
	size = length - sizeof(__u16);
	if (size > UNIX_PATH_SIZE_MAX)
		size = UNIX_PATH_SIZE_MAX;
	append_text(scratch, text, name, size);
}

/* Has this connection been reported when it began? */
static __always_inline bool is_repeated(struct sock *sk, const struct network_call *call)
{
	struct network_record addresses = { .family = BPF_CORE_READ(sk, __sk_common.skc_family) };
	struct connecting key = { .sk = (__u64)sk, .inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino) };
	__u8 begun = 1;

	fill_addresses(&addresses, sk);
	__builtin_memcpy(key.remote_addr, addresses.remote_addr, sizeof(key.remote_addr));
	key.remote_port = addresses.remote_port;
	if (call->result == -EINPROGRESS) {
		bpf_map_update_elem(&connecting, &key, &begun, BPF_ANY);
		return false;
	}
	return !bpf_map_delete_elem(&connecting, &key) && !call->result;
}

static __noinline int emit_network(struct task_struct *task, __u32 kind, struct sock *sk, struct network_call *call)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct network_record *record;
	struct scratch *scratch;

	if (!sk || (family != AF_INET && family != AF_INET6 && family != AF_UNIX))
		return 0;
	if (kind == RECORD_CONNECT && call->address && disconnects(call))
		return 0;
	if (kind == RECORD_CONNECT && family != AF_UNIX && is_repeated(sk, call)) {
		count_filtered(kind);
		return 0;
	}
	scratch = open_record(kind, RING_ACTIVITY, sizeof(*record), task);
	if (!scratch)
		return 0;
	record = (struct network_record *)scratch->bytes;
	record->family = family;
	record->type = BPF_CORE_READ(sk, sk_type);
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->call = call->call;
	record->fd = call->fd;
	record->error = call->result < 0 ? -call->result : 0;
	if (kind == RECORD_LISTEN)
		record->backlog = BPF_CORE_READ(sk, sk_max_ack_backlog);
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

#endif
