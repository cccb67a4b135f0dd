// What this kernel and these rights allow: which program serves which hook, and the coverage that readers are told.

import { readFileSync, statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import { ALL_EVENT_KINDS, type EventType } from "../bpf/kinds.ts";
import { LIBBPF_PATH, requireLibbpf, tryObject } from "./libbpf.ts";
import type { Settings } from "./settings.ts";

/** This host cannot run the sensor: one line that says what is missing and how to get it. Exit code 5. */
export class UnsupportedError extends Error {}

/** A program and what it serves. The snapshot is not an event, but every event's lineage rests on it. */
export type Hook = { program: string; hook: string; serves: readonly (EventType | "process_snapshot")[] };

/** Which kind of hook serves a kind of event where there is a choice. */
export type Profile = "fentry" | "tracepoint";

const CALLS = ALL_EVENT_KINDS.filter(({ family }) => family !== "process").map(({ type }) => type);

const ALWAYS: Hook[] = [
  { program: "on_exec", hook: "tp_btf/sched_process_exec", serves: ["process_start"] },
  { program: "on_fork", hook: "tp_btf/sched_process_fork", serves: ["process_relationship"] },
  { program: "on_exit", hook: "tp_btf/sched_process_exit", serves: ["process_exit"] },
  { program: "on_snapshot", hook: "iter.s/task", serves: ["process_snapshot"] },
];
const FENTRY: Hook[] = [
  { program: "on_file_open", hook: "fexit/security_file_open", serves: ["file_open"] },
  { program: "on_file_write", hook: "fexit/security_file_permission", serves: ["file_write"] },
  { program: "on_file_map", hook: "fexit/security_mmap_file", serves: ["file_write"] },
];
const CALL_PROGRAM = { program: "on_call", hook: "tp_btf/sys_exit" };

/** The programs of a profile. What it has no better hook for is served by the end of the calls. */
function hooksOf(profile: Profile): Hook[] {
  const better = profile === "fentry" ? FENTRY : [];
  const rest = CALLS.filter((type) => !better.some(({ serves }) => serves.includes(type)));
  return [...ALWAYS, ...better, { ...CALL_PROGRAM, serves: rest }];
}

/** All programs of the object. */
export const PROGRAMS = [...ALWAYS, ...FENTRY, CALL_PROGRAM].map(({ program }) => program);

/** What cannot be seen, by the events that it is about; in one profile, or in both. */
const BLIND_SPOTS: [EventType, string, Profile?][] = [
  ["file_open", "io_uring opens: not seen", "tracepoint"],
  [
    "file_open",
    "opens: a thread that replaces the descriptor before the call has ended can show another file",
    "tracepoint",
  ],
  ["file_write", "io_uring writes: not seen", "tracepoint"],
  ["file_write", "stores to mapped memory: only the mapping is seen"],
  [
    "file_rename",
    "renames and unlinks: names are the caller's, behind the folder they start from; symlinks and .. stay as they are",
  ],
  ["file_rename", "io_uring renames and unlinks: not seen"],
  ["network_connect", "io_uring connects, TCP Fast Open, unconnected datagrams: not seen"],
];

/** The hooks that these settings ask for: what nobody needs is not loaded. */
export function wantedHooks(settings: Settings, profile: Profile): Hook[] {
  return hooksOf(profile).filter(({ serves }) => serves.some((type) => isWanted(settings, type)));
}

function isWanted(settings: Settings, type: EventType | "process_snapshot"): boolean {
  return type === "process_snapshot" || settings.events.has(type);
}

const KERNEL_BTF = "/sys/kernel/btf/vmlinux";
export const BPFFS = "/sys/fs/bpf";
const BPF_FS_MAGIC = 0xcafe4a11;

/** The capabilities that loading, attaching and then giving up everything takes, by their numbers in <linux/capability.h>. */
const CAPABILITIES = { CAP_SETGID: 6, CAP_SETUID: 7, CAP_PERFMON: 38, CAP_BPF: 39 };
const CAP_SYS_ADMIN = 21;

/** What is missing on this host, one line each; empty when the sensor could run. */
export function missing(options: { pin: boolean; object: string }): string[] {
  const checks = [missingBtf, missingLibbpf, missingRights, () => (options.pin ? missingBpffs() : null)];
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

/** What a reader of the stream has to know about it: which hook serves what, and what nobody sees. */
export type Coverage = {
  kernel: string;
  profile: Profile;
  events: Record<string, { hook: string; attached: boolean; reason: string | null }>;
  blind_spots: string[];
};

/** The coverage when the hooks of `settings` are attached. */
export function coverage(settings: Settings, { profile, reason: refused }: Choice): Coverage {
  const events = hooksOf(profile).flatMap(({ hook, serves }) =>
    serves.map((type) => {
      const attached = isWanted(settings, type);
      const better =
        profile === "tracepoint" && FENTRY.some((other) => other.serves.some((served) => served === type));
      const reason = attached ? (better ? refused : null) : "switched off by settings";
      return [type, { hook, attached, reason }] as const;
    }),
  );
  const blind = BLIND_SPOTS.filter(
    ([type, , only]) => settings.events.has(type) && (only ?? profile) === profile,
  );
  return {
    kernel: release(),
    profile,
    events: Object.fromEntries(events),
    blind_spots: blind.map(([, words]) => words),
  };
}

/** A profile, and why it is not the better one. */
export type Choice = { profile: Profile; reason: string | null };

/** Chooses the profile: `fentry` where the kernel takes such a program, unless the other is asked for. */
export function chooseProfile(wanted: string | undefined, probeObject: string): Choice {
  if (wanted === "tracepoint") return { profile: "tracepoint", reason: "asked for with --profile" };
  try {
    tryObject(probeObject, "on_probe");
    return { profile: "fentry", reason: null };
  } catch (error) {
    const reason = `this kernel refuses fentry programs (${(error as Error).message})`;
    if (wanted === "fentry") throw new UnsupportedError(reason);
    return { profile: "tracepoint", reason };
  }
}
