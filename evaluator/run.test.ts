// An evaluator that lives through what becomes of its sensors: what it had held back of a round, and what it acknowledges.

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ACKNOWLEDGEMENT, FrameType, RecordKind, Ring, readAcknowledgement } from "../bpf/event.gen.ts";
import {
  countersOf,
  END,
  entryOf,
  firstOf,
  frameOf,
  preambleOf,
  recordsOf,
  sampleCapture,
  viewOf,
} from "../scripts/fuzz/stream.ts";

const MAIN = join(import.meta.dir, "main.ts");
const records = recordsOf(sampleCapture());
const exit = entryOf(firstOf(records, RecordKind.exit));
const open = entryOf(firstOf(records, RecordKind.fileOpen));
/** Of a round that goes on: it is held back. */
const held = frameOf(FrameType.records, exit, { ring: Ring.process, position: 4096n, more: 1 });
const opened = frameOf(FrameType.records, open, { ring: Ring.activity });

/** Sensors that send these bytes, one after the other; all but the last one are killed then. `told`: what the last one was told. */
class Sensors {
  readonly folder = mkdtempSync(join(tmpdir(), "warder-run-"));
  readonly path = join(this.folder, "sensor.sock");
  readonly told: Buffer[] = [];
  private readonly sockets: Socket[] = [];
  private readonly server: Server;

  constructor(streams: Buffer[]) {
    this.server = createServer((socket) => {
      this.sockets.push(socket);
      const isLast = this.sockets.length === streams.length;
      socket.on("error", () => {});
      socket.on("data", (piece: Buffer) => void (isLast && this.told.push(piece)));
      socket.write(streams[this.sockets.length - 1] ?? Buffer.alloc(0), () => isLast || socket.end());
    }).listen(this.path);
  }

  /** How often an evaluator has come. */
  get connections(): number {
    return this.sockets.length;
  }

  /** The last one ends, and no other comes. */
  end(): void {
    this.server.close();
    for (const socket of this.sockets) socket.end();
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** Waits until the last sensor was told something. */
async function untilTold({ told }: Sensors): Promise<Buffer> {
  for (let waited = 0; waited < 1000 && told.length === 0; waited++) await Bun.sleep(10);
  return Buffer.concat(told);
}

/** Starts a command of the evaluator on the socket of these. */
function start(sensors: Sensors, ...args: string[]): Bun.Subprocess<"ignore", "pipe", "ignore"> {
  const command = [process.execPath, MAIN, ...args, "--socket", sensors.path, "--allow-root"];
  return Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
}

/** The types of lines as they come. */
async function* typesIn(output: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of output) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield (JSON.parse(line) as { event_type: string }).event_type;
  }
}

/**
 * Runs an evaluator against sensors that send these bytes. Returns the types of its lines as soon as there are so many, and what
 * the last sensor was told.
 */
async function evaluate(
  streams: Buffer[],
  linesMin: number,
  ...args: string[]
): Promise<{ types: string[]; told: Buffer }> {
  const sensors = new Sensors(streams);
  const program = start(sensors, "run", "-o", "json", ...args);
  const types: string[] = [];
  for await (const type of typesIn(program.stdout)) {
    types.push(type);
    if (types.length >= linesMin) break;
  }
  // What is written is acknowledged after that.
  const told = await untilTold(sensors);
  program.kill("SIGKILL");
  await program.exited;
  sensors.close();
  return { types, told };
}

test("what was held back of other rings is not acknowledged to the sensor of these", async () => {
  const streams = [
    Buffer.concat([preambleOf({ instance: 1n }), held]),
    Buffer.concat([preambleOf({ instance: 2n }), opened]),
  ];
  const { types, told } = await evaluate(streams, 4);
  expect(types).toEqual(["sensor_gone", "health", "process_exit", "file_open"]);
  expect(told.length).toBe(ACKNOWLEDGEMENT.size);
  expect(readAcknowledgement(viewOf(told), 0).position).toEqual([0n, BigInt(open.length), 0n, 0n]);
}, 30_000);

