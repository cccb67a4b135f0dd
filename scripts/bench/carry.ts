// Rows about how many events a second the pair carries: from the sensor's rings, and from captures.

import { closeSync, createWriteStream, existsSync, openSync } from "node:fs";
import { join } from "node:path";
import { LivePair, type Made, outputOf, PRODUCED, type Tools } from "./live.ts";
import { type Extent, type Facts, type Goal, median, type Row, rowOf } from "./row.ts";
import { makeRules } from "./rules.ts";
import { makeStream } from "./stream.ts";

/** Produced records are about files in one folder; what else the host does to files is left out. */
export const ONLY_PRODUCED = `[events]\nnetwork = false\n[file]\nwatch_paths = ["${PRODUCED}"]\n`;

/** Of each warm-up. */
const WARM_UP = 3_000_000;
const OFFERED_RATE = 2_000_000;

/** Events a second from ring to evaluator, with and without writing them, and to a program that only counts them: the bar. */
export async function liveRows(tools: Tools, extent: Extent): Promise<Row[]> {
  return [
    ...(await carried(tools, extent, "counter", null)),
    ...(await carried(tools, extent, "alerts", { atLeast: 2_000_000 })),
    ...(await carried(tools, extent, "events", { atLeast: 1_000_000 })),
  ];
}

const CARRIED = {
  counter: "sensor, socket, a C program that only counts",
  alerts: "sensor, socket, evaluator: alerts only",
  events: "sensor, socket, evaluator: every event as NDJSON to a pipe",
};

async function carried(
  tools: Tools,
  { runs, scale }: Extent,
  what: keyof typeof CARRIED,
  goal: Goal | null,
): Promise<Row[]> {
  const reader = { events: what === "events", counter: what === "counter" };
  const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 1000, ...reader });
  await pair.produce("exec", 500);
  const cold = await pair.produce("open", 1_000_000 * scale);
  await pair.produce("open", WARM_UP * scale);
  const before = pair.cpuSeconds();
  const all: Made[] = [];
  for (let run = 0; run < runs; run++) all.push(await pair.produce("open", 4_000_000 * scale));
  const after = pair.cpuSeconds();
  const offered: Made[] = [];
  if (what === "alerts")
    for (let run = 0; run < runs; run++)
      offered.push(await pair.produce("open", OFFERED_RATE * 2 * scale, { rate: OFFERED_RATE }));
  const { ledger } = await pair.stop();
  const made = all.reduce((sum, one) => sum + one.made, 0);
  const facts: Facts = {
    lost: all.reduce((sum, { lost }) => sum + lost, 0),
    "cold/s": Math.round(cold.made / cold.seconds),
    "sensor CPU ns/event": Math.round(((after.sensor - before.sensor) / made) * 1e9),
    "evaluator CPU ns/event": Math.round(((after.evaluator - before.evaluator) / made) * 1e9),
    balanced: String(ledger.balanced),
  };
  const rates = all.map((one) => one.made / one.seconds);
  const rows = [rowOf("live", CARRIED[what], "events/s", rates, goal, facts)];
  if (offered.length > 0) {
    const shares = offered.map((one) => (one.lost / one.made) * 100);
    rows.push(rowOf("live", `${OFFERED_RATE / 1e6} M/s offered, warm: lost`, "%", shares, { atMost: 0 }));
  }
  return rows;
}

/** A capture of so many events, made once. */
export async function captureOf(
  { folder }: Tools,
  events: number,
  { processes = 500, pathSize = 45 } = {},
): Promise<string> {
  const path = join(folder, `capture-${events}-${processes}-${pathSize}`);
  if (existsSync(path)) return path;
  const file = createWriteStream(path);
  for (const piece of makeStream({ events, processes, pathSize, checksums: true })) {
    const copy = Buffer.from(piece); // its memory is used again
    if (!file.write(copy)) await new Promise((resolve) => file.once("drain", resolve));
  }
  await new Promise((resolve) => file.end(resolve));
  return path;
}

/** What one replay came to. */
export type Replayed = { events: number; seconds: number; cpuSeconds: number };

const EVALUATOR = join(import.meta.dir, "../../evaluator/main.ts");

