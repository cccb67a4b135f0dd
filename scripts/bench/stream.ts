#!/usr/bin/env bun
// Makes a stream of any length, the same one every time: processes that live long and short ones that come and go, what they
// do to files and on the network, and counters that add up. For measurements; `bun scripts/bench/stream.ts > FILE`.

import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { crc32 } from "node:zlib";
import {
  COUNTERS_FRAME,
  CPU_COUNTERS,
  type DecodedRecord,
  EVENT_ABI,
  encodeRecord,
  FORK_RECORD,
  FRAME_HEADER,
  FrameType,
  KIND_COUNTERS,
  KINDS_MAX,
  PROCESS_KEY,
  RECORD_HEADER,
  RecordKind,
  RING_ENTRY,
  RINGS_MAX,
  Ring,
  STREAM_MAGIC,
  STREAM_PREAMBLE,
  writeClockFrame,
  writeCountersFrame,
  writeFrameHeader,
  writeStreamPreamble,
} from "../../bpf/event.gen.ts";
import { ringOf } from "../../bpf/kinds.ts";
import { frameChecksum } from "../../evaluator/input/records.ts";
import {
  type Actor,
  ALIKE_EVERY,
  actors,
  CPUS,
  execOf,
  INIT,
  numbers,
  OTHERS,
  roundOf,
  START_NS,
  STEP_NS,
} from "./round.ts";

/** What a stream holds. */
type StreamShape = {
  /** Rounded up to whole rounds of some thousand. */
  events: number;
  /** Processes that run all the time. */
  processes: number;
  /** Of these, so many act, each as often as any other; a multiple of ten. */
  acting: number;
  /** Bytes of an average path. */
  pathSize: number;
  /** As in a capture; a socket has none. */
  checksums: boolean;
};

/** The usual one: what a host of middling size does. */
const USUAL = { events: 1_000_000, processes: 500, pathSize: 45 };

const FRAME_SIZE = 256 * 1024;
const COUNTERS_EVERY_NS = 1_000_000_000n;
const WALL_OFFSET = 1_790_000_000_000_000_000n;

/** In the next round, each act is by the process that comes so many after. With this number, it takes long until one comes again. */
const TURN = ALIKE_EVERY * 7919;

/** In words. */
const KEY = { tgid: PROCESS_KEY.at.tgid / 4, start: PROCESS_KEY.at.startTime / 4 };
const zeros = (length: number) => Array.from({ length }, () => 0);

/**
 * A frame whose records can be moved to the next round: places of 64-bit numbers, and what to add to each; and places of the keys of
 * processes that run all the time, each with the place of a thread's number that moves with it (0: none). All in words.
 */
type Template = {
  bytes: Uint8Array;
  ring: Ring;
  position: bigint;
  places: Uint32Array;
  steps: Float64Array;
  keys: Uint32Array;
  tids: Uint32Array;
};

/** Lays records out as a sensor sends them, in rounds: first what is in the process ring, then what is in the other one. */
class Layout {
  readonly frames: Template[];
  /** Records of a round by CPU and kind, and by CPU and ring; bytes by ring. */
  readonly counts = Array.from({ length: CPUS }, () => zeros(KINDS_MAX));
  readonly numbers = Array.from({ length: CPUS }, () => zeros(RINGS_MAX));
  readonly sizes = zeros(RINGS_MAX);
  private readonly closed: Pick<Template, "bytes" | "ring" | "position">[] = [];
  private readonly open = [Ring.process, Ring.activity].map(() => ({ parts: [] as Uint8Array[], size: 0 }));

  constructor(
    records: DecodedRecord[],
    private readonly durationNs: bigint,
  ) {
    for (const [i, record] of records.entries()) {
      const { header, kind } = record;
      const ring = ringOf(kind);
      const row = this.numbers[header.cpu] as number[];
      header.sequence = BigInt(row[ring] ?? 0);
      header.time = START_NS + BigInt(i) * STEP_NS;
      row[ring] = (row[ring] ?? 0) + 1;
      const counts = this.counts[header.cpu] as number[];
      counts[kind] = (counts[kind] ?? 0) + 1;
      this.add(ring, encodeRecord(record));
    }
    this.close(Ring.process);
    this.close(Ring.activity);
    // How many numbers a round takes is known by now.
    this.frames = this.closed.map((frame) => ({ ...frame, ...this.placesIn(frame) }));
  }

  private add(ring: Ring, record: Uint8Array): void {
    const entry = new Uint8Array((RING_ENTRY.size + record.length + 7) & ~7);
    new DataView(entry.buffer).setUint32(RING_ENTRY.at.size, record.length, true);
    entry.set(record, RING_ENTRY.size);
    const open = this.open[ring];
    if (!open) throw new Error(`no ring ${ring}`);
    if (open.size + entry.length > FRAME_SIZE) {
      this.close(Ring.process);
      if (ring === Ring.activity) this.close(Ring.activity);
    }
    open.parts.push(entry);
    open.size += entry.length;
  }

