// Rows about what a call costs while the sensor, or another program of its kind, looks on.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { doneOf } from "./health.ts";
import { factsOf, LivePair, outputOf, type PairOptions, type Tools, type Use } from "./live.ts";
import { daemon, PEERS } from "./peers.ts";
import {
  compared,
  type Extent,
  type Facts,
  type Goal,
  median,
  more,
  type Pairs,
  percentMore,
  type Row,
  rowOfPairs,
  type Skipped,
} from "./row.ts";
import { endStarted } from "./started.ts";

/** Without canaries, so that nothing but the calls is measured. */
export const QUIET = "[health]\ncanary = false\n";
const SENSOR = join(import.meta.dir, "../../sensor/main.ts");
const SPAWNED = "/bin/true";

/** What is timed: a call that nobody looks at, an open with its close, a spawn. */
export const CALLS = ["call", "open", "spawn"] as const;
export type Call = (typeof CALLS)[number];
type Goals = Record<Call, Goal | null>;
const NO_GOALS: Goals = { call: null, open: null, spawn: null };

/** What has been done of each call while somebody looked on. */
type Done = Record<Call, number>;

/** Somebody who looks on until it is stopped. Of a pair of ours it is known what it uses, and at its end what it has seen. */
type Watch = { pair: LivePair | null; stop: (done: Done) => Promise<Use | null> };
type Onlooker = () => Promise<Watch>;

/**
 * Nanoseconds of each call with somebody who looks on, and without: the mean of what it took before and after that. What counts is
 * what the two of a pair differ by, and not by how much the two medians do: machines drift meanwhile (PERFORMANCE.md).
 */
type Timed = Record<Call, Pairs & { facts: Facts }>;

/** After somebody has begun to look on, and after one has stopped. */
const SETTLE_MS = 1000;
const GONE_MS = 500;
/** Until what was done last has been read. */
const READ_MS = 100;
/** The evaluator compiles itself meanwhile, on a CPU whose work the calls may feel. */
const WARM_UP = 600_000;
const WARM_UP_EXECS = 500;

/** Words for timed.c, and how often it calls. */
export function commandsOf(file: string, scale: number): Record<Call, { count: number; words: string[] }> {
  const command = (what: string, count: number, ...rest: string[]) => ({
    count: count * scale,
    words: [what, "0", String(count * scale), ...rest],
  });
  return {
    call: command("calls", 1_000_000),
    open: command("opens", 100_000, file),
    spawn: command("spawns", 1_000, SPAWNED),
  };
}

/** The same of each call. */
const ofEach = <Of>(make: (call: Call) => Of): Record<Call, Of> => ({
  ...{ call: make("call"), open: make("open"), spawn: make("spawn") },
});

/** Times the calls with each onlooker in turn, and without anybody before and after each. */
async function timeInTurn(
  tools: Tools,
  file: string,
  { pairs, scale }: Extent,
  onlookers: Onlooker[],
): Promise<Timed[]> {
  const commands = commandsOf(file, scale);
  const time = async (call: Call) => Number(await outputOf([tools.timed, ...commands[call].words]));
  const timeAlone = async () => {
    await Bun.sleep(GONE_MS);
    return { call: await time("call"), open: await time("open"), spawn: await time("spawn") };
  };
  const all = onlookers.map((look) => ({
    look,
    times: ofEach(() => ({ these: [] as number[], those: [] as number[], uses: [] as Use[] })),
  }));
  let before = await timeAlone();
  for (let turn = 0; turn < pairs; turn++) {
    for (const { look, times } of all) {
      const { pair, stop } = await look();
      const used: [Call, Omit<Use, "lost">][] = [];
      for (const call of CALLS) {
        const begin = pair?.cpuSeconds();
        times[call].these.push(await time(call));
        await Bun.sleep(READ_MS);
        if (pair && begin) used.push([call, pair.cpuSince(begin)]);
      }
      const end = await stop(ofEach((call) => commands[call].count));
      for (const [call, cpu] of used) times[call].uses.push({ ...cpu, lost: end?.lost ?? 0 });
      const after = await timeAlone();
      for (const call of CALLS) times[call].those.push((before[call] + after[call]) / 2);
      before = after;
    }
  }
  return all.map(({ times }) =>
    ofEach((call) => {
      const { these, those, uses } = times[call];
      const facts = { "ns without": Math.round(median(those)) };
      return { these, those, facts: { ...facts, ...(uses.length > 0 ? factsOf(uses) : {}) } };
    }),
  );
}