/** Replays a capture through so many rules. Only the evaluator's own time counts: from the first byte to the last line. */
export async function replay(
  tools: Tools,
  capture: string,
  rules: number,
  events: boolean,
): Promise<Replayed> {
  const file = join(tools.folder, `rules-${rules}.toml`);
  await Bun.write(file, makeRules(rules));
  const args = [
    "replay",
    capture,
    "--rules",
    file,
    "-o",
    "json",
    "--strict",
    ...(events ? [] : ["--alerts-only"]),
  ];
  const pipe = join(tools.folder, "pipe");
  if (!existsSync(pipe)) await outputOf(["mkfifo", pipe]);
  const reader = outputOf(["sh", "-c", `exec ${tools.reader} last < ${pipe}`]);
  const output = openSync(pipe, "w"); // waits for the reader
  const program = Bun.spawn([process.execPath, EVALUATOR, ...args], { stdout: output, stderr: "pipe" });
  closeSync(output);
  const [said, last] = await Promise.all([new Response(program.stderr).text(), reader]);
  if ((await program.exited) !== 0) throw new Error(`replay ${capture}: ${said}`);
  // For example "1,000,000 events (500,000/s), 3 alerts, 0 lost, 2.0s".
  const [, count = "", rate = ""] = /^warder: ([\d,]+) events \(([\d,]+)\/s\)/m.exec(said) ?? [];
  const number = (text: string) => Number(text.replaceAll(",", ""));
  const { ledger } = JSON.parse(last) as { ledger: { balanced: boolean } };
  if (!ledger.balanced || !(number(rate) > 0)) throw new Error(`replay ${capture}: ${said}`);
  const used = program.resourceUsage();
  return {
    events: number(count),
    seconds: number(count) / number(rate),
    cpuSeconds: Number(used?.cpuTime.total ?? 0) / 1e6,
  };
}

const REPLAYED = 2_000_000;

/** Events a second out of a capture, with a thousand rules. */
export async function replayRows(tools: Tools, { runs, scale }: Extent): Promise<Row[]> {
  const capture = await captureOf(tools, REPLAYED * scale);
  const results: Record<"alerts" | "events", Replayed[]> = { alerts: [], events: [] };
  for (let run = 0; run < runs; run++) {
    results.alerts.push(await replay(tools, capture, 1000, false));
    results.events.push(await replay(tools, capture, 1000, true));
  }
  const row = (what: string, all: Replayed[], goal: Goal) =>
    rowOf(
      "replay",
      `replay, 1,000 rules: ${what}`,
      "events/s",
      all.map((one) => one.events / one.seconds),
      goal,
      {
        events: all[0]?.events ?? 0,
        "CPU ns/event": Math.round(median(all.map((one) => (one.cpuSeconds / one.events) * 1e9))),
      },
    );
  return [
    row("alerts only", results.alerts, { atLeast: 2_000_000 }),
    row("every event as NDJSON to a pipe", results.events, { atLeast: 1_000_000 }),
  ];
}

/** What rules cost an event: replays with none, ten, and more, in turn. */
export async function ruleRows(tools: Tools, { runs, scale }: Extent): Promise<Row[]> {
  const capture = await captureOf(tools, REPLAYED * scale);
  const counts = [0, 10, 100, 1000, 10_000];
  const times = new Map<number, number[]>(counts.map((count) => [count, []]));
  for (let run = 0; run < runs; run++)
    for (const count of counts) {
      const { seconds, events } = await replay(tools, capture, count, false);
      times.get(count)?.push((seconds / events) * 1e6);
    }
  const of = (count: number) => times.get(count) ?? [];
  const added = (count: number) => of(count).map((time, i) => time - (of(0)[i] ?? Number.NaN));
  const growth = of(10_000).map((time, i) => time / (of(10)[i] ?? Number.NaN));
  return [
    ...counts.slice(1).map((count) =>
      rowOf(
        "rules",
        `${count.toLocaleString("en-US")} rules`,
        "µs per event",
        added(count),
        count === 1000 ? { atMost: 0.5 } : null,
        {
          "µs in all": median(of(count)).toFixed(3),
        },
      ),
    ),
    rowOf("rules", "an event's time, 10,000 rules to 10", "times", growth, { atMost: 2 }),
  ];
}
