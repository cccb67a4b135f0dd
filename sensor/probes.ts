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

const ALWAYS: Hook[] = [
  { program: "on_exec", hook: "tp_btf/sched_process_exec", serves: ["process_start"] },
  { program: "on_fork", hook: "tp_btf/sched_process_fork", serves: ["process_relationship"] },
  { program: "on_exit", hook: "tp_btf/sched_process_exit", serves: ["process_exit"] },
  { program: "on_snapshot", hook: "iter.s/task", serves: ["process_snapshot"] },
];

/** The program that serves what has no better hook, for the kinds that the sensor tells it. */
export const CALL_PROGRAM = "on_call";

const PROFILES: Record<Profile, Hook[]> = {
  tracepoint: [
    {
      program: CALL_PROGRAM,
      hook: "tp_btf/sys_exit",
      serves: ALL_EVENT_KINDS.filter(({ family }) => family !== "process").map(({ type }) => type),
    },
    { program: "on_tcp_state", hook: "tp_btf/inet_sock_set_state", serves: ["network_connect"] },
  ],
  fentry: [
    { program: "on_open", hook: "fexit/do_filp_open", serves: ["file_open"] },
    { program: "on_open_root", hook: "fexit/do_file_open_root", serves: ["file_open"] },
    { program: "on_write", hook: "fexit/security_file_permission", serves: ["file_write"] },
    { program: "on_map", hook: "fexit/security_mmap_file", serves: ["file_write"] },
    { program: "on_rename", hook: "fentry/security_path_rename", serves: ["file_rename"] },
    { program: "on_renamed", hook: "fexit/vfs_rename", serves: ["file_rename"] },
    { program: "on_unlink", hook: "fentry/security_path_unlink", serves: ["file_unlink"] },
    { program: "on_unlinked", hook: "fexit/vfs_unlink", serves: ["file_unlink"] },
    { program: "on_rmdir", hook: "fentry/security_path_rmdir", serves: ["file_unlink"] },
    { program: "on_rmdired", hook: "fexit/vfs_rmdir", serves: ["file_unlink"] },
    { program: "on_connect_tcp", hook: "fexit/__inet_stream_connect", serves: ["network_connect"] },
    { program: "on_connect_udp", hook: "fexit/inet_dgram_connect", serves: ["network_connect"] },
    { program: "on_connect_unix", hook: "fexit/unix_stream_connect", serves: ["network_connect"] },
    { program: "on_connect_unix_dgram", hook: "fexit/unix_dgram_connect", serves: ["network_connect"] },
    { program: "on_bind", hook: "fexit/inet_bind", serves: ["network_bind"] },
    { program: "on_bind_ipv6", hook: "fexit/inet6_bind", serves: ["network_bind"] },
    { program: "on_bind_unix", hook: "fexit/unix_bind", serves: ["network_bind"] },
    { program: "on_listen", hook: "fexit/inet_listen", serves: ["network_listen"] },
    { program: "on_listen_unix", hook: "fexit/unix_listen", serves: ["network_listen"] },
    { program: "on_accept", hook: "fexit/inet_accept", serves: ["network_accept"] },
    { program: "on_accept_unix", hook: "fexit/unix_accept", serves: ["network_accept"] },
  ],
};

function hooksOf(profile: Profile): Hook[] {
  return [...ALWAYS, ...PROFILES[profile]];
}

/** All programs of the object. */
export const PROGRAMS = [...ALWAYS, ...PROFILES.tracepoint, ...PROFILES.fentry].map(({ program }) => program);

/** What cannot be seen, by the event that it is about; in one profile, or in both. */
const BLIND_SPOTS: [EventType, string, Profile?][] = [
  ["file_open", "opens by io_uring: not seen", "tracepoint"],
  [
    "file_open",
    "opens: a thread that replaces the descriptor before the call has ended can show another file",
    "tracepoint",
  ],
  ["file_write", "writes by io_uring: not seen", "tracepoint"],
  ["file_write", "writes: seen when they are permitted, so one that fails later is shown too", "fentry"],
  ["file_write", "stores to mapped memory: only the mapping is seen"],
  ["file_write", "truncate and fallocate: not seen; an open with O_TRUNC is a file_open"],
  [
    "file_rename",
    "renames: names are the caller's, behind the folder they start from; symlinks and .. stay as they are",
    "tracepoint",
  ],
  ["file_rename", "renames by io_uring: not seen", "tracepoint"],
  ["file_rename", "new names by link(2), symlink(2) and linkat(2), of temporary files too: not seen"],
  [
    "file_unlink",
    "unlinks: names are the caller's, behind the folder they start from; symlinks and .. stay as they are",
    "tracepoint",
  ],
  ["file_unlink", "unlinks by io_uring: not seen", "tracepoint"],
  ["network_connect", "connects of UDP and Unix sockets by io_uring: not seen", "tracepoint"],
  ["network_connect", "datagrams sent without connect: not seen"],
  ["network_bind", "binds by io_uring: not seen", "tracepoint"],
  ["network_listen", "listens by io_uring: not seen", "tracepoint"],
  ["network_accept", "accepts by io_uring: not seen", "tracepoint"],
  ["network_connect", "sockets other than TCP, UDP, raw and Unix: not seen"],
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

/** What a reader of the stream has to know about it: which hooks serve what, and what nobody sees. */
export type Coverage = {
  kernel: string;
  profile: Profile;
  events: Record<string, { hooks: string[]; attached: boolean; reason: string | null }>;
  blind_spots: string[];
};

/** The coverage when the hooks of `settings` are attached. */
export function coverage(settings: Settings, { profile, reason: refused }: Choice): Coverage {
  const hooks = hooksOf(profile);
  const types = [...new Set(hooks.flatMap(({ serves }) => serves))];
  const events = types.map((type) => {
    const serving = hooks.filter(({ serves }) => serves.includes(type)).map(({ hook }) => hook);
    const attached = isWanted(settings, type);
    const better = PROFILES[profile].some(({ serves }) => serves.includes(type)) ? refused : null;
    return [type, { hooks: serving, attached, reason: attached ? better : "switched off by settings" }] as const;
  });
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
