/* SPDX-License-Identifier: GPL-2.0-only */
/* The network family. Addresses come from struct sock. */
#ifndef WARDER_NETWORK_BPF_H
#define WARDER_NETWORK_BPF_H

#include "emit.bpf.h"
#include "syscall.bpf.h"

enum {
	SOCKADDR_SIZE_MAX = 128,
	UNIX_PATH_SIZE_MAX = 108,
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

/* A connection that failed leaves no address in the socket: the one that was asked for is all there is. */
static __always_inline void fill_requested(struct network_record *record, __u64 address)
{
	struct {
		__u16 family;
		__u16 port;
		__u8 bytes[24];		/* IPv4: the address; IPv6: 4 bytes of flow, then the address */
	} asked = {};

	bpf_probe_read_user(&asked, record->family == AF_INET6 ? 28 : 16, (void *)address);
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

static __noinline int emit_network(struct task_struct *task, __u32 kind, struct sock *sk, struct syscall *syscall)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct network_record *record;
	struct scratch *scratch;

	if (!sk || (family != AF_INET && family != AF_INET6 && family != AF_UNIX))
		return 0;
	scratch = open_record(kind, RING_ACTIVITY, sizeof(*record), task);
	if (!scratch)
		return 0;
	record = (struct network_record *)scratch->bytes;
	record->family = family;
	record->type = BPF_CORE_READ(sk, sk_type);
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->call = syscall->call;
	record->fd = kind == RECORD_ACCEPT ? syscall->result : (int)syscall->args[0];
	record->error = syscall->result < 0 ? -syscall->result : 0;
	if (kind == RECORD_LISTEN)
		record->backlog = BPF_CORE_READ(sk, sk_max_ack_backlog);
	if (family == AF_UNIX)
		append_unix(scratch, &record->path, sk, kind != RECORD_CONNECT);
	else {
		fill_addresses(record, sk);
		if (kind == RECORD_CONNECT && !record->remote_port)
			fill_requested(record, syscall->args[1]);
	}
	submit_record(scratch, &activity_ring);
	return 0;
}

static __always_inline void network_ended(struct task_struct *task, __u32 kind, struct syscall *syscall)
{
	__u64 fd = kind == RECORD_ACCEPT ? (__u64)syscall->result : syscall->args[0];

	emit_network(task, kind, sock_of(file_of(task, (__u32)fd)), syscall);
}

/* i386's socketcall: the number of the call inside, and where its arguments are. */
static __always_inline void open_envelope(struct syscall *syscall)
{
	__u32 inside[3] = {};

	bpf_probe_read_user(inside, sizeof(inside), (void *)syscall->args[1]);
	switch (syscall->args[0]) {
	case 2: syscall->call = CALL_BIND; break;
	case 3: syscall->call = CALL_CONNECT; break;
	case 4: syscall->call = CALL_LISTEN; break;
	case 5: syscall->call = CALL_ACCEPT; break;
	case 18: syscall->call = CALL_ACCEPT4; break;
	default: syscall->call = CALL_UNKNOWN;
	}
	syscall->args[0] = inside[0];
	syscall->args[1] = inside[1];
	syscall->args[2] = inside[2];
}

#endif
