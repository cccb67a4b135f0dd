// SPDX-License-Identifier: GPL-2.0-only
/* A program that does nothing at the end of every call: what any program in its place would cost. Stays until it is killed. */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },	/* r0 = 0 */
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int program = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, NULL, "GPL", nothing, 2, NULL);

	if (program < 0 || bpf_raw_tracepoint_open("sys_exit", program) < 0) {
		perror("empty");
		return 1;
	}
	pause();
	return 0;
}
