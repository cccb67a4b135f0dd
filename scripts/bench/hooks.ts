// Rows about what a call costs while the sensor, or another program of its kind, looks on.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { LivePair, outputOf, type PairOptions, type Tools } from "./live.ts";
import { PEERS } from "./peers.ts";
import { type Extent, type Goal, median, more, percentMore, type Row, rowOf, type Skipped } from "./row.ts";

/** Without canaries, so that nothing but the calls is measured. */
export const QUIET = "[health]\ncanary = false\n";
const SENSOR = join(import.meta.dir, "../../sensor/main.ts");
const SPAWNED = "/bin/true";

/** What is timed: a call that nobody looks at, an open with its close, a spawn. */
export const CALLS = ["call", "open", "spawn"] as const;
export type Call = (typeof CALLS)[number];
/** Nanoseconds of each call, one number a run. */
type Times = Record<Call, number[]>;
type Goals = Record<Call, Goal | null>;

/** Something that looks on until it is stopped. */
type Onlooker = () => Promise<() => Promise<void>>;

/** Words for timed.c, and how often it calls. */
export function commandsOf(file: string, scale: number): Record<Call, { count: number; words: string[] }> {
  const command = (what: string, count: number, ...rest: string[]) => ({
    count: count * scale,
    words: [what, "0", String(count * scale), ...rest],
  });
  return {
    call: command("calls", 1_000_000),
    open: command("opens", 100_000, file),
    spawn: command("spawns", 2_000, SPAWNED),
  };
}

/** Times the calls without anybody, then with each onlooker, and so on in turn. The first times are those without. */
async function timeInTurn(
  tools: Tools,
  file: string,
  { runs, scale }: Extent,
  onlookers: Onlooker[],
): Promise<Times[]> {
  const commands = commandsOf(file, scale);
  const nobody: Onlooker = async () => async () => {};
  const all = [nobody, ...onlookers].map((look) => ({
    look,
    times: { call: [], open: [], spawn: [] } as Times,
  }));
  for (let run = 0; run < runs; run++) {
    for (const { look, times } of all) {
      const stop = await look();
      for (const call of CALLS)
        times[call].push(Number(await outputOf([tools.timed, ...commands[call].words])));
      await stop();
    }
  }
  return all.map(({ times }) => times);
}

function rowsOf(row: string, whose: string, none: Times, some: Times, goals: Goals): Row[] {
  const facts = (call: Call) => ({
    "ns without": Math.round(median(none[call])),
    "ns with": Math.round(median(some[call])),
  });
  const percent = (call: Call, what: string) =>
    rowOf(row, `${what}, ${whose}`, "% more", percentMore(some[call], none[call]), goals[call], facts(call));
  return [
    rowOf(row, `getppid, ${whose}`, "ns more", more(some.call, none.call), goals.call, facts("call")),
    percent("open", "open and close, reported"),
    percent("spawn", `spawn of ${SPAWNED}`),
  ];
}

/** What pairs have lost and used, all runs together. */
type Uses = { lost: number; "sensor CPU s": number; "evaluator CPU s": number };

/** Sensor and evaluator on other CPUs than the calls, where there are any. */
function pairLooksOn(tools: Tools, options: PairOptions, uses: Uses): Onlooker {
  return async () => {
    const pair = await LivePair.start(tools, options);
    pair.leaveFirstCpu();
    const before = pair.cpuSeconds();
    return async () => {
      const after = pair.cpuSeconds();
      uses["sensor CPU s"] += after.sensor - before.sensor;
      uses["evaluator CPU s"] += after.evaluator - before.evaluator;
      uses.lost += (await pair.stop()).ledger.lost;
    };
  };
}

/** Why the sensor does not run in a profile on this kernel; null when it does. */
async function refusal(profile: string): Promise<string | null> {
  const command = [process.execPath, SENSOR, "probe", "--no-pin", "--json", "--profile", profile];
  const words = await new Response(Bun.spawn(command, { stdout: "pipe" }).stdout).text();
  return (JSON.parse(words) as { missing: string[] }).missing[0] ?? null;
}

/** What the sensor costs in one profile. */
export async function hookRows(
  tools: Tools,
  extent: Extent,
  profile: "tracepoint" | "fentry",
): Promise<(Row | Skipped)[]> {
  const row = profile === "fentry" ? "hook-fentry" : "hook";
  const skipped = await refusal(profile);
  if (skipped !== null) return [{ row, what: `calls, ${profile}`, skipped }];
  const file = join(tools.folder, "opened");
  writeFileSync(file, "");
  const uses: Uses = { lost: 0, "sensor CPU s": 0, "evaluator CPU s": 0 };
  const filter = `[file]\nexclude_paths = [${JSON.stringify(file)}]\n`;
  const [none, reported, filtered] = (await timeInTurn(tools, file, extent, [
    pairLooksOn(tools, { settings: QUIET, profile }, uses),
    pairLooksOn(tools, { settings: QUIET + filter, profile }, uses),
  ])) as [Times, Times, Times];
  const goals: Goals =
    profile === "fentry"
      ? { call: { atMost: 0 }, open: { atMost: 10 }, spawn: null }
      : { call: { atMost: 90 }, open: { atMost: 35 }, spawn: { atMost: 10 } };
  // The close in each pair is a call like any other: what is left is the open's.
  const costOf = (times: Times) => more(more(times.open, none.open), more(times.call, none.call));
  const costs = costOf(reported);
  const shares = costOf(filtered).map((cost, i) => (cost / (costs[i] ?? Number.NaN)) * 100);
  const rows = [
    ...rowsOf(row, profile, none, reported, goals),
    rowOf(
      row,
      `cost of an open that is filtered out, ${profile}`,
      "% of one reported",
      shares,
      { atMost: 50 },
      {
        "ns without": Math.round(median(none.open)),
        "ns with": Math.round(median(filtered.open)),
      },
    ),
  ];
  return rows.map((one) => ({ ...one, facts: { ...one.facts, ...uses } }));
}

/** What other programs of this kind cost, where they are installed. */
export async function peerRows(tools: Tools, extent: Extent): Promise<(Row | Skipped)[]> {
  const file = join(tools.folder, "opened");
  writeFileSync(file, "");
  const rows: (Row | Skipped)[] = [];
  for (const { name, programs, start } of PEERS) {
    const missing = programs.filter((program) => Bun.which(program) === null);
    if (missing.length > 0) {
      rows.push({ row: "peers", what: name, skipped: `not found: ${missing.join(", ")}` });
      continue;
    }
    try {
      const [none, some] = (await timeInTurn(tools, file, extent, [() => start(tools.folder)])) as [
        Times,
        Times,
      ];
      rows.push(...rowsOf("peers", name, none, some, { call: null, open: null, spawn: null }));
    } catch (error) {
      rows.push({ row: "peers", what: name, skipped: (error as Error).message });
    }
  }
  return rows;
}
