// A long time under load: one pair of which something is killed every minute, and one that is left alone, whose memory and
// descriptors must stay what they are.

import { readdirSync, rmSync } from "node:fs";
import { generateUntil, judge, LAST_COUNTERS_MS, Pair, privateKib, type Tools } from "./faults.ts";
import { evaluatorOf, type Program } from "./pair.ts";
import { accountsOf, Books } from "./tally.ts";

const MINUTE_S = 60;
const RATE = 40;
/** Until then the process table fills: it holds 65,536 processes, those that have ended included. */
const WARM_UP_S_MAX = 20 * MINUTE_S;
/** What a process may grow by after that, for all the rest of the time. */
const MEMORY_SLACK_KIB = 32 * 1024;
const DESCRIPTORS_SLACK = 2;
/** The wall clock is set forward by this, and back again a minute later. */
const CLOCK_STEP_S = 2;

type Who = "sensor" | "evaluator";
/** Memory in KiB. */
type Use = { memory: number; descriptors: number };
/** What both of a pair use, so many seconds after the begin. */
export type Sample = { second: number } & Record<Who, Use>;

/**
 * Who has grown in a soak of so many seconds, in words. The samples, in their order, are compared with the last one before all
 * was warm: that is a third of the time at most.
 */
export function grownIn(samples: readonly Sample[], seconds: number): string[] {
  const warm = Math.min(WARM_UP_S_MAX, seconds / 3);
  const first = samples.findLast(({ second }) => second <= warm);
  const later = samples.filter(({ second }) => second > warm);
  if (!first || later.length === 0) return ["memory and descriptors were compared with nothing"];
  const problems: string[] = [];
  for (const sample of later) {
    for (const who of ["sensor", "evaluator"] as const) {
      const grown = sample[who].memory - first[who].memory;
      if (grown > MEMORY_SLACK_KIB) problems.push(`second ${sample.second}: the ${who} grew by ${grown} KiB`);
      if (sample[who].descriptors > first[who].descriptors + DESCRIPTORS_SLACK)
        problems.push(`second ${sample.second}: the ${who} has ${sample[who].descriptors} descriptors`);
    }
  }
  return problems;
}

/** Who is killed in a minute, and at which second of it: they take turns, and both have one where there is one minute only. */
export function killsIn(minute: number, minutes: number): { at: number; who: Who }[] {
  if (minutes === 1)
    return [
      { at: 20, who: "evaluator" },
      { at: 40, who: "sensor" },
    ];
  return [{ at: 30, who: minute % 2 === 0 ? "sensor" : "evaluator" }];
}

function useOf(program: Pick<Program, "pid">): Use {
  return { memory: privateKib(program), descriptors: readdirSync(`/proc/${program.pid}/fd`).length };
}

/**
 * Runs for so many seconds, and prints a line a minute. `stepClock`: the wall clock of this machine is set, too, in the second
 * quarter. Returns what was not as promised.
 */
