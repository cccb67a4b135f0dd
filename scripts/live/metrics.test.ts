// Metrics and health, asked for over HTTP from a real pair.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { ALL_EVENT_KINDS } from "../../bpf/kinds.ts";
import { FrameReader } from "../../evaluator/input/records.ts";
import { TOTALS_FIELDS } from "../../evaluator/output/notice.ts";
import { Bench, notLive, type Program, until } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: metrics of a live pair (${reason})`);

type Metric = { type: string; help: string; samples: { labels: Record<string, string>; value: number }[] };

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*"`;
const SAMPLE = new RegExp(
  String.raw`^(${NAME})(?:\{(${LABEL}(?:,${LABEL})*)\})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)$`,
);

/**
 * Reads the text format and holds it against its rules and those for names: help and type once and before the samples, the
 * samples of a metric together and each once, counters that end in _total, base units.
 * @throws Error with the line
 */
function parseMetrics(text: string): Map<string, Metric> {
  const metrics = new Map<string, Metric>();
  const refuse = (line: string, why: string) => {
    throw new Error(`${why}: ${line}`);
  };
  if (!text.endsWith("\n")) refuse(text.slice(-40), "the last line has no end");
  let current = "";
  const seen = new Set<string>();
  for (const line of text.trimEnd().split("\n")) {
    const [, comment, about = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (comment === "HELP") {
      if (metrics.has(about)) refuse(line, "a metric twice");
      metrics.set(about, { type: "", help: rest, samples: [] });
      current = about;
      continue;
    }
    const metric = metrics.get(current) ?? refuse(line, "no help before");
    if (comment === "TYPE") {
      if (about !== current || metric?.type !== "") refuse(line, "a type out of place");
      if (!["counter", "gauge"].includes(rest)) refuse(line, "no such type");
      if ((rest === "counter") !== about.endsWith("_total"))
        refuse(line, "counters, and only they, end in _total");
      if (/_(ms|kb|kib|minutes|percent|count)(_total)?$/.test(about)) refuse(line, "no base unit");
      Object.assign(metric ?? {}, { type: rest });
      continue;
    }
    const [whole, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (whole === undefined || name !== current || metric?.type === "")
      refuse(line, "not a sample of its metric");
    const key = `${name}{${labels}}`;
    if (seen.has(key)) refuse(line, "a sample twice");
    seen.add(key);
    const pairs = [...labels.matchAll(/([^=,]+)="((?:[^"\\]|\\.)*)"/g)];
    metric?.samples.push({
      labels: Object.fromEntries(pairs.map(([, label = "", word = ""]) => [label, word])),
      value: Number(value),
    });
  }
  return metrics;
}

/** A port that nobody listens at. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Hands the stream of the sensor at `from` on at `to`, but for one frame of records. */
function leakyProxy(from: string, to: string): Server {
  return createServer((evaluator) => {
    const reader = new FrameReader();
    let counters = 0;
    let leaked = false;
    const sensor = connect(from).on("data", (bytes: Buffer) => {
      for (const { type, raw } of reader.push(bytes)) {
        if (type === "counters") counters += 1;
        const leaks = type === "records" && counters > 2 && !leaked;
        if (leaks) leaked = true;
        else evaluator.write(Buffer.from(raw));
      }
    });
    evaluator.on("data", (bytes) => sensor.write(bytes)).on("close", () => sensor.destroy());
  }).listen(to);
}

/** The addresses at which a process listens, as /proc/net shows them. */
function listeningAt(pid: number): string[] {
  const inodes = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]];
    } catch {
      return []; // closed meanwhile
    }
  });
  return ["tcp", "tcp6", "udp", "udp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(
        (cells) =>
          cells[9] !== undefined &&
          inodes.includes(cells[9]) &&
          (table.startsWith("udp") || cells[3] === "0A"),
      )
      .map((cells) => `${table} ${cells[1]}`),
  );
}

const activate = Bun.which("systemd-socket-activate");
if (!activate) console.error("skipped: a socket that is handed over (no systemd-socket-activate)");

test.skipIf(!activate)(
  "a socket that systemd hands over is served, without any setting",
  async () => {
    const port = await freePort();
    const evaluator = [process.execPath, join(import.meta.dir, "../../evaluator/main.ts")];
    const run = ["run", "--socket", "/nonexistent/sensor.sock"];
    const program = Bun.spawn([activate ?? "", "-l", `127.0.0.1:${port}`, ...evaluator, ...run], {
      stdout: "ignore",
      stderr: "ignore",
    });
    let text = "";
    // The first connection starts the program.
    await until("an answer", async () => {
      text = await fetch(`http://127.0.0.1:${port}/healthz`).then(
        (answer) => answer.text(),
        () => "",
      );
      return text !== "";
    });
    expect(text).toBe("no sensor serves at /nonexistent/sensor.sock\n");
    program.kill("SIGTERM");
    expect(await program.exited).toBe(0);
  },
  60_000,
);

