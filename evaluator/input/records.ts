// Bytes to frames, and frames to records: one reader for socket, file and standard input. It checks every length, because
// past it they are facts. A bad byte stops the stream; a bad record is the decoder's business.

import { crc32 } from "node:zlib";
import {
  CLOCK_FRAME,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  CPUS_MAX,
  EVENT_ABI,
  FRAME_HEADER,
  FRAME_SIZE_MAX,
  type FrameHeader,
  FrameType,
  LOSER,
  type Loser,
  RECORD_SIZE_MAX,
  RING_ENTRY,
  Ring,
  readClockFrame,
  readFrameHeader,
  readStreamPreamble,
  STREAM_MAGIC,
  STREAM_PREAMBLE,
  type StreamPreamble,
  TAKEN_FRAME,
} from "../../bpf/event.gen.ts";
import { type Counters, readCounters, readLosers, readTaken, type Taken } from "./counters.ts";
import { COVERAGE_SIZE_MAX, type Coverage, readCoverage } from "./coverage.ts";

const LOOK_SIZE = 256;
const EXPECTED = 'expected what "warder record FILE" saves';

/** What bytes look like that are no stream, and where they belong. */
function lookOf(bytes: Buffer): string {
  const start = bytes.subarray(0, LOOK_SIZE).toString("latin1").trimStart();
  if (start.startsWith('{"')) return 'it holds JSON, as "warder run" writes it: "warder show" reads that';
  if (/^(#|\[\[?[a-z]+\]|[a-z_]+ *=)/.test(start))
    return "it looks like TOML: rules are given with --rules, settings with --config";
  return `it begins with other bytes: ${EXPECTED}`;
}

/** Bytes that are not a stream of this version. `offset` counts from the stream's first byte, after decompression. */
export class StreamError extends Error {
  constructor(
    readonly offset: number,
    reason: string,
  ) {
    super(`offset ${offset}: ${reason}`);
  }
}

/** One frame of a stream, checked. `raw` is all of it; its memory is valid until the next frame is asked for. */
export type Frame = { raw: Uint8Array } & (
  | { type: "preamble"; preamble: StreamPreamble }
  | { type: "records"; ring: number; position: bigint; more: boolean; bytes: Uint8Array }
  | { type: "snapshot"; bytes: Uint8Array }
  | { type: "coverage"; coverage: Coverage }
  | { type: "clock"; time: bigint; wallOffset: bigint }
  | { type: "counters"; counters: Counters }
  | { type: "losers"; losers: Loser[] }
  | { type: "taken"; taken: Taken }
  /** `cut`: of a capture whose stream ended without a word. */
  | { type: "end"; cut: boolean }
);

/** A frame of records from a ring, or a part of one. */
export type RecordsFrame = Extract<Frame, { type: "records" }>;

/** Records are read as words: where a frame of them begins in memory. Only frames of text have other sizes. */
const ALIGNMENT = 8;
/** Those whose losses a frame tells; the kernel side remembers fewer. */
const LOSERS_MAX = 1024;
/** Bytes that a reader holds at first; it grows to twice the longest frame that it meets. */
const READER_SIZE_MIN = 64 * 1024;
/** Bytes that a reader holds at most: a frame with the counters of a host of as many CPUs as can be. */
export const READER_SIZE_MAX = FRAME_HEADER.size + COUNTERS_FRAME.size + CPU_COUNTERS.size * CPUS_MAX;

/** Splits a stream into frames, whatever pieces it arrives in. */
export class FrameReader {
  /** Bytes of the stream that were read as whole frames. */
  offset = 0;
  private buffer = new Uint8Array(READER_SIZE_MIN);
  private start = 0;
  private end = 0;
  private preamble: StreamPreamble | null = null;
  private checksum = 0;
  private ended = false;

  /** Bytes of memory that the reader holds. */
  get capacity(): number {
    return this.buffer.length;
  }

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
        rest === 0
          ? `the stream is empty: ${EXPECTED}`
          : `not a Warder stream: it ends after ${rest} bytes: ${EXPECTED}`,
      );
    }
    if (rest > 0)
      throw new StreamError(this.offset, `the stream was cut: ${rest} bytes of a frame that is longer`);
    if (!this.ended) throw new StreamError(this.offset, "the stream was cut: it has no last frame");
  }

  /** Moves what is unread to the front. Returns how many bytes fit behind it: at least one frame was always whole. */
  private makeRoom(): number {
    if (this.end === this.buffer.length || this.start === this.end) {
      this.buffer.copyWithin(0, this.start, this.end);
      this.end -= this.start;
      this.start = 0;
    }
    return this.buffer.length - this.end;
  }

  private *completed(): Generator<Frame> {
    for (let frame = this.next(); frame; frame = this.next()) yield frame;
  }

  /** The next frame, when all of it is there. */
  private next(): Frame | null {
    // Streams may follow each other: a recording that outlived a sensor, or captures put together with cat.
    if (this.ended && this.end > this.start) {
      this.preamble = null;
      this.ended = false;
    }
    const { preamble } = this;
    if (!preamble) return this.readPreamble();
    const held = this.end - this.start;
    if (held < FRAME_HEADER.size) return null;
    const header = readFrameHeader(new DataView(this.buffer.buffer, this.start, FRAME_HEADER.size), 0);
    checkHeader(header, preamble.cpus, this.offset);
    const size = FRAME_HEADER.size + header.size;
    if (held < size) {
      // Twice, so that moving what is left of one frame costs no more than reading another.
      if (2 * size > this.buffer.length) this.grow(Math.min(2 * size, READER_SIZE_MAX));
      return null;
    }
    const whole = this.buffer.subarray(this.start, this.start + size);
    // Moving only this frame, never all that is held: there may be many of them.
    const raw = this.start % ALIGNMENT === 0 ? whole : whole.slice();
    this.verify(raw, header.checksum, preamble.checksums === 1);
    const frame = this.readFrame(header, raw, preamble.cpus);
    this.start += size;
    this.offset += size;
    return frame;
  }

  private grow(size: number): void {
    if (size <= this.buffer.length) return;
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
      const bytes = Buffer.from(this.buffer.buffer, this.start, size);
      throw new StreamError(this.offset, `not a Warder stream: ${lookOf(bytes)}`);
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

  private verify(raw: Uint8Array, expected: number, checksums: boolean): void {
    if (!checksums) {
      if (expected !== 0) throw new StreamError(this.offset, "a checksum where the stream has none");
      return;
    }
    this.checksum = frameChecksum(raw, this.checksum);
    if (this.checksum !== expected)
      throw new StreamError(this.offset, "the checksum is wrong: bytes were changed");
  }

  /** The frame of a header that was checked. */
  private readFrame({ type, ring, position, more }: FrameHeader, raw: Uint8Array, cpus: number): Frame {
    const { offset } = this;
    const bytes = raw.subarray(FRAME_HEADER.size);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const orFail = <Value>(value: Value | string): Value => {
      if (typeof value === "string") throw new StreamError(offset, value);
      return value;
    };
    switch (type as FrameType) {
      case FrameType.records:
        checkEntries(bytes, offset + FRAME_HEADER.size);
        return { type: "records", ring, position, more: more === 1, bytes, raw };
      case FrameType.snapshot:
        checkEntries(bytes, offset + FRAME_HEADER.size);
        return { type: "snapshot", bytes, raw };
      case FrameType.coverage:
        return { type: "coverage", coverage: orFail(readCoverage(bytes)), raw };
      case FrameType.clock:
        return { type: "clock", ...readClockFrame(view, 0), raw };
      case FrameType.counters:
        return { type: "counters", counters: orFail(readCounters(view, cpus)), raw };
      case FrameType.losers:
        return { type: "losers", losers: orFail(readLosers(view)), raw };
      case FrameType.taken:
        return { type: "taken", taken: orFail(readTaken(view, cpus)), raw };
      case FrameType.end:
        this.ended = true;
        return { type: "end", cut: more === 1, raw };
    }
  }
}

