// Giving up every right, for good: bounding set, no_new_privs, groups, user, and with it all capabilities; then a fresh program
// that proves it on every thread.

import { openSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { dropBoundingSet, execute, keepOpen, replaceStdin, setNoNewPrivileges } from "./libc.ts";
import type { Handover } from "./serve.ts";
import type { User } from "./settings.ts";

/**
 * Becomes `user` without any right, and then the program of serve.ts, in this process. The kernel keeps rights by thread, and
 * the runtime has threads of its own: only a new program begins with one thread, whose lack of rights all others inherit.
 * What the new program is made of is opened before: it may lie in a folder that only root can enter.
 */
export async function becomeServer(user: User, handover: Handover, lock: number | null): Promise<never> {
  const runtime = openSync("/proc/self/exe", "r");
  const koffi = openSync(nativeKoffi(), "r");
  const server = await bundle(koffi, handover);
  const { rings, counters, ownProcesses, losers, hooks, pins, canary, listener } = handover;
  const descriptors = [
    ...[runtime, koffi, ...rings, counters, ownProcesses, losers, listener],
    ...hooks.flatMap(({ link, program }) => [link, program]),
    ...[pins?.fd, canary?.folder, lock],
  ];
  for (const fd of descriptors) if (typeof fd === "number") keepOpen(fd);
  process.chdir("/");
  replaceStdin(server);
  dropBoundingSet();
  setNoNewPrivileges();
  process.setgroups?.([]);
  process.setgid?.(user.gid);
  process.setuid?.(user.uid);
  return execute(`/proc/self/fd/${runtime}`, ["warder-sensor", "run", "-"]);
}

/** koffi's native part, for this system. */
function nativeKoffi(): string {
  const folder = dirname(Bun.resolveSync("@koromix/koffi-linux-x64/package.json", import.meta.dir));
  return join(folder, "linux_x64/koffi.node");
}

/** serve.ts and all it imports as one text. koffi's native part is loaded from its descriptor. */
async function bundle(koffi: number, handover: Handover): Promise<string> {
  const { outputs, logs, success } = await Bun.build({
    entrypoints: [join(import.meta.dir, "serve.ts")],
    target: "bun",
    plugins: [
      {
        name: "koffi from its descriptor",
        setup(build) {
          build.onResolve({ filter: /^koffi$/ }, () => ({ path: "koffi", namespace: "descriptor" }));
          build.onLoad({ filter: /.*/, namespace: "descriptor" }, () => ({
            contents: `const library = { exports: {} };
              process.dlopen(library, "/proc/self/fd/${koffi}");
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
    for (const key of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
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
