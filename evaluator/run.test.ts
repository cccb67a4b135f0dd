// An evaluator that lives through what becomes of its sensors: what it had held back of a round, and what it acknowledges.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ACKNOWLEDGEMENT, FrameType, RecordKind, Ring, readAcknowledgement } from "../bpf/event.gen.ts";
import {
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

/**
 * Runs an evaluator against sensors that send these bytes, one after the other; all but the last one are killed then. Returns the
 * types of its lines as soon as there are so many, and what the last sensor was told.
 */
async function evaluate(
  streams: Buffer[],
  linesMin: number,
  ...args: string[]
): Promise<{ types: string[]; told: Buffer }> {
  const folder = mkdtempSync(join(tmpdir(), "warder-run-"));
  const path = join(folder, "sensor.sock");
  const told: Buffer[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    const isLast = sockets.length === streams.length;
    socket.on("error", () => {});
    socket.on("data", (piece: Buffer) => void (isLast && told.push(piece)));
    socket.write(streams[sockets.length - 1] ?? Buffer.alloc(0), () => isLast || socket.end());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const command = [process.execPath, MAIN, "run", "--socket", path, "-o", "json", "--allow-root", ...args];
  const program = Bun.spawn(command, { stdout: "pipe", stderr: "ignore" });
  const types: string[] = [];
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of program.stdout) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    types.push(...lines.map((line) => (JSON.parse(line) as { event_type: string }).event_type));
    if (types.length >= linesMin) break;
  }
  // What is written is acknowledged after that.
  for (let waited = 0; waited < 200 && told.length === 0; waited++) await Bun.sleep(10);
  program.kill("SIGKILL");
  await program.exited;
  for (const socket of sockets) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
  return { types, told: Buffer.concat(told) };
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

test("sensors that close behind their first word are connected to ever less often", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-run-"));
  const path = join(folder, "sensor.sock");
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.on("error", () => {});
    socket.end(preambleOf());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const command = [process.execPath, MAIN, "run", "--socket", path, "-o", "json", "--allow-root"];
  const program = Bun.spawn(command, { stdout: "ignore", stderr: "ignore" });
  await Bun.sleep(3000);
  program.kill("SIGKILL");
  await program.exited;
  server.close();
  rmSync(folder, { recursive: true });
  // After 0, 100, 300, 700, 1,500 and 3,100 ms.
  expect(connections).toBeWithin(2, 7);
}, 30_000);

test("--strict does not hide why a replay ended: the code is that of the reason", () => {
  const half = sampleCapture().subarray(0, 60_000);
  for (const args of [[], ["--strict"]]) {
    const command = [process.execPath, MAIN, "replay", "-", "-o", "json", ...args];
    const { exitCode, stderr } = Bun.spawnSync(command, { stdin: half });
    expect([exitCode, stderr.toString()]).toEqual([3, expect.stringContaining("the stream was cut")]);
  }
}, 30_000);

test.each([
  [
    "a record of running processes that does not decode",
    frameOf(FrameType.snapshot, entryOf(Buffer.alloc(200))),
  ],
])(
  "--strict objects to %s",
  (_what, frame) => {
    const capture = Buffer.concat([preambleOf(), frame, END]);
    const codes = [[], ["--strict"]].map((args) => {
      const command = [process.execPath, MAIN, "replay", "-", "-o", "json", ...args];
      return Bun.spawnSync(command, { stdin: capture }).exitCode;
    });
    expect(codes).toEqual([0, 4]);
  },
  30_000,
);