function rowsOf(row: string, whose: string, { call, open, spawn }: Timed, goals: Goals): Row[] {
  const percent = ({ facts, ...pairs }: Timed[Call], goal: Goal | null, what: string) =>
    rowOfPairs(row, `${what}, ${whose}`, "% more", pairs, percentMore, goal, facts);
  const { facts, ...calls } = call;
  return [
    rowOfPairs(row, `getppid, ${whose}`, "ns more", calls, more, goals.call, facts),
    percent(open, goals.open, "open and close, reported"),
    percent(spawn, goals.spawn, `spawn of ${SPAWNED}`),
  ];
}

/** More than that is said of no part: in noise, the whole may come out as nothing, or less. */
const SHARE_MAX = 1000;

/** In hundredths. */
function shareOf(part: number, whole: number): number {
  return whole > 0 ? Math.min((part / whole) * 100, SHARE_MAX) : SHARE_MAX;
}

/** Sensor and evaluator on other CPUs than the calls, where there are any, and warm. They must have seen what they are to see. */
function pairLooksOn(tools: Tools, options: PairOptions, opens: "reported" | "filtered"): Onlooker {
  return async () => {
    const pair = await LivePair.start(tools, options);
    pair.leaveFirstCpu();
    await pair.produce("exec", WARM_UP_EXECS);
    await pair.produce("open", WARM_UP);
    await Bun.sleep(SETTLE_MS);
    const stop = async (done: Done) => {
      const reported = opens === "reported" ? done.open : 0;
      const promised = { opens: WARM_UP + reported, starts: WARM_UP_EXECS + done.spawn };
      const { use, health } = await pair.stop(`opens that are ${opens}`, promised);
      // Other opens are seen, too; but not as many.
      const seen = (doneOf(health).opens ?? 0) - WARM_UP;
      if (opens === "filtered" && seen >= done.open) throw new Error(`${seen} opens were seen: no filter`);
      return use;
    };
    return { pair, stop };
  };
}

/** Another program. */
async function othersLookOn(stop: () => Promise<void>): Promise<Watch> {
  return {
    pair: null,
    async stop() {
      await stop();
      return null;
    },
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
  const filter = `[file]\nexclude_paths = [${JSON.stringify(file)}]\n`;
  const [reported, filtered, empty] = (await timeInTurn(tools, file, extent, [
    pairLooksOn(tools, { settings: QUIET, profile }, "reported"),
    pairLooksOn(tools, { settings: QUIET + filter, profile }, "filtered"),
    ...(profile === "tracepoint" ? [async () => othersLookOn(await daemon([tools.empty]))] : []),
  ])) as [Timed, Timed, Timed?];
  const goals: Goals =
    profile === "fentry"
      ? { call: { atMost: 0 }, open: { atMost: 10 }, spawn: null }
      : { call: { atMost: 90 }, open: { atMost: 35 }, spawn: { atMost: 10 } };
  // The close in each pair is a call like any other: what is left is the open's.
  const costs = ({ open, call }: Timed) =>
    compared({ these: compared(open, more), those: compared(call, more) }, more);
  const shares = { these: costs(filtered), those: costs(reported) };
  const what = `cost of an open that is filtered out, ${profile}`;
  return [
    ...rowsOf(row, profile, reported, goals),
    ...(empty ? rowsOf(row, "an empty program", empty, NO_GOALS) : []),
    rowOfPairs(row, what, "% of one reported", shares, shareOf, { atMost: 50 }, filtered.open.facts),
  ];
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
      const look = async () => othersLookOn(await start(tools.folder));
      const [timed] = (await timeInTurn(tools, file, extent, [look])) as [Timed];
      rows.push(...rowsOf("peers", name, timed, NO_GOALS));
    } catch (error) {
      await endStarted();
      rows.push({ row: "peers", what: name, skipped: (error as Error).message });
    }
  }
  return rows;
}
