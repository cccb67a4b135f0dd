// The order of records across rings: against a model of CPUs that write records, each with a time that it gets before its place.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Bytes, RECORD_HEADER, RECORD_SIZE_MAX, Ring } from "../../bpf/event.gen.ts";
import { entryOf, recordsOf, sampleCapture } from "../../scripts/fuzz/stream.ts";
import { Kernel } from "../../scripts/kernel.ts";
import { framed } from "../../scripts/records.ts";
import type { Frame } from "./records.ts";
import { HELD_SIZE_MAX, PORTION_SIZE, Rounds } from "./rounds.ts";
import { RecordView } from "./view.ts";

const CPUS = 4;

/** A record: which one, when it got its time and when its place. */
type Written = { id: number; ring: number; stamped: number; reserved: number };

/** A record as bytes: of its header, only time and sequence say something. */
function bytesOf({ id, stamped }: Written, size: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_HEADER.size + size);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(RECORD_HEADER.at.sequence, BigInt(id), true);
  view.setBigUint64(RECORD_HEADER.at.time, BigInt(stamped), true);
  return bytes;
}

function framesOf(all: Written[], ring: number, position: bigint, more: boolean, count: number) {
  const each = Math.max(1, Math.ceil(all.length / count));
  const frames: Frame[] = [];
  let at = position;
  for (let start = 0; start < all.length; start += each) {
    const bytes = framed(
      all.slice(start, start + each).map((written) => bytesOf(written, 8 * (written.id % 5))),
    );
    frames.push({
      type: "records",
      ring,
      position: at,
      more: more || start + each < all.length,
      bytes,
      raw: bytes,
    });
    at += BigInt(bytes.length);
  }
  return { frames, end: at };
}

/** What comes out: ids in order. Checks that each ring's bytes come at their positions. */
function read(next: bigint[], portions: Iterable<Frame>): number[] {
  const ids: number[] = [];
  const view = new RecordView();
  for (const portion of portions) {
    if (portion.type !== "records") continue;
    expect(portion.position).toBe(next[portion.ring] ?? -1n);
    next[portion.ring] = portion.position + BigInt(portion.bytes.length);
    for (view.open(portion.bytes); view.advance(); ) ids.push(view.u32(RECORD_HEADER.at.sequence));
  }
  return ids;
}

test("a record that was complete before another one began comes before it, whichever ring each is in", () => {
  const step = fc.record({
    cpu: fc.nat(CPUS - 1),
    isProcess: fc.boolean(),
    cut: fc.nat(12),
    frames: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 300 }), (steps) => {
      const rounds = new Rounds();
      const open: (Written | null)[] = Array.from({ length: CPUS }, () => null);
      const rings: Written[][] = [[], []];
      const [all, out]: [Written[], number[]] = [[], []];
      const ends = [0n, 0n];
      const next = [0n, 0n];
      const send = (count: number) => {
        const [processes = [], activity = []] = rings.splice(0, 2, [], []);
        const first = framesOf(processes, Ring.process, ends[0] ?? 0n, activity.length > 0, count);
        const second = framesOf(activity, Ring.activity, ends[1] ?? 0n, false, count);
        ends.splice(0, 2, first.end, second.end);
        for (const frame of [...first.frames, ...second.frames])
          out.push(...read(next, rounds.portions(frame)));
        expect(out.length).toBe(all.filter(({ reserved }) => reserved >= 0).length);
      };
      for (const [time, { cpu, isProcess, cut, frames }] of steps.entries()) {
        const begun = open[cpu];
        if (begun) {
          begun.reserved = time;
          rings[begun.ring]?.push(begun);
          open[cpu] = null;
        } else {
          open[cpu] = {
            id: all.length,
            ring: isProcess ? Ring.process : Ring.activity,
            stamped: time,
            reserved: -1,
          };
          all.push(open[cpu]);
        }
        if (cut === 0) send(frames);
      }
      send(1);
      const rank = new Map(out.map((id, i) => [id, i]));
      const rankOf = ({ id }: Written) => rank.get(id) ?? -1;
      const complete = all.filter(({ reserved }) => reserved >= 0);
      for (const one of complete)
        for (const other of complete)
          if (one.reserved < other.stamped) expect(rankOf(one)).toBeLessThan(rankOf(other));
    }),
    { numRuns: 300 },
  );
});

