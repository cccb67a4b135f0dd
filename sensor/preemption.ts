// Can the scheduler take the CPU from a task in the middle of a call? Then it can while an fentry program looks at that call, and
// the kernel keeps this program from running on that CPU until the task goes on: what others do there meanwhile is only counted
// (`recursion_misses`). Whoever is idle in between can make that last. Programs at tracepoints run with preemption off.

import { readFileSync } from "node:fs";
import { release, version } from "node:os";
import { gunzipSync } from "node:zlib";

/** Root can change the mode of a kernel with CONFIG_PREEMPT_DYNAMIC here, and at its start with "preempt=". */
const MODE = "/sys/kernel/debug/sched/preempt";

/** Null: this host does not tell. */
export function preemptsCalls(): boolean | null {
  const kernel = version();
  if (!/\bPREEMPT_DYNAMIC\b/.test(kernel)) return /\bPREEMPT(_RT|_LAZY)?\b/.test(kernel);
  const mode = /\((\w+)\)/.exec(textOf(MODE)) ?? /.*\bpreempt=(\w+)/s.exec(textOf("/proc/cmdline"));
  if (mode) return mode[1] === "full" || mode[1] === "lazy";
  const config = textOf(`/boot/config-${release()}`) || textOf("/proc/config.gz");
  return config === "" ? null : /^CONFIG_PREEMPT(_LAZY)?=y$/m.test(config);
}

function textOf(path: string): string {
  try {
    const bytes = readFileSync(path);
    return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
  } catch {
    return ""; // not mounted, not allowed, or not there
  }
}
