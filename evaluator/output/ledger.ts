// The ledger: where every time that a hook fired has gone. What the kernel counted and what arrived are two independent
// measures, compared at checkpoints: counters whose records have all passed by.

import { type KindCounters, RecordKind, Ring } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS } from "../../bpf/kinds.ts";
import type { Counters } from "../input/records.ts";

/** The event type that a record kind becomes. A snapshot becomes none and is in no ring. */
export const EVENT_TYPES: ReadonlyMap<number, string> = new Map(
  ALL_EVENT_KINDS.map(({ kind, type }) => [kind, type]),
);

/** The ring that a record kind is in. */
function ringOf(kind: number): Ring {
  return kind < RecordKind.fileOpen ? Ring.process : Ring.activity;
}

/** Where the records of one kind, or of all, have gone. The keys are those of the output. */
export type Totals = {
  attempts: number;
  submitted: number;
  lost: number;
  discarded: number;
  missed: number;
  filtered: number;
  received: number;
  repeated: number;
  malformed: number;
  decoded: number;
  /** Events that settings keep from the output ("alerts only"); rules have seen them. */
  withheld: number;
  rate_limited: number;
  /** Handed to the output; `write_failed` of these did not get there, alerts included. */
  written: number;
  write_failed: number;
  matched: number;
  suppressed: number;
  unaccounted: number;
};

/** The totals of everything, the same by event type, and whether all sums agree. */
export type Statement = Totals & { by_kind: Record<string, Totals>; balanced: boolean };

/** A stretch of time in which records of a kind were lost on a CPU. Times are boot time, ns. */
export type Loss = { kind: number; cpu: number; reason: string; count: number; from: bigint; to: bigint };

const NOTHING: Totals = {
  attempts: 0,
  submitted: 0,
  lost: 0,
  discarded: 0,
  missed: 0,
  filtered: 0,
  received: 0,
  repeated: 0,
  malformed: 0,
  decoded: 0,
  withheld: 0,
  rate_limited: 0,
  written: 0,
  write_failed: 0,
  matched: 0,
  suppressed: 0,
  unaccounted: 0,
};

const LOSSES = { lost: "ring full", discarded: "no scratch memory" } as const;

/** Counters, and how many records of each kind arrived that they do not cover. */
class Checkpoint {
  readonly beyond = new Map<number, number>();

  constructor(readonly counters: Counters) {}

  observe(kind: number, cpu: number, sequence: bigint): void {
    if (sequence >= (this.counters.sequences[cpu]?.[ringOf(kind)] ?? 0n))
      this.beyond.set(kind, (this.beyond.get(kind) ?? 0) + 1);
  }
}

/** Keeps the books. Who sees something happen to a record counts it up in `of(kind)`. */
export class Ledger {
  private readonly totals = new Map<number, Totals>();
  /** The first counters of this stream: what is before them is not ours, but for records that still waited in the ring. */
  private base: Checkpoint | null = null;
  private settled: Checkpoint | null = null;
  private pending: Checkpoint | null = null;
  private last: Counters | null = null;
  private readonly arrived = new Map<number, number>();

  /** The running totals of a record kind. Those of the kernel side are filled in by `statement`. */
  of(kind: number): Totals {
    const totals = this.totals.get(kind) ?? { ...NOTHING };
    this.totals.set(kind, totals);
    return totals;
  }

  /** A stream begins whose counters have nothing to do with those before: another boot, or programs attached anew. */
  restart(): void {
    for (const [kind, totals] of this.totals) Object.assign(totals, this.kernelSide(kind));
    this.base = this.settled = this.pending = this.last = null;
    this.arrived.clear();
  }

  /** A record came out of the ring for the first time. */
  arrive(kind: number, cpu: number, sequence: bigint): void {
    this.arrived.set(kind, (this.arrived.get(kind) ?? 0) + 1);
    this.base?.observe(kind, cpu, sequence);
    if (this.settled !== this.base) this.settled?.observe(kind, cpu, sequence);
    this.pending?.observe(kind, cpu, sequence);
  }