/** Can a frame begin like this? So a size is a fact before its bytes are waited for. */
function checkHeader({ type, ring, size, more }: FrameHeader, cpus: number, offset: number): void {
  const expect = (right: boolean, words: string) => {
    if (!right) throw new StreamError(offset, words);
  };
  const rows = cpus * CPU_COUNTERS.size;
  switch (type as FrameType) {
    case FrameType.records:
      expect(
        ring === Ring.process || ring === Ring.activity,
        `records of an unknown ring ${ring}; ${Ring.process} and ${Ring.activity} are known`,
      );
      expect(more <= 1, `the field "more" is ${more}, not 0 or 1`);
      return expect(size <= FRAME_SIZE_MAX, `a frame of ${size} bytes; at most ${FRAME_SIZE_MAX} can be`);
    case FrameType.snapshot:
      return expect(size <= FRAME_SIZE_MAX, `a frame of ${size} bytes; at most ${FRAME_SIZE_MAX} can be`);
    case FrameType.coverage:
      return expect(
        size <= COVERAGE_SIZE_MAX,
        `a coverage frame of ${size} bytes; at most ${COVERAGE_SIZE_MAX} can be`,
      );
    case FrameType.losers:
      return expect(
        size % LOSER.size === 0 && size <= LOSERS_MAX * LOSER.size,
        `losers of ${size} bytes; at most ${LOSERS_MAX} of ${LOSER.size} bytes each can be`,
      );
    case FrameType.clock:
      return expect(
        size === CLOCK_FRAME.size,
        `a clock frame of ${size} bytes; ${CLOCK_FRAME.size} were expected`,
      );
    case FrameType.counters:
      return expect(
        size === COUNTERS_FRAME.size + rows,
        `counters of ${size} bytes; ${COUNTERS_FRAME.size + rows} were expected for ${cpus} CPUs`,
      );
    case FrameType.taken:
      return expect(
        size === TAKEN_FRAME.size + rows,
        `counters that were taken of ${size} bytes; ${TAKEN_FRAME.size + rows} were expected for ${cpus} CPUs`,
      );
    case FrameType.end:
      expect(more <= 1, `the field "more" is ${more}, not 0 or 1`);
      return expect(size === 0, `a last frame of ${size} bytes; 0 were expected`);
    default:
      throw new StreamError(offset, `a frame of unknown type ${type}`);
  }
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

function checkEntries(bytes: Uint8Array, streamOffset: number): void {
  const words = wordsOf(bytes);
  let at = 0;
  while (at < bytes.length) {
    if (at + RING_ENTRY.size > bytes.length)
      throw new StreamError(streamOffset + at, "a record's length is cut");
    const length = words[at >>> 2] ?? BUSY;
    if (length >= BUSY)
      throw new StreamError(streamOffset + at, "a record that was not complete when it was sent");
    const size = length & ~DISCARDED;
    if (size > RECORD_SIZE_MAX) {
      throw new StreamError(
        streamOffset + at,
        `a record of ${size} bytes; at most ${RECORD_SIZE_MAX} can be`,
      );
    }
    const next = nextEntry(words, at);
    if (next > bytes.length)
      throw new StreamError(streamOffset + at, "a record that is longer than its frame");
    at = next;
  }
}

/** The entries of a frame as words: where it begins in memory, they can be read so. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
}

/** Where the entry behind the one at `at` begins. */
export function nextEntry(words: Uint32Array, at: number): number {
  return at + ((RING_ENTRY.size + ((words[at >>> 2] ?? 0) & ~DISCARDED) + 7) & ~7);
}

/** The entries of a frame from one place to another. */
export function partOf(frame: RecordsFrame, start: number, end: number): RecordsFrame {
  return { ...frame, bytes: frame.bytes.subarray(start, end), position: frame.position + BigInt(start) };
}
