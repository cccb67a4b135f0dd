#!/usr/bin/env bun
// SHA-256 of all that a replay of the sample writes, with the packaged rules: whatever is made faster writes the same, byte for byte,
// as the version did that sample.sha256 is of. `bun scripts/digests.ts` writes that file anew.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const FILE = join(ROOT, "scripts/sample.sha256");
const FORMATS = ["json", "ecs", "ocsf", "compact"];

/** Options of a replay, and the digest of what it writes with them. */
export type Digests = Record<string, string>;

/** Replays the sample in each format: all of it, and its alerts. Neither settings nor variables of this host have a say. */
export async function digestsOfSample(environment: Record<string, string> = {}): Promise<Digests> {
  const options = FORMATS.flatMap((format) => [`-o ${format}`, `-o ${format} --alerts-only`]);
  const folder = mkdtempSync(join(tmpdir(), "warder-digests-"));
  const defaults = join(folder, "settings.toml");
  writeFileSync(defaults, "");
  try {
    const digest = (words: string) => digestOf([...words.split(" "), "--config", defaults], environment);
    const digests = await Promise.all(options.map(digest));
    return Object.fromEntries(options.map((words, i) => [words, digests[i] ?? ""]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function digestOf(options: string[], environment: Record<string, string>): Promise<string> {
  const command = [
    "evaluator/main.ts",
    "replay",
    ...options,
    "--rules",
    "rules",
    "scripts/sample.capture.zst",
  ];
  const program = Bun.spawn([process.execPath, ...command], {
    ...{ cwd: ROOT, env: { PATH: process.env["PATH"], ...environment } },
    ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  });
  const [written, said] = await Promise.all([
    new Response(program.stdout).bytes(),
    new Response(program.stderr).text(),
  ]);
  if ((await program.exited) !== 0) throw new Error(`replay ${options.join(" ")}: ${said}`);
  return new Bun.CryptoHasher("sha256").update(written).digest("hex");
}

/** Those of the version that the file was written by. */
export function frozenDigests(): Digests {
  const lines = readFileSync(FILE, "utf8").matchAll(/^([0-9a-f]{64}) {2}(.+)$/gm);
  return Object.fromEntries([...lines].map(([, digest = "", options = ""]) => [options, digest]));
}

if (import.meta.main) {
  const digests = Object.entries(await digestsOfSample());
  writeFileSync(FILE, digests.map(([options, digest]) => `${digest}  ${options}\n`).join(""));
}
