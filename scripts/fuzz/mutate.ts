// What is done to good bytes: changes that know nothing of the layout, and changes that do. All of them take their choices
// from a Random, so that the same seed gives the same bytes.

import {
  CLOCK_FRAME,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  type DecodedRecord,
  FRAME_HEADER,
  FrameType,
  LOSER,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RecordKind,
  RING_ENTRY,
  STREAM_PREAMBLE,
  TAKEN_FRAME,
} from "../../bpf/event.gen.ts";
import type { Random } from "./random.ts";
import {
  countersOf,
  coverageOf,
  decoded,
  END,
  entryOf,
  frameOf,
  preambleOf,
  type RecordText,
  recordsOf,
  seal,
  textsOf,
  withTexts,
} from "./stream.ts";

/** A good record to begin with. */
export type Seed = { bytes: Buffer; record: DecodedRecord; texts: RecordText[]; fixedSize: number };

/** Good bytes to begin with: records of every kind, and a coverage frame's payload. */
export type Seeds = { records: Seed[]; coverage: Buffer };

/** A few records of each kind, of different sizes. Kinds that the capture lacks borrow the records of their layout. */
export function seedsOf(capture: Uint8Array): Seeds {
  const byKind = recordsOf(capture);
  for (const kind of KINDS) {
    const like = KINDS.find((other) => byKind.has(other) && RECORD_LAYOUTS[other] === RECORD_LAYOUTS[kind]);
    const lent = (like === undefined ? undefined : byKind.get(like)) ?? [];
    if (!byKind.has(kind))
      byKind.set(
        kind,
        lent.map((bytes) => {
          const copy = Buffer.from(bytes);
          copy.writeUInt16LE(kind, RECORD_HEADER.at.kind);
          return copy;
        }),
      );
  }
  const records = [...byKind.values()].flatMap((list) => {
    const step = Math.ceil(list.length / RECORDS_OF_A_KIND);
    return list.filter((_, i) => i % step === 0).map(seedOf);
  });
  return { records, coverage: coverageOf(capture) };
}

function seedOf(bytes: Buffer): Seed {
  const record = decoded(bytes);
  return { bytes, record, texts: textsOf(record.kind), fixedSize: RECORD_LAYOUTS[record.kind].size };
}

const RECORDS_OF_A_KIND = 6;
const KINDS = Object.values(RecordKind);
/** Lengths and numbers at which code goes wrong. */
const EDGES = [
  ...[0, 1, 7, 8, 9, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x1_0001],
  ...[0x10_0000, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff],
] as const;
const WIDE_EDGES = [
  ...[0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n],
  ...[2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 8n, 2n ** 64n - 1n],
] as const;
/** Bytes that steer terminals, end lines and strings, or are no UTF-8. */
const HOSTILE_TEXTS = [
  ...["\0", "\n", "\r\n", "\x1b[31m", "\x7f", "\xc2\x9b", '"', '","a":"', "\\", "\\u0000", "\\x5c", "'"],
  ...["\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6", "\xef\xbb\xbf", "\xff", "\xc0\xaf", "\xed\xa0\x80"],
  ...["\xf4\x90\x80\x80", "\xf0\x9f\x92\xa9", "/", "/../", "*", "\0\0\0\0"],
].map((text) => Buffer.from(text, "latin1"));

/** Changes a few bytes of `size` at `at`, knowing nothing of what they mean. */
function mutateBytes(random: Random, bytes: Buffer, at: number, size: number): void {
  if (size === 0) return;
  const where = at + random.below(size);
  const aligned = at + (random.below(size) & ~3);
  switch (random.below(7)) {
    case 0:
      bytes[where] = (bytes[where] ?? 0) ^ (1 << random.below(8));
      break;
    case 1:
      bytes[where] = random.next() & 0xff;
      break;
    case 2:
      if (aligned + 4 <= at + size) bytes.writeUInt32LE(random.pick(EDGES), aligned);
      break;
    case 3:
      if (aligned + 8 <= at + size) bytes.writeBigUInt64LE(random.pick(WIDE_EDGES), aligned);
      break;
    case 4:
      if (aligned + 4 <= at + size)
        bytes.writeUInt32LE((bytes.readUInt32LE(aligned) + random.below(17) - 8) >>> 0, aligned);
      break;
    case 5: {
      const length = random.below(Math.min(64, at + size - where));
      bytes.copyWithin(where, at + random.below(size - length), where + length);
      break;
    }
    default: {
      const text = random.pick(HOSTILE_TEXTS);
      text.copy(bytes, where, 0, Math.min(text.length, at + size - where));
    }
  }
}

