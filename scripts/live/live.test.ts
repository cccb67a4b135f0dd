// The whole way on the running kernel: real processes, the real sensor, the real evaluator.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { Bench, type Line, notLive, parseLines, until, warder } from "./pair.ts";
import { linesOf } from "./tally.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: live tests (${reason})`);

const RUNS = 10_000;
/** Others may run the same tests on this host. */
const NAME = `warder-${process.pid}`;

function count(lines: Line[], type: string, condition: (line: Line) => boolean = () => true): number {
  return lines.filter((line) => line.event_type === type && condition(line)).length;
}

function statusOf(path: string): Record<string, string> {
  const lines = readFileSync(`${path}/status`, "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(":\t") as [string, string]));
}

/** The health line that the evaluator wrote last. */
function lastHealth(lines: Line[]): {
  ledger: Record<string, number | boolean> & { by_kind: Record<string, Record<string, number>> };
} {
  return lines.findLast((line) => line.event_type === "health") as never;
}

describe.skipIf(reason !== null)("live", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  test("10,000 short processes are 10,000 starts, forks and exits, and the ledger balances", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once", "--record", bench.path("live.capture"));
    const shell = Bun.spawn(["bash", "-c", `for i in $(seq ${RUNS}); do /bin/true ${NAME}-run-$i; done`]);
    await shell.exited;
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);

    // What others on this host did to files and sockets meanwhile may be more than memory takes.
    const lines = parseLines(
      [...linesOf(evaluator.stdoutPath).lines]
        .filter((line) => !/^.{15}(file|network)_/.test(line))
        .join("\n"),
    );
    const starts = lines.filter(
      (line) =>
        line.event_type === "process_start" &&
        String((line["args"] as string[])[1]).startsWith(`${NAME}-run-`),
    );
    const pids = new Set(starts.map((line) => line["process_id"]));
    expect(starts.length).toBe(RUNS);
    expect(pids.size).toBe(RUNS);
    expect(new Set(starts.map((line) => (line["args"] as string[])[1])).size).toBe(RUNS);
    for (const line of starts) {
      expect(line["exe_path"]).toBe("/usr/bin/true");
      expect(line["ppid"]).toBe(shell.pid);
      expect(line["args"]).toEqual(["/bin/true", (line["args"] as string[])[1] ?? ""]);
      expect((line["ancestors"] as string[])[0]).toBe(`bash(${shell.pid})`);
      expect((line["ancestors"] as string[])[1]).toEndWith(`(${process.pid})`);
    }
    const ours = (line: Line) => pids.has(line["process_id"]);
    expect(count(lines, "process_relationship", ours)).toBe(RUNS);
    expect(
      count(
        lines,
        "process_exit",
        (line) => ours(line) && line["exit_code"] === 0 && line["exe_path"] === "/usr/bin/true",
      ),
    ).toBe(RUNS);
    expect(count(lines, "process_relationship", (line) => ours(line) && line["exe_path"] === null)).toBe(0);

    const { ledger } = lastHealth(lines);
    expect(ledger).toMatchObject({
      lost: 0,
      discarded: 0,
      missed: 0,
      malformed: 0,
      unaccounted: 0,
      balanced: true,
    });
    expect(ledger["attempts"]).toBe(ledger["received"] as number);
    for (const type of ["tampered", "sensor_silent", "ledger_mismatch"]) expect(count(lines, type)).toBe(0);
    const { attempts = 0, canaries = 0 } = ledger.by_kind["process_start"] ?? {};
    expect(attempts - canaries).toBe(count(lines, "process_start"));

    // The recording gives the same bytes, and gives them every time.
    const again = bench.path("again");
    const [once, twice] = [await replayed(again), await replayed(again)];
    expect(twice).toEqual(once);
    expect(once.events).toBe(digest(evaluator.stdoutPath));
  }, 180_000);

  /** Replays the recording into a file, and removes it. Returns what names its lines. */
  async function replayed(path: string): Promise<{ all: string; events: string }> {
    const output = [
      "--set",
      "output.type=file",
      "--set",
      `output.path=${path}`,
      "--allow-root",
      "-o",
      "json",
    ];
    expect(await warder(["replay", ...output, bench.path("live.capture")])).toMatchObject({ code: 0 });
    const digests = { all: digest(path, true), events: digest(path) };
    rmSync(path);
    return digests;
  }

  test("a web server that runs a shell is one alert behind its event; another parent's shell is none", async () => {
    const rules = bench.path("rules.toml");
    writeFileSync(rules, seedRule());
    // A program named nginx: bash under another name, which forks before it executes because of the second command.
    const nginx = bench.path("nginx");
    copyFileSync("/bin/bash", nginx);
    chmodSync(nginx, 0o755);
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once", "--rules", rules);
    await Bun.spawn([nginx, "-c", "sh -c 'exit 3'; true"]).exited;
    await Bun.spawn(["bash", "-c", "sh -c 'exit 4'; true"]).exited;
    await sensor.end("SIGTERM");
    await evaluator.exited;

    const lines = evaluator.lines();
    const alerts = lines.filter((line) => line.event_type === "alert");
    expect(alerts.length).toBe(1);
    const [alert] = alerts as [Line];
    const source = lines[lines.indexOf(alert) - 1];
    expect(source).toMatchObject({
      event_type: "process_start",
      event_id: alert["event_id"],
      comm: "sh",
      parent_comm: "nginx",
    });
    expect(Object.keys(alert)).toEqual(
      (
        "event_type timestamp_ns rule_id rule_name rule_type severity action source_event_type pid tid ppid uid gid comm exe_path " +
        "process_name parent_name path operation direction port addr family time schema_version host_id boot_id alert_id event_id " +
        "process_id args cwd ancestors container_id attack"
      ).split(" "),
    );
    expect(alert).toMatchObject({
      rule_id: "PROC-001",
      rule_name: "Shell spawned by web server",
      rule_type: "process",
      severity: "high",
      action: "alert",
      source_event_type: "process_start",
      process_name: "sh",
      parent_name: "nginx",
      args: ["sh", "-c", "exit 3"],
      path: null,
      port: null,
    });
  }, 60_000);

  test("with processes switched off, what they do to files still names program and lineage", async () => {
    const config = bench.path("config.toml");
    const watched = bench.path("watched");
    mkdirSync(watched);
    writeFileSync(config, `[events]\nprocess = false\n[file]\nwatch_paths = ["${watched}"]\n`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--once", "--config", config);
    await Bun.spawn(["bash", "-c", `for i in 1 2 3; do /bin/touch ${watched}/$i; done; true`]).exited;
    await Bun.sleep(3500); // what nobody asked for is not missed
    await sensor.end("SIGTERM");
    await evaluator.exited;
    expect(evaluator.stderr).not.toContain("silent");

    const lines = evaluator.lines();
    expect(lines.filter((line) => line.event_type.startsWith("process_"))).toEqual([]);
    const opens = lines.filter((line) => line.event_type === "file_open");
    expect(opens.length).toBe(3);
    for (const line of opens) {
      expect(line).toMatchObject({ comm: "touch", exe_path: "/usr/bin/touch", parent_comm: "bash" });
      expect((line["ancestors"] as string[])[0]).toStartWith("bash(");
    }
    const { ledger } = lastHealth(lines);
    expect(ledger.by_kind["process_start"]?.["lineage"]).toBeGreaterThanOrEqual(3);
    expect(ledger).toMatchObject({ balanced: true, unaccounted: 0 });
  }, 60_000);

  test("kinds of process events that are switched on or off are so for programs that were pinned before, too", async () => {
    const config = bench.path("config.toml");
    for (const [turn, hooks] of [["exit"], ["execve", "exit"], ["exit"]].entries()) {
      writeFileSync(config, `[process]\nhooks = ${JSON.stringify(hooks)}\n`);
      const sensor = await bench.sensor("--config", config);
      const evaluator = await bench.evaluator("--config", config);
      const started = (line: Line) => String(line["args"]).includes(`${NAME}-switched-${turn}`);
      const { pid, exited } = Bun.spawn(["/bin/true", `${NAME}-switched-${turn}`]);
      await exited;
      const exit = new RegExp(`"event_type":"process_exit"[^\\n]*"pid":${pid},`);
      await until("the exit", () => exit.test(evaluator.stdout));
      await evaluator.end("SIGTERM");
      await sensor.end("SIGTERM");
      expect(count(evaluator.lines(), "process_start", started)).toBe(hooks.includes("execve") ? 1 : 0);
    }
  }, 60_000);

  test("a sensor that is stopped before it says a word is told of; an evaluator that was stopped accuses nobody", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator();
    evaluator.signal("SIGSTOP");
    await Bun.sleep(6000);
    evaluator.signal("SIGCONT");
    await Bun.spawn(["/bin/true", "after-the-stop"]).exited;
    await until("the event", () => evaluator.stdout.includes("after-the-stop"));
    await evaluator.end("SIGTERM");
    expect(count(evaluator.lines(), "sensor_silent")).toBe(0);

    sensor.signal("SIGSTOP");
    const next = await bench.evaluator("--alerts-only");
    await until("the words", () => next.stderr.includes("says nothing: is it stopped?"));
    sensor.signal("SIGCONT");
    await until("the stream", () => next.stdout.includes('"coverage"'));
    await next.end("SIGTERM");
  }, 60_000);

  test("an exit is seen however a process ends", async () => {
    const cores = bench.path("cores");
    mkdirSync(cores);
    const pids: number[] = [];
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once");
    for (const script of [
      "kill -KILL $$",
      "ulimit -c 0; kill -SEGV $$",
      "ulimit -c unlimited; kill -ABRT $$",
      "exit 7",
    ]) {
      const program = Bun.spawn(["bash", "-c", script], { cwd: cores, stderr: "ignore" });
      await program.exited;
      pids.push(program.pid);
    }
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const exits = pids.map((pid) =>
      evaluator.lines().filter((line) => line.event_type === "process_exit" && line["pid"] === pid),
    );
    expect(exits).toMatchObject([
      [{ signal: 9, exit_code: null, core_dumped: false }],
      [{ signal: 11, exit_code: null, core_dumped: false }],
      [{ signal: 6, exit_code: null, core_dumped: true }],
      [{ signal: null, exit_code: 7, core_dumped: false }],
    ]);
  }, 60_000);

  test("while serving, no thread of the sensor has any right, and the evaluator is not root", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator();
    const threads = readdirSync(`/proc/${sensor.pid}/task`);
    expect(threads.length).toBeGreaterThan(1);
    for (const thread of threads) {
      const status = statusOf(`/proc/${sensor.pid}/task/${thread}`);
      expect(status["Uid"]?.split("\t")).not.toContain("0");
      expect(status["Gid"]?.split("\t")).not.toContain("0");
      expect(status["Groups"]?.trim()).toBe("");
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
        expect(status[set]).toBe("0000000000000000");
      expect(status["NoNewPrivs"]).toBe("1");
    }
    for (const thread of readdirSync(`/proc/${evaluator.pid}/task`)) {
      const status = statusOf(`/proc/${evaluator.pid}/task/${thread}`);
      expect(status["Uid"]?.split("\t")).not.toContain("0");
      expect(status["CapEff"]).toBe("0000000000000000");
    }
  }, 60_000);

  test("an evaluator killed in a burst loses nothing: the next one gets the rest, and what is repeated says so", async () => {
    await bench.sensor();
    const first = await bench.evaluator();
    const shell = Bun.spawn(["bash", "-c", `for i in $(seq 3000); do /bin/true ${NAME}-kill-$i; done`]);
    await until("half of the burst", () => first.stdout.includes(`${NAME}-kill-1000`));
    await first.end("SIGKILL");
    await shell.exited;
    const second = await bench.evaluator();
    await until("the end of the burst", () => second.stdout.includes(`${NAME}-kill-3000`));
    await Bun.sleep(300);
    await second.end("SIGTERM");
    expectAll(
      [first.stdout.slice(0, first.stdout.lastIndexOf("\n") + 1), second.stdout],
      `${NAME}-kill-`,
      3000,
    );
  }, 120_000);

  test("a sensor killed in a burst loses nothing: the next one adopts what is pinned", async () => {
    const first = await bench.sensor();
    const evaluator = await bench.evaluator();
    const shell = Bun.spawn(["bash", "-c", `for i in $(seq 3000); do /bin/true ${NAME}-pins-$i; done`]);
    await until("half of the burst", () => evaluator.stdout.includes(`${NAME}-pins-1000`));
    await first.end("SIGKILL");
    await shell.exited;
    const second = await bench.sensor();
    expect(second.stderr).toContain("adopted");
    await until("the end of the burst", () => evaluator.stdout.includes(`${NAME}-pins-3000`));
    await Bun.sleep(300);
    await evaluator.end("SIGTERM");
    await second.end("SIGTERM");
    expectAll([evaluator.stdout], `${NAME}-pins-`, 3000);
    const ids = evaluator
      .lines()
      .map((line) => line["event_id"])
      .filter((id) => id !== undefined);
    expect(new Set(ids).size).toBe(ids.length);
    const { code, stderr } = await bench.sensorCommand("unload");
    expect(code).toBe(0);
    // Before that, how many records of the rest of this host go with them.
    expect(stderr).toEndWith("warder-sensor: removed the pinned programs\n");
  }, 120_000);

  test("a stranger and a second evaluator are refused, and the sensor says so", async () => {
    const sensor = await bench.sensor("--no-pin");
    await bench.evaluator();
    const second = await warder(["record", bench.path("second"), "--socket", bench.socket]);
    expect(second.stderr).toContain("the sensor closed the connection");
    expect(sensor.stderr).toMatch(/refused pid \d+ \(uid 0\): pid \d+ \(uid 0\) is connected/);
    chmodSync(bench.path("run"), 0o755);
    chmodSync(bench.socket, 0o666);
    const stranger = Bun.spawn(
      [
        "setpriv",
        "--reuid",
        "4242",
        "--regid",
        "4242",
        "--clear-groups",
        process.execPath,
        "-e",
        `require("node:net").connect(${JSON.stringify(bench.socket)})`,
      ],
      { cwd: "/", stderr: "ignore" },
    );
    await until("the refusal", () => sensor.stderr.includes("(uid 4242): this user may not connect"));
    stranger.kill();
  }, 60_000);

  test("a second sensor is refused, at the same socket and at the same pins, and leaves the first alone", async () => {
    const first = await bench.sensor();
    const sameSocket = await bench.sensorCommand("run", "--socket", bench.socket);
    expect(sameSocket).toEqual({ code: 3, stderr: expect.stringContaining("another sensor serves at") });
    const samePins = await bench.sensorCommand("run", "--socket", bench.path("other.sock"));
    expect(samePins).toEqual({ code: 3, stderr: expect.stringContaining("another sensor holds") });
    expect(await bench.sensorCommand("unload")).toMatchObject({ code: 3 });
    const evaluator = await bench.evaluator();
    await Bun.spawn(["/bin/true", "after-the-second"]).exited;
    await until("the event", () => evaluator.stdout.includes("after-the-second"));
    expect(await first.end("SIGTERM")).toBe(0);
    expect(await bench.sensorCommand("unload")).toMatchObject({ code: 0 });
  }, 60_000);

  test("a peer that sends something else is disconnected, and the next one is served", async () => {
    const sensor = await bench.sensor("--no-pin");
    const request = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    await Bun.connect({
      unix: bench.socket,
      socket: { open: (socket) => void socket.write(request), data() {} },
    });
    await until("the disconnection", () => sensor.stderr.includes("something other than an acknowledgement"));
    const evaluator = await bench.evaluator();
    await evaluator.end("SIGTERM");
    expect(count(evaluator.lines(), "coverage")).toBe(1);
  }, 60_000);
});

