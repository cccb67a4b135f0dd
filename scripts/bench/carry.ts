// Rows about how many events a second the pair carries: from the sensor's rings, and from captures.

import { closeSync, createWriteStream, existsSync, openSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { healthOf, holdTo } from "./health.ts";
import { carriedRate, LivePair, type Made, outputOf, PRODUCED, type Tools } from "./live.ts";
import {
  type Extent,
  type Facts,
  type Goal,
  median,
  more,
  type Row,
  rowOf,
  rowOfPairs,
  times,
} from "./row.ts";
import { makeRules } from "./rules.ts";
import { makeStream } from "./stream.ts";

/** Produced records are about files in one folder; what else the host does to files is left out. */
export const ONLY_PRODUCED = `[events]\nnetwork = false\n[file]\nwatch_paths = ["${PRODUCED}"]\n`;

/** Of each warm-up. */
const WARM_UP = 3_000_000;
const OFFERED_RATE = 2_000_000;
/** Of it, at least, must have been offered. */
const OFFERED_PART = 0.95;

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
  const all: Made[] = [];
  const make = async (count: number, rate = 0) => {
    all.push(await pair.produce("open", count * scale, { rate }));
    return all.at(-1) as Made;
  };
  /** So many runs, and what a row of them stands on. */
  const measure = async (count: number, rate = 0) => {
    const before = pair.cpuSeconds();
    const made: Made[] = [];
    for (let run = 0; run < runs; run++) made.push(await make(count, rate));
    const used = pair.cpuSince(before);
    const sum = (key: keyof Made) => made.reduce((total, one) => total + one[key], 0);
    const nsEach = (seconds: number) => Math.round((seconds / (sum("made") - sum("lost"))) * 1e9);
    const facts: Facts = {
      lost: sum("lost"),
      "sensor CPU ns/event": nsEach(used.sensor),
      "evaluator CPU ns/event": nsEach(used.evaluator),
    };
    return { made, facts };
  };
  await pair.produce("exec", 500);
  const cold = await make(1_000_000);
  await make(WARM_UP);
  const { made, facts: used } = await measure(4_000_000);
  const warm = { ...used, "cold/s": Math.round(carriedRate(cold)) };
  const rows = [rowOf("live", CARRIED[what], "events/s", made.map(carriedRate), goal, warm)];
  if (what === "alerts") {
    const offered = await measure(OFFERED_RATE * 2, OFFERED_RATE);
    const shares = offered.made.map((one) => (one.lost / one.made) * 100);
    const rate = median(offered.made.map((one) => one.made / one.making));
    const facts: Facts = { "offered/s": Math.round(rate) };
    facts["carried/s"] = Math.round(median(offered.made.map(carriedRate)));
    // Where the CPUs are too busy to make so many, that nothing was lost says nothing.
    const isDecided = rate >= OFFERED_RATE * OFFERED_PART || median(shares) > 0;
    const name = `${OFFERED_RATE / 1e6} M/s offered, warm: lost`;
    const aim = { atMost: 0, ...(isDecided ? {} : { undecided: "less was offered" }) };
    rows.push(rowOf("live", name, "%", shares, aim, { ...facts, ...offered.facts }));
  }
  const sum = (key: "made" | "lost") => all.reduce((total, one) => total + one[key], 0);
  const [lost, came] = [sum("lost"), sum("made") - sum("lost")];
  const { use } = await pair.stop(CARRIED[what], {
    received: came,
    ...(what === "counter" ? {} : { opens: came }),
    ...(what === "events" ? { lines: came } : {}),
  });
  if (use.lost !== lost)
    throw new Error(`${CARRIED[what]}: ${lost} lost where they were made, ${use.lost} by the ledger`);
  return rows;
}

/** A capture, and what is in it, at least. */
export type Capture = { path: string; events: number; processes: number };

/** A capture of so many events by so many processes, or by some of these, made once. */
export async function captureOf(
  { folder }: Pick<Tools, "folder">,
  events: number,
  processes = 500,
  acting = processes,
): Promise<Capture> {
  const capture = { path: join(folder, `capture-${events}-${processes}-${acting}`), events, processes };
  if (existsSync(capture.path)) return capture;
  const file = createWriteStream(capture.path);
  for (const piece of makeStream({ events, processes, acting, pathSize: 45, checksums: true })) {
    const copy = Buffer.from(piece); // its memory is used again
    if (!file.write(copy)) await new Promise((resolve) => file.once("drain", resolve));
  }
  await new Promise((resolve) => file.end(resolve));
  return capture;
}

/** What one replay came to. */
type Replayed = { events: number; alerts: number; unattributed: number; seconds: number; cpuSeconds: number };

const EVALUATOR = join(import.meta.dir, "../../evaluator/main.ts");

/**
 * Replays a capture through so many rules, all threads on the last CPU, what reads its output on the first: what a replay carries
 * is then what one CPU can do. With `onAllCpus` the compilers, the collector and what reads and writes have the others.
 * Only the evaluator's own time counts: from the first byte to the last line. `settings` are TOML.
 * @throws Error when less was done than the capture and the options promise
 */
