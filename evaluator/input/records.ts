// Bytes to frames, and frames to records: one reader for socket, file and standard input. It checks every length, because
// past it they are facts. A bad byte stops the stream; a bad record is the decoder's business.

import { crc32 } from "node:zlib";
import {
  CLOCK_FRAME,
  COUNTERS_FRAME,
  type CountersFrame,
  CPU_COUNTERS,
  CPUS_MAX,
  EVENT_ABI,
  FRAME_HEADER,
  FRAME_SIZE_MAX,
  type FrameHeader,
  FrameType,
  KIND_COUNTERS,
  type KindCounters,
  LOSER,
  type Loser,
  RECORD_SIZE_MAX,
  RING_ENTRY,
  RINGS_MAX,
  Ring,
  readClockFrame,
  readCountersFrame,
  readFrameHeader,
  readKindCounters,
  readLoser,
  readStreamPreamble,
  STREAM_MAGIC,
  STREAM_PREAMBLE,
  type StreamPreamble,
} from "../../bpf/event.gen.ts";

/** Bytes that are not a stream of this version. `offset` counts from the stream's first byte, after decompression. */
export class StreamError extends Error {
  constructor(
    readonly offset: number,
    reason: string,
  ) {
    super(`offset ${offset}: ${reason}`);
  }
}

/** What the kernel had counted at boot time `time`, ns, and what the sensor has found; as in struct counters_frame. */
export type Counters = CountersFrame & {
  /** The next sequence number, by CPU and ring. */
  sequences: bigint[][];
  /** By CPU and kind, as the kernel keeps them; only kinds that moved are listed. */
  cells: { cpu: number; kind: number; counters: KindCounters }[];
};

/** One frame of a stream, checked. `raw` is all of it; its memory is valid until the next frame is asked for. */
export type Frame = { raw: Uint8Array } & (
  | { type: "preamble"; preamble: StreamPreamble }
  | { type: "records"; ring: number; position: bigint; bytes: Uint8Array }
  | { type: "snapshot"; bytes: Uint8Array }
  | { type: "coverage"; coverage: Record<string, unknown> }
  | { type: "clock"; time: bigint; wallOffset: bigint }
  | { type: "counters"; counters: Counters }
  | { type: "losers"; losers: Loser[] }
  | { type: "end" }
);

/** Where a frame begins in memory, so that records can be read as words; only frames of text have other sizes. */
const ALIGNMENT = 8;
const CELLS_MAX = CPU_COUNTERS.size * CPUS_MAX;

/** Splits a stream into frames, whatever pieces it arrives in. */
export class FrameReader {
  /** Bytes of the stream that were read as whole frames. */
  offset = 0;
  private buffer = new Uint8Array(2 * FRAME_SIZE_MAX);
  private start = 0;
  private end = 0;
  private preamble: StreamPreamble | null = null;
  private checksum = 0;
  private ended = false;

  /**
   * Takes the next piece and gives the frames that it completes.
   * @throws StreamError at the first byte that cannot be; all frames before it have been given
   */
  *push(piece: Uint8Array): Generator<Frame> {
    for (let taken = 0; taken < piece.length; ) {
      const part = piece.subarray(taken, taken + this.makeRoom());
      this.buffer.set(part, this.end);
      this.end += part.length;
      taken += part.length;
      yield* this.completed();
    }
  }

  /**
   * Says that no more bytes come.
   * @throws StreamError when the stream was cut: within a frame, or without its last one
   */
  finish(): void {
    const rest = this.end - this.start;
    if (!this.preamble) {
      throw new StreamError(
        this.offset,
        rest === 0 ? "the stream is empty" : `not a Warder stream: it ends after ${rest} bytes`,
      );
    }
    if (rest > 0)
      throw new StreamError(this.offset, `the stream was cut: ${rest} bytes of a frame that is longer`);
    if (!this.ended) throw new StreamError(this.offset, "the stream was cut: it has no last frame");
  }

  /** Moves what is unread to the front. Returns how many bytes fit behind it: at least one frame was always whole. */
  private makeRoom(): number {
    if (this.end === this.buffer.length || this.start === this.end) this.moveToFront();
    return this.buffer.length - this.end;
  }

