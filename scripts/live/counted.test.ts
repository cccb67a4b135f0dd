// What does not become an event is counted, exactly, and told.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, openSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Bench, compileTools, fileRule, type Line, notLive } from "./pair.ts";
import { rebuilt } from "./rebuilt.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: what is counted beside a live sensor (${reason})`);

const FLOOD = 20_000;

type Counts = Record<string, number>;
type Ledger = { balanced: boolean; lost: number; by_kind: Record<string, Counts> };

describe.skipIf(reason !== null)("what is no event", () => {
  let bench: Bench;
  let watched: string;
  beforeEach(() => {
    bench = new Bench();
    watched = join(realpathSync(bench.folder), "watched");
    mkdirSync(watched);
  });
  afterEach(() => bench.close());

  /** Runs `work` under a live pair without a canary, on a watched folder. Returns the lines and the last ledger. */
  async function observe(
    settings: string,
    work: () => Promise<void>,
    environment: Record<string, string> = {},
  ): Promise<{ lines: Line[]; ledger: Ledger }> {
    const config = bench.path("config.toml");
    writeFileSync(config, `[file]\nwatch_paths = ["${watched}"]\n[health]\ncanary = false\n${settings}`);
    const sensor = await bench.sensorWith(environment, "--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--once", "--config", config);
    await work();
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const lines = evaluator.lines();
    return { lines, ledger: lines.at(-1)?.["ledger"] as Ledger };
  }

  /** Settings under which what happens in the watched folder is all that is reported of files and network. */
  const onlyWatched = () =>
    `[file]\nwatch_paths = ["${watched}"]\n[network]\nenabled = false\n[health]\ncanary = false\n`;

  async function run(...command: string[]): Promise<void> {
    expect(await Bun.spawn(command, { stdout: "ignore" }).exited).toBe(0);
  }

  /** Leaves pinned programs that nobody serves, with a flood of opens in their rings. */
  async function leaveFlood(config: string): Promise<void> {
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const sensor = await bench.sensor("--config", config);
    const evaluator = await bench.evaluator("--config", config);
    await Bun.sleep(1500); // takes what the sensor did to test its hooks
    await evaluator.end("SIGTERM");
    await sensor.end("SIGTERM");
    await run(generate, "flood", join(watched, "flooded"), String(FLOOD));
  }

  /** The same programs with a change: the path of their object. */
  const changed = (file: string, from: string, to: string) =>
    join(rebuilt(bench.path("project"), file, from, to), "warder.bpf.o");

  const isCoverage = (line: Line) => line.event_type === "coverage";
  const losses = (lines: Line[]) => lines.filter((line) => line.event_type === "loss");
  const sum = (lines: Line[]) => lines.reduce((total, line) => total + Number(line["count"]), 0);

  test("what finds no memory to be put together in is discarded, and the holes in the numbers agree", async () => {
    // Scratch memory is always taken.
    const object = changed("bpf/emit.bpf.h", "->taken, 0, 1) == 0)", "->taken, 2, 1) == 2)");
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const { lines, ledger } = await observe(
      "[process]\nenabled = false\n[network]\nenabled = false\n",
      () => run(generate, "flood", join(watched, "flooded"), String(FLOOD)),
      { WARDER_OBJECT: object },
    );
    const { attempts = 0, discarded = 0, received } = ledger.by_kind["file_open"] ?? {};
    expect({ discarded, received }).toEqual({ discarded: attempts, received: 0 });
    // Every open on the host, for without memory no path can be compared with the filters.
    expect(attempts).toBeGreaterThanOrEqual(FLOOD);
    expect(ledger.balanced).toBe(true);
    const told = losses(lines).filter((line) => line["kind"] === "file_open");
    expect(sum(told)).toBe(attempts);
    for (const line of told) expect(line["reason"]).toBe("no scratch memory");
    // The sensor has acted on each CPU when it started, and the last health line says that these acts are among them.
    const tested = lines.find((line) => line.event_type === "coverage")?.["tested_cpus"];
    const kernel = lines.at(-1)?.["since_attached"] as Record<string, Counts>;
    expect(kernel["file_open"]?.["unheard"]).toBe(Number(tested));
  }, 120_000);

  test("a connection that there is no memory to note is discarded", async () => {
    const create = "&begun, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE";
    const object = changed("bpf/calls.bpf.h", create, "&begun, task, 0, 0");
    const { load } = compileTools(bench.folder, ["load"]);
    const { ledger } = await observe("", () => run(load, "mix", watched, "2", "100"), {
      WARDER_OBJECT: object,
    });
    expect(ledger.by_kind["network_connect"]?.["discarded"]).toBeGreaterThanOrEqual(8);
    expect(ledger.balanced).toBe(true);
  }, 60_000);

  test("acts of the sensor that are lost with other records are no silence", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const config = bench.path("canary.toml");
    writeFileSync(config, `[file]\nwatch_paths = ["${watched}"]\n[ebpf]\nbuffer_size = 64\n`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--once", "--config", config);
    evaluator.signal("SIGSTOP");
    await run(generate, "flood", join(watched, "flooded"), String(FLOOD));
    await Bun.sleep(3500);
    evaluator.signal("SIGCONT");
    await Bun.sleep(2500);
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const lines = evaluator.lines();
    expect(lines.filter((line) => line.event_type === "sensor_silent")).toEqual([]);
    const last = lines.at(-1) as Line & { ledger: Ledger; since_attached: Record<string, Counts> };
    expect(last.since_attached["file_open"]?.["unheard"]).toBeGreaterThanOrEqual(2);
    expect(last.ledger.balanced).toBe(true);
  }, 60_000);

  test("a loss names whose records were lost, and which rules were blind", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    const flooder = bench.path("flooder");
    copyFileSync(generate, flooder);
    writeFileSync(join(watched, "flooded"), "");
    const rules = fileRule("COUNTED-OPEN", "/nowhere", "open") + fileRule("COUNTED-WRITE", "/", "write");
    const { lines, ledger } = await observe(`[ebpf]\nbuffer_size = 64\n${rules}`, () =>
      run("bash", "-c", `chmod 755 ${flooder}; exec ${flooder} flood ${watched}/flooded 200000`),
    );
    const told = losses(lines).filter((line) => line["kind"] === "file_open");
    expect(told.length).toBeGreaterThan(0);
    expect(sum(told)).toBe(ledger.by_kind["file_open"]?.["lost"] ?? 0);
    // Producers are those of all CPUs: each stretch of time names them once for every CPU.
    const stretches = [...new Map(told.map((line) => [line["from"], line])).values()];
    const byWho = stretches.flatMap((line) => line["producers"] as { comm: string; lost: number }[]);
    // A busy host may lose something of its own before the flood.
    const namedAs = (comm: RegExp) =>
      byWho.reduce((total, one) => total + (comm.test(one.comm) ? one.lost : 0), 0);
    expect(namedAs(/^/)).toBe(sum(told));
    expect(namedAs(/^flooder$/)).toBeGreaterThan(0.9 * sum(told));
    for (const line of told) expect(line["rules_blind"]).toEqual(["COUNTED-OPEN"]);
    expect(ledger.balanced).toBe(true);
  }, 120_000);

  test("what waited in the rings of programs that others replace, or found no room there, is told to the next evaluator, once", async () => {
    const config = bench.path("replaced.toml");
    const settings = onlyWatched();
    writeFileSync(config, `${settings}[ebpf]\nbuffer_size = 1024\n`); // room for some of the flood
    await leaveFlood(config);
    writeFileSync(config, `${settings}[process]\ncollect_cwd = false\n`);
    const sensor = await bench.sensor("--config", config);
    const told = async () => {
      const evaluator = await bench.evaluator("--config", config);
      await Bun.sleep(2500);
      await evaluator.end("SIGTERM");
      const lines = evaluator.lines();
      expect(lines.at(-1)?.["ledger"]).toMatchObject({ balanced: true, unaccounted: 0 });
      const counts = losses(lines).map(({ stage, count }) => [stage, count]);
      return { counts, ledger: lines.at(-1)?.["ledger"] as { abandoned: number } };
    };
    const { counts, ledger } = await told();
    // Beside the flood, only what cannot be placed passes the watch list.
    const [most = 0] = counts.map(([, count]) => Number(count)).toSorted((a, b) => b - a);
    expect(most).toBeGreaterThanOrEqual(FLOOD);
    expect(most).toBeLessThan(FLOOD + 100);
    expect(ledger.abandoned).toBe(counts.reduce((total, [, count]) => total + Number(count), 0));
    expect((await told()).counts).toEqual([]);
    await sensor.end("SIGTERM");
  }, 60_000);

  test("what an evaluator could not write is told to the next one of other programs, too", async () => {
    const config = bench.path("full.toml");
    const settings = `${onlyWatched()}[process]\nenabled = false\n`;
    const rule = fileRule("COUNTED-001", watched, "write");
    writeFileSync(config, settings + rule);
    const sensor = await bench.sensor("--config", config);
    const evaluator = await bench.evaluatorTo(openSync("/dev/full", "w"), "--config", config);
    await run("bash", "-c", `for i in {1..10}; do echo x > ${watched}/$i; done`);
    await Bun.sleep(1500);
    await evaluator.end("SIGTERM");
    await sensor.end("SIGTERM");
    writeFileSync(config, settings.replace("network]\n", "network]\ninclude_failed = false\n") + rule);
    await bench.sensor("--config", config);
    const next = await bench.evaluator("--config", config);
    await Bun.sleep(1500);
    await next.end("SIGTERM");
    const told = Object.fromEntries(losses(next.lines()).map((line) => [line["reason"], line["count"]]));
    expect(told["alerts that an earlier evaluator could not write"]).toBe(10);
    // An open and a write each; beside these, what cannot be placed passes the watch list.
    expect(told["events that an earlier evaluator could not write"]).toBeWithin(20, 120);
  }, 60_000);

  test("pins of a sensor that was killed while it pinned have seen what others have: that is told once", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    const [config, other] = [bench.path("complete.toml"), bench.path("incomplete.toml")];
    const settings = onlyWatched();
    writeFileSync(config, settings);
    writeFileSync(other, `${settings}[process]\ncollect_args = false\n`);
    const pins = "/sys/fs/bpf/warder";
    expect(await bench.sensorCommand("unload")).toMatchObject({ code: 0 });
    await (await bench.sensor("--config", other)).end("SIGTERM");
    const name = bench.inside("ls", pins).trim();
    bench.inside("mv", `${pins}/${name}`, "/sys/fs/bpf/aside");
    await leaveFlood(config);
    bench.inside("mv", "/sys/fs/bpf/aside", `${pins}/${name}_new`);
    const sensor = await bench.sensor("--config", other);
    const evaluator = await bench.evaluator("--config", other);
    await Bun.sleep(1500);
    await evaluator.end("SIGTERM");
    const counts = losses(evaluator.lines()).map(({ count }) => Number(count));
    expect(Math.max(...counts)).toBeWithin(FLOOD, FLOOD + 100);
    await sensor.end("SIGTERM");
    await run(generate, "flood", join(watched, "flooded"), String(FLOOD));
    const { stderr } = await bench.sensorCommand("unload");
    expect(Number(/(\d+) records of theirs were not read/.exec(stderr)?.[1])).toBeGreaterThanOrEqual(FLOOD);
  }, 60_000);

  test("what waited in a ring before its reader came, and went with its sensor, is told", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const config = bench.path("waiting.toml");
    writeFileSync(config, `[file]\nwatch_paths = ["${watched}"]\n[network]\nenabled = false\n`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    await run(generate, "flood", join(watched, "flooded"), String(5 * FLOOD));
    const evaluator = await bench.pipedEvaluator("sleep 12; cat", "-o", "json", "--config", config);
    await Bun.sleep(1500);
    await sensor.end("SIGTERM"); // gives up after eight seconds in which nothing was acknowledged
    await evaluator.exited;
    const lines = evaluator.lines();
    const waited = sum(losses(lines).filter((line) => line["stage"] === "ring" && line["kind"] === null));
    const last = lines.at(-1) as Line & { ledger: Ledger };
    expect(waited).toBeGreaterThan(0);
    // Beside the flood: what the sensor did to test its hooks, its canary, and processes.
    const received = last.ledger.by_kind["file_open"]?.["received"] ?? 0;
    expect(received + waited).toBeWithin(5 * FLOOD, 5 * FLOOD + 200);
    expect(last.ledger).toMatchObject({ balanced: true, unaccounted: 0 });
  }, 60_000);

  test("what goes with a ring beside a stopped reader is what this one will not have read, by the sensor's last word", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const config = bench.path("stopped.toml");
    writeFileSync(config, onlyWatched());
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--once", "--strict", "--config", config);
    await Bun.sleep(1500); // takes what the sensor did to test its hooks
    evaluator.signal("SIGSTOP");
    await run(generate, "flood", join(watched, "flooded"), String(5 * FLOOD));
    await sensor.end("SIGTERM");
    evaluator.signal("SIGCONT");
    expect(await evaluator.exited).toBe(4);
    const words = /(\d+) records were sent and not acknowledged, (\d+) were not sent: these are lost/;
    const [unread = 0, unsent = 0] = (words.exec(sensor.stderr) ?? []).slice(1).map(Number);
    const written = evaluator.lines().filter((line) => line["path"] === join(watched, "flooded")).length;
    // What else the host did meanwhile is in these numbers, too.
    const others = unread + unsent - 5 * FLOOD;
    expect(unsent).toBeGreaterThan(0);
    expect(written + unsent).toBeWithin(5 * FLOOD, 5 * FLOOD + others + 1);
  }, 60_000);

  test("a sensor without pins that is killed leaves a gap, until the hooks of the next one are attached", async () => {
    const config = bench.path("killed.toml");
    writeFileSync(config, onlyWatched());
    const first = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--config", config);
    await Bun.sleep(1500); // takes counters: what comes behind the last ones is not known
    const killed = Date.now();
    await first.end("SIGKILL");
    await bench.sensor("--no-pin", "--config", config);
    await evaluator.until("the gap", () => evaluator.lines().filter(isCoverage).length === 2);
    await evaluator.end("SIGTERM");
    const lines = evaluator.lines();
    const gaps = lines.filter((line) => line.event_type === "gap");
    expect(gaps.length).toBe(1);
    const timeOf = (line: Line | undefined, key: string) => Date.parse(String(line?.[key]));
    const [from, to] = [timeOf(gaps[0], "from"), timeOf(gaps[0], "to")];
    expect(killed - from).toBeWithin(0, 1500); // counters come once a second
    expect(to).toBeGreaterThan(killed);
    const attached = timeOf(lines.findLast(isCoverage), "attached_since");
    expect(Math.abs(to - attached)).toBeLessThan(2); // the clocks are compared anew
    expect(Number(gaps[0]?.["duration_ns"]) / 1e6).toBeWithin(to - from - 2, to - from + 2);
  }, 60_000);

  test("losses that an evaluator has told and acknowledged late, for it was stopped, are not told again", async () => {
    const { generate } = compileTools(bench.folder, ["generate"]);
    writeFileSync(join(watched, "flooded"), "");
    const config = bench.path("late.toml");
    const settings = onlyWatched();
    writeFileSync(config, `${settings}[ebpf]\nbuffer_size = 64\n`);
    await bench.sensor("--no-pin", "--config", config);
    const first = await bench.evaluator("--config", config);
    await Bun.sleep(1500);
    first.signal("SIGSTOP");
    for (let i = 0; i < 4; i++) {
      await run(generate, "flood", join(watched, "flooded"), String(FLOOD));
      await Bun.sleep(1000);
    }
    first.signal("SIGCONT");
    await Bun.sleep(500); // less than until the next counters, as a rule: those are told and taken as well
    await first.end("SIGTERM");
    const second = await bench.evaluator("--config", config);
    await Bun.sleep(1500);
    await second.end("SIGTERM");
    const told = (lines: Line[]) => sum(losses(lines).filter((line) => line["kind"] === "file_open"));
    expect(told(first.lines())).toBeGreaterThan(3 * FLOOD);
    expect(told(second.lines())).toBeLessThan(FLOOD);
  }, 60_000);

  test("a ring's position that root moves under load is put back: what is lost is exact, and no evaluator is blamed", async () => {
    const { harm } = compileTools(bench.folder, ["harm"]);
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once");
    const load = Bun.spawn(["bash", "-c", "for i in {1..500}; do /bin/true; done"]);
    for (let i = 0; i < 3; i++) {
      await Bun.sleep(150);
      await run(harm, "move", String(sensor.pid), "process_ring");
    }
    await load.exited;
    await Bun.sleep(2500);
    await sensor.end("SIGTERM");
    await evaluator.exited;
    expect(sensor.stderr).not.toContain("has gone: it sent something");
    const lines = evaluator.lines();
    expect(lines.filter((line) => line.event_type === "tampered").map((line) => line["what"])).toContain(
      "somebody moved the consumer position of a ring",
    );
    expect(lines.filter((line) => line.event_type === "ledger_mismatch")).toEqual([]);
    expect(lines.at(-1)?.["ledger"]).toMatchObject({ balanced: true, unaccounted: 0 });
  }, 60_000);

  test("what is filtered is counted once for each time", async () => {
    const { ledger } = await observe("[process]\nenabled = false\n[network]\nenabled = false\n", async () => {
      await run("bash", "-c", `exec 3> ${watched}/written; for i in {1..1000}; do echo x >&3; done`);
    });
    expect(ledger.by_kind["file_write"]).toMatchObject({ written: 1 });
    // Other processes' writes outside of the watched folder are filtered, too.
    expect(ledger.by_kind["file_write"]?.["filtered"]).toBeGreaterThanOrEqual(999);
  }, 60_000);

  describe("what is left out is counted for each time:", () => {
    const EVERYWHERE = { WARDER_FILE__WATCH_PATHS: "[]" };

    /** What was filtered while a copy of the load, with a name of its own, worked in a folder, and how often it did. */
    async function filtered(
      environment: Record<string, string>,
      folder: string,
    ): Promise<{ counts: Counts; done: number }> {
      const { load } = compileTools(bench.folder, ["load"]);
      const program = bench.path("outsider");
      copyFileSync(load, program);
      chmodSync(program, 0o755);
      let text = "";
      const work = async () => {
        text = await new Response(Bun.spawn([program, "mix", folder, "2", "500"]).stdout).text();
      };
      const off = "[process]\nenabled = false\n[network]\nenabled = false\n";
      const { ledger } = await observe(off, work, environment);
      const done = Number(/^file_rename (\d+)$/m.exec(text)?.[1]);
      expect(done).toBeGreaterThan(0);
      const counts = Object.entries(ledger.by_kind).map(([type, sums]) => [type, sums["filtered"]]);
      return { counts: Object.fromEntries(counts) as Counts, done };
    }

    test("what processes of excluded names do", async () => {
      const excluded = { ...EVERYWHERE, WARDER_FILE__EXCLUDE_COMMS: '["outsider"]' };
      const { counts, done } = await filtered(excluded, watched);
      expect(counts).toMatchObject({ file_rename: done, file_unlink: done });
      for (const type of ["file_open", "file_write"]) expect(counts[type]).toBeGreaterThanOrEqual(done);
    }, 60_000);

    test("what happens elsewhere", async () => {
      const elsewhere = bench.path("elsewhere");
      mkdirSync(elsewhere);
      const { counts, done } = await filtered({}, elsewhere);
      for (const type of ["file_open", "file_write", "file_rename", "file_unlink"])
        expect(counts[type]).toBeGreaterThanOrEqual(done);
    }, 60_000);

    test("what sensor and evaluator write", async () => {
      const { counts } = await filtered({ ...EVERYWHERE, WARDER_FILE__WRITE_EVENTS: '"every"' }, watched);
      expect(counts["file_write"]).toBeGreaterThan(0);
      expect(counts).toMatchObject({ file_open: 0, file_rename: 0, file_unlink: 0 });
    }, 60_000);
  });
});
