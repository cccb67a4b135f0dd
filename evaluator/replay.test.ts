// Captures that end as they should not, or tell of what is missing, by the command line.

import { expect, test } from "bun:test";
import { zstdCompressSync } from "node:zlib";
import { COUNTERS_FRAME, FrameType, RecordKind, Ring } from "../bpf/event.gen.ts";
import {
  countersOf,
  END,
  entryOf,
  firstOf,
  frameOf,
  preambleOf,
  recordsOf,
  sampleCapture,
} from "../scripts/fuzz/stream.ts";
import { parseLines, warder } from "../scripts/live/pair.ts";

const SECOND_NS = 1_000_000_000n;
const records = recordsOf(sampleCapture());
const opened = frameOf(FrameType.records, entryOf(firstOf(records, RecordKind.fileOpen)), {
  ring: Ring.activity,
});
/** Of a round that goes on: it is held back. */
const held = frameOf(FrameType.records, entryOf(firstOf(records, RecordKind.exit)), {
  ring: Ring.process,
  more: 1,
});

/** Replays a capture. Returns the types of the lines, and the exit code. */
async function replay(parts: Buffer[], ...args: string[]): Promise<{ types: string[]; code: number }> {
  const { stdout, code } = await warder(
    ["replay", "-", "-o", "json", "--allow-root", ...args],
    Buffer.concat(parts),
  );
  return { types: parseLines(stdout).map((line) => line.event_type), code };
}

test("what is held back of a round is written when the capture has ended, however it did", async () => {
  const last = await replay([preambleOf(), opened, held, END]);
  expect(last.types.toSorted()).toEqual(["file_open", "health", "process_exit"]);
  // The rest of the round does not come: it is written before the end is told.
  const cut = await replay([preambleOf(), opened, held]);
  expect(cut.types).toEqual(["file_open", "process_exit", "sensor_gone", "health"]);
});

test("what came before bytes that are no capture any more is written, also what is held back", async () => {
  const compressed = zstdCompressSync(Buffer.concat([preambleOf(), opened, held]));
  const { types, code } = await replay([compressed, Buffer.from("something else")]);
  expect(types).toEqual(["file_open", "process_exit"]);
  expect(code).toBe(3);
});

/** Counters of a CPU on which nothing was counted; `isGone`: the hook of execs is not attached any more. */
function counted(seconds: bigint, isGone = false): Buffer {
  const payload = countersOf(seconds * SECOND_NS);
  if (isGone) payload.writeUInt32LE(1 << RecordKind.exec, COUNTERS_FRAME.at.detached);
  return frameOf(FrameType.counters, payload);
}

/** A sensor, and another one whose programs were attached then. */
const twoSensors = (attached: bigint) => [
  ...[preambleOf({ instance: 1n }), counted(1n), END],
  ...[preambleOf({ instance: 2n, attached: attached * SECOND_NS }), counted(4n), END],
];
const watching = (isGone: boolean) => [
  preambleOf(),
  ...[1n, 2n, 3n, 4n].map((second) => counted(second, isGone && second > 2n)),
  END,
];

test.each([
  ["gap", twoSensors(3n), twoSensors(1n)],
  ["sensor_silent", watching(true), watching(false)],
])("%s: with --strict, the end is code 4, though all counts are 0", async (type, capture, harmless) => {
  const told = await replay(capture);
  expect({ ...told, types: told.types.filter((one) => one !== "health") }).toEqual({
    types: [type],
    code: 0,
  });
  expect((await replay(capture, "--strict")).code).toBe(4);
  expect((await replay(harmless, "--strict")).code).toBe(0);
});

test("--strict does not hide why a replay ended: the code is that of the reason", async () => {
  const half = sampleCapture().subarray(0, 60_000);
  const codes = [[], ["--strict"]].map(async (args) => (await replay([half], ...args)).code);
  expect(await Promise.all(codes)).toEqual([3, 3]);
});

test("--strict objects to a record of running processes that does not decode", async () => {
  const capture = [preambleOf(), frameOf(FrameType.snapshot, entryOf(Buffer.alloc(200))), END];
  const codes = [[], ["--strict"]].map(async (args) => (await replay(capture, ...args)).code);
  expect(await Promise.all(codes)).toEqual([0, 4]);
});
