// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Never loaded: compiled so that its type data (BTF) names everything in event.h, for scripts/abi.ts to read. */
#include "event.h"
#include "settings.h"

/* Which struct a record kind has: the members are named after enum record_kind. */
struct records {
	struct exec_record exec;
	struct fork_record fork;
	struct exit_record exit;
	struct exec_record snapshot;
	struct file_record file_open;
	struct file_record file_write;
	struct file_record file_rename;
	struct file_record file_unlink;
	struct network_record connect;
	struct network_record bind;
	struct network_record listen;
	struct network_record accept;
} records;

/* What else crosses a border. */
struct stream {
	struct stream_preamble stream_preamble;
	struct frame_header frame_header;
	struct ring_entry ring_entry;
	struct clock_frame clock_frame;
	struct counters_frame counters_frame;
	struct taken_frame taken_frame;
	struct cpu_counters cpu_counters;
	struct acknowledgement acknowledgement;
	struct loser loser;
	struct kernel_settings kernel_settings;
	struct own_processes own_processes;
	struct message message;
} stream;

enum limit limit;
enum record_kind record_kind;
enum ring ring;
enum record_flag flag;
enum exec_source source;
enum call call;
enum frame_type frame_type;
enum tamper tamper;
enum message_to message_to;