test("what is held back is written when the sensor falls silent in the middle of a round", async () => {
  const { types } = await evaluate([Buffer.concat([preambleOf(), held])], 2);
  expect(types).toEqual(["process_exit", "sensor_silent"]);
}, 30_000);

test("what is held back is written when no other sensor comes", async () => {
  const sensors = new Sensors([Buffer.concat([preambleOf(), held])]);
  const program = start(sensors, "run", "-o", "json");
  await untilTold(sensors);
  sensors.end();
  const types: string[] = [];
  for await (const type of typesIn(program.stdout)) {
    types.push(type);
    if (type === "process_exit") break;
  }
  program.kill("SIGKILL");
  await program.exited;
  sensors.close();
  expect(types).toEqual(["sensor_gone", "health", "process_exit"]);
}, 30_000);

test.each([
  ["has ended", [END]],
  ["was killed", []],
])(
  "with --once, what is held back is written when the sensor %s",
  async (_, last) => {
    const sensors = new Sensors([Buffer.concat([preambleOf(), held, ...last]), Buffer.alloc(0)]);
    const program = start(sensors, "run", "--once", "-o", "json");
    const types = await Array.fromAsync(typesIn(program.stdout));
    sensors.close();
    expect(types).toContain("process_exit");
    expect(await program.exited).toBe(0);
  },
  30_000,
);

test("a recording acknowledges what is in its file, also of a round that goes on", async () => {
  const counted = frameOf(FrameType.counters, countersOf(7n));
  const sensors = new Sensors([Buffer.concat([preambleOf(), held, opened, counted])]);
  const file = join(sensors.folder, "capture");
  const program = start(sensors, "record", file);
  const told = await untilTold(sensors);
  const size = readFileSync(file).length;
  sensors.end();
  expect(await program.exited).toBe(0);
  sensors.close();
  expect(size).toBe(preambleOf().length + held.length + opened.length + counted.length);
  expect(readAcknowledgement(viewOf(told), 0)).toEqual({
    position: [4096n + BigInt(exit.length), BigInt(open.length), 0n, 0n],
    counters: 7n,
    unwrittenEvents: 0n,
    unwrittenAlerts: 0n,
  });
}, 30_000);

test("a recording of a sensor that was killed tells of it when it is replayed, as the live run did", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-run-"));
  const capture = join(folder, "capture");
  const streams = [1n, 2n].map((instance) => Buffer.concat([preambleOf({ instance }), opened]));
  const { types } = await evaluate(streams, 4, "--record", capture);
  expect(types).toEqual(["file_open", "sensor_gone", "health", "file_open"]);
  const { stdout } = Bun.spawnSync([process.execPath, MAIN, "replay", capture, "-o", "json"]);
  const lines = stdout.toString().trim().split("\n");
  const again = lines.map((line) => (JSON.parse(line) as { event_type: string }).event_type);
  expect(again.slice(0, types.length)).toEqual(types);
  rmSync(folder, { recursive: true });
}, 30_000);

test("a recording of a stream that breaks off with bytes that are none ends as a cut one", async () => {
  const sensors = new Sensors([Buffer.concat([preambleOf(), opened, Buffer.alloc(64, 0xff)])]);
  const capture = join(sensors.folder, "capture");
  const program = start(sensors, "run", "-o", "json", "--record", capture);
  const types = await Array.fromAsync(typesIn(program.stdout));
  expect([types, await program.exited]).toEqual([["file_open"], 3]);
  const { stdout } = Bun.spawnSync([process.execPath, MAIN, "replay", capture, "-o", "json"]);
  expect(stdout.toString()).toContain("sensor_gone");
  sensors.close();
}, 30_000);

test("sensors that close behind their first word are connected to ever less often", async () => {
  const sensors = new Sensors(Array.from({ length: 50 }, () => preambleOf()));
  const program = start(sensors, "run", "-o", "json");
  await Bun.sleep(3000);
  program.kill("SIGKILL");
  await program.exited;
  // After 0, 100, 300, 700, 1,500 and 3,100 ms.
  expect(sensors.connections).toBeWithin(2, 7);
  sensors.close();
}, 30_000);
