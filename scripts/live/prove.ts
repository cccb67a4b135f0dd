// Proves that nothing is lost silently: makes what can happen to the pair happen, and prints what became of every event.
//
//   bun run prove [--short] [--only NAME]      the short form takes about two minutes, the whole of it about ten
//   bun run prove --soak SECONDS [--step-clock] a long time under load with kills; --step-clock sets this machine's clock
//
// Exit code 1 when something is unaccounted for, or another promise is broken.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as faults from "./faults.ts";
import { compileTools, notLive } from "./pair.ts";
import { beginBeside, showAll } from "./shown.ts";
import { soak } from "./soak.ts";
import { tryDeeds } from "./watcher.ts";

const WHOLE: faults.Extent = { rounds: 10, flood: 1_000_000, kills: 50, seconds: 60 };
const SHORT: faults.Extent = { rounds: 1, flood: 200_000, kills: 3, seconds: 4 };

const { values } = parseArgs({
  options: {
    short: { type: "boolean" },
    only: { type: "string" },
    soak: { type: "string" },
    "step-clock": { type: "boolean" },
  },
});
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
    const problems = await soak(tools, Number(values.soak), values["step-clock"] === true);
    for (const problem of problems) console.log(`  BROKEN: ${problem}`);
    process.exitCode = problems.length > 0 ? 1 : 0;
  } else await tryFaults(tools);
} finally {
  rmSync(folder, { recursive: true });
}

async function tryFaults(tools: faults.Tools): Promise<void> {
  const begun = performance.now();
  const some = { ...extent, kills: Math.ceil(extent.kills / 2) };
  const trials: Record<string, () => Promise<faults.Outcome>> = {
    rest: () => faults.atRest(tools, extent),
    stalled: () => faults.slowReader(tools, extent, "stalled"),
    slow: () => faults.slowReader(tools, extent, "slow"),
    stopped: () => faults.stopped(tools, extent, "evaluator"),
    stopped_sensor: () =>
      faults.stopped(tools, { ...extent, rounds: Math.ceil(extent.rounds / 5) }, "sensor"),
    evaluator: () => faults.killed(tools, extent, "evaluator"),
    sensor: () => faults.killed(tools, extent, "sensor"),
    both: () => faults.killed(tools, extent, "both"),
    behind: () =>
      faults.killed(tools, { ...extent, kills: Math.ceil(extent.kills / 10) }, "sensor", { behind: true }),
    losing: () => faults.killed(tools, some, "evaluator", { losing: true }),
    losing_both: () => faults.killed(tools, some, "both", { losing: true }),
    disk: () => faults.fullDisk(tools, 0),
    disk_killed: () => faults.fullDisk(tools, 2),
    producer: () => faults.superProducer(tools, extent),
  };
  row("fault", "times", "generated", "written", "counted", "unaccounted", "seconds", "");
  let broken = false;
  for (const [name, trial] of Object.entries(trials)) {
    if (values.only !== undefined && values.only !== name) continue;
    // Beside the kills, for which this host waits more than it works.
    if (name === "evaluator" && !values.short && values.only === undefined) void beginBeside();
    const start = performance.now();
    const { fault, times, generated, written, counted, unaccounted, note, problems } = await trial();
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
    for await (const { id, what, tests, holds } of showAll()) {
      console.log(
        `${id.padEnd(5)}${what.padEnd(56)}${String(tests).padStart(3)} tests  ${holds ? "holds" : "BROKEN"}`,
      );
      broken ||= !holds;
    }
  }
  console.log(
    `\n${broken ? "BROKEN" : "all holds"}, ${((performance.now() - begun) / 60_000).toFixed(1)} minutes`,
  );
  process.exitCode = broken ? 1 : 0;
}

function row(...[fault = "", ...cells]: string[]): void {
  const note = cells.pop() ?? "";
  console.log(`${fault.padEnd(36)}${cells.map((cell) => cell.padStart(13)).join("")}  ${note}`.trimEnd());
}
