// The results for a person: one line a row.

import { PROFILE, RING_MIB } from "./live.ts";
import type { Machine, Version } from "./machine.ts";
import type { Earlier, Setting } from "./results.ts";
import type { Goal, Result, Row } from "./row.ts";

/** What everything below was measured on, and what of it is not as in an earlier run. */
export function printHead(setting: Setting, old: Earlier | null): void {
  const { warder, machine, extent } = setting;
  console.log(`${nameOf(warder)}, on ${describe(machine)}`);
  const part = extent.scale < 1 ? `; only ${extent.scale * 100} % of the events: not to be quoted` : "";
  console.log(`ring of ${RING_MIB} MiB, ${PROFILE} profile but where a row says fentry`);
  console.log(`medians of ${extent.runs} runs, [least … most]${part}`);
  console.log(
    `what is compared: medians of ${extent.pairs} pairs in turn, [where the median of all such pairs lies]`,
  );
  if (machine.other_sensors > 0)
    console.log(
      `CAUTION: ${machine.other_sensors} other sensors run here; every row pays for their hooks, too`,
    );
  if (old === null) return;
  console.log(`compared with ${nameOf(old.warder)}, on ${describe(old.machine)}`);
  for (const what of ["extent", "ring_mib", "profile"] as const) {
    const [now, before] = [setting, old].map((one) => JSON.stringify(one[what]));
    if (now !== before) console.log(`CAUTION: another ${what} then: ${before}, now ${now}`);
  }
}

function nameOf(warder: Version | undefined): string {
  if (warder === undefined) return "a Warder that did not say of which version it was";
  const { version, commit, date } = warder;
  return `Warder ${version}${commit === undefined ? "" : ` (${commit})`} at ${date}`;
}

function describe({ processor, cpus, memory_mb, kernel, bun, load }: Omit<Machine, "other_sensors">): string {
  return `${processor}, ${cpus} CPUs, ${memory_mb} MB, Linux ${kernel}, Bun ${bun}, load ${load.toFixed(1)}`;
}

const VERDICTS = { met: "", missed: "  MISSED", "not decided": "  NOT DECIDED" };

/** The line of a row; `old`: the value of the same one of an earlier time. */
export function lineOf(row: Result, old?: number): string {
  const name = `${row.row.padEnd(12)}${row.what.padEnd(58)}`;
  if (!("value" in row))
    return `${name} ${"failed" in row ? `FAILED: ${row.failed}` : `skipped: ${row.skipped}`}`;
  const { value, unit, goal, facts, verdict } = row;
  const before = old === undefined ? "" : `  ${changeOf(value, old)}`;
  const words = Object.entries(facts).map(
    ([key, fact]) => `${key} ${typeof fact === "number" ? short(fact) : fact}`,
  );
  const rest = words.length > 0 ? `  (${words.join(", ")})` : "";
  const judged = `${goalText(goal)}${verdict === null ? "" : VERDICTS[verdict]}`;
  return `${name}${short(value).padStart(12)} ${unit}${judged}${spreadOf(row)}${before}${rest}`;
}

function spreadOf({ runs, interval }: Row): string {
  if (runs.length === 1) return "";
  if (interval === null) return `  [${short(Math.min(...runs))} … ${short(Math.max(...runs))}]`;
  const { low, high, confidence } = interval;
  return `  [${short(low)} … ${short(high)}, ${(confidence * 100).toFixed(0)} %]`;
}

/** A ratio says nothing of what was nothing, or less. */
function changeOf(value: number, old: number): string {
  if (old > 0 && value >= 0) return `${(value / old).toFixed(2)} × ${short(old)} before`;
  return `${short(Math.abs(value - old))} ${value < old ? "less" : "more"} than ${short(old)} before`;
}

function goalText(goal: Goal | null): string {
  if (goal === null) return "";
  const bound = "atMost" in goal ? `≤ ${short(goal.atMost)}` : `≥ ${short(goal.atLeast)}`;
  return `, goal ${bound}${goal.undecided === undefined ? "" : `, ${goal.undecided}`}`;
}

function short(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}
