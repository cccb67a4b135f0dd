// Giving up root, as soon as everything is open that needs it.

import { readFileSync } from "node:fs";
import { Exit, Failure } from "./exit.ts";

/**
 * Becomes `name` if this process is root; the change holds for every thread and cannot be taken back.
 * @throws Failure when there is no such user
 */
export function becomeUser(name: string): void {
  if (process.getuid?.() !== 0) return;
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((entry) => entry.split(":"))
    .find(([user, , uid]) => user === name || uid === name);
  const [, , uid, gid] = line ?? [];
  if (!uid || !gid) throw new Failure(Exit.usage, `--user ${name}: no such user on this host`);
  if (uid === "0")
    throw new Failure(Exit.usage, `--user ${name}: that is root; say --allow-root if it has to be`);
  process.setgroups?.([]);
  process.setgid?.(Number(gid));
  process.setuid?.(Number(uid));
}