  private close(ring: Ring): void {
    const open = this.open[ring];
    if (!open || open.size === 0) return;
    const position = BigInt(this.sizes[ring] ?? 0);
    const more = Number(ring === Ring.process);
    const bytes = frameOf(FrameType.records, Buffer.concat(open.parts), { ring, position, more });
    this.closed.push({ bytes, ring, position });
    this.sizes[ring] = (this.sizes[ring] ?? 0) + open.size;
    open.parts = [];
    open.size = 0;
  }

  private placesIn({
    bytes,
    ring,
  }: Pick<Template, "bytes" | "ring">): Omit<Template, "bytes" | "ring" | "position"> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const found: [place: number, step: number][] = [];
    const turning: [key: number, tid: number][] = [];
    const { process, parent, tid, kind, cpu, sequence, time } = RECORD_HEADER.at;
    const { creator, creatorTid } = FORK_RECORD.at;
    for (let at: number = FRAME_HEADER.size; at < view.byteLength; ) {
      const record = at + RING_ENTRY.size;
      const keys: [key: number, tid: number][] = [
        [process, tid],
        [parent, 0],
      ];
      if (view.getUint16(record + kind, true) === RecordKind.fork) keys.push([creator, creatorTid]);
      const each = this.numbers[view.getUint16(record + cpu, true)]?.[ring] ?? 0;
      found.push([record + sequence, each], [record + time, Number(this.durationNs)]);
      for (const [key, thread] of keys) {
        const start = view.getBigUint64(record + key + PROCESS_KEY.at.startTime, true);
        // A start time within the round is that of a short life: another process in every round.
        if (start >= START_NS) found.push([record + key + PROCESS_KEY.at.startTime, Number(this.durationNs)]);
        else if (start >= OTHERS.startNs) turning.push([record + key, thread && record + thread]);
      }
      at = record + ((view.getUint32(at, true) + 7) & ~7);
    }
    return {
      places: Uint32Array.from(found, ([place]) => place / 4),
      steps: Float64Array.from(found, ([, step]) => step),
      keys: Uint32Array.from(turning, ([key]) => key / 4),
      tids: Uint32Array.from(turning, ([, thread]) => thread / 4),
    };
  }
}

function frameOf(
  type: FrameType,
  payload: Uint8Array,
  { ring = 0, position = 0n, more = 0 } = {},
): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER.size + payload.length);
  frame.set(payload, FRAME_HEADER.size);
  const size = payload.length;
  const header = { type, ring, size, position, checksum: 0, more };
  writeFrameHeader(new DataView(frame.buffer), 0, header);
  return frame;
}

/** Moves the frame's records to the next round, and the frame itself in its ring. */
function advance(frame: Template, size: number, acting: number): void {
  const words = new Uint32Array(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength >>> 2);
  const { places, steps, keys, tids } = frame;
  for (let i = 0; i < places.length; i++) {
    const place = places[i] ?? 0;
    const low = (words[place] ?? 0) + (steps[i] ?? 0);
    words[place] = low;
    words[place + 1] = (words[place + 1] ?? 0) + Math.floor(low / 2 ** 32);
  }
  for (let i = 0; i < keys.length; i++) {
    const [key, tid] = [keys[i] ?? 0, tids[i] ?? 0];
    const before = (words[key + KEY.tgid] ?? 0) - OTHERS.tgid;
    const after = (before + TURN) % acting;
    const start = OTHERS.startNs + after * OTHERS.stepNs;
    words[key + KEY.tgid] = OTHERS.tgid + after;
    words[key + KEY.start] = start;
    words[key + KEY.start + 1] = Math.floor(start / 2 ** 32);
    if (tid > 0) words[tid] = (words[tid] ?? 0) + after - before;
  }
  frame.position += BigInt(size);
  new DataView(frame.bytes.buffer, frame.bytes.byteOffset).setBigUint64(
    FRAME_HEADER.at.position,
    frame.position,
    true,
  );
}