const sum = (metric: Metric | undefined) =>
  metric?.samples.reduce((total, { value }) => total + value, 0) ?? 0;

describe.skipIf(reason !== null)("metrics of a live pair", () => {
  let bench: Bench;
  let port = 0;
  beforeEach(async () => {
    bench = new Bench();
    port = await freePort();
  });
  afterEach(() => bench.close());

  const ask = (path: string, init: RequestInit = {}) => fetch(`http://127.0.0.1:${port}${path}`, init);
  const evaluator = (...args: string[]) => bench.evaluator("--set", `metrics.port=${port}`, ...args);
  /** Waits until /healthz says this. Answers are a second old at most. */
  const health = (status: number, words: RegExp) =>
    until(`${status} ${words}`, async () => {
      const answer = await ask("/healthz").catch(() => null); // not yet
      return answer?.status === status && words.test(await answer.text());
    });
  const stop = async (program: Program) => expect(await program.end("SIGTERM")).toBe(0);

  test("follow the format, hold all sums of the ledger, and only grow", async () => {
    const sensor = await bench.sensor("--no-pin");
    const program = await evaluator("--rules", "rules");
    const answer = await ask("/metrics");
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const before = parseMetrics(await answer.text());
    for (let run = 0; run < 100; run++) Bun.spawnSync(["true"]);
    await until(
      "the last event",
      () => program.lines().filter((line) => line["comm"] === "true").length >= 200,
    );
    await Bun.sleep(2500); // the counters of the kernel side come once a second, answers are kept for one
    const after = parseMetrics(await (await ask("/metrics")).text());

    const kinds = ALL_EVENT_KINDS.map(({ type }) => type).toSorted();
    for (const key of Object.keys(TOTALS_FIELDS)) {
      const name = `warder_ledger_${key}${key === "unaccounted" ? "" : "_total"}`;
      expect({
        name,
        kinds: after
          .get(name)
          ?.samples.map(({ labels }) => labels["kind"])
          .toSorted(),
      }).toEqual({ name, kinds });
    }
    const value = (metrics: Map<string, Metric>, name: string, kind: string) =>
      metrics.get(name)?.samples.find(({ labels }) => labels["kind"] === kind)?.value ?? NaN;
    for (const kind of ["process_start", "process_exit"])
      for (const name of ["events", "ledger_attempts", "ledger_received", "ledger_lines"])
        expect(
          value(after, `warder_${name}_total`, kind) - value(before, `warder_${name}_total`, kind),
        ).toBeGreaterThanOrEqual(100);
    for (const [name, { type, samples }] of before) {
      if (type !== "counter") continue;
      for (const { labels, value: was } of samples) {
        const now = after.get(name)?.samples.find((one) => Bun.deepEquals(one.labels, labels))?.value;
        expect({ name, labels, now }).toEqual({ name, labels, now: expect.any(Number) });
        expect(now ?? -1).toBeGreaterThanOrEqual(was);
      }
    }
    expect(sum(after.get("warder_sensor_connected"))).toBe(1);
    expect(sum(after.get("warder_healthy"))).toBe(1);
    expect(sum(after.get("warder_processes"))).toBeGreaterThan(0);
    expect(sum(after.get("process_resident_memory_bytes"))).toBeGreaterThan(1024 * 1024);
    expect(after.get("warder_notices_total")?.samples).toContainEqual({
      labels: { type: "coverage" },
      value: 1,
    });

    // The end of the books is what the metrics say at the end.
    const atEnd = program.lines().length;
    expect(sum(after.get("warder_ledger_lines_total"))).toBeLessThanOrEqual(atEnd);
    await stop(program);
    await stop(sensor);
  }, 60_000);

  test("are served by the evaluator alone, on the loopback address, without rights, and by nobody when nobody asked", async () => {
    const sensor = await bench.sensor("--no-pin");
    const program = await evaluator();
    const hex = port.toString(16).toUpperCase().padStart(4, "0");
    expect(listeningAt(program.pid)).toEqual([`tcp 0100007F:${hex}`]);
    expect(listeningAt(sensor.pid)).toEqual([]);
    expect(readFileSync(`/proc/${program.pid}/status`, "utf8")).toMatch(/^Uid:(\t65534){4}$/m);
    await stop(program);
    const silent = await bench.evaluator();
    expect(listeningAt(silent.pid)).toEqual([]);
    await stop(silent);
  }, 60_000);

  test("are no place for anything else", async () => {
    await bench.sensor("--no-pin");
    await evaluator();
    const cases = [
      ["GET", "/metrics?x=1", 200],
      ["HEAD", "/metrics", 200],
      ["GET", "/", 404],
      ["GET", "/../etc/passwd", 404],
      ["POST", "/metrics", 405],
      ["DELETE", "/healthz", 405],
    ] as const;
    for (const [method, path, status] of cases)
      expect({ method, path, status: (await ask(path, { method })).status }).toEqual({
        method,
        path,
        status,
      });
    expect(await (await ask("/")).text()).toBe("there are /metrics and /healthz\n");
    const long = `GET /${"x".repeat(1024 * 1024)} HTTP/1.1\r\n\r\n`;
    for (const bytes of [
      "\0\xff\r\n\r\n",
      "GET\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      long,
      "\n".repeat(100_000),
    ]) {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      socket.end(bytes, "latin1");
      await new Promise((resolve) => socket.resume().once("close", resolve));
    }
    expect((await ask("/healthz")).status).toBe(200);
  }, 60_000);

  test("a port that is taken ends the start with code 3, and says what to do", async () => {
    await bench.sensor("--no-pin");
    const server = createServer().listen(port, "127.0.0.1");
    const program = await bench.evaluatorTo(null, "--set", `metrics.port=${port}`);
    expect(await program.exited).toBe(3);
    expect(program.stderr).toContain(`metrics.port: 127.0.0.1:${port}: another program listens there`);
    server.close();
  }, 60_000);

  test("say 503 and why while the sensor is silent or gone, and 200 when it is there again", async () => {
    const program = await bench.sensor();
    await evaluator();
    await health(200, /^ok\n$/);
    program.signal("SIGSTOP");
    await health(503, /^the sensor is silent since \S+Z\n$/);
    program.signal("SIGCONT");
    await health(200, /^ok\n$/);
    await program.end("SIGKILL");
    await health(503, /^no sensor serves at .*sensor\.sock\n$/);
    expect(sum(parseMetrics(await (await ask("/metrics")).text()).get("warder_sensor_connected"))).toBe(0);
    await bench.sensor();
    await health(200, /^ok\n$/);
  }, 120_000);

  test("say 503 while an output fails, or its reader has stopped, and count what is missing", async () => {
    await bench.sensor("--no-pin");
    const full = await evaluator("--set", "output.alerts_path=/dev/full", "--set", "health.interval_s=1");
    await health(503, /^\/dev\/full: output fails \(ENOSPC\)\n$/);
    const metrics = parseMetrics(await (await ask("/metrics")).text());
    const failed = metrics.get("warder_output_failed_lines_total")?.samples ?? [];
    expect(failed.map(({ labels }) => labels["path"])).toEqual(["standard output", "/dev/full"]);
    expect(failed[1]?.value).toBeGreaterThan(0);
    await stop(full);

    const { pid } = await bench.pipedEvaluator(
      "sleep 12; cat > /dev/null",
      "--set",
      `metrics.port=${port}`,
      "-o",
      "json",
    );
    expect(pid).toBeGreaterThan(0);
    const flood = Bun.spawn(["bash", "-c", "for i in $(seq 2000); do /bin/true; done"]);
    await health(503, /^standard output: one write takes longer than 5 s: its reader does not keep up\n$/);
    await flood.exited;
    await health(200, /^ok\n$/);
  }, 120_000);

  test("say 503 when records vanish on their way that nobody has counted as lost", async () => {
    await bench.sensor("--no-pin");
    const socket = bench.path("leaky.sock");
    const proxy = leakyProxy(bench.socket, socket);
    const program = await bench.evaluator("--set", `metrics.port=${port}`, "--socket", socket);
    await health(503, /^the ledger does not add up: submitted = received \(\w+, CPU \d+\)$/m);
    const metrics = parseMetrics(await (await ask("/metrics")).text());
    expect(sum(metrics.get("warder_ledger_unaccounted"))).toBeGreaterThan(0);
    expect(sum(metrics.get("warder_healthy"))).toBe(0);
    await stop(program);
    proxy.close();
  }, 60_000);

  test("more requests than have room in a second are turned away, and those of the next second are answered", async () => {
    await bench.sensor("--no-pin");
    await evaluator();
    const isAnswered = () =>
      ask("/healthz").then(
        () => true,
        () => false,
      );
    const end = performance.now() + 30_000;
    while (await isAnswered()) expect(performance.now()).toBeLessThan(end);
    await Bun.sleep(1100);
    expect(await isAnswered()).toBe(true);
  }, 120_000);

  test("idle and too many connections are closed, and neither the stream nor the next request suffers", async () => {
    const sensor = await bench.sensor("--no-pin");
    const program = await evaluator("--once");
    const open = new Set<Socket>();
    for (let i = 0; i < 400; i++) {
      const socket = connect(port, "127.0.0.1");
      open.add(socket);
      socket.on("close", () => open.delete(socket)).on("error", () => {});
      if (i % 4 === 0) socket.write("GET /metrics HTTP/1.1\r\nHost: half a request");
    }
    await Bun.sleep(1000);
    expect(open.size).toBeLessThanOrEqual(16);
    const work = Bun.spawn(["bash", "-c", "for i in $(seq 500); do /bin/true; done"]);
    await until("the idle ones to go", () => open.size === 0);
    await health(200, /^ok\n$/);
    await work.exited;
    await stop(sensor);
    expect(await program.exited).toBe(0);
    expect(program.stderr).toMatch(/ 0 lost, /);
    expect(program.stderr).not.toContain("does not balance");
  }, 120_000);
});
