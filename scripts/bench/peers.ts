// Other programs that watch what calls do, measured in the same way where they are installed.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { outputOf } from "./live.ts";
import { atEnd } from "./started.ts";

/** A program beside ours. */
type Peer = {
  name: string;
  /** What must be found. */
  programs: string[];
  /** Starts it, with a folder for its files, and waits until it looks on. @throws Error with the reason why it does not */
  start: (folder: string) => Promise<() => Promise<void>>;
};

const SETTLE_MS = 3000;

export const PEERS: Peer[] = [
  {
    name: "Falco's modern probe (scap-open)",
    programs: ["scap-open"],
    start: () => daemon(["scap-open", "--modern_bpf"]),
  },
  { name: "auditd with laurel", programs: ["auditd", "auditctl", "laurel"], start: startAudit },
];

/** Runs until it is stopped. @throws Error when it ends by itself */
export async function daemon(command: string[]): Promise<() => Promise<void>> {
  const program = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  await Bun.sleep(SETTLE_MS);
  if (program.exitCode !== null) throw new Error(`${command.join(" ")} ended with code ${program.exitCode}`);
  return atEnd(async () => {
    program.kill("SIGTERM");
    await program.exited;
  });
}

/** The calls that the timed ones are made of. */
const AUDITED = ["open", "openat", "openat2", "creat", "execve", "execveat"];

/** The audit system with rules for opens and execs, its daemon as this host has configured it, and laurel as its reader. */
async function startAudit(above: string): Promise<() => Promise<void>> {
  if (!(await outputOf(["auditctl", "-l"])).startsWith("No rules"))
    throw new Error("this host has audit rules of its own");
  const folder = join(above, "audit");
  mkdirSync(join(folder, "plugins.d"), { recursive: true });
  mkdirSync(join(folder, "laurel"), { recursive: true });
  const ours = { write_logs: "no", q_depth: "20000", plugin_dir: `${folder}/plugins.d` };
  const changed = Object.entries(ours).reduce(
    (text, [key, value]) => text.replace(new RegExp(`^${key} *=.*$`, "m"), `${key} = ${value}`),
    readFileSync("/etc/audit/auditd.conf", "utf8"),
  );
  writeFileSync(join(folder, "auditd.conf"), changed, { mode: 0o640 });
  const plugin = [`path = ${Bun.which("laurel")}`, `args = --config ${folder}/laurel.toml`];
  const always = ["active = yes", "direction = out", "type = always", "format = string", ""];
  writeFileSync(join(folder, "plugins.d/laurel.conf"), [...plugin, ...always].join("\n"), { mode: 0o640 });
  writeFileSync(
    join(folder, "laurel.toml"),
    `directory = "${folder}/laurel"\nuser = "root"\n[auditlog]\nfile = "audit.log"\n`,
  );
  const stop = await daemon(["auditd", "-n", "-c", folder]);
  const calls = AUDITED.flatMap((call) => ["-S", call]);
  const stopRules = atEnd(async () => {
    await outputOf(["auditctl", "-D"]);
    await outputOf(["auditctl", "-e", "0"]);
  });
  await outputOf(["auditctl", "-a", "always,exit", "-F", "arch=b64", ...calls, "-k", "bench"]);
  return async () => {
    await stopRules();
    await stop();
  };
}