export async function replay(
  tools: Pick<Tools, "folder" | "reader">,
  capture: Capture,
  rules: number,
  { events = false, onAllCpus = false, settings = "" } = {},
): Promise<Replayed> {
  const file = join(tools.folder, `rules-${rules}.toml`);
  await Bun.write(file, makeRules(rules));
  const config = join(tools.folder, "replay.toml");
  await Bun.write(config, settings);
  const args = ["replay", capture.path, "--config", config, "--rules", file, "-o", "json", "--strict"];
  if (!events) args.push("--alerts-only");
  const pipe = join(tools.folder, "pipe");
  if (!existsSync(pipe)) await outputOf(["mkfifo", pipe]);
  const on = (cpu: string) => ["taskset", "--cpu-list", cpu];
  const last = cpus().length - 1;
  const reader = outputOf([...on("0"), "sh", "-c", `exec ${tools.reader} last < ${pipe}`]);
  const output = openSync(pipe, "w"); // waits for the reader
  const command = [...on(onAllCpus ? `0-${last}` : `${last}`), process.execPath, EVALUATOR, ...args];
  const program = Bun.spawn(command, { stdout: output, stderr: "pipe" });
  closeSync(output);
  const [said, words] = await Promise.all([new Response(program.stderr).text(), reader]);
  if ((await program.exited) !== 0) throw new Error(`replay: ${said}`);
  // For example "1,000,000 events (500,000/s), 3 alerts, 0 lost, 2.0s".
  const [, count = "", rate = ""] = /^warder: ([\d,]+) events \(([\d,]+)\/s\)/m.exec(said) ?? [];
  const number = (text: string) => Number(text.replaceAll(",", ""));
  const health = healthOf("replay", words);
  const promised = { received: capture.events, processes: capture.processes };
  holdTo("replay", health, { ...promised, ...(events ? { lines: capture.events } : {}) });
  if (!(number(rate) > 0)) throw new Error(`replay: ${said}`);
  const used = program.resourceUsage();
  return {
    events: number(count),
    alerts: health.ledger.matched ?? 0,
    unattributed: health.unattributed ?? 0,
    seconds: number(count) / number(rate),
    cpuSeconds: Number(used?.cpuTime.total ?? 0) / 1e6,
  };
}

const REPLAYED = 2_000_000;
/** The compilers need a second of that core, once: so many events that it is a small part of a replay, as it is of a day. */
const REPLAYED_LONG = 6_000_000;

/** Events a second out of a capture, with a thousand rules: on one core, and in turn with all. */
export async function replayRows(tools: Tools, { runs, scale }: Extent): Promise<Row[]> {
  const capture = await captureOf(tools, REPLAYED_LONG * scale);
  const kinds = [
    { what: "alerts only", events: false, goal: { atLeast: 2_000_000 } },
    { what: "every event as NDJSON to a pipe", events: true, goal: { atLeast: 1_000_000 } },
  ].map((kind) => ({ ...kind, one: [] as Replayed[], all: [] as Replayed[] }));
  for (let run = 0; run < runs; run++)
    for (const { events, one, all } of kinds) {
      one.push(await replay(tools, capture, 1000, { events }));
      all.push(await replay(tools, capture, 1000, { events, onAllCpus: true }));
    }
  const rate = ({ events, seconds }: Replayed) => events / seconds;
  return kinds.map(({ what, goal, one, all }) =>
    rowOf("replay", `replay on one core: ${what}`, "events/s", one.map(rate), goal, {
      "CPU ns/event": Math.round(median(one.map(({ cpuSeconds, events }) => (cpuSeconds / events) * 1e9))),
      events: one[0]?.events ?? 0,
      alerts: one[0]?.alerts ?? 0,
      "on all CPUs/s": Math.round(median(all.map(rate))),
    }),
  );
}

/** What rules cost an event: replays with none, ten, and more, in turn. */
export async function ruleRows(tools: Tools, { pairs, scale }: Extent): Promise<Row[]> {
  const capture = await captureOf(tools, REPLAYED * scale);
  const counts = [0, 10, 100, 1000, 10_000];
  const all = new Map<number, number[]>(counts.map((count) => [count, []]));
  for (let turn = 0; turn < pairs; turn++)
    for (const count of counts) {
      const { seconds, events } = await replay(tools, capture, count);
      all.get(count)?.push((seconds / events) * 1e6);
    }
  const of = (count: number) => all.get(count) ?? [];
  const beside = (these: number, those: number) => ({ these: of(these), those: of(those) });
  return [
    ...counts.slice(1).map((count) =>
      rowOfPairs(
        "rules",
        `${count.toLocaleString("en-US")} rules`,
        "µs per event",
        beside(count, 0),
        more,
        count === 1000 ? { atMost: 0.5 } : null,
        {
          "µs in all": median(of(count)).toFixed(3),
        },
      ),
    ),
    rowOfPairs("rules", "an event's time, 10,000 rules to 10", "times", beside(10_000, 10), times, {
      atMost: 2,
    }),
  ];
}
