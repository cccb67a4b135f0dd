// E67 of the catalogue of evasions: who may not connect, and what a peer can send that is no acknowledgement.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { ACKNOWLEDGEMENT, RINGS_MAX, writeAcknowledgement } from "../../bpf/event.gen.ts";
import { type Frame, FrameReader } from "../../evaluator/input/records.ts";
import { Bench, type Line, notLive, type Program, until } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: strangers at the sensor's socket (${reason})`);

const KNOCKS = 1000;
const NOGROUP = 65534;
const GARBAGE_SIZE = 10 * 1024 * 1024;
/** Between two collections; a tenth of what thirty such messages are. */
const GROWTH_KIB_MAX = 30 * 1024;
/** What the sensor says of one kind in ten seconds. */
const LINES_MAX = 20;

/** Connects as often as `KNOCKS`, one after the other; waits each time until the sensor closes. Prints what else went wrong. */
const KNOCK = `
  const { connect } = require("node:net");
  for (let i = 0; i < ${KNOCKS}; i++) {
    await new Promise((closed) => {
      const socket = connect(process.argv[1]).on("data", () => {}).on("close", closed);
      socket.on("error", ({ code }) => ["ECONNRESET", "EPIPE"].includes(code) || console.log(code));
    });
  }
  process.exit();
`;

/** Runs KNOCK as another user, who can read this project wherever it lies. */
async function knock(socket: string, uid: number, gid: number): Promise<Set<string>> {
  const program = Bun.spawn(
    [
      ...["setpriv", "--reuid", String(uid), "--regid", String(gid), "--clear-groups"],
      ...["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"],
      ...[process.execPath, "-e", KNOCK, socket],
    ],
    { cwd: "/", stdout: "pipe" },
  );
  const errors = (await new Response(program.stdout).text()).split("\n").filter(Boolean);
  expect(await program.exited).toBe(0);
  return new Set(errors);
}

/** A connection of this process, which the sensor permits. Null when it was closed at once. */
function open(path: string): Promise<Socket | null> {
  return new Promise((opened) => {
    const socket = connect(path, () => opened(socket));
    socket.on("error", () => opened(null)).on("data", () => {});
  });
}

/** Reads frames until one of them is the last that is wanted. The connection stays open. */
async function readUntil(path: string, isLast: (frame: Frame) => boolean): Promise<Socket> {
  const socket = connect(path);
  const reader = new FrameReader();
  await new Promise<void>((done) => {
    socket.on("data", (piece: Buffer) => {
      for (const frame of reader.push(piece)) if (isLast(frame)) done();
    });
  });
  return socket;
}

/** Sends something, and waits until the sensor closes the connection. */
async function send(path: string, bytes: Uint8Array): Promise<void> {
  const socket = await open(path);
  if (!socket) throw new Error("not connected");
  const closed = new Promise((done) => socket.once("close", done));
  socket.write(bytes);
  await closed;
}

/** How many connections the sensor's lines tell of: those that begin so, and those that were kept back. */
function told(sensor: Program, start: string): { lines: number; connections: number } {
  const lines = sensor.stderr.split("\n").map((line) => line.replace("warder-sensor: ", ""));
  const single = lines.filter((line) => line.startsWith(start)).length;
  const kept = lines.map((line) => new RegExp(`^(\\d+) more lines like this in 10 s: ${start}`).exec(line));
  const more = kept.filter((match) => match !== null).map((match) => Number(match[1]));
  return { lines: single + more.length, connections: more.reduce((sum, count) => sum + count, single) };
}

function anonymousKib(pid: number): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

const refusals = (lines: Line[]) =>
  lines.findLast((line) => line.event_type === "health")?.["connections_refused"];

