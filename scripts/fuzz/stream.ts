// Streams made by hand, for tests and for the fuzzer: good records with other texts, frames around them, and the checksums that
// make a reader look further than the first changed bit.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, zstdDecompressSync } from "node:zlib";
import {
  type Bytes,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  type DecodedRecord,
  decodeRecord,
  EVENT_ABI,
  encodeRecord,
  FRAME_HEADER,
  FrameType,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RING_ENTRY,
  STREAM_MAGIC,
  STREAM_PREAMBLE,
  type StreamPreamble,
  writeFrameHeader,
  writeStreamPreamble,
} from "../../bpf/event.gen.ts";
import { FrameReader, frameChecksum } from "../../evaluator/input/records.ts";
import { RecordView } from "../../evaluator/input/view.ts";

/** A text of a record: its name, where the struct announces it, and whether it is a list. */
export type RecordText = { key: string; at: number; isList: boolean };

/** The texts that records of a kind have. */
export function textsOf(kind: DecodedRecord["kind"]): RecordText[] {
  const { at, variable, lists } = RECORD_LAYOUTS[kind];
  return Object.keys(variable).map((key) => ({
    key,
    at: (at as Record<string, number>)[key] ?? 0,
    isList: (lists as readonly string[]).includes(key),
  }));
}

/** The same record with other texts, by the names of their members; every text has the size that it says. */
export function withTexts(record: DecodedRecord, texts: Record<string, string>): Buffer {
  const changed: Record<string, unknown> = { ...record };
  for (const { key, isList } of textsOf(record.kind)) {
    const value = texts[key] as Bytes | undefined;
    if (value === undefined) continue;
    changed[key] = isList
      ? { head: value, tail: "", fullSize: value.length, count: 1 }
      : { bytes: value, fullSize: value.length };
  }
  return Buffer.from(encodeRecord(changed as DecodedRecord));
}

/** A record as it lies in a ring: behind its length, and filled up to a multiple of 8. */
export function entryOf(record: Uint8Array): Buffer {
  const entry = Buffer.alloc((RING_ENTRY.size + record.length + 7) & ~7);
  entry.writeUInt32LE(record.length, 0);
  entry.set(record, RING_ENTRY.size);
  return entry;
}

/** The first bytes of a stream of one CPU without checksums, but for what is asked for. */
export function preambleOf(values: Partial<StreamPreamble> = {}): Buffer {
  const bytes = Buffer.alloc(STREAM_PREAMBLE.size);
  writeStreamPreamble(viewOf(bytes), 0, {
    abi: EVENT_ABI,
    bootId: new Uint8Array(16).fill(0xb0),
    hostId: new Uint8Array(16).fill(0x40),
    instance: 1n,
    attached: 0n,
    cpus: 1,
    checksums: 0,
    ...values,
    magic: STREAM_MAGIC,
  });
  return bytes;
}

/** A frame around a payload. */
export function frameOf(
  type: number,
  payload: Uint8Array,
  { ring = 0, position = 0n, more = 0 } = {},
): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER.size + payload.length);
  writeFrameHeader(viewOf(bytes), 0, {
    type,
    ring,
    size: payload.length,
    position,
    checksum: 0,
    more,
  });
  bytes.set(payload, FRAME_HEADER.size);
  return bytes;
}

/** The payload of a counters frame in which nothing has been counted. */
export function countersOf(time: bigint, cpus = 1): Buffer {
  const bytes = Buffer.alloc(COUNTERS_FRAME.size + cpus * CPU_COUNTERS.size);
  // Whatever else the struct holds is zero.
  bytes.writeBigUInt64LE(time, COUNTERS_FRAME.at.time);
  return bytes;
}

/** The last frame of a stream. */
export const END = frameOf(FrameType.end, new Uint8Array());

/** Writes the checksums of frames that follow a preamble, as a capture has them, or takes them away. */
export function seal(preamble: Buffer, frames: Buffer[], checksums: boolean): void {
  preamble.writeUInt32LE(checksums ? 1 : 0, STREAM_PREAMBLE.at.checksums);
  let checksum = crc32(preamble);
  for (const frame of frames) {
    if (frame.length < FRAME_HEADER.size) continue;
    checksum = checksums ? frameChecksum(frame, checksum) : 0;
    frame.writeUInt32LE(checksum, FRAME_HEADER.at.checksum);
  }
}

/** The sample capture of the project, decompressed. */
export function sampleCapture(): Buffer {
  return zstdDecompressSync(readFileSync(join(import.meta.dir, "../sample.capture.zst")));
}

/** The first record of a kind, of those that `recordsOf` has found; empty when there is none. */
export function firstOf(records: ReadonlyMap<number, Buffer[]>, kind: number): Buffer {
  return records.get(kind)?.[0] ?? Buffer.alloc(0);
}

/** The records of a capture, by kind. */
export function recordsOf(capture: Uint8Array): Map<number, Buffer[]> {
  const records = new Map<number, Buffer[]>();
  const view = new RecordView();
  for (const frame of new FrameReader().push(capture)) {
    if (frame.type !== "records" && frame.type !== "snapshot") continue;
    for (view.open(frame.bytes); view.advance(); ) {
      const record = Buffer.from(view.bytes.subarray(view.start, view.start + view.size));
      const kind = record.readUInt16LE(RECORD_HEADER.at.kind);
      records.set(kind, [...(records.get(kind) ?? []), record]);
    }
  }
  return records;
}

/** A whole record as an object. @throws DecodeError */
export function decoded(record: Buffer): DecodedRecord {
  return decodeRecord(viewOf(record), record, 0, record.length);
}

/** The payload of the first coverage frame of a capture. */
export function coverageOf(capture: Uint8Array): Buffer {
  for (const frame of new FrameReader().push(capture))
    if (frame.type === "coverage") return Buffer.from(frame.raw.subarray(FRAME_HEADER.size));
  throw new Error("the capture has no coverage frame");
}

/** A view of the same memory. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
