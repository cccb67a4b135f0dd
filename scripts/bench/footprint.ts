// Rows about what the pair takes while it waits: memory, time to start, time to a written line, wake-ups.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { evaluatorOf, until } from "../live/pair.ts";
import { ONLY_PRODUCED } from "./carry.ts";
import { healthOf, holdTo } from "./health.ts";
import { factsOf, LivePair, RING_MIB, type Tools, type Use } from "./live.ts";
import { type Memory, memoryOf, wakeUps, wokenSince } from "./machine.ts";
import { type Extent, type Facts, median, percentile, type Row, rowOf } from "./row.ts";
import { makeRules } from "./rules.ts";

const ROOT = join(import.meta.dir, "../..");
const LIVE_PROCESSES = 50_000;
const SAMPLE_MS = 500;
/** Two counters of the sensor later, everything has been said. */
const SETTLE_MS = 2500;

/** Memory with a thousand rules and many processes that live, and after a flood of events. */
export async function memoryRows(tools: Tools, { runs, scale }: Extent): Promise<Row[]> {
  const all = { sensor: [] as Memory[], evaluator: [] as Memory[] };
  const peaks = { sensor: [] as number[], evaluator: [] as number[] };
  const grown: number[] = [];
  const uses: Use[] = [];
  for (let run = 0; run < runs; run++) {
    const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 1000 });
    await pair.produce("exec", LIVE_PROCESSES, { processes: LIVE_PROCESSES });
    await pair.produce("open", 1_000_000 * scale, { processes: LIVE_PROCESSES });
    await Bun.sleep(SETTLE_MS);
    const before = memoryOf(pair.evaluator);
    all.sensor.push(memoryOf(pair.sensor));
    all.evaluator.push(before);
    await pair.produce("open", 4_000_000 * scale, { processes: LIVE_PROCESSES });
    await Bun.sleep(SETTLE_MS);
    const after = memoryOf(pair.evaluator);
    grown.push(after.anonymous - before.anonymous);
    peaks.sensor.push(memoryOf(pair.sensor).peak);
    peaks.evaluator.push(after.peak);
    const opens = 5_000_000 * scale;
    uses.push((await pair.stop("memory", { opens, processes: LIVE_PROCESSES })).use);
  }
  const row = (who: "sensor" | "evaluator", what: string, atMost: number, more: Facts = {}) => {
    const facts = {
      "of it its own, MB": Math.round(median(all[who].map(({ anonymous }) => anonymous))),
      "peak until the end, MB": Math.round(Math.max(...peaks[who])),
    };
    const rss = all[who].map((memory) => memory.rss);
    return rowOf("memory", what, "MB", rss, { atMost }, { ...facts, ...more, ...factsOf(uses) });
  };
  const events = `${(4 * scale).toLocaleString("en-US")} M`;
  return [
    row("sensor", "sensor", 60, { "rings, kernel, MiB": RING_MIB * 1.25 }),
    row("evaluator", "evaluator, 1,000 rules, 50,000 live processes", 150),
    rowOf("memory", `evaluator, more after ${events} events`, "MB", grown, { atMost: 16 }, factsOf(uses)),
  ];
}

const ENDLESS = 100_000_000;
const ENDLESS_WRITTEN = 10_000_000;
/** Part of the time in which memory may still grow: until everything has been compiled and every table is full. */
const GROWING_PART = 0.2;

/** Memory of an evaluator that replays for a long time, out of a pipe. */
export async function endlessRows(tools: Tools, { scale }: Extent): Promise<Row[]> {
  return [
    await endlessRow(tools, scale, ENDLESS * scale * scale, "alerts only"),
    await endlessRow(tools, scale, ENDLESS_WRITTEN * scale, "every event"),
  ];
}

async function endlessRow(
  tools: Tools,
  scale: number,
  events: number,
  written: "alerts only" | "every event",
): Promise<Row> {
  const rules = join(tools.folder, "rules-endless.toml");
  await Bun.write(rules, makeRules(1000));
  const option = written === "alerts only" ? "--alerts-only" : "";
  const evaluator = `"$0" evaluator/main.ts replay - --rules ${rules} ${option} --strict -o json`;
  const script = `set -o pipefail; "$0" scripts/bench/stream.ts --events ${events} | ${evaluator} | ${tools.reader} last`;
  const shell = Bun.spawn(["bash", "-c", script, process.execPath], {
    cwd: ROOT,
    stdout: "pipe",
    stderr: "pipe",
  });
  await until("the evaluator", async () => (await evaluatorOf(shell).catch(() => null)) !== null);
  const { pid } = await evaluatorOf(shell);
  const samples: number[] = [];
  let peakMb = 0;
  while (shell.exitCode === null) {
    await Bun.sleep(SAMPLE_MS * scale);
    const { anonymous, peak } = memoryOf(pid);
    if (anonymous === 0) continue;
    samples.push(anonymous);
    peakMb = peak;
  }
  const [words, said] = await Promise.all([
    new Response(shell.stdout).text(),
    new Response(shell.stderr).text(),
  ]);
  if (shell.exitCode !== 0) throw new Error(`endless replay: ${said}`);
  const health = healthOf("endless", words);
  holdTo("endless", health, { received: events, ...(option === "" ? { lines: events } : {}) });
  const settled = samples.slice(Math.ceil(samples.length * GROWING_PART));
  const part = Math.ceil(settled.length / 4);
  const grown = median(settled.slice(-part)) - median(settled.slice(0, part));
  const facts = {
    events: health.ledger.received,
    "MB at first": median(settled.slice(0, part)),
    "MB at most": Math.max(...samples),
    "peak with what is shared, MB": peakMb,
  };
  const what = `evaluator, more memory after a long replay, ${written}`;
  return rowOf("endless", what, "MB", [grown], { atMost: 16 }, facts);
}