/**
 * Changes the record of `size` bytes at `at` of `bytes`, with what is known of its layout. Returns its new size; there must be
 * room for 64 bytes more.
 */
export function mutateRecord(
  random: Random,
  { texts, fixedSize }: Seed,
  bytes: Buffer,
  at: number,
  size: number,
): number {
  const text = random.pick(texts);
  const field = at + text.at;
  switch (random.below(8)) {
    case 0:
      bytes.writeUInt16LE(
        random.once(8) ? random.below(0x1_0000) : random.pick(KINDS),
        at + RECORD_HEADER.at.kind,
      );
      return size;
    case 1:
      return random.once(4) ? random.below(size + 1) : Math.max(0, size - 1 - random.below(16));
    case 2:
      return size + 1 + random.below(63);
    case 3:
      bytes.writeUInt32LE(edgeNear(random, size), field + 4 * random.below(text.isList ? 4 : 2));
      return size;
    case 4: {
      // One text takes bytes from another: all sizes still add up, and every text lies elsewhere.
      const other = random.pick(texts);
      if (text === other) return size;
      const moved = 1 + random.below(16);
      for (const [member, change] of [
        [text, moved],
        [other, -moved],
      ] as const)
        for (const offset of member.isList ? [0, 8] : [0, 4]) {
          const place = at + member.at + offset;
          bytes.writeUInt32LE((bytes.readUInt32LE(place) + change) >>> 0, place);
        }
      return size;
    }
    case 5: {
      const variable = fixedSize + random.below(Math.max(1, size - fixedSize));
      const hostile = random.pick(HOSTILE_TEXTS);
      hostile.copy(bytes, at + variable, 0, Math.max(0, Math.min(hostile.length, size - variable)));
      return size;
    }
    default:
      mutateBytes(random, bytes, at, size);
      return size;
  }
}

function edgeNear(random: Random, size: number): number {
  return random.once(2) ? random.pick(EDGES) : (size + random.below(33) - 16) >>> 0;
}

/** A record with texts that fit their sizes and hold anything; sometimes very long, to reach what only big ones do. */
export function rewrittenRecord(random: Random, { record, texts }: Seed): Buffer {
  const changed: Record<string, string> = {};
  for (const { key } of texts) {
    if (!random.once(3)) continue;
    const wanted = random.once(40) ? random.below(16_000) : random.below(48);
    changed[key] = hostileText(random, wanted).toString("latin1");
  }
  return withTexts(record, changed);
}

function hostileText(random: Random, size: number): Buffer {
  const pieces: Buffer[] = [];
  for (let length = 0; length < size; ) {
    const piece = random.once(3)
      ? Buffer.from("etc/systemd/system/".slice(random.below(19)))
      : random.pick(HOSTILE_TEXTS);
    pieces.push(piece);
    length += piece.length;
  }
  return Buffer.concat(pieces);
}

/** A record that may be good, may be hostile and right, or may be wrong. Few processes, so that they meet each other. */
function anyRecord(random: Random, seeds: Seeds): Buffer {
  const seed = random.pick(seeds.records);
  const good = random.once(3) ? rewrittenRecord(random, seed) : seed.bytes;
  const bytes = Buffer.alloc(good.length + 64);
  good.copy(bytes);
  let size = good.length;
  const { process, parent } = RECORD_HEADER.at;
  for (const key of [process, parent]) {
    if (!random.once(2)) continue;
    bytes.writeBigUInt64LE(BigInt(random.below(3)), key);
    bytes.writeUInt32LE(random.below(4), key + 8);
  }
  for (let count = random.below(4); count > 0 && size > RECORD_HEADER.size; count--)
    size = Math.min(mutateRecord(random, seed, bytes, 0, size), bytes.length);
  return bytes.subarray(0, size);
}