/** What names the lines of an output, with those about the evaluator itself or without. */
function digest(path: string, withHealth = false): string {
  const hash = createHash("sha256");
  for (const line of linesOf(path).lines)
    if (withHealth || !line.startsWith('{"event_type":"health"')) hash.update(`${line}\n`, "latin1");
  return hash.digest("hex");
}

/** Every run of the burst has its start, fork and exit somewhere; what is there twice is marked as redelivered. */
function expectAll(outputs: string[], prefix: string, runs: number): void {
  const lines = outputs.flatMap(parseLines);
  const first = new Set<unknown>();
  for (const line of lines) {
    if (line["event_id"] === undefined || line.event_type === "alert") continue;
    if (first.has(line["event_id"])) expect(line["redelivered"]).toBe(true);
    first.add(line["event_id"]);
  }
  const starts = lines.filter(
    (line) => line.event_type === "process_start" && String((line["args"] as string[])[1]).startsWith(prefix),
  );
  expect(new Set(starts.map((line) => (line["args"] as string[])[1])).size).toBe(runs);
  const ids = new Set(starts.map((line) => line["process_id"]));
  for (const type of ["process_relationship", "process_exit"]) {
    const seen = lines.filter((line) => line.event_type === type && ids.has(line["process_id"]));
    expect(new Set(seen.map((line) => line["process_id"])).size).toBe(runs);
    for (const line of seen) expect(line["exe_path"]).not.toBeNull();
  }
}

function seedRule(): string {
  return `[[rules]]
id = "PROC-001"
name = "Shell spawned by web server"
enabled = true
type = "process"
severity = "high"
action = "alert"
parent_names = ["nginx", "apache2", "httpd"]
process_names = ["sh", "bash", "dash"]
`;
}
