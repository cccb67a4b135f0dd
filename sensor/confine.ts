// What the serving half can still reach, once its rights are gone: nothing on disk but what it is made of, no network, and
// few system calls. Both hold from before its first instruction, on every thread, because they are set before it is executed.

import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import type { CanaryThings } from "./canary.ts";
import * as libc from "./libc.ts";
import { seccompFilter } from "./seccomp.ts";

/** What the kernel can confine with. */
export type Means = {
  seccomp: boolean;
  /** The version of its interface; 0 without Landlock. */
  landlock: number;
};

/** LANDLOCK_ACCESS_FS_* in <linux/landlock.h>. */
const Access = {
  execute: 1n << 0n,
  writeFile: 1n << 1n,
  readFile: 1n << 2n,
  readFolder: 1n << 3n,
  removeFile: 1n << 5n,
  makeFile: 1n << 8n,
  truncate: 1n << 14n,
} as const;

/** How many rights on files each version of Landlock knows: later ones know at least as many. */
const FILE_RIGHTS: [abi: number, rights: bigint][] = [
  [5, 16n],
  [3, 15n],
  [2, 14n],
  [1, 13n],
];
const NETWORK_ABI = 4;
/** LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP. */
const NETWORK_RIGHTS = 0b11n;
const SCOPE_ABI = 6;
/** LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and SIGNAL. */
const SCOPES = 0b11n;

/** What this kernel has to confine with. */
export function confinementMeans(): Means {
  return { seccomp: libc.hasSeccomp(), landlock: libc.landlockAbi() };
}

/** One line for each thing that a kernel cannot confine. */
export function unconfined({ seccomp, landlock }: Means): string[] {
  const lines: string[] = [];
  if (!seccomp) lines.push("system calls are not confined: this kernel has no seccomp filters");
  if (landlock === 0) {
    lines.push(
      "files are not confined: this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and lsm=landlock,...)",
    );
  } else if (landlock < SCOPE_ABI) {
    lines.push(
      `abstract sockets of others are not out of reach: that takes Landlock ABI ${SCOPE_ABI} (Linux 6.12)`,
    );
  }
  return lines;
}

/**
 * Prepares the confinement of the program that comes next in this process, while this one can still open everything.
 * `made` are descriptors of the files that the next program is made of. The result puts the confinement in force on this
 * thread; it needs `no_new_privs`.
 */
export function prepareConfinement(made: readonly number[], canary: CanaryThings | null): () => void {
  const { seccomp, landlock } = confinementMeans();
  const ruleset = landlock > 0 ? createRuleset(landlock, made, canary) : null;
  return () => {
    if (ruleset !== null) libc.restrictToLandlock(ruleset);
    if (seccomp) libc.installSeccompFilter(seccompFilter(process.pid));
  };
}

function createRuleset(abi: number, made: readonly number[], canary: CanaryThings | null): number {
  const [, count = 0n] = FILE_RIGHTS.find(([since]) => abi >= since) ?? [];
  const files = (1n << count) - 1n;
  const ruleset = libc.createLandlockRuleset({
    files,
    network: abi >= NETWORK_ABI ? NETWORK_RIGHTS : 0n,
    scoped: abi >= SCOPE_ABI ? SCOPES : 0n,
  });
  const { execute, readFile, readFolder, writeFile, removeFile, makeFile, truncate } = Access;
  const allow = (fd: number, rights: bigint) => libc.addLandlockRule(ruleset, fd, rights & files);
  const allowPath = (path: string, rights: bigint) => {
    if (!statSync(path, { throwIfNoEntry: false })) return;
    const fd = openSync(path, libc.O_PATH);
    allow(fd, rights);
    closeSync(fd);
  };
  for (const fd of made) allow(fd, readFile | execute);
  for (const path of mappedFiles()) allowPath(path, readFile | execute);
  allowPath("/etc/ld.so.cache", readFile);
  // The runtime reads its own maps and limits. Not /proc/self: Landlock knows inodes, and those there come and go.
  allowPath("/proc", readFile | readFolder);
  allowPath("/dev/null", readFile | writeFile);
  if (canary) allow(canary.folder, writeFile | truncate | makeFile | removeFile);
  if (canary?.program) allowPath(canary.program, readFile | execute);
  return ruleset;
}

/** Libraries and the loader: this program has mapped what the next one is going to map. */
function mappedFiles(): Set<string> {
  const maps = readFileSync("/proc/self/maps", "utf8");
  return new Set([...maps.matchAll(/ r-xp \S+ \S+ \S+ +(\/.*)$/gm)].map(([, path = ""]) => path));
}
