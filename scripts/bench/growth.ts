// Rows about cost as work grows, and the curves of them.

import { cpus } from "node:os";
import { captureOf, ONLY_PRODUCED, replay } from "./carry.ts";
import { carriedRate, factsOf, LivePair, type Tools } from "./live.ts";
import type { Curve } from "./plot.ts";
import { type Extent, type Goal, median, type Row, rowOfPairs, times } from "./row.ts";

const REPLAYED = 1_000_000;
/** Where there are many processes, each has to be taken in first. */
const REPLAYED_LONG = 2_000_000;
const PRODUCED = 2_000_000;
const PROCESSES = [100, 1000, 10_000, 100_000];
/** More processes than there are at once, and those that have ended. */
const LARGE_TABLE = "[performance]\nmax_process_cache_entries = 262144\n";

/** What grows. Only for rules does the design say how steep a curve may be. */
type Growth = { title: string; x: string; points: number[]; goal?: Goal };

/** Measures all points in turn, so often, and takes the median of each. */
async function curve(
  { title, x, points, goal }: Growth,
  turns: number,
  measure: (point: number) => Promise<number>,
): Promise<{ curve: Curve; row: Row }> {
  const all = points.map((): number[] => []);
  for (let turn = 0; turn < turns; turn++)
    for (const [i, point] of points.entries()) all[i]?.push(await measure(point));
  const medians = points.map((point, i) => ({ x: point, y: median(all[i] ?? []) }));
  const ends = { these: all[0] ?? [], those: all.at(-1) ?? [] };
  const [first, last] = [points[0] ?? 0, points.at(-1) ?? 0].map((point) => point.toLocaleString("en-US"));
  const what = `${x}, from ${first} to ${last}: events/s fall by`;
  const facts = Object.fromEntries(
    medians.map(({ x: point, y }) => [`${point}`, `${Math.round(y / 1000)} k/s`]),
  );
  return {
    curve: { title, x, y: "events/s", points: medians },
    row: rowOfPairs("growth", what, "times", ends, times, goal ?? null, facts),
  };
}

/** Events a second against rules, live processes, size of records, and CPUs that produce. Replays are on one core. */
export async function growthRows(
  tools: Tools,
  { runs, pairs, scale }: Extent,
): Promise<{ rows: Row[]; curves: Curve[] }> {
  const replayed = async (rules: number, processes = 500, acting = processes, length = REPLAYED) => {
    const capture = await captureOf(tools, length * scale, processes, acting);
    const { events, seconds, unattributed } = await replay(tools, capture, rules, { settings: LARGE_TABLE });
    if (unattributed > events / 1000)
      throw new Error(`growth: of ${events} events, ${unattributed} are of programs that nobody knows`);
    return events / seconds;
  };
  const rules = await curve(
    { title: "Replay, alerts only", x: "rules", points: [10, 100, 1000, 10_000], goal: { atMost: 2 } },
    pairs,
    (count) => replayed(count),
  );
  const title = "Replay, 1,000 rules, alerts only";
  const acting = await curve({ title, x: "processes that all act", points: PROCESSES }, runs, (count) =>
    replayed(1000, count, count, REPLAYED_LONG),
  );
  const living = await curve({ title, x: "live processes, 100 act", points: PROCESSES }, runs, (count) =>
    replayed(1000, count, 100, REPLAYED_LONG),
  );
  const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 1000 });
  await pair.produce("exec", 500);
  const first = await pair.produce("open", PRODUCED * scale);
  let received = first.made - first.lost;
  const live = async (
    x: string,
    points: number[],
    shapeOf: (point: number) => { pathSize?: number; producers?: number },
  ) => {
    const before = pair.cpuSeconds();
    let lost = 0;
    const measured = await curve({ title: "Sensor, socket, evaluator", x, points }, runs, async (point) => {
      const made = await pair.produce("open", PRODUCED * scale, shapeOf(point));
      lost += made.lost;
      received += made.made - made.lost;
      return carriedRate(made);
    });
    Object.assign(measured.row.facts, factsOf([{ ...pair.cpuSince(before), lost }]));
    return measured;
  };
  const sizes = await live("bytes of a path", [16, 64, 256, 1024, 4000], (pathSize) => ({ pathSize }));
  const producers = await live("CPUs that produce", powersUpTo(cpus().length), (count) => ({
    producers: count,
  }));
  await pair.stop("growth", { received: received + 500, opens: received });
  const all = [rules, acting, living, sizes, producers];
  return { rows: all.map(({ row }) => row), curves: all.map((one) => one.curve) };
}

/** 1, 2, 4 and so on, and the limit itself. */
function powersUpTo(limit: number): number[] {
  const powers = Array.from({ length: 11 }, (_, i) => 2 ** i).filter((power) => power < limit);
  return [...powers, limit];
}
