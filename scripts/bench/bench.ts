// Measures all that design and documents say about speed and size. `bun run bench --help` says how.
//
// Needs root, and a machine that does nothing else: the load of the last minute stands above the table. Rows that could not be
// measured because something broke, or that did less than they say, say so, and the exit code is 1.

import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { Option } from "commander";
import { Exit } from "../../evaluator/exit.ts";
import { notLive } from "../live/pair.ts";
import { tool } from "../tool.ts";
import { liveRows, replayRows, ruleRows } from "./carry.ts";
import { endlessRows, idleRows, latencyRows, memoryRows, startRows } from "./footprint.ts";
import { growthRows } from "./growth.ts";
import { hookRows, peerRows } from "./hooks.ts";
import { instructionRows } from "./instructions.ts";
import { buildTools, PROFILE, RING_MIB, removeTools, type Tools } from "./live.ts";
import { thisMachine, thisVersion } from "./machine.ts";
import { plot } from "./plot.ts";
import { programRows } from "./programs.ts";
import { type Earlier, mustBeWritable, type Results, readResults, writeResults } from "./results.ts";
import type { Extent, Failed, Result, Row, Skipped } from "./row.ts";
import { endStarted } from "./started.ts";
import { lineOf, printHead } from "./table.ts";

const WHOLE: Extent = { runs: 5, pairs: 15, scale: 1 };
const QUICK: Extent = { runs: 1, pairs: 1, scale: 0.1 };

const GROUPS: Record<string, (tools: Tools, extent: Extent) => Promise<(Row | Skipped)[]>> = {
  hook: (tools, extent) => hookRows(tools, extent, "tracepoint"),
  "hook-fentry": async (tools, extent) => [
    ...(await hookRows(tools, extent, "fentry")),
    ...(await instructionRows(tools)),
  ],
  programs: programRows,
  peers: peerRows,
  live: liveRows,
  replay: replayRows,
  rules: ruleRows,
  memory: memoryRows,
  endless: endlessRows,
  start: startRows,
  latency: latencyRows,
  idle: idleRows,
  async growth(tools, extent) {
    const { rows, curves } = await growthRows(tools, extent);
    const { processor, cpus, kernel } = thisMachine();
    writeFileSync(
      values.plot,
      plot(curves, `${processor}, ${cpus} CPUs, Linux ${kernel}; medians of ${extent.runs}`),
    );
    return rows;
  },
};

const values = tool(
  "bench",
  "Measures all that design and documents say about speed and size. Takes forty minutes.",
)
  .option("--quick", "fewer runs and events: to see that it works, not to quote")
  .addOption(new Option("--only <rows>", "nothing but the rows of this name").choices(Object.keys(GROUPS)))
  .option("--json <file>", "writes everything there, too, after each group of rows")
  .option(
    "--compare <old>",
    "prints beside each row its ratio to the one in an earlier --json, or how much more it is where that was not above 0",
  )
  .option("--plot <file>", "where the curves of cost as work grows are drawn", "build/bench.svg")
  .parse()
  .opts<{ quick?: true; only?: string; json?: string; compare?: string; plot: string }>();

/** A signal that ends a run, or an error that nobody else has caught. */
class Interrupted extends Error {
  constructor(
    readonly exitCode: number,
    message: string,
  ) {
    super(message);
  }
}

const SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/** Rejects when one has come. */
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of SIGNALS)
    process.once(signal, () =>
      reject(new Interrupted(128 + constants.signals[signal], `ended by ${signal}`)),
    );
  for (const event of ["uncaughtException", "unhandledRejection"])
    process.once(event, (error: unknown) => reject(new Interrupted(1, String(error))));
});
interrupted.catch(() => {});

// What was broken off may still wait for something.
process.exit(await main());

async function main(): Promise<number> {
  const names = values.only === undefined ? Object.keys(GROUPS) : [values.only];
  const old = usable("--compare", values.compare, readResults);
  if (old === false) return Exit.usage;
  const canWrite = [
    usable("--json", values.json, (path) => mustBeWritable(path, { folder: false })),
    usable("--plot", names.includes("growth") ? values.plot : undefined, (path) =>
      mustBeWritable(path, { folder: true }),
    ),
  ];
  if (canWrite.includes(false)) return Exit.usage;
  const reason = notLive();
  if (reason !== null) {
    console.error(`bench: cannot run here (${reason})`);
    return 5;
  }
  const tools = buildTools();
  // What others make for themselves is removed with the rest.
  process.env["TMPDIR"] = tools.folder;
  try {
    return await measure(names, tools, old);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    console.error(`bench: ${error.message}`);
    return error.exitCode;
  } finally {
    await endStarted();
    removeTools(tools);
  }
}

async function measure(names: string[], tools: Tools, old: Earlier | null): Promise<number> {
  const extent = values.quick ? QUICK : WHOLE;
  const rows: Result[] = [];
  const setting = {
    warder: thisVersion(),
    machine: thisMachine(),
    ring_mib: RING_MIB,
    profile: PROFILE,
    extent,
  };
  const results: Results = { ...setting, rows };
  printHead(results, old);
  for (const name of names) {
    for (const row of await Promise.race([rowsOf(name, tools, extent), interrupted])) {
      rows.push(row);
      console.log(lineOf(row, old?.rows.find((other) => other.what === row.what)?.value));
    }
    if (values.json !== undefined) writeResults(values.json, results);
  }
  return rows.some((row) => "failed" in row) ? 1 : 0;
}

/** The rows of a group, or one that says why there are none. */
async function rowsOf(name: string, tools: Tools, extent: Extent): Promise<Result[]> {
  try {
    return (await GROUPS[name]?.(tools, extent)) ?? [];
  } catch (error) {
    await endStarted();
    const failed: Failed = { row: name, what: "all rows of this name", failed: (error as Error).message };
    return [failed];
  }
}

/** What becomes of the file of an option: null when the option is not given, false when the file is of no use, which is said. */
function usable<Of>(option: string, path: string | undefined, use: (path: string) => Of): Of | null | false {
  if (path === undefined) return null;
  try {
    return use(path);
  } catch (error) {
    console.error(`bench: ${option} ${path}: ${(error as Error).message}`);
    return false;
  }
}
