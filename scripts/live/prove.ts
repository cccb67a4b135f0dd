// Proves that nothing is lost silently: makes what can happen to the pair happen, and prints what became of every event.
// `bun run prove --help` says how.
//
// Exit code 1 when something is unaccounted for, or another promise is broken.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Option } from "commander";
import { tool, wholeNumber } from "../tool.ts";
import * as faults from "./faults.ts";
import { compileTools, notLive } from "./pair.ts";
import { beginBeside, showAll } from "./shown.ts";
import { soak } from "./soak.ts";
import { tryDeeds } from "./watcher.ts";

const WHOLE: faults.Extent = { rounds: 10, flood: 1_000_000, kills: 50, seconds: 60 };
const SHORT: faults.Extent = { rounds: 1, flood: 200_000, kills: 3, seconds: 4 };

/** By the name of its row. */
const TRIALS: Record<string, (tools: faults.Tools, extent: faults.Extent) => Promise<faults.Outcome>> = {
  rest: (tools, extent) => faults.atRest(tools, extent),
  stalled: (tools, extent) => faults.slowReader(tools, extent, "stalled"),
  slow: (tools, extent) => faults.slowReader(tools, extent, "slow"),
  stopped: (tools, extent) => faults.stopped(tools, extent, "evaluator"),
  stopped_sensor: (tools, extent) =>
    faults.stopped(tools, { ...extent, rounds: Math.ceil(extent.rounds / 5) }, "sensor"),
  evaluator: (tools, extent) => faults.killed(tools, extent, "evaluator"),
  sensor: (tools, extent) => faults.killed(tools, extent, "sensor"),
  both: (tools, extent) => faults.killed(tools, extent, "both"),
  behind: (tools, extent) =>
    faults.killed(tools, { ...extent, kills: Math.ceil(extent.kills / 10) }, "sensor", { behind: true }),
  losing: (tools, extent) => faults.killed(tools, halfOf(extent), "evaluator", { losing: true }),
  losing_both: (tools, extent) => faults.killed(tools, halfOf(extent), "both", { losing: true }),
  disk: (tools) => faults.fullDisk(tools, 0),
  disk_killed: (tools) => faults.fullDisk(tools, 2),
  producer: (tools, extent) => faults.superProducer(tools, extent),
};
const ROWS = [...Object.keys(TRIALS), "watcher", "shown"];

const command = tool(
  "prove",
  "Makes what can happen to a sensor and its evaluator happen, and prints what became of every event.",
)
  .option("--short", "fewer and smaller: about two minutes; the whole of it takes about ten")
  .addOption(new Option("--only <row>", "nothing but this row").choices(ROWS))
  .option("--soak <seconds>", "a long time under load with kills, instead", wholeNumber)
  .option("--step-clock", "with --soak: sets the clock of this machine forward, and back")
  .parse();
const values = command.opts<{ short?: true; only?: string; soak?: number; stepClock?: true }>();
if (values.stepClock && values.soak === undefined) command.error("error: --step-clock: expected --soak, too");
const extent = values.short ? SHORT : WHOLE;
const reason = notLive();
if (reason !== null) {
  console.error(`prove: cannot run here (${reason})`);
  process.exit(5);
}

const folder = mkdtempSync(join(tmpdir(), "warder-tools-"));
chmodSync(folder, 0o755);
try {
  const tools = compileTools(folder, ["generate", "load", "harm"]);
  if (values.soak !== undefined) {
    const problems = await soak(tools, values.soak, values.stepClock === true);
    for (const problem of problems) console.log(`  BROKEN: ${problem}`);
    process.exitCode = problems.length > 0 ? 1 : 0;
  } else await tryFaults(tools);
} finally {
  rmSync(folder, { recursive: true });
}

async function tryFaults(tools: faults.Tools): Promise<void> {
  const begun = performance.now();
  row("fault", "times", "generated", "written", "counted", "unaccounted", "seconds", "");
  let broken = false;
  for (const [name, trial] of Object.entries(TRIALS)) {
    if (values.only !== undefined && values.only !== name) continue;
    // Beside the kills, for which this host waits more than it works.
    if (name === "evaluator" && !values.short && values.only === undefined) void beginBeside();
    const start = performance.now();
    const { fault, times, generated, written, counted, unaccounted, note, problems } = await trial(
      tools,
      extent,
    );
    const seconds = Math.round((performance.now() - start) / 1000);
    row(
      fault,
      ...[times, generated, written, counted, unaccounted, seconds].map((n) => n.toLocaleString("en-US")),
      note,
    );
    for (const problem of new Set(problems)) console.log(`  BROKEN: ${problem}`);
    broken ||= problems.length > 0;
  }
  if (values.only === undefined || values.only === "watcher") {
    console.log("");
    for (const { deed, said, seconds, limit } of await tryDeeds(tools.harm)) {
      const inTime = said !== null && seconds <= limit;
      const when = `${seconds.toFixed(1)} s`.padStart(7);
      console.log(
        `${deed.padEnd(46)}${when}  ${said ?? "NOTHING WAS SAID"}${inTime ? "" : "  BROKEN: too late"}`,
      );
      broken ||= !inTime;
    }
  }
  // In the short form these are tests beside this one.
  if (!values.short && (values.only === undefined || values.only === "shown")) {
    console.log("");
    for await (const { id, what, file, tests, failed, holds } of showAll()) {
      console.log(
        `${id.padEnd(5)}${what.padEnd(56)}${String(tests).padStart(3)} tests  ${holds ? "holds" : `BROKEN: see bun test ${file}`}`,
      );
      for (const name of failed) console.log(`  failed: ${name}`);
      broken ||= !holds;
    }
  }
  console.log(
    `\n${broken ? "BROKEN" : "all holds"}, ${((performance.now() - begun) / 60_000).toFixed(1)} minutes`,
  );
  process.exitCode = broken ? 1 : 0;
}

function halfOf(whole: faults.Extent): faults.Extent {
  return { ...whole, kills: Math.ceil(whole.kills / 2) };
}

function row(...[fault = "", ...cells]: string[]): void {
  const note = cells.pop() ?? "";
  console.log(`${fault.padEnd(36)}${cells.map((cell) => cell.padStart(13)).join("")}  ${note}`.trimEnd());
}