/** What begins a stream of these rings. */
function preambleOf(instance: bigint): Frame {
  const preamble = {
    magic: NONE,
    abi: NONE,
    bootId: new Uint8Array(16),
    hostId: new Uint8Array(16),
    instance,
  };
  return { type: "preamble", preamble: { ...preamble, attached: 0n, cpus: 1, checksums: 0 }, raw: RAW };
}

const RAW = new Uint8Array();
const NONE = "" as Bytes;
const END: Frame = { type: "end", cut: false, raw: RAW };

test.each([
  ["of the same rings gives it again, and gives it once", 1n, ""],
  ["of other rings does not: it comes before that", 2n, "0"],
])("what is held back when a stream ends waits for the next one: one %s", (_, instance, before) => {
  const rounds = new Rounds();
  const next = [0n, 0n];
  const exit = { id: 0, ring: Ring.process, stamped: 9, reserved: 10 };
  const { frames } = framesOf([exit], Ring.process, 0n, true, 1);
  const first = [preambleOf(1n), ...frames, END];
  expect(first.flatMap((frame) => read(next, rounds.portions(frame)))).toEqual([]);
  expect(read(next, rounds.portions(preambleOf(instance))).join()).toBe(before);
  const open = { id: 1, ring: Ring.activity, stamped: 7, reserved: 8 };
  const second = framesOf([open], Ring.activity, 0n, false, 1).frames;
  const again = [0n, 0n];
  expect([...frames, ...second].flatMap((frame) => read(again, rounds.portions(frame)))).toEqual([1, 0]);
  expect(read(again, rounds.rest())).toEqual([]);
});

test("what is held back and has been acknowledged by a recorder stands in its place in the next stream of the same rings", () => {
  const rounds = new Rounds();
  const next = [0n, 0n];
  const exit = { id: 0, ring: Ring.process, stamped: 9, reserved: 10 };
  const before = { id: 1, ring: Ring.activity, stamped: 7, reserved: 8 };
  const behind = { id: 2, ring: Ring.activity, stamped: 11, reserved: 12 };
  const later = { id: 3, ring: Ring.process, stamped: 13, reserved: 14 };
  const held = framesOf([exit], Ring.process, 0n, true, 1);
  const first = [preambleOf(1n), ...held.frames, END];
  expect(first.flatMap((frame) => read(next, rounds.portions(frame)))).toEqual([]);
  const second = [
    ...framesOf([later], Ring.process, held.end, true, 1).frames,
    ...framesOf([before, behind], Ring.activity, 0n, false, 1).frames,
  ];
  const out = [preambleOf(1n), ...second].flatMap((frame) => read(next, rounds.portions(frame)));
  expect(out).toEqual([1, 0, 2, 3]);
});

test("what is held back is not among what has come when counters come, but for the last ones of all", () => {
  const rounds = new Rounds();
  const next = [0n, 0n];
  const all = [5, 9].map((stamped, id) => ({ id, ring: Ring.process, stamped, reserved: 10 }));
  const { frames, end } = framesOf(all, Ring.process, 0n, true, 1);
  const open = { id: 2, ring: Ring.activity, stamped: 7, reserved: 8 };
  const activity = framesOf([open], Ring.activity, 0n, true, 1).frames;
  expect([...frames, ...activity].flatMap((frame) => read(next, rounds.portions(frame)))).toEqual([0, 2]);
  const at = (abandoned: number): Frame => {
    const counters = { ...new Kernel().counters(), sentPosition: [end, next[1] ?? 0n], abandoned };
    return { type: "counters", counters, raw: RAW };
  };
  expect([...rounds.portions(at(0))]).toMatchObject([{ counters: { sentPosition: [...next] } }]);
  const [last, counters] = rounds.portions(at(1));
  expect(read(next, last ? [last] : [])).toEqual([1]);
  expect(counters).toMatchObject({ counters: { sentPosition: [end, next[1]] } });
});

