// What can happen to the pair, each made for real, and what must be true afterwards.

import { mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Bench, fileRule, type Line, type Program, until } from "./pair.ts";
import { type Account, accountsOf, Books, linesOf, type Tally, tally, untold } from "./tally.ts";

/** The compiled programs. */
export type Tools = { generate: string; load: string; harm: string };
/** How much is done: the short form is for every test run. */
export type Extent = { rounds: number; flood: number; kills: number; seconds: number };

/** What came of a fault. `problems` must be empty. */
export type Outcome = {
  fault: string;
  times: number;
  generated: number;
  written: number;
  counted: number;
  unaccounted: number;
  note: string;
  problems: string[];
};

/** A pair with a folder that alone is watched; no canary, so that every attempt is an event or a loss. */
export class Pair {
  readonly bench = new Bench();
  readonly folder: string;
  readonly config: string;
  /** Every evaluator that there was. */
  readonly evaluators: Program[] = [];
  sensor: Program | null = null;

  constructor(settings = "", canary = false) {
    this.folder = join(realpathSync(this.bench.folder), "watched");
    mkdirSync(this.folder);
    this.config = this.bench.path("config.toml");
    writeFileSync(
      this.config,
      `[file]\nwatch_paths = [${JSON.stringify(this.folder)}]\n[health]\ncanary = ${canary}\ninterval_s = 1\n${settings}`,
    );
  }

  async startSensor(...args: string[]): Promise<Program> {
    this.sensor = await this.bench.sensor("--config", this.config, ...args);
    return this.sensor;
  }

  async startEvaluator(...args: string[]): Promise<Program> {
    const evaluator = await this.bench.evaluator("--config", this.config, ...args);
    this.evaluators.push(evaluator);
    return evaluator;
  }

  tally(): Tally {
    return tally(
      this.evaluators.map(({ stdoutPath }) => stdoutPath),
      this.folder,
    );
  }
}

/** Memory that is a process's own, KiB: without the rings, which are the kernel's and only mapped. */
export function privateKib({ pid }: Pick<Program, "pid">): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

