// What is measured: rows of numbers with what they should be, and how a row is made of pairs.

/** What a row is to reach. */
export type Goal = { atMost: number } | { atLeast: number };

/** How many, how long, how much: numbers that a row stands on, for a person to judge it by. */
export type Facts = Record<string, number | string>;

/** One measured number: the median of its runs. */
export type Row = {
  /** What `--only` calls it. */
  row: string;
  what: string;
  unit: string;
  value: number;
  runs: number[];
  goal: Goal | null;
  facts: Facts;
};

/** One that could not be measured here, with the reason. */
export type Skipped = { row: string; what: string; skipped: string };

/** Rows that could not be measured because something broke: `what` says which. */
export type Failed = { row: string; what: string; failed: string };

/** Whatever stands in a line of the table. */
export type Result = Row | Skipped | Failed;

/** What a row may be told about how it is measured. */
export type Extent = {
  /** How often everything is measured. */
  runs: number;
  /** How often calls are timed with somebody who looks on: what they differ by is less than what machines do. */
  pairs: number;
  /** Multiplies the number of events: 1, or less for a quick look. */
  scale: number;
};

/** The one in the middle; of an even number, the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const [low = Number.NaN, high = Number.NaN] = [sorted[(sorted.length - 1) >>> 1], sorted[middle]];
  return (low + high) / 2;
}

/** The value below which so many hundredths of all values are. */
export function percentile(values: readonly number[], hundredths: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * hundredths) / 100))] ?? Number.NaN;
}

/** A row of its runs. */
export function rowOf(
  row: string,
  what: string,
  unit: string,
  runs: number[],
  goal: Goal | null = null,
  facts: Facts = {},
): Row {
  return { row, what, unit, value: median(runs), runs, goal, facts };
}

/** By how many hundredths each run of `these` is more than the one of `those` that it was taken in turn with. */
export function percentMore(these: readonly number[], those: readonly number[]): number[] {
  return these.map((value, i) => (value / (those[i] ?? Number.NaN) - 1) * 100);
}

/** By how much. */
export function more(these: readonly number[], those: readonly number[]): number[] {
  return these.map((value, i) => value - (those[i] ?? Number.NaN));
}

/** Is the goal reached? Null without one. */
export function reached({ value, goal }: Row): boolean | null {
  if (goal === null) return null;
  return "atMost" in goal ? value <= goal.atMost : value >= goal.atLeast;
}
