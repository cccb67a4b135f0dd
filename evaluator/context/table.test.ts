import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Entry, Table } from "./table.ts";

const ENTRIES_MAX = 8;
const WEIGHT_MAX = 100;

function entry(tgid: number, startLow = 0, startHigh = 0, weight = 1): Entry {
  return { tgid, startLow, startHigh, weight, used: false, slot: -1 };
}

/** Few keys, so that they meet again, and halves of start times that only differ in one of them. */
const key = fc.tuple(fc.nat(30), fc.nat(1), fc.nat(1));
const step = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant("add" as const), key, fc.nat(40)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("get" as const), key, fc.constant(0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("reweigh" as const), key, fc.nat(90)) },
);

test("whatever is added, asked for and made heavier: what is there is found, and all bounds hold", () => {
  let evicted = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 60, maxLength: 200 }), (steps) => {
      let gone = 0;
      const table = new Table<Entry>(ENTRIES_MAX, WEIGHT_MAX, (item) => {
        expect(item.slot).toBe(-1);
        gone += 1;
      });
      const added = new Map<string, Entry>();
      let count = 0;
      for (const [what, [tgid, low, high], weight] of steps) {
        const there = table.get(tgid, low, high);
        if (there) expect(there).toBe(added.get(`${tgid} ${low} ${high}`) as Entry);
        if (what === "add" && !there) {
          const item = entry(tgid, low, high, weight);
          added.set(`${tgid} ${low} ${high}`, item);
          count += 1;
          table.add(item);
          expect(table.get(tgid, low, high)).toBe(item);
        } else if (what === "reweigh" && there) {
          table.reweigh(there, weight);
          expect(table.get(tgid, low, high)).toBe(there);
        }
        const all = [...added.values()].filter(
          (one) => table.get(one.tgid, one.startLow, one.startHigh) === one,
        );
        expect(all.length).toBe(table.size);
        expect(table.size).toBeLessThanOrEqual(ENTRIES_MAX);
        expect(gone).toBe(count - table.size);
        const total = all.reduce((sum, one) => sum + one.weight, 0);
        if (all.length > 1) expect(total).toBeLessThanOrEqual(WEIGHT_MAX);
      }
      evicted += gone;
    }),
    { numRuns: 300 },
  );
  expect(evicted).toBeGreaterThan(1000);
});

test("what was asked for stays, what nobody asks for goes first", () => {
  let evicted = 0;
  const table = new Table<Entry>(4, 1000, () => (evicted += 1));
  for (let tgid = 1; tgid <= 4; tgid++) table.add(entry(tgid));
  for (let tgid = 5; tgid <= 1000; tgid++) {
    expect(table.get(1, 0, 0)).toBeDefined();
    expect(table.get(3, 0, 0)).toBeDefined();
    table.add(entry(tgid));
  }
  expect(evicted).toBe(996);
});

test("what is kept stays, whoever comes, and however heavy", () => {
  const table = new Table<Entry>(4, WEIGHT_MAX, () => undefined);
  const kept = entry(1, 0, 0, 60);
  table.add(kept);
  table.kept = kept;
  for (let tgid = 2; tgid <= 1000; tgid++) {
    table.add(entry(tgid, 0, 0, tgid % 7 === 0 ? 90 : 5));
    expect(table.at(kept.slot)).toBe(kept);
  }
  table.kept = null;
  for (let tgid = 1001; tgid <= 1010; tgid++) table.add(entry(tgid));
  expect(kept.slot).toBe(-1);
});

test("a hundred thousand entries are all found, before and after half of them has gone", () => {
  let evicted = 0;
  const table = new Table<Entry>(100_000, 1e9, () => (evicted += 1));
  for (let tgid = 1; tgid <= 100_000; tgid++) table.add(entry(tgid, tgid * 1000, 7));
  const found = (from: number, to: number) => {
    let count = 0;
    for (let tgid = from; tgid <= to; tgid++) if (table.get(tgid, tgid * 1000, 7)?.tgid === tgid) count += 1;
    return count;
  };
  for (let tgid = 100_001; tgid <= 150_000; tgid++) table.add(entry(tgid, tgid * 1000, 7));
  expect(evicted).toBe(50_000);
  expect(found(1, 50_000)).toBe(0);
  expect(found(50_001, 150_000)).toBe(100_000);
});