export async function soak(tools: Tools, seconds: number, stepClock: boolean): Promise<string[]> {
  const problems: string[] = [];
  const killed = new Pair();
  const steady = new Pair("", true);
  let loading = true;
  try {
    await killed.startSensor();
    let evaluator = await killed.startEvaluator();
    const sensor = await steady.startSensor("--no-pin");
    const pipe = await steady.bench.pipedEvaluator(
      'grep --line-buffered \'"event_type":"\\(health\\|coverage\\|loss\\|ledger\\|sensor\\|tampered\\)\'',
      ...["--config", steady.config, "-o", "json"],
    );
    const reader = await evaluatorOf(pipe);
    const books = new Books(killed.folder);
    const load = Promise.all(
      [killed, steady].map((pair) => generateUntil(() => loading, tools, pair.folder, RATE)),
    );
    const minutes = Math.max(1, Math.round(seconds / MINUTE_S));
    const step = stepClock ? Math.floor(minutes / 4) : -1;
    const samples: Sample[] = [];
    const sample = (second: number): Sample => {
      const taken = { second, sensor: useOf(sensor), evaluator: useOf(reader) };
      samples.push(taken);
      return taken;
    };
    let sensorKills = 0;
    console.log(COLUMNS);
    for (let minute = 1; minute <= minutes; minute++) {
      if (minute === step) setClock(CLOCK_STEP_S);
      if (minute === step + 1 && step > 0) setClock(-CLOCK_STEP_S);
      const begun = (minute - 1) * MINUTE_S;
      let slept = 0;
      for (const { at, who } of killsIn(minute, minutes)) {
        await Bun.sleep((at - slept) * 1000);
        slept = at;
        sample(begun + at);
        if (who === "sensor") {
          await killed.sensor?.end("SIGKILL");
          await killed.startSensor();
          sensorKills += 1;
        } else {
          await evaluator.end("SIGKILL");
          evaluator = await killed.startEvaluator();
        }
      }
      await Bun.sleep((MINUTE_S - slept) * 1000);
      for (const { stdoutPath } of killed.evaluators)
        books.read(stdoutPath, stdoutPath === evaluator.stdoutPath);
      const accounts = [...accountsOf(books.tally).values()];
      const unaccounted = accounts.reduce((sum, one) => sum + Math.abs(one.unaccounted), 0);
      const lost = accounts.reduce((sum, one) => sum + one.counted, 0);
      const uses = sample(begun + MINUTE_S);
      const health = pipe.lines().findLast((line) => line.event_type === "health");
      const ledger = health?.["ledger"] as { balanced: boolean; lost: number; written: number } | undefined;
      const events = [...books.tally.events.values()].reduce((sum, count) => sum + count, 0);
      console.log(
        columns(
          minute,
          events,
          books.tally.repeated,
          lost,
          unaccounted,
          ledger?.written ?? 0,
          ledger?.balanced ?? false,
          uses,
        ),
      );
      if (unaccounted !== 0) problems.push(`minute ${minute}: ${unaccounted} unaccounted`);
      if (ledger?.balanced !== true || ledger.lost !== 0)
        problems.push(`minute ${minute}: the steady pair lost or does not balance`);
    }
    problems.push(...grownIn(samples, minutes * MINUTE_S));
    loading = false;
    const [generated = new Map<string, number>()] = await load;
    await Bun.sleep(LAST_COUNTERS_MS);
    await evaluator.end("SIGTERM");
    for (const { stdoutPath } of killed.evaluators) books.read(stdoutPath);
    problems.push(...judge("killed pair", minutes, generated, books.tally).problems);
    const gone = books.tally.notices.filter((line) => line.event_type === "sensor_gone").length;
    if (gone !== sensorKills)
      problems.push(`the sensor was killed ${sensorKills} times, and gone ${gone} times`);
    const bad = pipe.lines().filter((line) => !["health", "coverage"].includes(line.event_type));
    for (const line of bad) {
      // An interrupt within a program, in which its hook fires again: the kernel does not run it twice at once. It is told.
      if (line.event_type === "loss" && line["stage"] === "hook")
        console.log(`missed and told: ${String(line["count"])} of ${String(line["kind"])}`);
      else problems.push(JSON.stringify(line));
    }
    await sensor.end("SIGTERM");
    await pipe.exited;
    return problems;
  } finally {
    loading = false;
    for (const pair of [killed, steady]) await pair.bench.close();
    for (const { stdoutPath } of killed.evaluators) rmSync(stdoutPath, { force: true });
  }
}

const COLUMNS =
  "minute    killed pair: events  repeated  lost  unaccounted    steady pair: events  balanced   sensor KiB fds   evaluator KiB fds";

function columns(
  minute: number,
  events: number,
  repeated: number,
  lost: number,
  unaccounted: number,
  written: number,
  balanced: boolean,
  { sensor, evaluator }: Sample,
): string {
  return [
    String(minute).padStart(6),
    String(events).padStart(23),
    String(repeated).padStart(10),
    String(lost).padStart(6),
    String(unaccounted).padStart(13),
    String(written).padStart(23),
    String(balanced).padStart(10),
    String(sensor.memory).padStart(13),
    String(sensor.descriptors).padStart(4),
    String(evaluator.memory).padStart(16),
    String(evaluator.descriptors).padStart(4),
  ].join("");
}

function setClock(seconds: number): void {
  const now = Date.now() / 1000 + seconds;
  Bun.spawnSync(["date", "-s", `@${now.toFixed(3)}`], { stdout: "ignore" });
}
