// Giving up every right, for good: bounding set, no_new_privs, groups, user, and with it all capabilities; then what is left is
// confined, and a fresh program proves it on every thread.

import { openSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { prepareConfinement } from "./confine.ts";
import {
  dropBoundingSet,
  execute,
  holdSignals,
  keepNoneOpen,
  keepOpen,
  replaceStdin,
  setNoNewPrivileges,
} from "./libc.ts";
import type { Handover } from "./serve.ts";
import type { User } from "./settings.ts";

/** What ends the server; SIGHUP is that of a terminal that closes. It takes them when it looks, and needs no thread for that. */
export const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Becomes `user` without any right, and then the program of serve.ts, in this process. The kernel keeps rights by thread, and
 * the runtime has threads of its own: only a new program begins with one thread, whose lack of rights all others inherit.
 * What the new program is made of is opened before: it may lie in a folder that only root can enter. Tests put another
 * `program` in the server's place.
 */
export async function becomeServer(
  user: User,
  handover: Handover,
  lock: number | null,
  program = join(import.meta.dir, "serve.ts"),
): Promise<never> {
  const runtime = openSync("/proc/self/exe", "r");
  const koffi = openSync(nativeKoffi(), "r");
  const text = await bundle(program, koffi, handover);
  const { rings, counters, ownProcesses, memory, messages, losers, hooks, pins, canary, listener } = handover;
  const descriptors = [
    ...[koffi, ...rings, counters, ownProcesses, memory, messages, losers, listener],
    ...hooks.flatMap(({ link, program: held }) => [link, held]),
    ...[pins?.fd, canary?.folder, lock],
  ];
  const confine = prepareConfinement([runtime, koffi], canary);
  keepNoneOpen();
  for (const fd of descriptors) if (typeof fd === "number") keepOpen(fd);
  process.chdir("/proc"); // the runtime lists the folder it starts in, and will be able to list no other
  replaceStdin(text);
  dropBoundingSet();
  setNoNewPrivileges();
  process.setgroups?.([]);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
  confine();
  holdSignals(STOP_SIGNALS);
  return execute(`/proc/self/fd/${runtime}`, ["warder-sensor", "run", "-"], environment());
}

/**
 * Nothing of the starter's environment but our own variables. No code is made at run time: nothing has to be writable and
 * executable. Garbage is collected when there is some, not once a second: an idle sensor sleeps.
 */
function environment(): Record<string, string> {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith("WARDER_"));
  return {
    ...(Object.fromEntries(own) as Record<string, string>),
    BUN_JSC_useJIT: "0",
    BUN_GC_TIMER_DISABLE: "1",
  };
}

/** koffi's native part, for this system. */
function nativeKoffi(): string {
  const folder = dirname(Bun.resolveSync("@koromix/koffi-linux-x64/package.json", import.meta.dir));
  return join(folder, "linux_x64/koffi.node");
}

/** A program and all it imports as one text. koffi's native part is loaded from its descriptor, which ends with that. */
async function bundle(program: string, koffi: number, handover: Handover): Promise<string> {
  const { outputs, logs, success } = await Bun.build({
    entrypoints: [program],
    target: "bun",
    plugins: [
      {
        name: "koffi from its descriptor",
        setup(build) {
          build.onResolve({ filter: /^koffi$/ }, () => ({ path: "koffi", namespace: "descriptor" }));
          build.onLoad({ filter: /.*/, namespace: "descriptor" }, () => ({
            contents: `const library = { exports: {} };
              process.dlopen(library, "/proc/self/fd/${koffi}");
              require("node:fs").closeSync(${koffi});
              export default library.exports;`,
            loader: "js",
          }));
        },
      },
    ],
  });
  const [output] = outputs;
  if (!success || !output)
    throw new Error(`the server could not be put together: ${logs.map(String).join("; ")}`);
  return `globalThis.handover = ${JSON.stringify(handover)};\n${await output.text()}`;
}

/** SECCOMP_MODE_FILTER in <linux/seccomp.h>. */
const FILTERED = "2";

/**
 * Proves that no thread of this process has any right left, and that each is confined.
 * @throws Error that names the thread and the right
 */
export function verifyDropped(): void {
  for (const thread of readdirSync("/proc/self/task")) {
    const facts = status(`self/task/${thread}`);
    for (const key of ["Uid", "Gid"]) {
      if (facts[key]?.split("\t").includes("0")) throw new Error(`thread ${thread} still has ${key} 0`);
    }
    for (const key of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      if (!/^0+$/.test(facts[key] ?? "")) throw new Error(`thread ${thread} still has ${key} ${facts[key]}`);
    }
    if (facts["Groups"]?.trim()) throw new Error(`thread ${thread} still has groups ${facts["Groups"]}`);
    if (facts["NoNewPrivs"] !== "1") throw new Error(`thread ${thread} may still gain privileges`);
    // Absent where the kernel has no filters.
    if ((facts["Seccomp"] ?? FILTERED) !== FILTERED)
      throw new Error(`thread ${thread} may use any system call`);
  }
}

function status(task: string): Record<string, string> {
  const lines = readFileSync(`/proc/${task}/status`, "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(":\t") as [string, string]));
}