  private moveToFront(): void {
    this.buffer.copyWithin(0, this.start, this.end);
    this.end -= this.start;
    this.start = 0;
  }

  private *completed(): Generator<Frame> {
    if (!this.preamble) {
      const preamble = this.readPreamble();
      if (!preamble) return;
      yield preamble;
    }
    for (;;) {
      if (this.start % ALIGNMENT !== 0) this.moveToFront();
      const view = new DataView(this.buffer.buffer, this.start, this.end - this.start);
      if (this.ended && view.byteLength > 0) {
        // Streams may follow each other: a recording that outlived a sensor, or captures put together with cat.
        this.preamble = null;
        this.ended = false;
        yield* this.completed();
        return;
      }
      if (view.byteLength < FRAME_HEADER.size) return;
      const header = readFrameHeader(view, 0);
      if (header.size > FRAME_SIZE_MAX + CELLS_MAX) {
        throw new StreamError(
          this.offset,
          `a frame of ${header.size} bytes; at most ${FRAME_SIZE_MAX} can be`,
        );
      }
      const size = FRAME_HEADER.size + header.size;
      if (view.byteLength < size) {
        if (size > this.buffer.length) this.grow(size);
        return;
      }
      const raw = this.buffer.subarray(this.start, this.start + size);
      this.verify(raw, header.checksum);
      const frame = this.readFrame(header, raw);
      this.start += size;
      this.offset += size;
      yield frame;
    }
  }

  /** Only the counters of a host with very many CPUs need more than the usual. */
  private grow(size: number): void {
    const buffer = new Uint8Array(size);
    buffer.set(this.buffer.subarray(this.start, this.end));
    this.buffer = buffer;
    this.end -= this.start;
    this.start = 0;
  }

  private readPreamble(): Frame | null {
    const size = this.end - this.start;
    const known = Math.min(size, STREAM_MAGIC.length);
    const magic = Buffer.from(this.buffer.buffer, this.start, known).toString("latin1");
    if (magic !== STREAM_MAGIC.slice(0, known)) {
      throw new StreamError(this.offset, "not a Warder stream: it begins with other bytes");
    }
    if (size < STREAM_PREAMBLE.size) return null;
    const preamble = readStreamPreamble(new DataView(this.buffer.buffer, this.start), 0);
    if (preamble.abi !== EVENT_ABI) {
      const shown = /^[0-9a-f]{32}$/.test(preamble.abi) ? preamble.abi : "not readable";
      throw new StreamError(
        this.offset + STREAM_MAGIC.length,
        `the event ABI of the stream is ${shown}, this evaluator reads ${EVENT_ABI}: use the version that wrote it`,
      );
    }
    if (preamble.cpus === 0 || preamble.cpus > CPUS_MAX)
      throw new StreamError(this.offset, `${preamble.cpus} CPUs cannot be`);
    if (preamble.checksums > 1)
      throw new StreamError(this.offset, `the field "checksums" is ${preamble.checksums}, not 0 or 1`);
    const raw = this.buffer.subarray(this.start, this.start + STREAM_PREAMBLE.size);
    this.checksum = crc32(raw);
    this.preamble = preamble;
    this.start += raw.length;
    this.offset += raw.length;
    return { type: "preamble", preamble, raw };
  }

  private verify(raw: Uint8Array, expected: number): void {
    if (this.preamble?.checksums === 0) {
      if (expected !== 0) throw new StreamError(this.offset, "a checksum where the stream has none");
      return;
    }
    this.checksum = frameChecksum(raw, this.checksum);
    if (this.checksum !== expected)
      throw new StreamError(this.offset, "the checksum is wrong: bytes were changed");
  }