test("portions of a frame are all of it, in order, at their positions, each of whole entries", () => {
  const all = [...recordsOf(sampleCapture()).values()].flat();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(all.length - 1), fc.boolean()), { minLength: 500, maxLength: 1500 }),
      fc.bigInt({ min: 0n, max: 2n ** 63n }),
      fc.constantFrom(Ring.process, Ring.activity),
      (picks, position, ring) => {
        const entries = picks.map(([index, isDiscarded]) => {
          const entry = entryOf(all[index] ?? Buffer.alloc(0));
          if (isDiscarded) entry.writeUInt32LE(entry.readUInt32LE(0) | 0x4000_0000, 0);
          return entry;
        });
        const bytes = Buffer.concat(entries);
        let next = position;
        const pieces: Uint8Array[] = [];
        const frame: Frame = { type: "records", ring, position, more: false, bytes, raw: bytes };
        for (const portion of new Rounds().portions(frame)) {
          if (portion.type !== "records") throw new Error("another frame");
          expect(portion.position).toBe(next);
          expect(portion.bytes.length).toBeGreaterThan(0);
          expect(portion.bytes.length).toBeLessThan(PORTION_SIZE + RECORD_SIZE_MAX);
          next += BigInt(portion.bytes.length);
          pieces.push(portion.bytes);
        }
        expect(pieces.length).toBeGreaterThan(1);
        expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
      },
    ),
    { numRuns: 50 },
  );
});

test("a round that has no end is held back up to a bound, and is all there in the end", () => {
  const rounds = new Rounds();
  const next = [0n, 0n];
  const size = 1024 * 1024;
  const bytes = framed(Array.from({ length: 16 }, () => new Uint8Array(size / 16 - 8)));
  const count = (2 * HELD_SIZE_MAX) / size;
  for (let i = 0; i < count; i++) {
    const position = BigInt(i * size);
    read(
      next,
      rounds.portions({ type: "records", ring: Ring.process, position, more: true, bytes, raw: bytes }),
    );
    expect(Number(position) + size - Number(next[Ring.process])).toBeLessThanOrEqual(HELD_SIZE_MAX);
  }
  read(next, rounds.rest());
  expect(next[Ring.process]).toBe(BigInt(count * size));
});

test("a round of frames that hold nothing ends, and of very many small ones few are held back", () => {
  const rounds = new Rounds();
  const next = [0n, 0n];
  const bytesOfOne = framed([new Uint8Array(0)]);
  const frameOf = (ring: number, position: bigint, bytes: Uint8Array, more: boolean): Frame => ({
    ...{ type: "records", ring, position, more, bytes, raw: bytes },
  });
  read(next, rounds.portions(frameOf(Ring.process, 0n, new Uint8Array(0), true)));
  const record = framed([bytesOf({ id: 1, ring: Ring.activity, stamped: 1, reserved: 1 }, 0)]);
  expect(read(next, rounds.portions(frameOf(Ring.activity, 0n, record, false)))).toEqual([1]);
  const count = 20_000;
  for (let i = 0; i < count; i++)
    read(next, rounds.portions(frameOf(Ring.process, BigInt(8 * i), bytesOfOne, true)));
  expect(count - Number(next[Ring.process]) / 8).toBeLessThanOrEqual(HELD_SIZE_MAX / 4096);
  read(next, rounds.rest());
  expect(next[Ring.process]).toBe(BigInt(8 * count));
});
