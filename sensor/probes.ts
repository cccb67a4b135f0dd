// What this host lacks before the sensor could run at all.

import { readFileSync, readlinkSync, statfsSync, statSync } from "node:fs";
import { LIBBPF_PATH, requireLibbpf } from "./libbpf.ts";

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
export const BPFFS = "/sys/fs/bpf";
const BPF_FS_MAGIC = 0xcafe4a11;

/** The capabilities that loading, attaching and then giving up everything takes, by their numbers in <linux/capability.h>. */
const CAPABILITIES = {
  ...{ CAP_CHOWN: 0, CAP_SETGID: 6, CAP_SETUID: 7, CAP_SETPCAP: 8 },
  ...{ CAP_PERFMON: 38, CAP_BPF: 39 },
};
const CAP_SYS_ADMIN = 21;

/** What is missing on this host, one line each; empty when the sensor could run. */
export function missing(options: { pin: boolean; object: string }): string[] {
  const checks = [
    missingBtf,
    missingLibbpf,
    missingRights,
    missingNamespace,
    missingFreedom,
    () => (options.pin ? missingBpffs() : null),
  ];
  const lines = checks.map((check) => check()).filter((line) => line !== null);
  if (!exists(options.object)) {
    lines.push(`no compiled programs at ${options.object}: run ./scripts/build, or install the package`);
  }
  return lines;
}

function missingBtf(): string | null {
  if (exists(KERNEL_BTF)) return null;
  return `no kernel BTF (${KERNEL_BTF}): a kernel with CONFIG_DEBUG_INFO_BTF=y is needed, as distributions have since 2020`;
}

function missingLibbpf(): string | null {
  try {
    requireLibbpf();
    return null;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `no libbpf (${LIBBPF_PATH}: ${reason}): install it, on Debian with "apt-get install libbpf1"`;
  }
}

function missingRights(): string | null {
  const status = readFileSync("/proc/self/status", "utf8");
  const effective = BigInt(`0x${/^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const has = (bit: number) => (effective >> BigInt(bit)) & 1n;
  const lacking = Object.entries(CAPABILITIES)
    .filter(
      ([name, bit]) => !has(bit) && !((name === "CAP_BPF" || name === "CAP_PERFMON") && has(CAP_SYS_ADMIN)),
    )
    .map(([name]) => name);
  if (process.getuid?.() === 0 && lacking.length === 0) return null;
  const reason =
    process.getuid?.() === 0 ? `root without ${lacking.join(", ")}` : `uid ${process.getuid?.()}`;
  return `no rights (${reason}): the sensor has to start as root, and gives up all rights before it serves`;
}

/** PROC_PID_INIT_INO in the kernel's <linux/proc_ns.h>: the first namespace of process ids, in which the kernel side counts. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";

function missingNamespace(): string | null {
  if (readlinkSync("/proc/self/ns/pid") === FIRST_PID_NAMESPACE) return null;
  return "in a namespace of process ids of its own, a sensor does not know its own number: start it in the host's (docker run --pid=host)";
}

const LOCKDOWN = "/sys/kernel/security/lockdown";

function missingFreedom(): string | null {
  if (!exists(LOCKDOWN) || !readFileSync(LOCKDOWN, "utf8").includes("[confidentiality]")) return null;
  return `kernel lockdown (${LOCKDOWN}) is "confidentiality": no program may read the kernel's memory then; "integrity" is enough for Secure Boot (lockdown= on the kernel's command line)`;
}

function missingBpffs(): string | null {
  try {
    if (statfsSync(BPFFS).type === BPF_FS_MAGIC) return null;
  } catch {
    // Not even the folder: the same answer.
  }
  return `no bpffs at ${BPFFS}: run "mount -t bpf bpf ${BPFFS}", or start with --no-pin (then a killed sensor loses events)`;
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