describe.skipIf(reason !== null)("at the sensor's socket", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  test("others are kept out by the folder, or refused a thousand times; who is served notices nothing", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once");
    expect(await knock(bench.socket, 4242, 4242)).toEqual(new Set(["EACCES"]));
    // The first thousand warms the runtime up.
    expect(await knock(bench.socket, 4242, NOGROUP)).toEqual(new Set());
    const before = anonymousKib(sensor.pid);
    for (const uid of [4242, 0]) {
      const busy = Bun.spawn([
        "bash",
        "-c",
        `for i in $(seq 200); do /bin/true warder-knock-${uid}-$i; done`,
      ]);
      expect(await knock(bench.socket, uid, NOGROUP)).toEqual(new Set());
      await busy.exited;
    }
    expect(anonymousKib(sensor.pid) - before).toBeLessThan(GROWTH_KIB_MAX);
    await until("the last event", () => evaluator.stdout.includes("warder-knock-0-200"));
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);

    const { lines, connections } = told(sensor, "refused pid");
    expect(connections).toBe(3 * KNOCKS);
    expect(lines).toBeLessThan(3 * (LINES_MAX + 1) + 1);
    expect(sensor.stderr).toContain("(uid 4242): this user may not connect");
    expect(sensor.stderr).toMatch(/refused pid \d+ \(uid 0\): pid \d+ \(uid 0\) is connected/);
    expect(refusals(evaluator.lines())).toBe(3 * KNOCKS);
    const starts = evaluator
      .lines()
      .filter((line) => String(line["args"]).startsWith("/bin/true,warder-knock-"));
    expect(starts.filter((line) => line.event_type === "process_start").length).toBe(400);
    expect(evaluator.lines().at(-1)).toMatchObject({ ledger: { lost: 0, unaccounted: 0, balanced: true } });
  }, 120_000);

  test("garbage ends the connection, half an acknowledgement ends nothing, and the next one is served", async () => {
    const sensor = await bench.sensor("--no-pin");
    const garbage = crypto.getRandomValues(new Uint8Array(65536));
    const large = Buffer.concat(Array.from({ length: GARBAGE_SIZE / garbage.length }, () => garbage));
    const memory: number[] = [];
    const rounds = 300;
    for (let i = 0; i < rounds; i++) {
      await send(bench.socket, i % 10 === 0 ? large : garbage.subarray(i, i + ACKNOWLEDGEMENT.size));
      memory.push(anonymousKib(sensor.pid));
    }
    expect(Math.max(...memory) - Math.min(...memory)).toBeLessThan(GROWTH_KIB_MAX);
    await until("the last line", () => told(sensor, "evaluator pid").lines >= LINES_MAX);

    const half = await open(bench.socket);
    half?.write(new Uint8Array(7));
    await Bun.sleep(300);
    expect(half?.readyState).toBe("open");
    half?.destroy();
    await Bun.spawn(["/bin/true", "after-the-garbage"]).exited;
    const evaluator = await bench.evaluator("--once");
    await until("the event", () => evaluator.stdout.includes("after-the-garbage"));
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);
    // Each of them was let in and has gone, as the evaluator was.
    const { lines, connections } = told(sensor, "evaluator pid");
    expect(connections).toBe(2 * (rounds + 1) + 1);
    expect(lines).toBeLessThan(3 * (LINES_MAX + 1));
    expect(sensor.stderr).toContain("something other than an acknowledgement");
  }, 120_000);

  test("what owes more than anybody can is no acknowledgement, and the next evaluator is told of nothing", async () => {
    const sensor = await bench.sensor("--no-pin");
    for (const at of [ACKNOWLEDGEMENT.at.unwrittenEvents, ACKNOWLEDGEMENT.at.unwrittenAlerts]) {
      const bytes = Buffer.alloc(ACKNOWLEDGEMENT.size);
      bytes.writeBigUInt64LE(2n ** 64n - 1n, at);
      await send(bench.socket, bytes);
    }
    // Counters that were not sent.
    const early = Buffer.alloc(ACKNOWLEDGEMENT.size);
    early.writeBigUInt64LE(2n ** 62n, ACKNOWLEDGEMENT.at.counters);
    await send(bench.socket, early);
    const evaluator = await bench.evaluator("--once");
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);
    expect(sensor.stderr.match(/something other than an acknowledgement/g)?.length).toBe(3);
    expect(evaluator.lines().filter((line) => line.event_type === "loss")).toEqual([]);
  }, 60_000);

  test("a peer that acknowledges without end keeps nothing waiting", async () => {
    const sensor = await bench.sensor("--no-pin");
    const socket = await open(bench.socket);
    if (!socket) throw new Error("not connected");
    // Nothing of the first ring is taken: allowed, and as fast as it goes.
    const nothing = new Uint8Array(65536);
    let sending = true;
    const more = () => void (sending && socket.writable && socket.write(nothing, more));
    socket.on("error", () => {});
    more();
    await Bun.sleep(500);
    expect(await knock(bench.socket, 4242, NOGROUP)).toEqual(new Set());
    expect(await sensor.end("SIGTERM")).toBe(0);
    sending = false;
    socket.destroy();
  }, 60_000);

  test("a reader that acknowledges the fourth of six counters after the sixth leaves the fourth to the next one", async () => {
    const sensor = await bench.sensor("--no-pin");
    const times: bigint[] = [];
    const late = await readUntil(bench.socket, (frame) => {
      if (frame.type === "counters") times.push(frame.counters.time);
      return times.length === 6;
    });
    const view = new DataView(new ArrayBuffer(ACKNOWLEDGEMENT.size));
    const [counters = 0n] = times.slice(3);
    const position = Array.from({ length: RINGS_MAX }, () => 0n);
    writeAcknowledgement(view, 0, { position, counters, unwrittenEvents: 3n, unwrittenAlerts: 0n });
    await new Promise<void>((written) => late.write(new Uint8Array(view.buffer), () => written()));
    late.destroy();
    await until("its end", () => sensor.stderr.includes("has gone"));
    let taken: { time: bigint; unwrittenEvents: bigint } | null = null;
    const next = await readUntil(bench.socket, (frame) => {
      if (frame.type === "taken") ({ taken } = frame);
      return frame.type === "taken";
    });
    next.destroy();
    expect(taken).toMatchObject({ time: counters, unwrittenEvents: 3n });
    expect(await sensor.end("SIGTERM")).toBe(0);
  }, 60_000);

  test("who connects right behind a reader that goes is served, not refused", async () => {
    const sensor = await bench.sensor("--no-pin");
    const isCounters = (frame: Frame) => frame.type === "counters";
    const first = await readUntil(bench.socket, isCounters);
    // The sensor sees both at the same time.
    process.kill(sensor.pid, "SIGSTOP");
    first.destroy();
    const next = readUntil(bench.socket, isCounters);
    await Bun.sleep(100);
    process.kill(sensor.pid, "SIGCONT");
    (await next).destroy();
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(sensor.stderr).not.toContain("refused");
  }, 20_000);
});