/** What the kernel has counted after so many rounds. */
function countersFrame(layout: Layout, rounds: number, time: bigint): Uint8Array {
  const payload = new Uint8Array(COUNTERS_FRAME.size + CPUS * CPU_COUNTERS.size);
  const view = new DataView(payload.buffer);
  const none = Array.from({ length: KINDS_MAX }, () => 0n);
  const positions = layout.sizes.map((size) => BigInt(size) * BigInt(rounds));
  const nowhere = positions.map(() => 0n);
  writeCountersFrame(view, 0, {
    ...{ time, producerPosition: positions, sentPosition: positions, redeliverUntil: nowhere },
    ...{ waiting: nowhere, refused: 0n },
    ...{ tampered: 0, detached: [0, 0, 0, 0], abandoned: 0, missed: none, canaries: none },
  });
  for (let cpu = 0; cpu < CPUS; cpu++) {
    const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size;
    layout.numbers[cpu]?.forEach((count, ring) =>
      view.setBigUint64(row + CPU_COUNTERS.at.sequence + ring * 8, BigInt(count * rounds), true),
    );
    layout.counts[cpu]?.forEach((count, kind) => {
      const cell = row + CPU_COUNTERS.at.kinds + kind * KIND_COUNTERS.size;
      view.setBigUint64(cell + KIND_COUNTERS.at.attempts, BigInt(count * rounds), true);
      view.setBigUint64(cell + KIND_COUNTERS.at.submitted, BigInt(count * rounds), true);
    });
  }
  return frameOf(FrameType.counters, payload);
}

function* snapshotFrames(all: Actor[]): Generator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let size = 0;
  for (const actor of all) {
    const record = encodeRecord(execOf(actor, "snapshot", 0));
    const entry = new Uint8Array((RING_ENTRY.size + record.length + 7) & ~7);
    new DataView(entry.buffer).setUint32(RING_ENTRY.at.size, record.length, true);
    entry.set(record, RING_ENTRY.size);
    if (size + entry.length > FRAME_SIZE) {
      yield frameOf(FrameType.snapshot, Buffer.concat(parts));
      parts = [];
      size = 0;
    }
    parts.push(entry);
    size += entry.length;
  }
  yield frameOf(FrameType.snapshot, Buffer.concat(parts));
}

/** The stream in pieces: its preamble, then frame by frame. A piece's memory is valid until the next is asked for. */
export function* makeStream(shape: StreamShape): Generator<Uint8Array> {
  const random = numbers(2_463_534_242);
  const others = actors(shape.processes);
  if (shape.acting % ALIKE_EVERY !== 0) throw new Error(`${shape.acting} processes: not a multiple of ten`);
  const records = roundOf(random, others.slice(0, shape.acting), shape.pathSize);
  const durationNs = BigInt(records.length) * STEP_NS;
  const layout = new Layout(records, durationNs);

  const preamble = new Uint8Array(STREAM_PREAMBLE.size);
  writeStreamPreamble(new DataView(preamble.buffer), 0, {
    ...{ magic: STREAM_MAGIC, abi: EVENT_ABI, cpus: CPUS, checksums: shape.checksums ? 1 : 0 },
    ...{ bootId: new Uint8Array(16).fill(0xb0), hostId: new Uint8Array(16).fill(0x40) },
    ...{ instance: 1n, attached: START_NS - 1_000_000n },
  });
  let checksum = crc32(preamble);
  const checked = (frame: Uint8Array): Uint8Array => {
    if (!shape.checksums) return frame;
    checksum = frameChecksum(frame, checksum);
    new DataView(frame.buffer, frame.byteOffset).setUint32(FRAME_HEADER.at.checksum, checksum, true);
    return frame;
  };

  yield preamble;
  const clock = new Uint8Array(16);
  writeClockFrame(new DataView(clock.buffer), 0, { time: START_NS - 500_000n, wallOffset: WALL_OFFSET });
  yield checked(frameOf(FrameType.clock, clock));
  yield checked(frameOf(FrameType.coverage, Buffer.from('{"events":{}}')));
  yield checked(countersFrame(layout, 0, START_NS - 1n));
  for (const frame of snapshotFrames([INIT, ...others])) yield checked(frame);
  const rounds = Math.ceil(shape.events / records.length);
  let counted = START_NS;
  for (let round = 1; round <= rounds; round++) {
    for (const frame of layout.frames) {
      yield checked(frame.bytes);
      advance(frame, layout.sizes[frame.ring] ?? 0, shape.acting);
    }
    const time = START_NS + BigInt(round) * durationNs;
    if (time - counted < COUNTERS_EVERY_NS) continue;
    counted = time;
    yield checked(countersFrame(layout, round, time));
  }
  const end = START_NS + BigInt(rounds) * durationNs;
  yield checked(countersFrame(layout, rounds, end + 1n));
  yield checked(countersFrame(layout, rounds, end + 2n));
  yield checked(frameOf(FrameType.end, new Uint8Array(0)));
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      events: { type: "string", default: String(USUAL.events) },
      processes: { type: "string", default: String(USUAL.processes) },
      acting: { type: "string" },
      "path-size": { type: "string", default: String(USUAL.pathSize) },
      "without-checksums": { type: "boolean", default: false },
    },
  });
  const pieces = makeStream({
    events: Number(values.events),
    processes: Number(values.processes),
    acting: Number(values.acting ?? values.processes),
    pathSize: Number(values["path-size"]),
    checksums: !values["without-checksums"],
  });
  for (const piece of pieces) for (let at = 0; at < piece.length; ) at += writeSync(1, piece, at);
}
