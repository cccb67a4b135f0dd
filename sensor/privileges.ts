// Giving up every right, for good: no_new_privs before anything else, then user, groups and with them all capabilities.
// What was dropped is verified on every thread, because the kernel keeps rights by thread.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { execute, setNoNewPrivileges, setNotDumpable } from "./libc.ts";
import { SettingsError } from "./settings.ts";

/** A user of this host. */
export type User = { name: string; uid: number; gid: number };

/**
 * Starts this program again with no_new_privs set, unless it is. The runtime has threads already when the first line of
 * a program runs, and the setting is kept by thread: only a new start gives it to all of them.
 */
export function restartWithoutNewPrivileges(): void {
  if (status("self")["NoNewPrivs"] === "1") return;
  setNoNewPrivileges();
  const args = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  execute(readlinkSync("/proc/self/exe"), args);
}

/**
 * Finds a user by name or number in /etc/passwd.
 * @throws SettingsError when there is none
 */
export function findUser(name: string): User {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const [entry, , uid, gid] = line.split(":");
    if (entry === undefined || uid === undefined) continue;
    if (entry === name || uid === name) return { name: entry, uid: Number(uid), gid: Number(gid) };
  }
  throw new SettingsError(`no user ${JSON.stringify(name)} on this host`);
}

/** Becomes `user`, irrevocably. Every thread changes: glibc sees to it for these three calls, and for no others. */
export function dropPrivileges(user: User): void {
  process.setgroups?.([]);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
  setNotDumpable();
}

/**
 * Proves that no thread of this process has any right left.
 * @throws Error that names the thread and the right
 */
export function verifyDropped(): void {
  for (const thread of readdirSync("/proc/self/task")) {
    const facts = status(`self/task/${thread}`);
    for (const key of ["Uid", "Gid"]) {
      if (facts[key]?.split("\t").includes("0")) throw new Error(`thread ${thread} still has ${key} 0`);
    }
    for (const key of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) {
      if (!/^0+$/.test(facts[key] ?? "")) throw new Error(`thread ${thread} still has ${key} ${facts[key]}`);
    }
    if (facts["Groups"]?.trim()) throw new Error(`thread ${thread} still has groups ${facts["Groups"]}`);
    if (facts["NoNewPrivs"] !== "1") throw new Error(`thread ${thread} may still gain privileges`);
  }
}

function status(task: string): Record<string, string> {
  const lines = readFileSync(`/proc/${task}/status`, "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(":\t") as [string, string]));
}
