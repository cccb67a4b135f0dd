#!/usr/bin/env bun
// Feeds hostile bytes to the stream reader, the decoder and the whole core: good records and frames of a real capture, changed
// in ways that know the layout and in ways that do not. Anything but a clear refusal is a finding.
//
// `bun run fuzz --help` says how. The same seed gives the same inputs. A finding names seed, target and iteration: --from I --count 1 makes it again.
// Exit code 1 when there was a finding.

import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { zstdDecompressSync } from "node:zlib";
import { Option } from "commander";
import type { Target } from "./fuzz/law.ts";
import { seedsOf } from "./fuzz/mutate.ts";
import { Random } from "./fuzz/random.ts";
import { targetsOf } from "./fuzz/targets.ts";
import { tool, wholeNumber } from "./tool.ts";

const ROOT = join(import.meta.dir, "..");
const CAPTURE = join(ROOT, "scripts/sample.capture.zst");
const COUNT = 10_000_000;
/** Of all inputs, how many in a million each target gets: single records are quick, streams reach more. */
const SHARES: Record<string, number> = {
  decoder: 896_500,
  reader: 70_000,
  core: 31_500,
  capture: 500,
  settings: 1500,
};
/** A call that takes longer than this is a finding; ten times as long, and the run is ended. */
const CALL_MS_MAX = 1000;
/** Resident memory of the whole run, its own tools included. */
const RSS_SIZE_MAX = 512 * 1024 * 1024;
const FINDINGS_MAX = 20;
const BYTES_SHOWN_MAX = 1500;

/** What a run of one target came to. */
export type Result = {
  target: Target;
  inputs: number;
  accepted: number;
  records: number;
  lines: number;
  /** Most bytes that were held for one input. */
  held: number;
  slowestMs: number;
  elapsedMs: number;
  findings: string[];
};

/** The targets, with the sample capture as their seed. */
export function targets(): Target[] {
  const compressed = readFileSync(CAPTURE);
  return targetsOf(seedsOf(zstdDecompressSync(compressed)), ROOT, compressed);
}

/** Gives a target its inputs `from` to below `from + count`; `progress` is told which one is next. */
export async function fuzz(
  target: Target,
  seed: number,
  from: number,
  count: number,
  progress: (iteration: number) => void = () => {},
): Promise<Result> {
  const salt = target.name.charCodeAt(0);
  const result = { inputs: 0, accepted: 0, records: 0, lines: 0, held: 0, slowestMs: 0 };
  const findings: string[] = [];
  const started = performance.now();
  let before = started;
  for (let iteration = from; iteration < from + count && findings.length < FINDINGS_MAX; iteration++) {
    progress(iteration);
    const found = (what: string) =>
      findings.push(
        `${target.name}: ${what}\n  again: bun run fuzz --seed ${seed} --target ${target.name} --from ${iteration} --count 1\n` +
          `  input: ${shown(target.last())}`,
      );
    const attempt = () => target.run(new Random(seed, salt, iteration));
    try {
      const promised = attempt();
      const outcome = promised instanceof Promise ? await promised : promised;
      if (outcome.accepted) result.accepted += 1;
      result.records += outcome.records;
      result.lines += outcome.lines;
      result.held = Math.max(result.held, outcome.held);
    } catch (error) {
      found(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    result.inputs += 1;
    const now = performance.now();
    let took = now - before;
    // On a busy machine anything can take long by the clock.
    for (let again = 0; again < 2 && took > CALL_MS_MAX; again++)
      took = Math.min(took, await timeOf(attempt));
    before = performance.now();
    if (took > result.slowestMs) result.slowestMs = took;
    if (took > CALL_MS_MAX) found(`took ${Math.round(took)} ms`);
    if (iteration % 4096 === 0 && process.memoryUsage.rss() > RSS_SIZE_MAX)
      found(`resident memory of ${process.memoryUsage.rss()} bytes at this or one of the 4096 inputs before`);
  }
  return { target, ...result, elapsedMs: performance.now() - started, findings };
}

/** Milliseconds of this process's time, whatever else the machine does. */
async function timeOf(attempt: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  try {
    await attempt();
  } catch {
    // Was told the first time.
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function shown(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString("base64");
  return text.length <= BYTES_SHOWN_MAX ? text : `${bytes.length} bytes`;
}

async function main(): Promise<void> {
  const all = targets();
  const names = all.map(({ name }) => name);
  const {
    seed,
    count,
    from,
    target: only,
  } = tool("fuzz", "Feeds hostile bytes to what reads them.")
    .option("--count <inputs>", "how many: for one target, or in all", wholeNumber, COUNT)
    .option("--seed <number>", "the same one gives the same inputs", wholeNumber, Date.now() % 1_000_000)
    .addOption(new Option("--target <name>", "nothing but this one").choices(names))
    .option("--from <input>", "passes over the inputs before it", wholeNumber, 0)
    .parse()
    .opts<{ count: number; seed: number; target?: string; from: number }>();
  const chosen = all.filter(({ name }) => only === undefined || name === only);
  const position = new Int32Array(new SharedArrayBuffer(8));
  const watch = new Worker(import.meta.path, {
    workerData: { position, names: chosen.map(({ name }) => name), seed },
  });
  const results: Result[] = [];
  for (const [index, target] of chosen.entries()) {
    const inputs = chosen.length === 1 ? count : Math.ceil((count * (SHARES[target.name] ?? 0)) / 1_000_000);
    results.push(
      await fuzz(target, seed, from, inputs, (iteration) => {
        position[0] = iteration;
        position[1] = index;
      }),
    );
  }
  await watch.terminate();
  for (const { findings } of results) for (const finding of findings) console.log(`finding: ${finding}\n`);
  console.log(table(results, seed));
  if (results.some(({ findings }) => findings.length > 0)) process.exitCode = 1;
}

function table(results: Result[], seed: number): string {
  const number = (value: number) => Math.round(value).toLocaleString("en-US");
  const rows = results.map((result) => [
    result.target.name,
    number(result.inputs),
    number(result.accepted),
    number(result.records),
    number(result.lines),
    number((result.inputs / result.elapsedMs) * 1000),
    number(result.held),
    number(result.slowestMs),
    number(result.findings.length),
  ]);
  const head = [
    "target",
    "inputs",
    "accepted",
    "records",
    "lines",
    "inputs/s",
    "most held",
    "slowest ms",
    "findings",
  ];
  const total = results.reduce((sum, { inputs }) => sum + inputs, 0);
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ");
  return [
    line(head),
    ...rows.map(line),
    `${number(total)} inputs, seed ${seed}, peak memory ${number(process.resourceUsage().maxRSS / 1024)} MiB`,
    ...results.map(({ target }) => `  ${target.name}: an input is ${target.input}`),
  ].join("\n");
}

/** The other thread: says which input does not end, and ends the run. */
function watchdog({ position, names, seed }: { position: Int32Array; names: string[]; seed: number }): void {
  let before = -1;
  setInterval(() => {
    const [iteration = 0, index = 0] = position;
    if (iteration === before) {
      writeSync(
        1,
        `finding: ${names[index]}: does not end\n  again: bun run fuzz --seed ${seed} --target ${names[index]} --from ${iteration} --count 1\n`,
      );
      process.kill(process.pid, "SIGKILL");
    }
    before = iteration;
  }, 10 * CALL_MS_MAX);
}

if (import.meta.main && isMainThread) await main();
else if (!isMainThread) watchdog(workerData);