/** Runs a generator to its end; returns what it says it has done, by event type. */
async function generate(...command: string[]): Promise<Map<string, number>> {
  const program = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(program.stdout).text();
  if ((await program.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
  const lines = text.split("\n").filter((line) => line !== "");
  return new Map(lines.map((line) => line.split(" ")).map(([type = "", count]) => [type, Number(count)]));
}

/** Adds what was done to what had been. */
function addTo(sum: Map<string, number>, more: ReadonlyMap<string, number>): void {
  for (const [type, count] of more) sum.set(type, (sum.get(type) ?? 0) + count);
}

/** Puts the accounts of all types together, and looks for what must not be. */
export function judge(
  fault: string,
  times: number,
  generated: ReadonlyMap<string, number>,
  result: Tally,
): Outcome {
  const accounts = accountsOf(result);
  const sum = (of: (account: Account) => number) =>
    [...accounts.values()].reduce((total, one) => total + of(one), 0);
  const problems: string[] = [];
  const ofUnknown = accounts.has("unknown");
  for (const [type, { unaccounted }] of accounts)
    if (unaccounted !== 0 && !ofUnknown) problems.push(`${type}: ${unaccounted} unaccounted`);
  // What else the host does may still be lost while the last sums are made.
  for (const [type, words] of untold(result)) if (generated.has(type)) problems.push(`${type}: ${words}`);
  if (accounts.size === 0) problems.push("no health line");
  const unaccountedOfAll = sum(({ unaccounted }) => unaccounted);
  if (ofUnknown && unaccountedOfAll !== 0) problems.push(`${unaccountedOfAll} of all types unaccounted`);
  for (const [type, count] of generated) {
    const { attempts, counted } = accounts.get(type) ?? { attempts: 0, counted: 0 };
    if (attempts < count) problems.push(`${type}: ${count} generated, ${attempts} attempts`);
    // Nobody else touches the watched folder: what the generator did there is what the events say, if none was lost.
    const seen = result.watched.get(type) ?? 0;
    if (type.startsWith("file_") && counted === 0 && seen !== count)
      problems.push(`${type}: ${count} generated, ${seen} events in the watched folder`);
  }
  const last = result.notices.findLast((line) => line.event_type === "health");
  if ((last?.["ledger"] as { balanced?: boolean } | undefined)?.balanced !== true)
    problems.push("not balanced");
  for (const { event_type: type, ...facts } of result.notices)
    if (type === "ledger_mismatch" || type === "tampered") problems.push(`${type}: ${JSON.stringify(facts)}`);
  const twice = [...result.alertIds.values()].filter((ids) => ids.size > 1).length;
  if (twice > 0) problems.push(`${twice} alerts with two ids`);
  if (result.disordered.size > 0) problems.push(`events of ${result.disordered.size} threads out of order`);
  return {
    fault,
    times,
    generated: [...generated.values()].reduce((total, count) => total + count, 0),
    written: sum(({ written }) => written),
    counted: sum(({ counted }) => counted),
    unaccounted: ofUnknown ? Math.abs(unaccountedOfAll) : sum(({ unaccounted }) => Math.abs(unaccounted)),
    note: "",
    problems,
  };
}

/** One alert is due for each first write in the watched folder. `lost`: so many of these may be lost themselves. */
function judgeAlerts(generated: ReadonlyMap<string, number>, alerts: number, lost = 0): string[] {
  const due = generated.get("file_write") ?? 0;
  if (alerts >= due - lost && alerts <= due) return [];
  return [
    `${due} alerts were due, ${alerts} are written or counted${lost > 0 ? `, ${lost} may be lost` : ""}`,
  ];
}

/** Adds up the same fault, tried several times. */
async function repeat(times: number, attempt: () => Promise<Outcome>): Promise<Outcome> {
  const all: Outcome[] = [];
  for (let i = 0; i < times; i++) all.push(await attempt());
  const sum = (key: "generated" | "written" | "counted" | "unaccounted") =>
    all.reduce((total, one) => total + one[key], 0);
  return {
    fault: all[0]?.fault ?? "",
    times,
    generated: sum("generated"),
    written: sum("written"),
    counted: sum("counted"),
    unaccounted: sum("unaccounted"),
    note: all.at(-1)?.note ?? "",
    problems: all.flatMap(({ problems }) => problems),
  };
}

const FLOOD_TURN = 20_000;
const SMALL_RING = "[ebpf]\nbuffer_size = 64\n";

/** Nothing happens but the load. */
export async function atRest(tools: Tools, { seconds }: Extent): Promise<Outcome> {
  const pair = new Pair();
  try {
    const sensor = await pair.startSensor("--no-pin");
    const evaluator = await pair.startEvaluator("--once");
    const generated = await generate(tools.load, "mix", pair.folder, String(Math.ceil(seconds / 8)), "500");
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const outcome = judge("none", 1, generated, pair.tally());
    if (outcome.counted !== 0) outcome.problems.push(`${outcome.counted} lost at rest`);
    return outcome;
  } finally {
    await pair.bench.close();
  }
}

/** A reader of the evaluator's output that stops for a while, or takes little at a time, with a ring of 64 KiB. */
export function slowReader(
  tools: Tools,
  { rounds, flood }: Extent,
  how: "stalled" | "slow",
): Promise<Outcome> {
  const reader =
    how === "stalled"
      ? "sleep 3; cat"
      : "for i in $(seq 40); do head -c 65536; read -t 0.05 < <(:) ; sleep 0.05; done; cat";
  return repeat(rounds, async () => {
    const pair = new Pair(SMALL_RING);
    try {
      writeFileSync(join(pair.folder, "flooded"), "");
      const sensor = await pair.startSensor("--no-pin");
      const evaluator = await pair.bench.pipedEvaluator(reader, "--config", pair.config, "-o", "json");
      pair.evaluators.push(evaluator);
      const before = privateKib(sensor);
      await generate(tools.generate, "flood", join(pair.folder, "flooded"), String(flood));
      const grown = privateKib(sensor) - before;
      await sensor.end("SIGTERM");
      await evaluator.exited;
      const generated = new Map([["file_open", flood + 0]]);
      const outcome = judge(`${how} reader, ring of 64 KiB`, 1, generated, pair.tally());
      return withMemory(outcome, grown);
    } finally {
      await pair.bench.close();
    }
  });
}

/** One of the two is stopped (SIGSTOP) during a flood, and goes on. */
export function stopped(
  tools: Tools,
  { rounds, flood }: Extent,
  who: "evaluator" | "sensor",
): Promise<Outcome> {
  return repeat(rounds, async () => {
    const pair = new Pair(SMALL_RING);
    try {
      writeFileSync(join(pair.folder, "flooded"), "");
      const sensor = await pair.startSensor("--no-pin");
      const evaluator = await pair.startEvaluator("--once");
      const before = privateKib(sensor);
      const victim = who === "sensor" ? sensor : evaluator;
      victim.signal("SIGSTOP");
      await generate(tools.generate, "flood", join(pair.folder, "flooded"), String(flood));
      const grown = privateKib(sensor) - before;
      victim.signal("SIGCONT");
      await sensor.end("SIGTERM");
      await evaluator.exited;
      const fault = `${who === "sensor" ? "E61 " : ""}stopped ${who}, ring of 64 KiB`;
      return withMemory(judge(fault, 1, new Map([["file_open", flood]]), pair.tally()), grown);
    } finally {
      await pair.bench.close();
    }
  });
}

/** Memory that a sensor may differ by, for reasons of its runtime, while its reader stands still. */
const MEMORY_SLACK_KIB = 16 * 1024;

/** Of a fault that makes rings overflow, while nobody reads them. */
function withMemory(outcome: Outcome, grownKib: number): Outcome {
  const problems = grownKib > MEMORY_SLACK_KIB ? [`the sensor grew by ${grownKib} KiB`] : [];
  if (outcome.counted === 0) problems.push("nothing was lost");
  return {
    ...outcome,
    note: `sensor ${grownKib >= 0 ? "+" : ""}${grownKib} KiB`,
    problems: [...outcome.problems, ...problems],
  };
}

/** Two counters of the sensor later, everything has been compared. */
export const LAST_COUNTERS_MS = 2500;
/** So long may the last evaluator take for what others left it, on a host that has more to do than this. */
const REST_MAX_MS = 30_000;

/** The disk that the output is on fills up, and has room again later. `kills`: evaluators that are killed while it is full. */
export async function fullDisk(tools: Tools, kills: number): Promise<Outcome> {
  const pair = new Pair();
  const disk = pair.bench.path("disk");
  mkdirSync(disk);
  mount("-t", "tmpfs", "-o", "size=1m,mode=777", "none", disk);
  try {
    const file = join(disk, "events");
    const sensor = await pair.startSensor("--no-pin");
    writeFileSync(
      pair.config,
      `${readFileSync(pair.config, "utf8")}[output]\ntype = "file"\npath = "${file}"\n${fileRule("PROVE-001", pair.folder, "write")}`,
    );
    let evaluator = await pair.bench.evaluatorTo(null, "--once", "--config", pair.config);
    const generated = await generate(tools.load, "mix", pair.folder, "4", "500");
    for (let i = 0; i < kills; i++) {
      evaluator.signal("SIGKILL");
      await evaluator.exited;
      evaluator = await pair.bench.evaluatorTo(null, "--once", "--config", pair.config);
      const more = await generate(tools.load, "mix", pair.folder, "1", "500");
      addTo(generated, more);
    }
    mount("-o", "remount,size=64m", disk);
    const more = await generate(tools.load, "mix", pair.folder, "1", "500");
    addTo(generated, more);
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const fault = kills > 0 ? "E72 disk full, evaluators killed" : "E72 disk full, then not";
    const result = tally([file], pair.folder);
    const outcome = judge(fault, Math.max(kills, 1), generated, result);
    const health = result.notices.findLast((line) => line.event_type === "health");
    const { alert_write_failed: failed = 0 } = (health?.["ledger"] ?? {}) as { alert_write_failed?: number };
    outcome.problems.push(...judgeAlerts(generated, result.alertIds.size + failed));
    if (outcome.counted === 0) outcome.problems.push("the disk was never full");
    return outcome;
  } finally {
    Bun.spawnSync(["umount", "-l", disk]);
    await pair.bench.close();
  }
}

function mount(...args: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["mount", ...args], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`mount ${args.join(" ")}: ${stderr.toString()}`);
}

/** So far behind, in ms, is an evaluator that has to be: the rings hold the middle of what processes do. */
const BEHIND_MS = 300;

/**
 * Sensor, evaluator, or both are killed at random moments under load, and started again. `losing`: rings that are too small;
 * `behind`: the evaluator has been stopped for a while then.
 */
export async function killed(
  tools: Tools,
  { kills }: Extent,
  who: "evaluator" | "sensor" | "both",
  { losing = false, behind = false } = {},
): Promise<Outcome> {
  const pair = new Pair(losing ? SMALL_RING : "");
  try {
    writeFileSync(
      pair.config,
      readFileSync(pair.config, "utf8") + fileRule("PROVE-001", pair.folder, "write"),
    );
    writeFileSync(join(pair.folder, "flooded"), "");
    await pair.startSensor();
    let evaluator = await pair.startEvaluator();
    let loading = true;
    const load = Promise.all([
      ...(losing || behind ? [floodUntil(() => loading, tools, pair.folder)] : []),
      ...(losing ? [] : [generateUntil(() => loading, tools, pair.folder)]),
    ]);
    for (let i = 0; i < kills; i++) {
      await Bun.sleep(30 + Math.random() * 200);
      if (behind) {
        evaluator.signal("SIGSTOP");
        await Bun.sleep(BEHIND_MS);
      }
      if (who !== "evaluator") pair.sensor?.signal("SIGKILL");
      if (who !== "sensor") evaluator.signal("SIGKILL");
      if (who !== "evaluator") {
        await pair.sensor?.exited;
        await pair.startSensor();
      }
      if (behind) evaluator.signal("SIGCONT");
      if (who !== "sensor") {
        await evaluator.exited;
        evaluator = await pair.startEvaluator();
      }
    }
    loading = false;
    const generated = new Map<string, number>();
    for (const one of await load) addTo(generated, one);
    // A reader that has waited for long looks for its sensor every two seconds only.
    await until("the last connection", () => pair.sensor?.stderr.includes(") connected") === true);
    const fault = `E60 kill -9: ${who}${losing ? ", while losing" : ""}${behind ? ", reader behind" : ""}`;
    const books = new Books(pair.folder);
    const deadline = performance.now() + REST_MAX_MS;
    do {
      await Bun.sleep(LAST_COUNTERS_MS);
      for (const one of pair.evaluators) books.read(one.stdoutPath, one === evaluator);
    } while (judge(fault, kills, generated, books.tally).problems.length > 0 && performance.now() < deadline);
    await evaluator.end("SIGTERM");
    books.read(evaluator.stdoutPath);
    const result = books.tally;
    const outcome = judge(fault, kills, generated, result);
    if (losing && outcome.counted === 0) outcome.problems.push("nothing was lost");
    const lost = accountsOf(result).get("file_write")?.counted;
    outcome.problems.push(...judgeAlerts(generated, result.alertIds.size, lost));
    return { ...outcome, note: `${result.repeated} repeated, ${result.alertIds.size} alerts` };
  } finally {
    await pair.bench.close();
  }
}

/** Floods in short turns, until it is told to stop. */
async function floodUntil(goesOn: () => boolean, tools: Tools, folder: string): Promise<Map<string, number>> {
  const flooded = join(folder, "flooded");
  let opens = 0;
  for (; goesOn(); opens += FLOOD_TURN) await generate(tools.generate, "flood", flooded, String(FLOOD_TURN));
  return new Map([["file_open", opens]]);
}

/** Loads in turns of a second, each in a folder of its own, until it is told to stop. */
export async function generateUntil(
  goesOn: () => boolean,
  tools: Tools,
  folder: string,
  rate = 200,
): Promise<Map<string, number>> {
  const sum = new Map<string, number>();
  for (let turn = 0; goesOn(); turn++) {
    const own = join(folder, String(turn));
    mkdirSync(own);
    addTo(sum, await generate(tools.load, "mix", own, "1", String(rate)));
  }
  return sum;
}

/** Opens as fast as two threads can, beside one exec a second: none of these may be lost. */
export async function superProducer(tools: Tools, { seconds }: Extent): Promise<Outcome> {
  const pair = new Pair(SMALL_RING);
  try {
    writeFileSync(join(pair.folder, "flooded"), "");
    const sensor = await pair.startSensor("--no-pin");
    const evaluator = await pair.startEvaluator("--once", "-o", "json");
    const [opens, runs] = await Promise.all([
      generate(tools.load, "opens", join(pair.folder, "flooded"), String(seconds), "2"),
      generate(tools.load, "runs", String(seconds)),
    ]);
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const result = pair.tally();
    const outcome = judge("E58 super producer", 1, new Map([...opens, ...runs]), result);
    let leaves = 0;
    for (const text of linesOf(evaluator.stdoutPath).lines) {
      if (!text.startsWith('{"event_type":"process_start"')) continue;
      const line = JSON.parse(text) as Line;
      if (line["exe_path"] === tools.load && (line["args"] as string[])[1] === "leaf") leaves += 1;
    }
    if (leaves !== runs.get("process_start"))
      outcome.problems.push(`${leaves} of ${seconds} execs are there`);
    const lost = accountsOf(result).get("process_start")?.counted ?? 0;
    return { ...outcome, note: `${leaves} execs, ${lost} of them lost` };
  } finally {
    await pair.bench.close();
  }
}