/** A small stream: frames of every type in almost the right order, changed at every level, with checksums or without. */
export function anyStream(random: Random, seeds: Seeds): Buffer {
  const preamble = preambleOf({ cpus: random.once(8) ? 2 : 1, instance: BigInt(random.below(3)) });
  const frames: Buffer[] = [];
  const positions = [0n, 0n];
  for (let count = 1 + random.below(6); count > 0; count--)
    frames.push(anyFrame(random, seeds, positions, preamble));
  if (!random.once(8)) frames.push(Buffer.from(END));
  for (let count = random.once(3) ? random.below(3) : 0; count > 0; count--) rearrange(random, frames);
  if (random.once(16)) {
    // Streams may follow each other.
    frames.push(Buffer.from(END), preambleOf({ bootId: new Uint8Array(16).fill(random.below(3)) }));
    frames.push(anyFrame(random, seeds, positions, preamble), Buffer.from(END));
  }
  if (random.once(6)) changeHeader(random, random.pick(frames));
  const checksums = random.once(2);
  seal(preamble, frames, checksums);
  // What is changed now is found by a checksum, if there is one.
  let stream = Buffer.concat([preamble, ...frames]);
  if (random.once(4)) mutateBytes(random, stream, 0, stream.length);
  if (random.once(checksums ? 32 : 8)) mutateBytes(random, stream, 0, Math.min(stream.length, 400));
  if (random.once(12)) stream = stream.subarray(0, random.below(stream.length + 1));
  return stream;
}

function anyFrame(random: Random, seeds: Seeds, positions: bigint[], preamble: Buffer): Buffer {
  const choice = random.below(16);
  if (choice < 10) {
    const entries = Array.from({ length: random.below(6) }, () => anyEntry(random, seeds));
    const payload = Buffer.concat(entries);
    if (choice === 0) return frameOf(FrameType.snapshot, payload);
    const ring = random.below(2);
    const position = positions[ring] ?? 0n;
    if (!random.once(8)) positions[ring] = position + BigInt(payload.length);
    return frameOf(FrameType.records, payload, { ring, position });
  }
  if (choice < 12) {
    const payload = countersOf(
      BigInt(random.below(5)) * 1_000_000_000n,
      preamble.readUInt32LE(STREAM_PREAMBLE.at.cpus),
    );
    for (let count = random.below(4); count > 0; count--) {
      const at = random.once(2)
        ? random.below(COUNTERS_FRAME.size) & ~7
        : COUNTERS_FRAME.size + (random.below(CPU_COUNTERS.size) & ~7);
      payload.writeBigUInt64LE(random.once(2) ? BigInt(random.below(100)) : random.pick(WIDE_EDGES), at);
    }
    if (!random.once(3)) return frameOf(FrameType.counters, payload);
    // The rows are the same, behind other facts.
    return frameOf(
      FrameType.taken,
      Buffer.concat([payload.subarray(0, TAKEN_FRAME.size), payload.subarray(COUNTERS_FRAME.size)]),
    );
  }
  if (choice === 12) {
    const payload = Buffer.alloc(CLOCK_FRAME.size);
    for (const at of Object.values(CLOCK_FRAME.at)) payload.writeBigUInt64LE(random.pick(WIDE_EDGES), at);
    return frameOf(FrameType.clock, payload);
  }
  if (choice === 13) {
    const payload = Buffer.alloc(random.below(4) * LOSER.size);
    for (let at = 0; at < payload.length; at += LOSER.size) {
      hostileText(random, 16).copy(payload, at, 0, 16);
      payload.writeUInt32LE(random.pick(KINDS), at + LOSER.at.kind);
      payload.writeBigUInt64LE(BigInt(random.below(100)), at + LOSER.at.lost);
    }
    return frameOf(FrameType.losers, payload);
  }
  return frameOf(FrameType.coverage, random.once(2) ? anyCoverage(random) : changedCoverage(random, seeds));
}

