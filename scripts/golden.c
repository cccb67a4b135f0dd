// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Writes one record of each kind, as C lays it out, and what each member holds, as C reads it back: the other side's witness
 * for the generated decoders. Every byte of a record differs from its neighbours, and has its highest bit set: a number read with
 * the wrong sign is another number.
 *
 * Output: lines "name hex" for records and frames, lines "name.member value" for their members. The test wants every member
 * named here; one that the decoder gives and C does not tell is an error.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "../bpf/event.h"
#include "../bpf/settings.h"

static unsigned char bytes[RECORD_SIZE_MAX];
static size_t end;

static void fill(size_t size)
{
	memset(bytes, 0, sizeof(bytes));
	for (size_t i = 0; i < size; i++)
		bytes[i] = 0x80 + (i * 37 + i / 7 + 11) % 127;
	end = size;
}

static void show(const char *name)
{
	printf("%s ", name);
	for (size_t i = 0; i < end; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

#define NUMBER(name, pointer, member) printf(name "." #member " %llu\n", (unsigned long long)(pointer)->member)
#define SIGNED(name, pointer, member) printf(name "." #member " %lld\n", (long long)(pointer)->member)

#define NUMBERS(name, pointer, member) do { \
	printf(name "." #member " "); \
	for (size_t i = 0; i < sizeof((pointer)->member) / sizeof((pointer)->member[0]); i++) \
		printf("%s%llu", i ? "," : "", (unsigned long long)(pointer)->member[i]); \
	printf("\n"); \
} while (0)

static void chars(const char *name, const char *from, size_t size)
{
	printf("%s ", name);
	for (size_t i = 0; i < size && from[i]; i++)
		printf("%02x", (unsigned char)from[i]);
	printf("\n");
}

static void text(const char *name, struct text *text, const char *value, __u32 full_size)
{
	text->size = strlen(value);
	text->full_size = full_size;
	memcpy(bytes + end, value, text->size);
	end += text->size;
	printf("%s.full_size %u\n", name, text->full_size);
	chars(name, value, text->size);
}

static void header(const char *name, struct record_header *header, __u16 kind)
{
	char key[64];

	header->kind = kind;
	header->comm[15] = 0;
#define HEADER(member, value) snprintf(key, sizeof(key), "%s.header." #member, name), printf("%s %llu\n", key, (unsigned long long)(value))
	HEADER(sequence, header->sequence);
	HEADER(time, header->time);
	HEADER(kind, header->kind);
	HEADER(cpu, header->cpu);
	HEADER(flags, header->flags);
	HEADER(process.start_time, header->process.start_time);
	HEADER(process.tgid, header->process.tgid);
	HEADER(process.reserved, header->process.reserved);
	HEADER(parent.start_time, header->parent.start_time);
	HEADER(parent.tgid, header->parent.tgid);
	HEADER(parent.reserved, header->parent.reserved);
	HEADER(tid, header->tid);
	HEADER(exec_id, header->exec_id);
	HEADER(uid, header->uid);
	HEADER(gid, header->gid);
	HEADER(euid, header->euid);
	HEADER(egid, header->egid);
	snprintf(key, sizeof(key), "%s.header.comm", name);
	chars(key, header->comm, sizeof(header->comm));
}

static void list(const char *name, struct text_list *list, const char *head, const char *tail, __u32 full_size)
{
	list->size = strlen(head);
	list->tail_size = strlen(tail);
	list->full_size = full_size;
	memcpy(bytes + end, head, list->size);
	memcpy(bytes + end + list->size, tail, list->tail_size);
	end += list->size + list->tail_size;
	printf("%s.full_size %u\n%s.count %u\n", name, list->full_size, name, list->count);
	printf("%s.head ", name), chars("", head, list->size);
	printf("%s.tail ", name), chars("", tail, list->tail_size);
}

static void exec_record(const char *name, __u16 kind)
{
	struct exec_record *record = (struct exec_record *)bytes;
	char key[64];

	fill(sizeof(*record));
	record->parent_comm[15] = 0;
	header(name, &record->header, kind);
#define EXEC(member) snprintf(key, sizeof(key), "%s." #member, name), printf("%s %llu\n", key, (unsigned long long)record->member)
	EXEC(cap_effective);
	EXEC(cgroup_id);
	EXEC(inode);
	EXEC(device);
	EXEC(nlink);
	EXEC(mode);
	EXEC(owner_uid);
	EXEC(owner_gid);
	EXEC(fileless);
	EXEC(source);
	EXEC(auid);
	EXEC(session_id);
	EXEC(pid_namespace);
	EXEC(mnt_namespace);
	EXEC(net_namespace);
	EXEC(user_namespace);
#define KEY(member) (snprintf(key, sizeof(key), "%s." #member, name), key)
	chars(KEY(parent_comm), record->parent_comm, sizeof(record->parent_comm));
	text(KEY(exe_path), &record->exe_path, "/usr/bin/\xff\xc3\xa9", 99);
	text(KEY(parent_exe_path), &record->parent_exe_path, "/parent", 7);
	text(KEY(cwd), &record->cwd, "/cwd here", 9);
	text(KEY(root), &record->root, kind == RECORD_EXEC ? "/jail" : "", kind == RECORD_EXEC ? 300 : 0);
	text(KEY(filename), &record->filename, "./file\nname", 11);
	text(KEY(interpreter), &record->interpreter, "/bin/interpreter", 4000000001u);
	text(KEY(cgroup), &record->cgroup, "/a.slice/b.scope", 16);
	list(KEY(args), &record->args, "first", "last", 4000000000u);
	list(KEY(env), &record->env, "LD_PRELOAD=/x", "", 13);
	show(name);
}

static void file_record(const char *name, __u16 kind)
{
	struct file_record *record = (struct file_record *)bytes;
	char key[64];

	fill(sizeof(*record));
	header(name, &record->header, kind);
#define FILE_MEMBER(member) snprintf(key, sizeof(key), "%s." #member, name), printf("%s %lld\n", key, (long long)record->member)
	printf("%s.inode %llu\n%s.device %llu\n%s.count %llu\n", name, (unsigned long long)record->inode, name,
	       (unsigned long long)record->device, name, (unsigned long long)record->count);
	FILE_MEMBER(mode);
	FILE_MEMBER(nlink);
	FILE_MEMBER(flags);
	FILE_MEMBER(created);
	FILE_MEMBER(call);
	FILE_MEMBER(error);
	text(KEY(path), &record->path, "/a/path\xfe", 8);
	text(KEY(new_path), &record->new_path, "/another", 3000);
	text(KEY(filename), &record->filename, "as asked", 8);
	show(name);
}

static void octets(const char *name, const __u8 *from, size_t size)
{
	printf("%s ", name);
	for (size_t i = 0; i < size; i++)
		printf("%s%u", i ? "," : "", from[i]);
	printf("\n");
}

static void network_record(const char *name, __u16 kind)
{
	struct network_record *record = (struct network_record *)bytes;
	char key[64];

	fill(sizeof(*record));
	header(name, &record->header, kind);
#define NETWORK_MEMBER(member) snprintf(key, sizeof(key), "%s." #member, name), printf("%s %lld\n", key, (long long)record->member)
	NETWORK_MEMBER(family);
	NETWORK_MEMBER(type);
	NETWORK_MEMBER(protocol);
	NETWORK_MEMBER(local_port);
	NETWORK_MEMBER(remote_port);
	NETWORK_MEMBER(reserved);
	NETWORK_MEMBER(backlog);
	NETWORK_MEMBER(fd);
	NETWORK_MEMBER(error);
	NETWORK_MEMBER(call);
	NETWORK_MEMBER(requested);
	octets(KEY(local_addr), record->local_addr, sizeof(record->local_addr));
	octets(KEY(remote_addr), record->remote_addr, sizeof(record->remote_addr));
	text(KEY(path), &record->path, "/run/x.sock", 11);
	show(name);
}

/* The structs that are walked by their size, and the one row that no reader reads as a whole. */
static void sizes(void)
{
#define SIZE(name) printf("size." #name " %zu\n", sizeof(struct name))
	SIZE(exec_record);
	SIZE(record_header);
	SIZE(process_key);
	SIZE(fork_record);
	SIZE(exit_record);
	SIZE(file_record);
	SIZE(network_record);
	SIZE(stream_preamble);
	SIZE(frame_header);
	SIZE(ring_entry);
	SIZE(clock_frame);
	SIZE(counters_frame);
	SIZE(cpu_counters);
	SIZE(kind_counters);
	SIZE(acknowledgement);
	SIZE(kernel_settings);
	SIZE(own_processes);
	SIZE(message);
	SIZE(taken_frame);
	SIZE(loser);
	SIZE(text);
	SIZE(text_list);
	printf("cpu_counters.sequence %zu\n", offsetof(struct cpu_counters, sequence));
	printf("cpu_counters.kinds %zu\n", offsetof(struct cpu_counters, kinds));
}

int main(void)
{
	file_record("fileOpen", RECORD_FILE_OPEN);
	file_record("fileWrite", RECORD_FILE_WRITE);
	file_record("fileRename", RECORD_FILE_RENAME);
	file_record("fileUnlink", RECORD_FILE_UNLINK);
	network_record("connect", RECORD_CONNECT);
	network_record("bind", RECORD_BIND);
	network_record("listen", RECORD_LISTEN);
	network_record("accept", RECORD_ACCEPT);
	exec_record("exec", RECORD_EXEC);
	exec_record("snapshot", RECORD_SNAPSHOT);

	struct fork_record *fork = (struct fork_record *)bytes;
	fill(sizeof(*fork));
	fork->creator_comm[15] = fork->parent_comm[15] = 0;
	header("fork", &fork->header, RECORD_FORK);
	NUMBER("fork", fork, creator.start_time);
	NUMBER("fork", fork, creator.tgid);
	NUMBER("fork", fork, creator.reserved);
	NUMBER("fork", fork, creator_tid);
	NUMBER("fork", fork, reserved);
	chars("fork.creator_comm", fork->creator_comm, sizeof(fork->creator_comm));
	chars("fork.parent_comm", fork->parent_comm, sizeof(fork->parent_comm));
	text("fork.exe_path", &fork->exe_path, "/usr/bin/forked", 15);
	show("fork");

	struct exit_record *exit = (struct exit_record *)bytes;
	fill(sizeof(*exit));
	header("exit", &exit->header, RECORD_EXIT);
	NUMBER("exit", exit, status);
	NUMBER("exit", exit, reserved);
	text("exit.exe_path", &exit->exe_path, "/usr/bin/ended", 14);
	show("exit");

	struct frame_header *frame = (struct frame_header *)bytes;
	fill(sizeof(*frame));
	NUMBER("frame_header", frame, type);
	NUMBER("frame_header", frame, ring);
	NUMBER("frame_header", frame, size);
	NUMBER("frame_header", frame, position);
	NUMBER("frame_header", frame, checksum);
	NUMBER("frame_header", frame, more);
	show("frame_header");

	struct ring_entry *entry = (struct ring_entry *)bytes;
	fill(sizeof(*entry));
	NUMBER("ring_entry", entry, size);
	NUMBER("ring_entry", entry, page_offset);
	show("ring_entry");

	struct clock_frame *clock = (struct clock_frame *)bytes;
	fill(sizeof(*clock));
	NUMBER("clock_frame", clock, time);
	SIGNED("clock_frame", clock, wall_offset);
	show("clock_frame");

	struct acknowledgement *acknowledgement = (struct acknowledgement *)bytes;
	fill(sizeof(*acknowledgement));
	NUMBERS("acknowledgement", acknowledgement, position);
	NUMBER("acknowledgement", acknowledgement, counters);
	NUMBER("acknowledgement", acknowledgement, unwritten_events);
	NUMBER("acknowledgement", acknowledgement, unwritten_alerts);
	show("acknowledgement");

	struct counters_frame *state = (struct counters_frame *)bytes;
	fill(sizeof(*state));
	NUMBER("counters_frame", state, time);
	NUMBERS("counters_frame", state, producer_position);
	NUMBERS("counters_frame", state, sent_position);
	NUMBERS("counters_frame", state, redeliver_until);
	NUMBERS("counters_frame", state, waiting);
	NUMBER("counters_frame", state, refused);
	NUMBER("counters_frame", state, tampered);
	NUMBERS("counters_frame", state, detached);
	NUMBER("counters_frame", state, abandoned);
	NUMBERS("counters_frame", state, missed);
	NUMBERS("counters_frame", state, canaries);
	show("counters_frame");

	struct taken_frame *taken = (struct taken_frame *)bytes;
	fill(sizeof(*taken));
	NUMBER("taken_frame", taken, time);
	NUMBERS("taken_frame", taken, missed);
	NUMBERS("taken_frame", taken, unread);
	NUMBER("taken_frame", taken, unwritten_events);
	NUMBER("taken_frame", taken, unwritten_alerts);
	show("taken_frame");

	struct kind_counters *counters = (struct kind_counters *)bytes;
	fill(sizeof(*counters));
	NUMBER("kind_counters", counters, attempts);
	NUMBER("kind_counters", counters, submitted);
	NUMBER("kind_counters", counters, lost);
	NUMBER("kind_counters", counters, discarded);
	NUMBER("kind_counters", counters, filtered);
	NUMBER("kind_counters", counters, unheard);
	show("kind_counters");

	struct stream_preamble *preamble = (struct stream_preamble *)bytes;
	fill(sizeof(*preamble));
	memcpy(preamble->magic, STREAM_MAGIC, sizeof(preamble->magic));
	chars("stream_preamble.magic", preamble->magic, sizeof(preamble->magic));
	chars("stream_preamble.abi", preamble->abi, sizeof(preamble->abi));
	octets("stream_preamble.boot_id", preamble->boot_id, sizeof(preamble->boot_id));
	octets("stream_preamble.host_id", preamble->host_id, sizeof(preamble->host_id));
	NUMBER("stream_preamble", preamble, instance);
	NUMBER("stream_preamble", preamble, attached);
	NUMBER("stream_preamble", preamble, cpus);
	NUMBER("stream_preamble", preamble, checksums);
	show("stream_preamble");

	struct kernel_settings *settings = (struct kernel_settings *)bytes;
	fill(sizeof(*settings));
	NUMBER("kernel_settings", settings, collect_args);
	NUMBER("kernel_settings", settings, collect_cwd);
	NUMBER("kernel_settings", settings, collect_env);
	NUMBERS("kernel_settings", settings, call_kinds);
	NUMBER("kernel_settings", settings, lineage_kinds);
	NUMBER("kernel_settings", settings, watched_paths);
	NUMBER("kernel_settings", settings, watched_suffixes);
	NUMBER("kernel_settings", settings, excluded_paths);
	NUMBER("kernel_settings", settings, every_write);
	NUMBER("kernel_settings", settings, excluded_comms);
	NUMBER("kernel_settings", settings, failed_network);
	NUMBER("kernel_settings", settings, failed_files);
	NUMBER("kernel_settings", settings, reserved);
	NUMBER("kernel_settings", settings, write_window);
	show("kernel_settings");

	struct own_processes *own = (struct own_processes *)bytes;
	fill(sizeof(*own));
	NUMBER("own_processes", own, sensor);
	NUMBER("own_processes", own, evaluator);
	NUMBER("own_processes", own, sensor_start);
	NUMBER("own_processes", own, evaluator_start);
	NUMBER("own_processes", own, canary);
	NUMBER("own_processes", own, bare);
	NUMBER("own_processes", own, strangers);
	NUMBER("own_processes", own, reading);
	NUMBER("own_processes", own, reserved);
	show("own_processes");

	struct message *message = (struct message *)bytes;
	fill(sizeof(*message));
	NUMBER("message", message, to);
	NUMBER("message", message, block);
	NUMBERS("message", message, words);
	show("message");

	struct loser *loser = (struct loser *)bytes;
	fill(sizeof(*loser));
	chars("loser.comm", loser->comm, sizeof(loser->comm));
	NUMBER("loser", loser, kind);
	NUMBER("loser", loser, reserved);
	NUMBER("loser", loser, lost);
	show("loser");

	sizes();
	return 0;
}
