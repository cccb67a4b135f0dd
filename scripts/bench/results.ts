// What `--json` writes, and `--compare` reads.

import { closeSync, existsSync, mkdirSync, openSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import type { Machine, Version } from "./machine.ts";
import type { Extent, Result } from "./row.ts";

/** What a run was, and what else than the version may make two of them differ. */
export type Setting = {
  warder: Version;
  machine: Machine;
  ring_mib: number;
  profile: string;
  extent: Extent;
};

/** All of a run. */
export type Results = Setting & { rows: Result[] };

const text = v.string();
const number = v.number();

/** What is asked of an earlier run; what is only compared may be absent. */
const earlier = v.object({
  warder: v.optional(v.object({ version: text, commit: v.optional(text), date: text })),
  machine: v.object({
    ...{ processor: text, cpus: number, memory_mb: number },
    ...{ kernel: text, bun: text, load: number },
  }),
  ...{ ring_mib: v.optional(number), profile: v.optional(text), extent: v.optional(v.looseObject({})) },
  rows: v.array(v.object({ what: text, value: v.optional(number) })),
});

export type Earlier = v.InferOutput<typeof earlier>;

/** Reads what an earlier run wrote. @throws Error with one line that says what is wrong with it */
export function readResults(path: string): Earlier {
  const result = v.safeParse(earlier, JSON.parse(readFileSync(path, "utf8")));
  if (result.success) return result.output;
  const [issue] = result.issues;
  const place = v.getDotPath(issue) ?? "all of it";
  const found = issue.received === "undefined" ? "nothing" : issue.received;
  throw new Error(`not written by --json: ${place}: expected ${issue.expected}, found ${found}`);
}

/** Writes what there is so far. */
export function writeResults(path: string, results: Results): void {
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
}

/** Makes its folder, if there is none. @throws Error when a file of this path cannot be written */
export function mustBeWritable(path: string, options: { folder: boolean }): void {
  if (options.folder) mkdirSync(dirname(path), { recursive: true });
  const isNew = !existsSync(path);
  closeSync(openSync(path, "a"));
  if (isNew) unlinkSync(path);
}