function anyEntry(random: Random, seeds: Seeds): Buffer {
  const entry = entryOf(anyRecord(random, seeds));
  if (random.once(12)) entry.writeUInt32LE(entry.readUInt32LE(0) | 0x4000_0000, 0);
  if (random.once(80)) entry.writeUInt32LE(edgeNear(random, entry.length - RING_ENTRY.size), 0);
  return entry;
}

function changedCoverage(random: Random, { coverage }: Seeds): Buffer {
  const bytes = Buffer.from(coverage);
  for (let count = random.below(3); count > 0; count--) mutateBytes(random, bytes, 0, bytes.length);
  return bytes;
}

const JSON_PIECES = [
  ...['{"a":1}', "[]", "null", "1e400", "-0", "1e21", "1.5", "12345678901234567890", '"\\u0000"', '"\\n"'],
  ...['"é"', '"日本"', '"\\ud800"', '{"event_type":"alert"}', '{"__proto__":{"a":1}}', '{"time":1}', "true"],
  ...[
    '{"\\u001b[31m":1}',
    '{"x\\":1}\\n{\\"event_type\\":\\"alert":1}',
    '{"":[{}]}',
    '{"a_b64":"x","a":"é"}',
  ],
] as const;

/** JSON that is right and yet not what a sensor writes. */
function anyCoverage(random: Random): Buffer {
  let text: string = random.pick(JSON_PIECES);
  const depth = random.once(20) ? random.below(20_000) : random.below(6);
  if (random.once(2)) text = `${"[".repeat(depth)}${text}${"]".repeat(depth)}`;
  else text = `${'{"k":'.repeat(depth)}${text}${"}".repeat(depth)}`;
  return Buffer.from(random.once(2) ? text : `{"events":${text},"blind_spots":[${text}]}`);
}

/** Frames are left out, doubled, exchanged, cut, and grow into each other. */
function rearrange(random: Random, frames: Buffer[]): void {
  const from = random.below(frames.length);
  const to = random.below(frames.length);
  const frame = frames[from];
  const other = frames[to];
  if (!frame || !other) return;
  switch (random.below(6)) {
    case 0:
      if (frames.length > 1) frames.splice(from, 1);
      break;
    case 1:
      frames.splice(to, 0, Buffer.from(frame));
      break;
    case 2:
      frames[from] = other;
      frames[to] = frame;
      break;
    case 3:
      frames[from] = Buffer.from(frame.subarray(0, random.below(frame.length + 1)));
      break;
    case 4: {
      // The beginning of one, the end of another; the size says one of the two, or neither.
      const spliced = Buffer.concat([
        frame.subarray(0, random.below(frame.length + 1)),
        other.subarray(random.below(other.length + 1)),
      ]);
      if (random.once(2) && spliced.length >= FRAME_HEADER.size)
        spliced.writeUInt32LE(spliced.length - FRAME_HEADER.size, FRAME_HEADER.at.size);
      frames[from] = spliced;
      break;
    }
    default:
      mutateBytes(random, frame, 0, frame.length);
  }
}

function changeHeader(random: Random, frame: Buffer): void {
  if (frame.length < FRAME_HEADER.size) return;
  const { type, ring, size, position, more } = FRAME_HEADER.at;
  switch (random.below(5)) {
    case 0:
      frame.writeUInt16LE(random.once(2) ? random.below(9) : random.next() & 0xffff, type);
      break;
    case 1:
      frame.writeUInt16LE(random.once(2) ? random.below(5) : random.next() & 0xffff, ring);
      break;
    case 2:
      frame.writeUInt32LE(edgeNear(random, frame.length - FRAME_HEADER.size), size);
      break;
    case 3:
      frame.writeBigUInt64LE(random.pick(WIDE_EDGES), position);
      break;
    default:
      frame.writeUInt32LE(random.once(2) ? random.below(3) : random.next(), more);
  }
}

/** A compressed capture with changes; `whole` is what it was. */
export function anyCompressed(random: Random, whole: Buffer): Buffer {
  const bytes = Buffer.from(whole);
  for (let count = 1 + random.below(3); count > 0; count--)
    mutateBytes(random, bytes, 0, random.once(2) ? bytes.length : Math.min(40, bytes.length));
  return random.once(4) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}
