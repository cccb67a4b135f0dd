import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Bytes } from "../event/text.ts";
import { type Cold, type ColdKey, ColdStore, hashOf, NOWHERE } from "./cold.ts";

const ENTRIES_MAX = 12;
/** What is full before there are as many entries; what never is; and what lends three at once, while bytes are short too. */
const memorySize = fc.constantFrom(4096, 32 * 1024, 9 * 1024 + 8);

/** Few keys, so that they meet again, and halves of start times that only differ in one of them. */
const key: fc.Arbitrary<ColdKey> = fc.record({
  tgid: fc.nat(8),
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
const textOf = (store: ColdStore, of: ColdKey) => readFrom(store, of)?.texts[1] ?? null;
const step = fc.oneof(
  { weight: 10, arbitrary: fc.tuple(fc.constant("put" as const), key, cold) },
  { weight: 6, arbitrary: fc.tuple(fc.constant("lend" as const), key, fc.constant(NOTHING)) },
  { weight: 4, arbitrary: fc.tuple(fc.constant("give back" as const), key, fc.constant(NOTHING)) },
  { weight: 4, arbitrary: fc.tuple(fc.constant("drop" as const), key, fc.constant(NOTHING)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("clear" as const), key, fc.constant(NOTHING)) },
);
const nameOf = ({ tgid, startLow, startHigh }: ColdKey) => `${tgid} ${startLow} ${startHigh}`;

function findIn(store: ColdStore, { tgid, startLow, startHigh }: ColdKey): number {
  return store.find(tgid, startLow, startHigh);
}

function readFrom(store: ColdStore, of: ColdKey): Cold | null {
  const start = findIn(store, of);
  if (start < 0) return null;
  const texts = store.textsAt(start);
  expect(texts.map((_, i) => store.hasTextAt(start, i))).toEqual(texts.map((one) => one !== null));
  return { numbers: [0, 1].map((i) => store.numberAt(start, i)), texts };
}

test("whatever is put, lent, dropped and forgotten: what is there is what was put, what is lent stays, and nothing is gone that is not counted", () => {
  let dropped = 0;
  let evicted = 0;
  let lends = 0;
  let lentAtOnce = 0;
  fc.assert(
    fc.property(memorySize, fc.array(step, { minLength: 50, maxLength: 300 }), (size, steps) => {
      const store = new ColdStore(ENTRIES_MAX, size, SHAPE);
      const put = new Map<string, Cold>();
      const lent = new Set<string>();
      let [puts, drops, cleared] = [0, 0, 0];
      const drop = (one: ColdKey) => {
        if (findIn(store, one) < 0) return;
        store.drop(findIn(store, one));
        expect(findIn(store, one)).toBe(NOWHERE);
        lent.delete(nameOf(one));
        drops += 1;
      };
      for (const [what, where, entry] of steps) {
        const name = nameOf(where);
        const start = findIn(store, where);
        if (start >= 0) expect(readFrom(store, where)).toEqual(put.get(name) as Cold);
        if (what === "clear") {
          cleared += store.size + lent.size;
          store.clear();
          lent.clear();
        } else if (what === "drop") drop(where);
        else if (what === "lend" && start >= 0 && !lent.has(name) && store.lend(start)) {
          lent.add(name);
          lends += 1;
          lentAtOnce = Math.max(lentAtOnce, lent.size);
        } else if (what === "give back" && lent.delete(name)) store.giveBack(start);
        else if (what === "put") {
          drop(where);
          store.put(where, entry);
          put.set(name, entry);
          puts += 1;
        }
        for (const one of lent) {
          const [tgid = 0, startLow = 0, startHigh = 0] = one.split(" ").map(Number);
          expect(readFrom(store, { tgid, startLow, startHigh })).toEqual(put.get(one) as Cold);
        }
        expect(store.size).toBeLessThanOrEqual(ENTRIES_MAX);
        expect(store.size + lent.size + store.evicted + drops + cleared).toBe(puts);
      }
      dropped += drops;
      evicted += store.evicted;
    }),
    { numRuns: 600 },
  );
  expect(dropped).toBeGreaterThan(500);
  expect(evicted).toBeGreaterThan(1000);
  expect(lends).toBeGreaterThan(500);
  expect(lentAtOnce).toBeGreaterThan(3);
});

test("the oldest go first, one after the other, and what is too large is not kept at all", () => {
  const store = new ColdStore(1000, 64 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 7, startHigh: 0 });
  for (let tgid = 1; tgid <= 5000; tgid++) store.put(at(tgid), ofText(String(tgid).padStart(100)));
  const first = 5000 - store.size + 1;
  expect(store.size).toBeGreaterThan(400);
  expect(textOf(store, at(first - 1))).toBeNull();
  for (let tgid = first; tgid <= 5000; tgid++) expect(Number(textOf(store, at(tgid)))).toBe(tgid);
  store.put(at(1), ofText("x".repeat(16 * 1024)));
  expect(textOf(store, at(1))).toBeNull();
});

test("who takes what has to go gets all of it, the oldest first", () => {
  const gone: [ColdKey, Cold][] = [];
  const store = new ColdStore(10, 64 * 1024, SHAPE, (of, entry) => gone.push([of, entry]));
  const all = Array.from({ length: 30 }, (_, i): [ColdKey, Cold] => [
    { tgid: i, startLow: 0xffff_ffff - i, startHigh: i % 3 },
    { numbers: [i, 0xffff_ffff], texts: [null, String(i) as Bytes, "" as Bytes] },
  ]);
  for (const [of, entry] of all) store.put(of, entry);
  expect(gone).toEqual(all.slice(0, 20));
  expect([store.size, store.evicted]).toEqual([10, 20]);
});

test("what is asked for again and again stays, however many come and go, and what was asked for once goes", () => {
  const store = new ColdStore(1000, 1024 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 7, startHigh: 0 });
  for (let tgid = 1; tgid <= 10_000; tgid++) {
    store.put(at(tgid), ofText(String(tgid)));
    for (let asked = 1; asked <= Math.min(tgid === 200 ? 200 : 100, tgid); asked++) {
      expect(store.lend(findIn(store, at(asked)))).toBe(true);
      store.giveBack(findIn(store, at(asked)));
    }
  }
  expect([store.size, store.evicted]).toEqual([1000, 9000]);
  for (let tgid = 1; tgid <= 100; tgid++) expect(Number(textOf(store, at(tgid)))).toBe(tgid);
  for (let tgid = 101; tgid <= 200; tgid++) expect(textOf(store, at(tgid))).toBeNull();
});

