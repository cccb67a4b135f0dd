// SPDX-License-Identifier: GPL-2.0-only
/* Everything that runs in the kernel. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "settings.h"
#include "kernel.h"
#include "maps.bpf.h"
#include "emit.bpf.h"
#include "path.bpf.h"
#include "process.bpf.h"
#include "filter.bpf.h"
#include "syscall.bpf.h"
#include "file.bpf.h"
#include "network.bpf.h"
#include "calls.bpf.h"
#include "objects.bpf.h"
#include "message.bpf.h"

char license_name[] SEC("license") = "GPL";
