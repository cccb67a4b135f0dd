// Measures all that design and documents say about speed and size. `bun run bench --help` says how.
//
// Needs root, and a machine that does nothing else: the load of the last minute stands above the table. Rows that could not be
// measured because something broke, or that did less than they say, say so, and the exit code is 1.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Option } from "commander";
import { notLive } from "../live/pair.ts";
import { tool } from "../tool.ts";
import { liveRows, replayRows, ruleRows } from "./carry.ts";
import { endlessRows, idleRows, latencyRows, memoryRows, startRows } from "./footprint.ts";
import { growthRows } from "./growth.ts";
import { hookRows, peerRows } from "./hooks.ts";
import { instructionRows } from "./instructions.ts";
import { buildTools, endPairs, PROFILE, RING_MIB, removeTools, type Tools } from "./live.ts";
import { thisMachine } from "./machine.ts";
import { plot } from "./plot.ts";
import { programRows } from "./programs.ts";
import type { Extent, Failed, Result, Row, Skipped } from "./row.ts";
import { lineOf, printHead, type Setting } from "./table.ts";

const WHOLE: Extent = { runs: 5, pairs: 15, scale: 1 };
const QUICK: Extent = { runs: 1, pairs: 1, scale: 0.1 };

/** What `--json` writes. */
type Results = Setting & { rows: Result[] };

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
    mkdirSync(dirname(values.plot), { recursive: true });
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

process.exitCode = await main();

async function main(): Promise<number> {
  const reason = notLive();
  if (reason !== null) {
    console.error(`bench: cannot run here (${reason})`);
    return 5;
  }
  const old = values.compare === undefined ? null : earlier(values.compare);
  if (typeof old === "string") {
    console.error(`bench: --compare ${values.compare}: ${old}`);
    return 2;
  }
  const extent = values.quick ? QUICK : WHOLE;
  const rows: Result[] = [];
  const results: Results = { machine: thisMachine(), ring_mib: RING_MIB, profile: PROFILE, extent, rows };
  printHead(results, old);
  const tools = buildTools();
  try {
    for (const name of values.only === undefined ? Object.keys(GROUPS) : [values.only]) {
      for (const row of await rowsOf(name, tools, extent)) {
        rows.push(row);
        const before = old?.rows.find((other) => other.what === row.what);
        console.log(lineOf(row, before && "value" in before ? before.value : undefined));
      }
      if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    }
  } finally {
    removeTools(tools);
  }
  return rows.some((row) => "failed" in row) ? 1 : 0;
}

/** The rows of a group, or one that says why there are none. */
async function rowsOf(name: string, tools: Tools, extent: Extent): Promise<Result[]> {
  try {
    return (await GROUPS[name]?.(tools, extent)) ?? [];
  } catch (error) {
    await endPairs();
    const failed: Failed = { row: name, what: "all rows of this name", failed: (error as Error).message };
    return [failed];
  }
}

/** What an earlier run wrote, or what is wrong with it. */
function earlier(path: string): Results | string {
  try {
    const results = JSON.parse(readFileSync(path, "utf8")) as Partial<Results>;
    return results.machine && results.rows ? (results as Results) : "not written by --json";
  } catch (error) {
    return (error as Error).message;
  }
}