  private readFrame({ type, ring, position }: FrameHeader, raw: Uint8Array): Frame {
    const { offset } = this;
    const bytes = raw.subarray(FRAME_HEADER.size);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    switch (type) {
      case FrameType.records:
        if (ring !== Ring.process && ring !== Ring.activity)
          throw new StreamError(offset, `records of an unknown ring ${ring}`);
        checkEntries(view, offset + FRAME_HEADER.size);
        return { type: "records", ring, position, bytes, raw };
      case FrameType.snapshot:
        checkEntries(view, offset + FRAME_HEADER.size);
        return { type: "snapshot", bytes, raw };
      case FrameType.coverage:
        return { type: "coverage", coverage: readCoverage(bytes, offset), raw };
      case FrameType.clock:
        if (bytes.length !== CLOCK_FRAME.size)
          throw new StreamError(offset, `a clock frame of ${bytes.length} bytes`);
        return { type: "clock", ...readClockFrame(view, 0), raw };
      case FrameType.counters:
        return { type: "counters", counters: this.readCounters(view), raw };
      case FrameType.losers:
        return { type: "losers", losers: readLosers(view, offset), raw };
      case FrameType.end:
        if (bytes.length > 0) throw new StreamError(offset, `a last frame of ${bytes.length} bytes`);
        this.ended = true;
        return { type: "end", raw };
      default:
        throw new StreamError(offset, `a frame of unknown type ${type}`);
    }
  }

  private readCounters(view: DataView): Counters {
    const cpus = this.preamble?.cpus ?? 0;
    const size = COUNTERS_FRAME.size + cpus * CPU_COUNTERS.size;
    if (view.byteLength !== size) {
      throw new StreamError(
        this.offset,
        `counters of ${view.byteLength} bytes; ${size} were expected for ${cpus} CPUs`,
      );
    }
    const sequences: bigint[][] = [];
    const cells: Counters["cells"] = [];
    for (let cpu = 0; cpu < cpus; cpu++) {
      const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size;
      const rings = Array.from({ length: RINGS_MAX }, (_, ring) => row + CPU_COUNTERS.at.sequence + ring * 8);
      sequences.push(rings.map((at) => view.getBigUint64(at, true)));
      const kinds = row + CPU_COUNTERS.at.kinds;
      for (let kind = 0; kinds + (kind + 1) * KIND_COUNTERS.size <= row + CPU_COUNTERS.size; kind++) {
        const counters = readKindCounters(view, kinds + kind * KIND_COUNTERS.size);
        if (counters.attempts || counters.filtered) cells.push({ cpu, kind, counters });
      }
    }
    return { ...readCountersFrame(view, 0), sequences, cells };
  }
}

function readLosers(view: DataView, offset: number): Loser[] {
  if (view.byteLength % LOSER.size !== 0) {
    throw new StreamError(
      offset,
      `a frame of losers of ${view.byteLength} bytes; they have ${LOSER.size} each`,
    );
  }
  return Array.from({ length: view.byteLength / LOSER.size }, (_, i) => readLoser(view, i * LOSER.size));
}

/** The checksum of a stream that had `previous` before this frame. The frame's own checksum counts as zero. */
export function frameChecksum(raw: Uint8Array, previous: number): number {
  const at = FRAME_HEADER.at.checksum;
  return crc32(raw.subarray(at + 4), crc32(ZERO, crc32(raw.subarray(0, at), previous)));
}

const ZERO = new Uint8Array(4);
const BUSY = 0x8000_0000;
/** Bit 30 of an entry's length: its record was given up. */
export const DISCARDED = 0x4000_0000;

function checkEntries(view: DataView, streamOffset: number): void {
  let at = 0;
  while (at < view.byteLength) {
    if (at + RING_ENTRY.size > view.byteLength)
      throw new StreamError(streamOffset + at, "a record's length is cut");
    const length = view.getUint32(at, true);
    if (length >= BUSY)
      throw new StreamError(streamOffset + at, "a record that was not complete when it was sent");
    const size = length & ~DISCARDED;
    if (size > RECORD_SIZE_MAX) {
      throw new StreamError(
        streamOffset + at,
        `a record of ${size} bytes; at most ${RECORD_SIZE_MAX} can be`,
      );
    }
    at += (RING_ENTRY.size + size + 7) & ~7;
    if (at > view.byteLength)
      throw new StreamError(streamOffset + at, "a record that is longer than its frame");
  }
}

function readCoverage(bytes: Uint8Array, offset: number): Record<string, unknown> {
  try {
    const coverage: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof coverage === "object" && coverage !== null && !Array.isArray(coverage)) {
      return coverage as Record<string, unknown>;
    }
  } catch {
    // Said below.
  }
  throw new StreamError(offset, "a coverage frame that is not a JSON object");
}
