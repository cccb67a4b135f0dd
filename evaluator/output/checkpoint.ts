// What the kernel's counters say at one moment, and between two.

import { KINDS_MAX, type KindCounters, RINGS_MAX, Ring } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, RING_NAMES, ringOf } from "../../bpf/kinds.ts";
import type { Counters, Taken } from "../input/counters.ts";
import { UNKNOWN_KIND } from "./totals.ts";

/**
 * A stretch of time in which records were lost. Times are boot time, ns. `kind` is null where only the ring is known, `cpu`
 * where it does not matter.
 */
export type Loss = {
  stage: "hook" | "kernel" | "ring" | "output";
  kind: number | null;
  /** Null where it got further than the ring. */
  ring: Ring | null;
  cpu: number | null;
  reason: string;
  count: number;
  from: bigint;
  to: bigint;
};

/** Two measures of the same thing that differ. */
export type Mismatch = { law: string; cpu: number; of: string; left: number; right: number };

/** What counters call a loss, and the reason that is told. */
export const LOSSES = { lost: "ring full", discarded: "no scratch memory" } as const;

/** Counters, in numbers that are quick to compare. */
export class Checkpoint<Counted extends Counters | Taken = Counters> {
  /** The next sequence number, by CPU and ring. */
  readonly cut: Float64Array;
  /** What holds for every row that is of one moment: attempts have an end and a sequence number. */
  readonly laws: readonly Mismatch[];
  private readonly cells = new Map<number, KindCounters>();

  constructor(readonly counters: Counted) {
    this.cut = new Float64Array(counters.sequences.length * RINGS_MAX);
    counters.sequences.forEach((row, cpu) => this.cut.set(row.map(Number), cpu * RINGS_MAX));
    for (const { cpu, kind, counters: cell } of counters.cells) this.cells.set(cpu * KINDS_MAX + kind, cell);
    this.laws = this.compare();
  }

  get cpus(): number {
    return this.counters.sequences.length;
  }

  get(cpu: number, kind: number, key: keyof KindCounters): number {
    return Number(this.cells.get(cpu * KINDS_MAX + kind)?.[key] ?? 0n);
  }

  /** The same of all CPUs. */
  sum(kind: number, key: keyof KindCounters): number {
    let sum = 0;
    for (let cpu = 0; cpu < this.cpus; cpu++) sum += this.get(cpu, kind, key);
    return sum;
  }

  private compare(): Mismatch[] {
    const rows: Mismatch[] = [];
    for (let cpu = 0; cpu < this.cpus; cpu++) {
      for (const ring of Object.values(Ring)) {
        const of = `${RING_NAMES[ring]} ring`;
        const sum = (key: keyof KindCounters) =>
          ALL_EVENT_KINDS.reduce(
            (total, { kind }) => total + (ringOf(kind) === ring ? this.get(cpu, kind, key) : 0),
            0,
          );
        const attempts = sum("attempts");
        const ended = sum("submitted") + sum("lost") + sum("discarded");
        const numbers = this.cut[cpu * RINGS_MAX + ring] ?? 0;
        rows.push({ law: "attempts = submitted + lost + discarded", cpu, of, left: attempts, right: ended });
        rows.push({ law: "attempts = sequence numbers", cpu, of, left: attempts, right: numbers });
      }
    }
    return rows;
  }

  /** Was no program in the midst of its work when these counters were read? */
  get isResting(): boolean {
    return this.laws.every(({ left, right }) => left === right);
  }
}

/** Have all records that these counters count passed by, when those before `positions` of the rings have? */
export function hasPassed({ counters }: Checkpoint, positions: readonly bigint[]): boolean {
  return positions.every((position, ring) => position >= (counters.producerPosition[ring] ?? 0n));
}

/** What later counters count as lost that earlier ones did not, by CPU and kind. */
export function lossesBetween(before: Checkpoint | Checkpoint<Taken>, now: Checkpoint): Loss[] {
  const losses: Loss[] = [];
  const times = { from: before.counters.time, to: now.counters.time };
  for (const { cpu, kind } of now.counters.cells) {
    for (const [key, reason] of Object.entries(LOSSES) as [keyof typeof LOSSES, string][]) {
      const count = now.get(cpu, kind, key) - before.get(cpu, kind, key);
      if (count > 0) losses.push({ stage: "kernel", kind, ring: ringOf(kind), cpu, reason, count, ...times });
    }
  }
  now.counters.missed.forEach((missed, kind) => {
    const count = Number(missed - (before.counters.missed[kind] ?? 0n));
    const reason = "the program was running already";
    const what = {
      stage: "hook",
      kind: kind === UNKNOWN_KIND ? null : kind,
      ring: ringOf(kind || KINDS_MAX),
    } as const;
    if (count > 0) losses.push({ ...what, cpu: null, reason, count, ...times });
  });
  return losses;
}
