// SPDX-License-Identifier: GPL-2.0-only
/* Loaded and thrown away: does this kernel allow trampolines? */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("fexit/security_file_open")
int on_probe(void *ctx)
{
	return 0;
}

char license_name[] SEC("license") = "GPL";
