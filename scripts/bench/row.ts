// What is measured: rows of numbers with what they should be, how a row is made of pairs, and how it is judged.

/** What a row is to reach. */
export type Goal = ({ atMost: number } | { atLeast: number }) & {
  /** Why this run cannot tell whether it was. */
  undecided?: string;
};

/** What came of it. */
export type Verdict = "met" | "missed" | "not decided";

/** Where the median that a row estimates lies, with a probability. */
export type Interval = { low: number; high: number; confidence: number };

/** How many, how long, how much: numbers that a row stands on, for a person to judge it by. */
export type Facts = Record<string, number | string>;

/** One measured number: the median of its runs, or of what its pairs differ by. */
export type Row = {
  /** What `--only` calls it. */
  row: string;
  what: string;
  unit: string;
  value: number;
  runs: number[];
  goal: Goal | null;
  facts: Facts;
  /** Of a row of pairs: how well it is known. */
  interval: Interval | null;
  /** Of a row of pairs: what it is made of. */
  pairs?: Pairs;
  verdict: Verdict | null;
};

/** Two things that were measured in turn, the first one beside the other. */
export type Pairs = { these: number[]; those: number[] };

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
  /** How often what is compared is measured in turn: what such things differ by may be less than what machines do. */
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

/** A row of its runs. @throws Error when one of them is no number: nothing was measured then */
export function rowOf(
  row: string,
  what: string,
  unit: string,
  runs: number[],
  goal: Goal | null = null,
  facts: Facts = {},
): Row {
  return judged({ row, what, unit, value: median(runs), runs, goal, facts, interval: null });
}

/** A row of what each of `these` is to the one of `those` that it was taken in turn with. */
export function rowOfPairs(
  row: string,
  what: string,
  unit: string,
  pairs: Pairs,
  compare: Comparison,
  goal: Goal | null = null,
  facts: Facts = {},
): Row {
  const runs = compared(pairs, compare);
  const interval = intervalOf(runs);
  return judged({ row, what, unit, value: median(runs), runs, goal, facts, interval, pairs });
}

type Comparison = (one: number, other: number) => number;
/** By how many hundredths it is more. */
export const percentMore: Comparison = (one, other) => (one / other - 1) * 100;
/** By how much. */
export const more: Comparison = (one, other) => one - other;
/** How many times as much. */
export const times: Comparison = (one, other) => one / other;

/** What each is to the other of its pair. */
export function compared({ these, those }: Pairs, compare: Comparison): number[] {
  return these.map((value, i) => compare(value, those[i] ?? Number.NaN));
}

const CONFIDENCE = 0.95;

/**
 * Where the median lies of what the values were drawn from, whatever that is: between the k-th least and the k-th most, k being the
 * largest for which it is with a probability of 95 %. It is outside only if less than k values are on one side of it, and each
 * is on either with a probability of a half. Of fifteen, k is 4 (96.5 %). Less than six cannot tell: all of them are between the
 * least and the most, with what that is worth.
 */
export function intervalOf(values: readonly number[]): Interval {
  const sorted = values.toSorted((a, b) => a - b);
  const { length } = sorted;
  let [rank, outside] = [0, 0];
  for (let exactly = 0.5 ** length; outside + exactly <= (1 - CONFIDENCE) / 2; rank++) {
    outside += exactly;
    exactly *= (length - rank) / (rank + 1);
  }
  if (rank === 0) [rank, outside] = [1, 0.5 ** length];
  const [low = Number.NaN, high = Number.NaN] = [sorted[rank - 1], sorted.at(-rank)];
  return { low, high, confidence: 1 - 2 * outside };
}

function judged(row: Omit<Row, "verdict">): Row {
  if (!row.runs.every(Number.isFinite) || row.runs.length === 0)
    throw new Error(`${row.what}: no numbers: ${row.runs.join(", ")}`);
  return { ...row, verdict: verdictOf(row) };
}

/** A goal within the interval is neither met nor missed. */
function verdictOf({ value, goal, interval }: Omit<Row, "verdict">): Verdict | null {
  if (goal === null) return null;
  const { low, high, confidence } = interval ?? { low: value, high: value, confidence: 1 };
  const reaches = (number: number) => ("atMost" in goal ? number <= goal.atMost : number >= goal.atLeast);
  if (goal.undecided !== undefined || confidence < CONFIDENCE || reaches(low) !== reaches(high))
    return "not decided";
  return reaches(value) ? "met" : "missed";
}
