import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Bytes } from "../event/text.ts";
import { type Cold, type ColdKey, ColdStore, hashOf } from "./cold.ts";

const ENTRIES_MAX = 12;
const MEMORY_SIZE = 2048;

/** Few keys, so that they meet again, and halves of start times that only differ in one of them. */
const key: fc.Arbitrary<ColdKey> = fc.record({
  tgid: fc.nat(20),
  startLow: fc.constantFrom(0, 1, 0xffff_ffff),
  startHigh: fc.nat(1),
});
const SHAPE = { numbers: 2, texts: 3 };
const text: fc.Arbitrary<Bytes | null> = fc.oneof(
  fc.constant(null),

  fc.nat(300).map((size) => "x".repeat(size) as Bytes),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("latin1") as Bytes),
);
const number = fc.nat(0xffff_ffff);
const cold: fc.Arbitrary<Cold> = fc.record({
  numbers: fc.tuple(number, number),
  texts: fc.tuple(text, text, text),
});
const NOTHING: Cold = { numbers: [], texts: [] };
/** An entry with one text, and the text of such a one. */
const ofText = (bytes: string): Cold => ({ numbers: [0, 1], texts: [null, bytes as Bytes, "" as Bytes] });
const textOf = (entry: Cold | null) => entry?.texts[1] ?? null;
const step = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constant("put" as const), key, cold) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("take" as const), key, fc.constant(NOTHING)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("clear" as const), key, fc.constant(NOTHING)) },
);
const nameOf = ({ tgid, startLow, startHigh }: ColdKey) => `${tgid} ${startLow} ${startHigh}`;

test("whatever is put, taken and forgotten: what comes back is what was put, and nothing is gone that is not counted", () => {
  let taken = 0;
  let evicted = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 300 }), (steps) => {
      const store = new ColdStore(ENTRIES_MAX, MEMORY_SIZE, SHAPE);
      const put = new Map<string, Cold>();
      let [puts, takes, cleared] = [0, 0, 0];
      const take = (from: ColdKey) => {
        const back = store.take(from);
        if (back === null) return;
        expect(back).toEqual(put.get(nameOf(from)) as Cold);
        put.delete(nameOf(from));
        takes += 1;
      };
      for (const [what, where, entry] of steps) {
        if (what === "clear") {
          cleared += store.size;
          store.clear();
        } else take(where);
        if (what === "put") {
          store.put(where, entry);
          put.set(nameOf(where), entry);
          puts += 1;
        }
        expect(store.size).toBeLessThanOrEqual(ENTRIES_MAX);
        expect(store.size + store.evicted + takes + cleared).toBe(puts);
      }
      taken += takes;
      evicted += store.evicted;
    }),
    { numRuns: 500 },
  );
  expect(taken).toBeGreaterThan(500);
  expect(evicted).toBeGreaterThan(1000);
});

test("the oldest go first, one after the other, and what is too large is not kept at all", () => {
  const store = new ColdStore(1000, 64 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 7, startHigh: 0 });
  for (let tgid = 1; tgid <= 5000; tgid++) store.put(at(tgid), ofText(String(tgid).padStart(100)));
  const first = 5000 - store.size + 1;
  expect(store.size).toBeGreaterThan(400);
  expect(store.take(at(first - 1))).toBeNull();
  for (let tgid = first; tgid <= 5000; tgid++) expect(Number(textOf(store.take(at(tgid))))).toBe(tgid);
  expect(store.size).toBe(0);
  store.put(at(1), ofText("x".repeat(16 * 1024)));
  expect([store.size, store.take(at(1))]).toEqual([0, null]);
});

test("keys that were chosen to meet in one bucket take places from one another, and from nobody else", () => {
  const store = new ColdStore(16_384, 1024 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 0, startHigh: 0 });
  const chosen: number[] = [];
  const others: number[] = [];
  for (let tgid = 0; chosen.length < 100; tgid++) {
    if (hashOf(at(tgid)) % 8192 === 0) chosen.push(tgid);
    else if (others.length < 1000) others.push(tgid);
  }
  for (const tgid of [...others, ...chosen]) store.put(at(tgid), ofText(String(tgid)));
  expect([store.size, store.evicted]).toEqual([1008, 92]);
  for (const tgid of others) expect(Number(textOf(store.take(at(tgid))))).toBe(tgid);
  expect(chosen.filter((tgid) => Number(textOf(store.take(at(tgid)))) === tgid && tgid > 0).length).toBe(8);
});
