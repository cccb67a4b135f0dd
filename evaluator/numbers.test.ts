// A recorded stream whose numbers are larger: past what 32 bits hold, and past what a double holds exactly. Whatever comes of it
// is what comes of the recording itself, or a clear error.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CLOCK_FRAME,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  FORK_RECORD,
  FRAME_HEADER,
  KIND_COUNTERS,
  RECORD_HEADER,
  RecordKind,
  RING_ENTRY,
  Ring,
  readStreamPreamble,
  STREAM_PREAMBLE,
} from "../bpf/event.gen.ts";
import { sampleCapture, viewOf } from "../scripts/fuzz/stream.ts";
import { warder } from "../scripts/live/pair.ts";
import { FrameReader } from "./input/records.ts";

const RULES = join(import.meta.dir, "../rules");
const folder = mkdtempSync(join(tmpdir(), "warder-numbers-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What is added to sequence numbers, to positions in the rings, and to times of the boot clock; `bare`: without counters. */
type Shift = { sequence?: bigint; position?: bigint; time?: bigint; bare?: boolean };

/** The sample as a host would have sent it that has seen and done more before. */
function shifted({ sequence = 0n, position = 0n, time = 0n, bare = false }: Shift): Buffer {
  const capture = Buffer.from(sampleCapture());
  const { cpus } = readStreamPreamble(viewOf(capture), 0);
  const add = (bytes: DataView, at: number, number: bigint) =>
    bytes.setBigUint64(at, bytes.getBigUint64(at, true) + number, true);
  const frames = [...new FrameReader().push(capture)]
    .slice(1)
    .map(({ type, raw }) => ({ type, size: raw.length }));
  add(viewOf(capture), STREAM_PREAMBLE.at.attached, time);
  capture.writeUInt32LE(0, STREAM_PREAMBLE.at.checksums);
  const kept = [capture.subarray(0, STREAM_PREAMBLE.size)];
  let offset: number = STREAM_PREAMBLE.size;
  for (const { type, size } of frames) {
    const frame = viewOf(capture.subarray(offset, offset + size));
    const payload = viewOf(capture.subarray(offset + FRAME_HEADER.size, offset + size));
    frame.setUint32(FRAME_HEADER.at.checksum, 0, true);
    if (type === "records") add(frame, FRAME_HEADER.at.position, position);
    if (type === "records" || type === "snapshot") shiftRecords(payload);
    if (type === "clock") {
      add(payload, CLOCK_FRAME.at.time, time);
      add(payload, CLOCK_FRAME.at.wallOffset, -time);
    }
    if (type === "counters") shiftCounters(payload);
    if (type !== "counters" || !bare) kept.push(capture.subarray(offset, offset + size));
    offset += size;
  }
  return Buffer.concat(kept);

  function shiftRecords(payload: DataView): void {
    for (let at = 0; at < payload.byteLength; ) {
      const record = at + RING_ENTRY.size;
      const kind = payload.getUint16(record + RECORD_HEADER.at.kind, true);
      add(payload, record + RECORD_HEADER.at.sequence, sequence);
      const processes: number[] = [RECORD_HEADER.at.process, RECORD_HEADER.at.parent];
      if (kind === RecordKind.fork) processes.push(FORK_RECORD.at.creator);
      add(payload, record + RECORD_HEADER.at.time, time);
      // A process that the kernel could not tell has no time.
      for (const place of processes)
        if (payload.getBigUint64(record + place, true) !== 0n) add(payload, record + place, time);
      at = (record + payload.getUint32(at, true) + 7) & ~7;
    }
  }

  function shiftCounters(payload: DataView): void {
    add(payload, COUNTERS_FRAME.at.time, time);
    const { producerPosition, sentPosition, redeliverUntil } = COUNTERS_FRAME.at;
    for (const [ring, kind] of [
      [Ring.process, RecordKind.exec],
      [Ring.activity, RecordKind.fileOpen],
    ] as const) {
      for (const place of [producerPosition, sentPosition, redeliverUntil])
        add(payload, place + 8 * ring, position);
      for (let cpu = 0; cpu < cpus; cpu++) {
        const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size;
        const cell = row + CPU_COUNTERS.at.kinds + kind * KIND_COUNTERS.size;
        add(payload, row + CPU_COUNTERS.at.sequence + 8 * ring, sequence);
        for (const place of [KIND_COUNTERS.at.attempts, KIND_COUNTERS.at.submitted])
          add(payload, cell + place, sequence);
      }
    }
  }
}

async function replay(capture: Buffer): Promise<{ code: number; lines: string[]; stderr: string }> {
  const path = join(folder, "capture");
  writeFileSync(path, capture);
  const { code, stdout, stderr } = await warder(["replay", "--rules", RULES, "-o", "json", path]);
  return { code, lines: stdout.trim().split("\n"), stderr };
}

/** A line without what names this stretch of time and place in the stream. */
const plain = (line: string) =>
  line
    .replace(/,"since_attached":.*$/, "")
    .replace(/"(timestamp_ns|attached_ns)":\d+/, "")
    .replaceAll(/"(event_id|alert_id|process_id|parent_process_id|creator_process_id)":"[^"]*"/g, "");

/** The last part of the ids of events. */
const sequencesOf = (lines: string[]) =>
  lines.flatMap((line) => {
    const [, sequence] = /"event_id":"[^"]*-([0-9a-f]+)"/.exec(line) ?? [];
    return sequence === undefined ? [] : [BigInt(`0x${sequence}`)];
  });
const timesOf = (lines: string[]) => lines.map((line) => BigInt(/"timestamp_ns":(\d+)/.exec(line)?.[1] ?? 0));

const U32 = 2n ** 32n;
const DOUBLE = 2n ** 53n;
const whole = await replay(shifted({}));
/** So much less, that the limit is passed in the middle of the stream. */
const someSequences =
  (sequencesOf(whole.lines).reduce((most, one) => (one > most ? one : most), 0n) / 2n) | 1n;
const someTime = 15_000_000_000n;

describe("a stream that goes past", () => {
  test("nothing is the sample", () => {
    expect(whole.code).toBe(0);
    expect(whole.lines.length).toBeGreaterThan(500);
    expect(whole.lines.at(-1)).toContain('"unaccounted":0');
  });

  test.each([
    ["2^32 in its sequence numbers", { sequence: U32 - someSequences }],
    ["2^32 in its positions", { position: U32 - 4096n }],
    ["2^53 in its positions", { position: DOUBLE - 4096n }],
    ["2^63 in its positions", { position: 2n ** 63n - 4096n }],
    [
      "2^32 in all of them",
      { sequence: U32 - someSequences, position: U32 - 8n, time: U32 - someTime + (U32 << 2n) },
    ],
    ["2^53 in its times: 104 days of the boot clock", { time: DOUBLE - someTime }],
    ["2^63 in its times", { time: 2n ** 63n - 3n * someTime }],
  ])("%s has the events, alerts and sums of one that does not", async (_, shift: Shift) => {
    const { code, lines } = await replay(shifted(shift));
    expect(code).toBe(0);
    expect(lines.map(plain)).toEqual(whole.lines.map(plain));
    const { sequence = 0n, time = 0n } = shift;
    expect(sequencesOf(lines)).toEqual(sequencesOf(whole.lines).map((number) => number + sequence));
    expect(timesOf(lines)).toEqual(timesOf(whole.lines).map((number) => number + time));
  });

  test("2^53 in its sequence numbers is refused as soon as they are counted", async () => {
    const { code, lines, stderr } = await replay(shifted({ sequence: DOUBLE - someSequences }));
    expect(code).toBe(3);
    expect(stderr).toMatch(/counters that add up to \d+; at most 9007199254740991 can be/);
    expect(lines).toEqual([""]);
  });

  test("2^53 in its sequence numbers, and has no counters, has events whose ids are exact", async () => {
    const sequence = DOUBLE - someSequences;
    const [bare, { code, lines }] = [
      await replay(shifted({ bare: true })),
      await replay(shifted({ bare: true, sequence })),
    ];
    expect(code).toBe(0);
    expect(lines.map(plain)).toEqual(bare.lines.map(plain));
    expect(sequencesOf(lines)).toEqual(sequencesOf(bare.lines).map((number) => number + sequence));
  });
});
