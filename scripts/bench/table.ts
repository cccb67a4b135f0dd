// The results for a person: one line a row.

import type { Machine } from "./machine.ts";
import { type Extent, type Goal, type Row, reached, type Skipped } from "./row.ts";

/** What everything below was measured on. */
export function printHead(machine: Machine, ringMib: number, extent: Extent, old: Machine | null): void {
  console.log(describe(machine));
  const part = extent.scale < 1 ? `; only ${extent.scale * 100} % of the events: not to be quoted` : "";
  console.log(`ring of ${ringMib} MiB; medians of ${extent.runs} runs, [least … most]${part}`);
  if (machine.other_sensors > 0)
    console.log(
      `CAUTION: ${machine.other_sensors} other sensors run here; every row pays for their hooks, too`,
    );
  if (old) console.log(`compared with ${describe(old)}`);
}

function describe({ processor, cpus, memory_mb, kernel, bun, load }: Machine): string {
  return `${processor}, ${cpus} CPUs, ${memory_mb} MB, Linux ${kernel}, Bun ${bun}, load ${load.toFixed(1)}`;
}

/** One row; `old`: the same of an earlier time. */
export function printRow(row: Row | Skipped, old: Row | Skipped | null): void {
  const name = `${row.row.padEnd(12)}${row.what.padEnd(58)}`;
  if ("skipped" in row) {
    console.log(`${name} skipped: ${row.skipped}`);
    return;
  }
  const { value, unit, runs, goal, facts } = row;
  const verdict = { true: "", false: "  MISSED", null: "" }[
    String(reached(row)) as "true" | "false" | "null"
  ];
  const before =
    old && "value" in old ? `  ${(value / old.value).toFixed(2)} × ${short(old.value)} before` : "";
  const spread = runs.length > 1 ? `  [${short(Math.min(...runs))} … ${short(Math.max(...runs))}]` : "";
  const words = Object.entries(facts).map(
    ([key, fact]) => `${key} ${typeof fact === "number" ? short(fact) : fact}`,
  );
  const rest = words.length > 0 ? `  (${words.join(", ")})` : "";
  console.log(
    `${name}${short(value).padStart(12)} ${unit}${goalText(goal)}${verdict}${spread}${before}${rest}`,
  );
}

function goalText(goal: Goal | null): string {
  if (goal === null) return "";
  return "atMost" in goal ? `, goal ≤ ${short(goal.atMost)}` : `, goal ≥ ${short(goal.atLeast)}`;
}

function short(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}
