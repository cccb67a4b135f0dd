// Runs an evaluator with a thousand rules on bytes made by hand, and watches what it costs.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DecodedRecord, encodeRecord, FrameType } from "../../bpf/event.gen.ts";
import { makeRules } from "../bench/rules.ts";
import { entryOf, frameOf } from "./stream.ts";

/** Resident memory of an evaluator with 1,000 rules and a full process table, bytes. */
export const MEMORY_SIZE_MAX = 150_000_000;
const WATCH_MS = 10;
const MAIN = join(import.meta.dir, "../../evaluator/main.ts");

/** How an evaluator ended, with the most memory that it had, bytes. */
export type Ended = { code: number; lines: string[]; stderr: string; memory: number };

/** A folder with the rules, and captures that are put there. */
export class Trial {
  private readonly rules: string;

  constructor(readonly folder: string) {
    this.rules = join(folder, "thousand.toml");
    writeFileSync(this.rules, makeRules(1000));
  }

  /** Makes a file of these bytes. Returns its path. */
  capture(bytes: Uint8Array, name = "capture"): string {
    const path = join(this.folder, name);
    writeFileSync(path, bytes);
    return path;
  }

  /** Runs an evaluator to its end. Lines are kept only where `keep` says so. */
  async evaluate(
    args: string[],
    { stdin, keep = () => true }: { stdin?: ReadableStream; keep?: (line: string) => boolean } = {},
  ): Promise<Ended> {
    const program = Bun.spawn([process.execPath, MAIN, ...args, "-o", "json", "--rules", this.rules], {
      stdin: stdin ?? "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    // Not from the usage that is told at its end: there, a child has the memory of the parent that it was made from.
    let memory = 0;
    const watch = setInterval(() => {
      memory = Math.max(memory, peakOf(program.pid));
    }, WATCH_MS);
    const lines: string[] = [];
    let rest = "";
    const decoder = new TextDecoder();
    for await (const piece of program.stdout) {
      const parts = (rest + decoder.decode(piece, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) if (keep(line)) lines.push(line);
    }
    const stderr = await new Response(program.stderr).text();
    const code = await program.exited;
    clearInterval(watch);
    return { code, lines, stderr, memory };
  }
}

/** The most memory that a process has had so far, bytes; 0 when it is gone. */
function peakOf(pid: number): number {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** A frame of records that lie at this place of their ring. */
export function recordsFrame(list: readonly DecodedRecord[], ring = 0, position = 0n): Buffer {
  const entries = list.map((record) => entryOf(encodeRecord(record)));
  return frameOf(FrameType.records, Buffer.concat(entries), { ring, position });
}
