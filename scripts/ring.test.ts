// A ring as the kernel lays it out, in a file: with records that a test can leave unfinished.

import { expect, test } from "bun:test";
import { openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mapRing, positionsAtOnce } from "../sensor/ring.ts";

const PAGE_SIZE = 4096;
const SIZE = 2 * PAGE_SIZE;
const NOT_COMMITTED = 0x8000_0000;
/** 8 bytes before each record. */
const RECORD_SIZE = 24;

/** Maps a ring whose records from `start` on have these lengths, with the bits that say more of them. */
function ringWith(start: number, lengths: number[]) {
  const path = join(tmpdir(), `warder-ring-${process.pid}`);
  const data = Buffer.alloc(SIZE);
  let end = start;
  for (const length of lengths) {
    data.writeUInt32LE(length, end % SIZE);
    end += 8 + RECORD_SIZE;
  }
  const positions = [start, end].map((position) => {
    const page = Buffer.alloc(PAGE_SIZE);
    page.writeBigUInt64LE(BigInt(position));
    return page;
  });
  writeFileSync(path, Buffer.concat([...positions, data, data]));
  const fd = openSync(path, "r+");
  rmSync(path);
  return mapRing(fd, SIZE);
}

test("records behind one that its program has not finished are counted, and not sent", () => {
  const ring = ringWith(SIZE - 64, [RECORD_SIZE, RECORD_SIZE + NOT_COMMITTED, RECORD_SIZE, RECORD_SIZE]);
  expect(ring.count()).toBe(4);
  expect(ring.count(SIZE - 32)).toBe(3);
  expect(ring.committedSpan(SIZE - 64, ring.producerPosition())?.size).toBe(32);
});

test("a ring is counted to its end, however far it reaches", () => {
  const ring = ringWith(5 * SIZE - 96, Array<number>(SIZE / 32).fill(RECORD_SIZE));
  expect(ring.count()).toBe(SIZE / 32);
  expect(ring.count(ring.producerPosition())).toBe(0);
});

test("the positions of two rings are of one moment, and of very many tries the last has all starts", () => {
  /** A ring that has got so far each time when somebody looks. */
  const ring = (...positions: number[]) => ({
    producerPosition: () => (positions.length > 1 ? positions.shift() : positions[0]) ?? 0,
  });
  expect(positionsAtOnce([ring(8, 8), ring(80)])).toEqual([8, 80]);
  // A record of a process, and what belongs to it, came between two looks; and then two more.
  expect(positionsAtOnce([ring(8, 16, 24, 24), ring(80, 88)])).toEqual([24, 88]);
  let now = 0;
  const clock = { producerPosition: () => (now += 8) };
  const [processes = 0, activity = 0] = positionsAtOnce([clock, clock]);
  expect(processes).toBe(now);
  expect(activity).toBe(now - 8);
});
