// Which program serves which event on this kernel, and what readers are told about it.

import { release } from "node:os";
import { ALL_EVENT_KINDS, type EventType } from "../bpf/kinds.ts";
import { blindSpots } from "./blind.ts";
import { openKernelTypes, tryObject } from "./libbpf.ts";
import { preemptsCalls } from "./preemption.ts";
import type { Settings } from "./settings.ts";

/** This host cannot run the sensor: one line that says what is missing and how to get it. Exit code 5. */
export class UnsupportedError extends Error {}

/** The snapshot is not an event, but every event's lineage rests on it. */
type Served = EventType | "process_snapshot";

/** A program and what it serves. */
export type Hook = { program: string; hook: string; serves: readonly Served[] };

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
    { program: "on_protect", hook: "fexit/security_file_mprotect", serves: ["file_write"] },
    { program: "on_rename", hook: "fentry/security_path_rename", serves: ["file_rename"] },
    { program: "on_renamed", hook: "fexit/vfs_rename", serves: ["file_rename"] },
    { program: "on_unlink", hook: "fentry/security_path_unlink", serves: ["file_unlink"] },
    { program: "on_unlinked", hook: "fexit/vfs_unlink", serves: ["file_unlink"] },
    { program: "on_rmdir", hook: "fentry/security_path_rmdir", serves: ["file_unlink"] },
    { program: "on_rmdired", hook: "fexit/vfs_rmdir", serves: ["file_unlink"] },
    { program: "on_tcp_state", hook: "tp_btf/inet_sock_set_state", serves: ["network_connect"] },
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

/** Each program of the object once, with all that it can serve. */
export const HOOKS: Hook[] = [
  ...new Map(
    [...ALWAYS, ...PROFILES.tracepoint, ...PROFILES.fentry].map((hook) => [hook.program, hook]),
  ).values(),
];

const OFF = "switched off by settings";
const OFF_BUT_ATTACHED = `${OFF}; attached for the lineage of other events, and not written`;

/** Does the lineage of other events rest on this type? */
export function isForLineage(type: Served): boolean {
  return type === "process_start" || type === "process_relationship";
}

/** Who serves what: the programs to attach, and for each type of event the reason why nothing or not the best serves it. */
export type Choice = {
  hooks: Hook[];
  coverage: Coverage;
};

/** What a reader of the stream has to know about it: which hooks serve what, and what nobody sees. */
export type Coverage = {
  kernel: string;
  profile: Profile;
  events: Record<string, { hooks: string[]; attached: boolean; reason: string | null }>;
  blind_spots: string[];
  /** On how many CPUs every hook was seen to report when the sensor started. */
  tested_cpus?: number;
};

/**
 * Chooses for each wanted type of event the best hooks that this kernel has: those of the `fentry` profile where it takes
 * such programs and lets them end, else those of the other. `wanted` and `probeObject`: the profile asked for, and an object with
 * a program to try. `silent`: hooks that were attached and do not report, with the reason.
 */
export function chooseHooks(
  settings: Settings,
  wanted: string | undefined,
  probeObject: string,
  silent: ReadonlyMap<string, string>,
): Choice {
  const preempts = preemptsCalls();
  const { profile, refused } = chooseProfile(wanted, probeObject, preempts);
  const lack = findLacking(silent);
  const chosen = new Map<string, Hook>();
  const servedBy = new Map<Served, Profile>();
  const events: Coverage["events"] = {};
  for (const type of [...ALL_EVENT_KINDS.map((kind) => kind.type), "process_snapshot"] as Served[]) {
    const endOfCalls = settings.failedFiles && type.startsWith("file_");
    const { way, hooks, reasons } = bestWay(type, endOfCalls ? "tracepoint" : profile, lack);
    if (endOfCalls && profile === "fentry")
      reasons.unshift("file.include_failed: only calls know that they failed");
    if (refused !== null && isInProfiles(type)) reasons.unshift(refused);
    const off = type !== "process_snapshot" && !settings.events.has(type);
    const forLineage = off && isForLineage(type) && settings.events.size > 0;
    const attached = way !== null && !off;
    const reason = off ? (forLineage ? OFF_BUT_ATTACHED : OFF) : [...new Set(reasons)].join("; ") || null;
    events[type] = { hooks: hooks.map(({ hook }) => hook), attached, reason };
    if (way === null || (off && !forLineage)) continue;
    servedBy.set(type, way);
    for (const { program, hook } of hooks) {
      chosen.set(program, { program, hook, serves: [...(chosen.get(program)?.serves ?? []), type] });
    }
  }
  const coverage = {
    kernel: release(),
    profile,
    events,
    blind_spots: blindSpots(servedBy, { settings, preempts }),
  };
  return { hooks: [...chosen.values()], coverage };
}

/** The first way to serve a type that lacks nothing, and why those before it were left. `way` is null when there is none. */
function bestWay(
  type: Served,
  profile: Profile,
  lack: (hook: Hook) => string | null,
): { way: Profile | null; hooks: Hook[]; reasons: string[] } {
  const ways: Profile[] = profile === "fentry" ? ["fentry", "tracepoint"] : ["tracepoint"];
  const reasons: string[] = [];
  let hooks: Hook[] = [];
  for (const way of ways) {
    hooks = [...ALWAYS, ...PROFILES[way]].filter(({ serves }) => serves.includes(type));
    const lacking = hooks.map(lack).filter((reason) => reason !== null);
    if (lacking.length === 0) return { way, hooks, reasons };
    reasons.push(...lacking);
  }
  return { way: null, hooks, reasons };
}

function isInProfiles(type: Served): boolean {
  return PROFILES.tracepoint.some(({ serves }) => serves.includes(type));
}

/** What was asked for and cannot be had, one line each: no sensor starts with less than it was asked for. */
export function unserved({ coverage }: Choice): string[] {
  return Object.entries(coverage.events)
    .filter(([, { attached, reason }]) => !attached && !reason?.startsWith(OFF))
    .map(([type, { reason }]) => `no hook for ${type}: ${reason}`);
}

function chooseProfile(
  wanted: string | undefined,
  probeObject: string,
  preempts: boolean | null,
): { profile: Profile; refused: string | null } {
  if (wanted === "tracepoint") return { profile: "tracepoint", refused: "asked for with --profile" };
  if (preempts && wanted !== "fentry") {
    const refused = "this kernel can preempt fentry programs, which would miss what others do meanwhile";
    return { profile: "tracepoint", refused };
  }
  try {
    tryObject(probeObject, "on_probe");
    return { profile: "fentry", refused: null };
  } catch (error) {
    const refused = `this kernel refuses fentry programs (${(error as Error).message})`;
    if (wanted === "fentry") throw new UnsupportedError(refused);
    return { profile: "tracepoint", refused };
  }
}

/** Tells why a hook cannot be used. Those that WARDER_WITHOUT names, separated by commas, count as absent: for tests. */
function findLacking(silent: ReadonlyMap<string, string>): (hook: Hook) => string | null {
  const without = new Set((process.env["WARDER_WITHOUT"] ?? "").split(","));
  const kernel = openKernelTypes();
  return ({ hook }) => {
    const [kind, name = ""] = hook.split("/");
    const silence = silent.get(hook);
    if (silence !== undefined) return silence;
    if (without.has(hook)) return `${hook} is left out by WARDER_WITHOUT`;
    const present =
      kind === "iter.s" || (kind === "tp_btf" ? kernel.hasTracepoint(name) : kernel.hasFunction(name));
    return present ? null : `this kernel has no ${name}`;
  };
}