/** From the start of the sensor's program until it serves, and from the evaluator's connection to its first event. */
export async function startRows(tools: Tools, { runs }: Extent): Promise<Row[]> {
  const serving: number[] = [];
  const first: number[] = [];
  const uses: Use[] = [];
  for (let run = 0; run < runs; run++) {
    const pair = await LivePair.start(tools, {
      events: true,
      rules: 1000,
      reader: (socket) => ["first", socket],
    });
    serving.push(pair.servingMs);
    await Bun.sleep(SETTLE_MS);
    const { words, use } = await pair.stop("start", { lines: 1 });
    uses.push(use);
    const at = (what: string) => Number(new RegExp(`^${what} (\\d+)$`, "m").exec(words)?.[1]);
    first.push((at("first") - at("connected")) / 1e6);
  }
  const facts = factsOf(uses);
  const connected = "evaluator, 1,000 rules: from connection to first event";
  return [
    rowOf("start", "sensor: from start to serving", "ms", serving, { atMost: 1000 }, facts),
    rowOf("start", connected, "ms", first, { atMost: 200 }, facts),
  ];
}

/** From the hook to the written line, while hardly anything happens. */
export async function latencyRows(tools: Tools, { scale }: Extent): Promise<Row[]> {
  const file = join(tools.folder, "watched");
  writeFileSync(file, "");
  const settings = `[events]\nprocess = false\nnetwork = false\n[file]\nwatch_paths = ["${file}"]\n`;
  const count = Math.round(500 * scale);
  const reader = () => ["latency", file, String(count), "20"];
  const pair = await LivePair.start(tools, { settings, rules: 1000, events: true, reader });
  await Bun.sleep(SETTLE_MS + count * 25);
  const { words, use } = await pair.stop("latency", { lines: count, opens: count });
  const times = [...words.matchAll(/^latency (\d+)$/gm)].map(([, ns]) => Number(ns) / 1e6);
  const facts = { events: times.length, "max ms": percentile(times, 100).toFixed(1), ...factsOf([use]) };
  return [
    rowOf("latency", "hook to written line, p50", "ms", [percentile(times, 50)], null, facts),
    rowOf("latency", "hook to written line, p99", "ms", [percentile(times, 99)], { atMost: 20 }, facts),
  ];
}

const IDLE_MS = 10_000;
/** So long the evaluator's compiler finds something to do, although hardly anything runs. */
const COMPILED_MS = 60_000;

/** Wake-ups of both while nothing happens that they are to see. */
export async function idleRows(tools: Tools, { scale }: Extent): Promise<Row[]> {
  const rows: Row[] = [];
  const nothing = `[events]\nprocess = false\nnetwork = false\n[file]\nwatch_paths = ["/nowhere"]\n`;
  for (const canary of [true, false]) {
    const pair = await LivePair.start(tools, { settings: `${nothing}[health]\ncanary = ${canary}\n` });
    await Bun.sleep(SETTLE_MS + COMPILED_MS * scale);
    const before = { sensor: wakeUps(pair.sensor), evaluator: wakeUps(pair.evaluator) };
    const cpu = pair.cpuSeconds();
    await Bun.sleep(IDLE_MS * scale);
    const used = pair.cpuSince(cpu);
    const now = { sensor: wakeUps(pair.sensor), evaluator: wakeUps(pair.evaluator) };
    const seconds = (IDLE_MS * scale) / 1000;
    const { lost } = (await pair.stop("idle", {})).use;
    for (const who of ["sensor", "evaluator"] as const) {
      const what = `${who}'s wake-ups, ${canary ? "with" : "without"} the canary`;
      const woken = wokenSince(before[who], now[who]) / seconds;
      const facts = { "CPU %": ((used[who] / seconds) * 100).toFixed(2), lost };
      rows.push(rowOf("idle", what, "per second", [woken], { atMost: 0 }, facts));
    }
  }
  return rows;
}
