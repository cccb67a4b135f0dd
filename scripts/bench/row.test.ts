// A row says no more than its pairs do: a goal that lies where the median may lie is neither met nor missed.

import { expect, test } from "bun:test";
import { intervalOf, more, percentMore, rowOf, rowOfPairs } from "./row.ts";
import { lineOf } from "./table.ts";

/** Pairs that differ by these numbers. */
const differing = (these: number[]) => ({ these, those: these.map(() => 0) });

/** Nine pairs of each, from a real run. */
const GETPPID = [108.9, 31.55, 13.5, 68.65, 81.05, 103.25, 117.8, 116.75, 116.95];
const OPEN = [37.07, 44.85, 53.98, 15.34, 67.28, 11.45, 26.16, 17.06, 33.53];
const SPAWN = [6.83, 31.38, 8.62, 5.5, 7.03, -1.67, 6.02, 4.77, 5.09];

test.each([
  ["getppid", GETPPID, 90, "not decided"],
  ["open and close", OPEN, 35, "not decided"],
  ["spawn", SPAWN, 10, "met"],
  ["spawn", SPAWN, 4, "missed"],
  ["what lies at its goal", SPAWN, 8.62, "met"],
])("%s: %p, at most %d: %s", (what, runs, atMost, verdict) => {
  expect(rowOfPairs("hook", what, "more", differing(runs), more, { atMost })).toMatchObject({ verdict });
});

test("goals that are to be exceeded are judged by the other end", () => {
  const verdictOf = (atLeast: number) =>
    rowOfPairs("hook", "spawn", "more", differing(SPAWN), more, { atLeast }).verdict;
  expect([4.77, 6, 8.63].map(verdictOf)).toEqual(["met", "not decided", "missed"]);
});

test("a row of runs that are not compared is judged by their median alone", () => {
  const verdicts = [4, 3, 2].map((atMost) => rowOf("live", "", "", [1, 3, 9], { atMost }).verdict);
  expect(verdicts).toEqual(["met", "met", "missed"]);
  expect(rowOf("live", "", "", [1, 3, 9])).toMatchObject({ verdict: null, interval: null });
  expect(rowOf("live", "", "", [1], { atMost: 2, undecided: "less was offered" }).verdict).toBe(
    "not decided",
  );
});

test("whatever lies on which side of the true median, it is in the interval with the probability that stands there", () => {
  for (const count of [6, 9, 15]) {
    let inside = 0;
    for (let sides = 0; sides < 2 ** count; sides++) {
      // Each value is on either side of 0, which is the median, with the same probability.
      const values = Array.from({ length: count }, (_, i) => ((sides >> i) & 1 ? i + 1 : -i - 1));
      const { low, high } = intervalOf(values);
      if (low < 0 && high > 0) inside += 1;
    }
    const { confidence } = intervalOf(Array.from({ length: count }, (_, i) => i));
    expect(inside / 2 ** count).toBeCloseTo(confidence, 10);
    expect(confidence).toBeGreaterThanOrEqual(0.95);
  }
});

test("it is as narrow as it may be: the ends of so many pairs", () => {
  const ranks = [6, 9, 15, 21].map((count) => intervalOf(Array.from({ length: count }, (_, i) => i + 1)).low);
  expect(ranks).toEqual([1, 2, 4, 6]);
});

test("less than six pairs decide nothing, however far from the goal", () => {
  for (const count of [1, 5]) {
    const far = differing(Array.from({ length: count }, () => 1));
    expect(rowOfPairs("hook", "", "", far, more, { atMost: 100 }).verdict).toBe("not decided");
  }
});

test("pairs stay in the row, beside what they come to", () => {
  const pairs = { these: [3, 4], those: [2, 2] };
  expect(rowOfPairs("hook", "", "", pairs, percentMore)).toMatchObject({ pairs, runs: [50, 100], value: 75 });
});

test("a row that is no number is none", () => {
  expect(() => rowOf("hook", "opens", "", [1, Number.NaN])).toThrow("opens: no numbers: 1, NaN");
  expect(() => rowOf("hook", "opens", "", [])).toThrow("opens: no numbers");
});

test("the line says what was decided, and what it stands on", () => {
  const row = rowOfPairs("hook", "open", "% more", differing(OPEN), more, { atMost: 35 });
  expect(lineOf(row, 20).replaceAll(/ {2,}/g, "  ")).toBe(
    "hook  open  33.5 % more, goal ≤ 35  NOT DECIDED  [15.3 … 54, 96 %]  1.68 × 20 before",
  );
  const runs = rowOf("live", "carried", "events/s", [1, 3, 9], { atLeast: 4 });
  expect(lineOf(runs).replaceAll(/ {2,}/g, "  ")).toBe(
    "live  carried  3 events/s, goal ≥ 4  MISSED  [1 … 9]",
  );
});
