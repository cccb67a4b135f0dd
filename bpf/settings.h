/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the sensor tells the programs before it loads them. Constants from then on, so that what is off costs nothing. */
#ifndef WARDER_SETTINGS_H
#define WARDER_SETTINGS_H

#include <linux/types.h>

struct kernel_settings {
	__u32 collect_args;
	__u32 collect_cwd;
	__u32 collect_env;
	__u32 reserved;
};

#endif