  /** The kernel's counters arrived when the records before these positions of the rings had been handled. */
  count(counters: Counters, positions: readonly bigint[]): Loss[] {
    // A stream that is read again has nothing new to say.
    if (this.last && counters.time <= this.last.time) return [];
    const losses = this.last ? lossesBetween(this.last, counters) : [];
    this.last = counters;
    if (!this.base) this.base = this.settled = new Checkpoint(counters);
    else if (this.settle(positions)) this.pending = new Checkpoint(counters);
    return losses;
  }

  /** Nothing more comes of this stream: the last counters may be compared, if their records have passed. */
  end(positions: readonly bigint[]): void {
    this.settle(positions);
  }

  /** All sums as of the last checkpoint, records that arrived after it included. */
  statement(): Statement {
    const all = { ...NOTHING };
    const byKind: Record<string, Totals> = {};
    let balanced = true;
    for (const kind of new Set([...EVENT_TYPES.keys(), ...this.totals.keys()])) {
      const totals = { ...this.of(kind), ...this.kernelSide(kind) };
      totals.unaccounted = totals.submitted - (totals.received - totals.repeated);
      balanced &&=
        totals.unaccounted === 0 &&
        totals.attempts === totals.submitted + totals.lost + totals.discarded &&
        totals.received === totals.decoded + totals.malformed + totals.repeated &&
        totals.decoded === totals.written + totals.withheld + totals.rate_limited;
      byKind[EVENT_TYPES.get(kind) ?? `kind_${kind}`] = totals;
      for (const key of Object.keys(all) as (keyof Totals)[]) all[key] += totals[key];
    }
    return { ...all, by_kind: byKind, balanced };
  }

  /** Returns whether the pending checkpoint is done with: settled, or of no use because a program was running. */
  private settle(positions: readonly bigint[]): boolean {
    if (!this.pending) return true;
    const { producerPosition } = this.pending.counters;
    if (positions.some((position, ring) => position < (producerPosition[ring] ?? 0n))) return false;
    const resting = this.pending.counters.cells.every(
      ({ counters: { attempts, submitted, lost, discarded } }) => attempts === submitted + lost + discarded,
    );
    if (resting) this.settled = this.pending;
    this.pending = null;
    return true;
  }

  private kernelSide(
    kind: number,
  ): Pick<Totals, "attempts" | "submitted" | "lost" | "discarded" | "filtered"> {
    const carried = this.of(kind);
    // Before the first counters, and for streams without any, what arrived is all that is known.
    const waited = (this.arrived.get(kind) ?? 0) - (this.base?.beyond.get(kind) ?? 0);
    const known = waited + (this.settled?.beyond.get(kind) ?? 0);
    const change = (key: keyof KindCounters) => sumOf(this.settled, kind, key) - sumOf(this.base, kind, key);
    return {
      attempts: carried.attempts + change("attempts") + known,
      submitted: carried.submitted + change("submitted") + known,
      lost: carried.lost + change("lost"),
      discarded: carried.discarded + change("discarded"),
      filtered: carried.filtered + change("filtered"),
    };
  }
}

function sumOf(checkpoint: Checkpoint | null, kind: number, key: keyof KindCounters): number {
  let sum = 0n;
  for (const cell of checkpoint?.counters.cells ?? []) if (cell.kind === kind) sum += cell.counters[key];
  return Number(sum);
}

function lossesBetween(before: Counters, now: Counters): Loss[] {
  const losses: Loss[] = [];
  for (const { cpu, kind, counters } of now.cells) {
    const then = before.cells.find((cell) => cell.cpu === cpu && cell.kind === kind);
    for (const [key, reason] of Object.entries(LOSSES) as [keyof typeof LOSSES, string][]) {
      const count = Number(counters[key] - (then?.counters[key] ?? 0n));
      if (count > 0) losses.push({ kind, cpu, reason, count, from: before.time, to: now.time });
    }
  }
  return losses;
}
