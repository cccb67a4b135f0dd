// A pair of sensor and evaluator that is measured, and what is done to it.

import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { Bench, compileTools, evaluatorOf, type Program } from "../live/pair.ts";
import { type Health, healthOf, holdTo, type Promised } from "./health.ts";
import { cpuSeconds, startedMs } from "./machine.ts";
import type { Facts } from "./row.ts";
import { makeRules } from "./rules.ts";
import { atEnd } from "./started.ts";

/** What the bench has compiled, and a folder for what it makes. */
export type Tools = {
  folder: string;
  timed: string;
  reader: string;
  count: string;
  produce: string;
  programs: string;
  empty: string;
  object: string;
};

/** Compiles everything. The folder is readable for the user that evaluators become. */
export function buildTools(): Tools {
  const folder = mkdtempSync(join(tmpdir(), "warder-bench-"));
  chmodSync(folder, 0o755);
  try {
    return { folder, ...compileInto(folder) };
  } catch (error) {
    removeTools({ folder });
    throw error;
  }
}

function compileInto(folder: string): Omit<Tools, "folder"> {
  const names = ["timed", "reader", "count", "produce", "programs", "empty"] as const;
  const compiled = compileTools(folder, names, import.meta.dir);
  const object = join(folder, "produce.bpf.o");
  const source = join(import.meta.dir, "produce.bpf.c");
  const { exitCode, stderr } = Bun.spawnSync([
    ...[
      "clang-19",
      "--target=bpf",
      "-D__TARGET_ARCH_x86",
      "-mcpu=v3",
      "-O2",
      "-g",
      "-Wall",
      "-Wextra",
      "-Werror",
    ],
    ...[
      "-Wno-unused-parameter",
      "-I",
      `/usr/include/${process.arch === "x64" ? "x86_64" : "aarch64"}-linux-gnu`,
    ],
    ...["-c", source, "-o", object],
  ]);
  if (exitCode !== 0) throw new Error(`${source} does not compile: ${stderr.toString()}`);
  return { ...compiled, object };
}

/** Removes what was compiled and made. */
export function removeTools({ folder }: Pick<Tools, "folder">): void {
  rmSync(folder, { recursive: true, force: true });
}

/** The folder that exists in no file system: produced records are about files in it. */
export const PRODUCED = "/produced";
/** Of the ring of files and network, in all measurements: the default. */
export const RING_MIB = 64;
/** Where no other is asked for: the one that every kernel takes. */
export const PROFILE = "tracepoint";

/** What a pair is started with. */
export type PairOptions = {
  /** TOML, beside the settings that all pairs have. */
  settings?: string;
  rules?: number;
  /** Every event is written to a pipe; else only alerts are. */
  events?: boolean;
  /** How the output is read: words for reader.c. */
  reader?: (socket: string) => string[];
  profile?: "tracepoint" | "fentry";
  /** In the evaluator's place is a C program that only counts (count.c). */
  counter?: boolean;
};

/** What came of records that were made: in how many seconds they were, and after how many the last one was acknowledged. */
export type Made = { made: number; lost: number; making: number; seconds: number };

/** Events a second that arrived. */
export function carriedRate({ made, lost, seconds }: Made): number {
  return (made - lost) / seconds;
}

/** What a pair has used of CPUs, in seconds, and what it has lost. */
export type Use = { sensor: number; evaluator: number; lost: number };

/** A row's facts: what all pairs have used that it was measured with. */
export function factsOf(uses: readonly Use[]): Facts {
  const sum = (key: keyof Use) => uses.reduce((all, use) => all + use[key], 0);
  return { lost: sum("lost"), "sensor CPU s": sum("sensor"), "evaluator CPU s": sum("evaluator") };
}

/** A sensor, its evaluator, and a reader of the evaluator's output. */
export class LivePair {
  private constructor(
    private readonly close: () => Promise<void>,
    private readonly tools: Tools,
    private readonly output: Program,
    readonly sensor: number,
    readonly evaluator: number,
    /** From the start of the sensor's program until it served. */
    readonly servingMs: number,
    private readonly end: () => Promise<void>,
  ) {}

