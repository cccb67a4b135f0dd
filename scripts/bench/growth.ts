// Rows about cost as work grows, and the curves of them.

import { cpus } from "node:os";
import { captureOf, ONLY_PRODUCED, replay } from "./carry.ts";
import { LivePair, type Tools } from "./live.ts";
import type { Curve } from "./plot.ts";
import { type Extent, median, type Row, rowOf } from "./row.ts";

const REPLAYED = 1_000_000;
const PRODUCED = 2_000_000;

/** Measures all points in turn, `runs` times, and takes the median of each. */
async function curve(
  { title, x, points }: { title: string; x: string; points: number[] },
  runs: number,
  measure: (point: number) => Promise<number>,
): Promise<{ curve: Curve; row: Row }> {
  const all = points.map((): number[] => []);
  for (let run = 0; run < runs; run++)
    for (const [i, point] of points.entries()) all[i]?.push(await measure(point));
  const medians = points.map((point, i) => ({ x: point, y: median(all[i] ?? []) }));
  const falls = (all[0] ?? []).map((rate, i) => rate / (all.at(-1)?.[i] ?? Number.NaN));
  const [first, last] = [points[0] ?? 0, points.at(-1) ?? 0].map((point) => point.toLocaleString("en-US"));
  const facts = Object.fromEntries(
    medians.map(({ x: point, y }) => [`${point}`, `${Math.round(y / 1000)} k/s`]),
  );
  return {
    curve: { title, x, y: "events/s", points: medians },
    row: rowOf("growth", `${x}, from ${first} to ${last}: events/s fall by`, "times", falls, null, facts),
  };
}

/** Events a second against rules, live processes, size of records, and CPUs that produce. */
export async function growthRows(
  tools: Tools,
  { runs, scale }: Extent,
): Promise<{ rows: Row[]; curves: Curve[] }> {
  const rules = await curve(
    { title: "Replay, alerts only", x: "rules", points: [10, 100, 1000, 10_000] },
    runs,
    async (count) => rateOf(await replay(tools, await captureOf(tools, REPLAYED * scale), count, false)),
  );
  const processes = await curve(
    { title: "Replay, 1,000 rules, alerts only", x: "live processes", points: [100, 1000, 10_000, 100_000] },
    runs,
    async (count) =>
      rateOf(
        await replay(tools, await captureOf(tools, REPLAYED * scale, { processes: count }), 1000, false),
      ),
  );
  const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 1000 });
  await pair.produce("exec", 500);
  await pair.produce("open", PRODUCED * scale);
  const sizes = await curve(
    { title: "Sensor, socket, evaluator", x: "bytes of a path", points: [16, 64, 256, 1024, 4000] },
    runs,
    async (pathSize) => rateOf(await pair.produce("open", PRODUCED * scale, { pathSize })),
  );
  const producers = await curve(
    { title: "Sensor, socket, evaluator", x: "CPUs that produce", points: powersUpTo(cpus().length) },
    runs,
    async (count) => rateOf(await pair.produce("open", PRODUCED * scale, { producers: count })),
  );
  await pair.stop();
  const all = [rules, processes, sizes, producers];
  return { rows: all.map(({ row }) => row), curves: all.map((one) => one.curve) };
}

function rateOf(result: { seconds: number } & ({ events: number } | { made: number })): number {
  return ("events" in result ? result.events : result.made) / result.seconds;
}

/** 1, 2, 4 and so on, and the limit itself. */
function powersUpTo(limit: number): number[] {
  const powers = Array.from({ length: 11 }, (_, i) => 2 ** i).filter((power) => power < limit);
  return [...powers, limit];
}