test("no more than half of the memory is lent, and nothing long", () => {
  const store = new ColdStore(1000, 64 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 7, startHigh: 0 });
  let lent = 0;
  for (let tgid = 1; tgid <= 1000; tgid++) {
    store.put(at(tgid), ofText("x".repeat(1900)));
    lent += Number(store.lend(findIn(store, at(tgid))));
  }
  expect(lent).toBe(16);
  store.clear();
  store.put(at(1), ofText("x".repeat(2100)));
  expect(store.lend(findIn(store, at(1)))).toBe(false);
});

test("no more are lent than may wait, and one that is given back or dropped makes room for another", () => {
  const store = new ColdStore(100, 1024 * 1024, SHAPE);
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 7, startHigh: 0 });
  const lends = (tgid: number) => store.lend(findIn(store, at(tgid)));
  for (let tgid = 1; tgid <= 102; tgid++) {
    store.put(at(tgid), ofText(""));
    expect(lends(tgid)).toBe(tgid <= 100);
  }
  store.giveBack(findIn(store, at(1)));
  expect([lends(101), lends(102)]).toEqual([true, false]);
  store.drop(findIn(store, at(2)));
  expect([lends(102), lends(1)]).toEqual([true, false]);
});

test("keys that were chosen to meet in one bucket take places from one another, and from nobody else", () => {
  const gone: number[] = [];
  const store = new ColdStore(16_384, 1024 * 1024, SHAPE, ({ tgid }, { texts }) => {
    expect(texts[1]).toBe(String(tgid) as Bytes);
    gone.push(tgid);
  });
  const at = (tgid: number): ColdKey => ({ tgid, startLow: 0, startHigh: 0 });
  const chosen: number[] = [];
  const others: number[] = [];
  for (let tgid = 0; chosen.length < 100; tgid++) {
    if (hashOf(tgid, 0, 0) % 8192 === 0) chosen.push(tgid);
    else if (others.length < 1000) others.push(tgid);
  }
  for (const tgid of [...others, ...chosen]) {
    store.put(at(tgid), ofText(String(tgid)));
    // Of the first eight, some are lent, and some are asked for.
    const turn = chosen.indexOf(tgid);
    if (turn >= 2 && turn < 8) store.lend(findIn(store, at(tgid)));
    if (turn === 6 || turn === 7) store.giveBack(findIn(store, at(tgid)));
  }
  expect([store.size, store.evicted]).toEqual([1004, 92]);
  for (const tgid of others) expect(Number(textOf(store, at(tgid)))).toBe(tgid);
  const left = chosen.filter((tgid) => Number(textOf(store, at(tgid)) ?? Number.NaN) === tgid);
  expect(left.length).toBe(8);
  expect(left).toEqual(expect.arrayContaining(chosen.slice(2, 8)));
  expect([...left, ...gone].toSorted((a, b) => a - b)).toEqual(chosen);
});