  static async start(tools: Tools, options: PairOptions = {}): Promise<LivePair> {
    const bench = new Bench();
    const close = atEnd(() => bench.close());
    const config = bench.path("config.toml");
    writeFileSync(config, `[ebpf]\nbuffer_size = ${RING_MIB * 1024}\n${options.settings ?? ""}`);
    const rules = bench.path("rules.toml");
    writeFileSync(rules, makeRules(options.rules ?? 0));
    const sensor = await bench.sensor(
      ...["--no-pin", "--config", config, "--profile", options.profile ?? PROFILE],
    );
    const end = (output: Program) => async () => {
      await sensor.end("SIGTERM");
      await output.exited;
    };
    const servingMs = statSync(sensor.stderrPath).mtimeMs - startedMs(sensor.pid);
    if (options.counter) {
      const counter = await bench.reader([tools.count, bench.socket]);
      return new LivePair(close, tools, counter, sensor.pid, counter.pid, servingMs, end(counter));
    }
    const reader = [tools.reader, ...(options.reader?.(bench.socket) ?? ["last"])].join(" ");
    const args = ["--config", config, "--rules", rules, "-o", "json"];
    const output = await bench.pipedEvaluator(reader, ...args, ...(options.events ? [] : ["--alerts-only"]));
    const { pid } = await evaluatorOf(output);
    return new LivePair(close, tools, output, sensor.pid, pid, servingMs, end(output));
  }

  /** Keeps both processes away from CPU 0, where a generator runs. */
  leaveFirstCpu(): void {
    const others = cpus().length > 1 ? `1-${cpus().length - 1}` : "0";
    for (const pid of [this.sensor, this.evaluator])
      Bun.spawnSync(["taskset", "--all-tasks", "--cpu-list", "--pid", others, String(pid)]);
  }

  /**
   * Makes records and waits until they are acknowledged. `rate` is in records a second; without it, as many as the pair
   * can take.
   */
  async produce(
    kind: "open" | "exec",
    count: number,
    { rate = 0, pathSize = 60, processes = 500, producers = 1 } = {},
  ): Promise<Made> {
    const numbers = [count, rate, pathSize, processes, producers].map(String);
    const { produce, object } = this.tools;
    const words = await outputOf([produce, object, String(this.sensor), kind, ...numbers]);
    const number = (key: string) => Number(new RegExp(`^${key} (.*)$`, "m").exec(words)?.[1]);
    return {
      ...{ made: number("made"), lost: number("lost") },
      ...{ making: number("making"), seconds: number("seconds") },
    };
  }

  /** CPU time of both since they were started, in seconds. */
  cpuSeconds(): { sensor: number; evaluator: number } {
    return { sensor: cpuSeconds(this.sensor), evaluator: cpuSeconds(this.evaluator) };
  }

  /** The same since an earlier time. */
  cpuSince(before: { sensor: number; evaluator: number }): { sensor: number; evaluator: number } {
    const now = this.cpuSeconds();
    return { sensor: now.sensor - before.sensor, evaluator: now.evaluator - before.evaluator };
  }

  /**
   * Ends both. Returns what the reader printed, and what both have used and, by the ledger of the last line, lost in all.
   * @throws Error when the ledger does not balance, or when less was done than was promised
   */
  async stop(row: string, promised: Promised): Promise<{ words: string; use: Use; health: Health }> {
    const cpu = this.cpuSeconds();
    await this.end();
    const words = this.output.stdout;
    await this.close();
    const health = healthOf(row, words);
    holdTo(row, health, promised);
    return { words, use: { ...cpu, lost: health.ledger.lost + health.ledger.discarded }, health };
  }
}

/** Runs a program to its end and returns what it printed. @throws Error when it fails */
export async function outputOf(command: string[]): Promise<string> {
  const program = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [text, errors] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
  ]);
  if ((await program.exited) !== 0) throw new Error(`${command.join(" ")}: ${errors.trim() || text.trim()}`);
  return text;
}
