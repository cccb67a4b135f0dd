// What the numbers were measured on, and of which version; and what processes have used.

import { readdirSync, readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { version } from "../../package.json";

/** The machine and its settings, as far as numbers depend on them. */
export type Machine = {
  processor: string;
  cpus: number;
  memory_mb: number;
  kernel: string;
  bun: string;
  /** Of the last minute, when the measuring began: 0 is best. */
  load: number;
  /** Other sensors that run: every row pays for their hooks, too. */
  other_sensors: number;
};

/** Looks at this machine. */
export function thisMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cpus: cpus().length,
    memory_mb: Math.round(totalmem() / 1e6),
    kernel: release(),
    bun: Bun.version,
    load: loadavg()[0] ?? 0,
    other_sensors: sensorsRunning(),
  };
}

/** What was measured, and when. `commit` is absent where there is no history; with a `+`, the tree holds what is in none. */
export type Version = { version: string; commit?: string | undefined; date: string };

/** Looks at this tree. */
export function thisVersion(): Version {
  const root = join(import.meta.dir, "../..");
  const git = (...args: string[]) => {
    // Whoever runs this need not own the tree.
    const command = ["git", "-c", `safe.directory=${root}`, "-C", root, ...args];
    return Bun.which("git") === null
      ? ""
      : Bun.spawnSync(command, { stderr: "ignore" }).stdout.toString().trim();
  };
  const date = `${new Date().toISOString().slice(0, 19)}Z`;
  // A tree without a history may lie in another that has one.
  if (git("rev-parse", "--show-toplevel") !== root) return { version, date };
  const changed = git("status", "--porcelain") === "" ? "" : "+";
  return { version, commit: git("rev-parse", "--short", "HEAD") + changed, date };
}

/** How many processes of the sensor's name there are. */
function sensorsRunning(): number {
  return readdirSync("/proc").filter(
    (name) => /^\d+$/.test(name) && textOf(`/proc/${name}/comm`) === "warder-sensor\n",
  ).length;
}

/** The text of a process's file; empty when the process has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The kernel's USER_HZ, in which /proc/PID/stat counts. */
const TICKS_PER_SECOND = 100;

/** The fields of /proc/PID/stat from the third one on. */
export function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The name, in parentheses, is the second field, and may hold anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** CPU time that a process has used, in seconds, to a hundredth. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** When a process was started, by the wall clock in ms, to a hundredth of a second. */
export function startedMs(pid: number): number {
  const uptime = Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]);
  return Date.now() - (uptime - Number(statOf(pid)[19]) / TICKS_PER_SECOND) * 1000;
}

/** Of a process, in MB. */
export type Memory = { rss: number; anonymous: number; peak: number };

/**
 * Resident memory of a process: all of it, what is its own, and the most that all of it ever was. The rest is shared:
 * programs, libraries, rings. Zeros when it has ended.
 */
export function memoryOf(pid: number): Memory {
  const status = textOf(`/proc/${pid}/status`);
  const mb = (key: string) =>
    (Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024) / 1e6;
  return { rss: mb("VmRSS"), anonymous: mb("RssAnon"), peak: mb("VmHWM") };
}

/** By thread of a process: how often it has waited, and was woken. That somebody else ran meanwhile is no waiting. */
export function wakeUps(pid: number): Map<string, number> {
  const of = (thread: string) =>
    /^voluntary_ctxt_switches:\s+(\d+)/m.exec(textOf(`/proc/${pid}/task/${thread}/status`))?.[1];
  return new Map(readdirSync(`/proc/${pid}/task`).map((thread) => [thread, Number(of(thread) ?? 0)]));
}

/** How often threads have woken since; those that have ended meanwhile took their counts with them. */
export function wokenSince(before: ReadonlyMap<string, number>, now: ReadonlyMap<string, number>): number {
  return [...now].reduce((sum, [thread, count]) => sum + count - (before.get(thread) ?? 0), 0);
}
