// The ledger: where every time that a hook fired has gone. What the kernel counted and what arrived are two independent
// measures, compared at checkpoints: counters whose records have all passed by.

import { KINDS_MAX, type KindCounters, RINGS_MAX, Ring } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, ringOf } from "../../bpf/kinds.ts";
import type { Counters } from "../input/counters.ts";

/** The event type that a record kind becomes. A snapshot becomes none and is in no ring. */
export const EVENT_TYPES: ReadonlyMap<number, string> = new Map(
  ALL_EVENT_KINDS.map(({ kind, type }) => [kind, type]),
);

/** The kind under which everything is entered whose kind nobody knows. */
export const UNKNOWN_KIND = 0;

/** Under which kind a record of a kind is entered. */
const KNOWN = Uint8Array.from({ length: KINDS_MAX }, (_, kind) =>
  EVENT_TYPES.has(kind) ? kind : UNKNOWN_KIND,
);

/** The event type of a record kind, or "unknown". */
export function typeOf(kind: number): string {
  return EVENT_TYPES.get(kind) ?? "unknown";
}

/** Where the records of one kind, or of all, have gone. The keys are those of the output. */
export type Totals = {
  attempts: number;
  submitted: number;
  lost: number;
  discarded: number;
  missed: number;
  /** In a ring that went with its sensor before it was read. */
  abandoned: number;
  filtered: number;
  received: number;
  repeated: number;
  malformed: number;
  decoded: number;
  /** Acts of the sensor, to see that its hooks report: never events. */
  canaries: number;
  /** Of kinds that settings switch off, told for the lineage of others. */
  lineage: number;
  /** Events that settings keep from the output ("alerts only"); rules have seen them. */
  withheld: number;
  rate_limited: number;
  /** Events handed to the output: `lines` of these got out, `write_failed` did not. */
  written: number;
  lines: number;
  write_failed: number;
  /** Rules that matched: as many alerts got out, were not repeated, or could not be written. */
  matched: number;
  alert_lines: number;
  suppressed: number;
  alert_write_failed: number;
  unaccounted: number;
};

/** The totals of everything, the same by event type, and whether all sums agree. */
export type Statement = Totals & { by_kind: Record<string, Totals>; balanced: boolean };

/**
 * A stretch of time in which records were lost. Times are boot time, ns. `kind` is null for what is only known as a hole in
 * the numbers of a ring, `cpu` where it does not matter.
 */
export type Loss = {
  stage: "hook" | "kernel" | "backlog" | "ring";
  kind: number | null;
  ring: Ring;
  cpu: number | null;
  reason: string;
  count: number;
  from: bigint;
  to: bigint;
};

/** Two measures of the same thing that differ. */
export type Mismatch = { law: string; cpu: number; of: string; left: number; right: number };

/** What a checkpoint has brought to light. */
export type Findings = { losses: Loss[]; mismatches: Mismatch[] };

const NOTHING: Totals = {
  attempts: 0,
  submitted: 0,
  lost: 0,
  discarded: 0,
  missed: 0,
  abandoned: 0,
  filtered: 0,
  received: 0,
  repeated: 0,
  malformed: 0,
  decoded: 0,
  canaries: 0,
  lineage: 0,
  withheld: 0,
  rate_limited: 0,
  written: 0,
  lines: 0,
  write_failed: 0,
  matched: 0,
  alert_lines: 0,
  suppressed: 0,
  alert_write_failed: 0,
  unaccounted: 0,
};

const LOSSES = { lost: "ring full", discarded: "no scratch memory" } as const;
const RING_NAMES = Object.fromEntries(Object.entries(Ring).map(([name, ring]) => [ring, name]));
const RINGS = Object.values(Ring);
/** Counters that were read while programs ran, however often, are of no use; so many in a row are wrong. */
const RESTLESS_MAX = 3;

/** Counters, in numbers that are quick to compare. */
class Checkpoint {
  /** The next sequence number, by CPU and ring. */
  readonly cut: Float64Array;
  private readonly cells = new Map<number, KindCounters>();

  constructor(readonly counters: Counters) {
    this.cut = new Float64Array(counters.sequences.length * RINGS_MAX);
    counters.sequences.forEach((row, cpu) => this.cut.set(row.map(Number), cpu * RINGS_MAX));
    for (const { cpu, kind, counters: cell } of counters.cells) this.cells.set(cpu * KINDS_MAX + kind, cell);
  }

  get(cpu: number, kind: number, key: keyof KindCounters): number {
    return Number(this.cells.get(cpu * KINDS_MAX + kind)?.[key] ?? 0n);
  }

  get cpus(): number {
    return this.counters.sequences.length;
  }
}

/** Keeps the books. Who sees something happen to a record counts it up in `of(kind)`. */
export class Ledger {
  private readonly totals: readonly Totals[] = Array.from({ length: KINDS_MAX }, () => ({ ...NOTHING }));
  /** The first counters of this stream: what is before them is not ours, but for records that still waited in the ring. */
  private base: Checkpoint | null = null;
  private settled: Checkpoint | null = null;
  private pending: Checkpoint | null = null;
  private last: Checkpoint | null = null;
  /** Have the records passed that waited when the base was counted? */
  private backlogPassed = false;
  private restless = 0;
  /** Did the stream end without its last counters? */
  private wasCut = false;
  /** By CPU and kind: arrivals that the base does not count, those of them that `settled` counts, that `pending` does not. */
  private arrived = new Float64Array(0);
  private within = new Float64Array(0);
  private beyond = new Float64Array(0);
  /** Arrivals that the base counts, by kind; by CPU and ring how many, and the first sequence number. */
  private waited = new Float64Array(KINDS_MAX);
  private waitedInRing = new Float64Array(0);
  private waitedFrom = new Float64Array(0);
  /** Differences that were told, by what they are about. */
  private readonly told = new Map<string, number>();

  /** The running totals of a record kind. Those of the kernel side are filled in by `statement`. */
  of(kind: number): Totals {
    return this.totals[KNOWN[kind] ?? UNKNOWN_KIND] as Totals;
  }

  /**
   * A stream begins whose counters have nothing to do with those before: another boot, or programs attached anew. The rings of
   * those before are gone: what was in them and did not arrive is a loss.
   */
  restart(): Loss[] {
    const losses = this.last
      ? this.abandon(this.last, "the ring went with its sensor before it was read")
      : [];
    for (const [kind, totals] of this.totals.entries()) Object.assign(totals, this.kernelSide(kind));
    this.base = this.settled = this.pending = this.last = null;
    this.backlogPassed = false;
    this.restless = 0;
    this.arrived = this.within = this.beyond = this.waitedInRing = this.waitedFrom = new Float64Array(0);
    this.waited.fill(0);
    this.told.clear();
    return losses;
  }

  /** A record came out of the ring for the first time. */
  arrive(kind: number, cpu: number, sequence: number): void {
    const known = KNOWN[kind] ?? UNKNOWN_KIND;
    const place = cpu * RINGS_MAX + ringOf(kind);
    if (!this.base || !(sequence >= (this.base.cut[place] ?? Infinity))) {
      this.waited[known] = (this.waited[known] ?? 0) + 1;
      if (!this.base || cpu >= this.base.cpus) return;
      if (this.waitedInRing[place] === 0) this.waitedFrom[place] = sequence;
      this.waitedInRing[place] = (this.waitedInRing[place] ?? 0) + 1;
      return;
    }
    const cell = cpu * KINDS_MAX + known;
    this.arrived[cell] = (this.arrived[cell] ?? 0) + 1;
    if (this.pending && sequence >= (this.pending.cut[place] ?? 0))
      this.beyond[cell] = (this.beyond[cell] ?? 0) + 1;
  }

  /** The kernel's counters arrived when the records before these positions of the rings had been handled. */
  count(counters: Counters, positions: readonly bigint[]): Findings {
    // A stream that is read again has nothing new to say.
    if (this.last && counters.time <= this.last.counters.time) return { losses: [], mismatches: [] };
    const checkpoint = new Checkpoint(counters);
    const losses = this.last ? lossesBetween(this.last, checkpoint) : [];
    this.last = checkpoint;
    this.wasCut = false;
    if (!this.base) {
      this.base = this.settled = checkpoint;
      this.arrived = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.within = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.beyond = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.waitedInRing = new Float64Array(checkpoint.cpus * RINGS_MAX);
      this.waitedFrom = new Float64Array(checkpoint.cpus * RINGS_MAX);
      return { losses, mismatches: [] };
    }
    const findings = this.settle(positions);
    if (!this.pending) {
      this.pending = checkpoint;
      this.beyond.fill(0);
    }
    return { losses: [...losses, ...findings.losses], mismatches: findings.mismatches };
  }

  /** Nothing more comes of this stream: the last counters may be compared, if their records have passed. */
  end(positions: readonly bigint[]): Findings {
    const findings = this.settle(positions);
    if (this.last?.counters.abandoned && !hasPassed(this.last, positions))
      findings.losses.push(...this.abandon(this.last, "the sensor ended before its ring was read"));
    return findings;
  }

  /** The rings are gone: what was submitted and has not arrived never will. */
  private abandon(last: Checkpoint, reason: string): Loss[] {
    const { base } = this;
    const losses: Loss[] = [];
    this.settled = last;
    this.pending = null;
    for (const { kind } of ALL_EVENT_KINDS) {
      let count = 0;
      for (let cpu = 0; cpu < last.cpus; cpu++) {
        const cell = cpu * KINDS_MAX + kind;
        const submitted = last.get(cpu, kind, "submitted") - (base?.get(cpu, kind, "submitted") ?? 0);
        // What arrived after the last counters were read is not among what they count.
        this.within[cell] = Math.min(this.arrived[cell] ?? 0, submitted);
        count += submitted - (this.within[cell] ?? 0);
      }
      if (count === 0) continue;
      this.of(kind).abandoned += count;
      const time = last.counters.time;
      losses.push({
        stage: "ring",
        kind,
        ring: ringOf(kind),
        cpu: null,
        reason,
        count,
        from: time,
        to: time,
      });
    }
    return losses;
  }

  /** The stream ended, and nobody has said that there is no more: until counters come again, nothing balances. */
  cut(): void {
    this.wasCut = true;
  }

  /** All sums as of the last checkpoint, records that arrived after it included. */
  statement(): Statement {
    const all = { ...NOTHING };
    const byKind: Record<string, Totals> = {};
    let balanced = this.told.size === 0 && !this.wasCut;
    for (const kind of [...EVENT_TYPES.keys(), UNKNOWN_KIND]) {
      const totals = { ...this.of(kind), ...this.kernelSide(kind) };
      if (kind === UNKNOWN_KIND && Object.values(totals).every((count) => count === 0)) continue;
      totals.unaccounted = totals.submitted - (totals.received - totals.repeated) - totals.abandoned;
      balanced &&=
        totals.unaccounted === 0 &&
        totals.attempts === totals.submitted + totals.lost + totals.discarded &&
        totals.received === totals.decoded + totals.malformed + totals.repeated &&
        totals.decoded ===
          totals.canaries + totals.lineage + totals.written + totals.withheld + totals.rate_limited &&
        totals.written === totals.lines + totals.write_failed &&
        totals.matched === totals.alert_lines + totals.suppressed + totals.alert_write_failed;
      byKind[typeOf(kind)] = totals;
      for (const key of Object.keys(all) as (keyof Totals)[]) all[key] += totals[key];
    }
    return { ...all, by_kind: byKind, balanced };
  }

  /** What differed when it was compared last, in words. */
  get differences(): string[] {
    return [...this.told.keys()];
  }

  /**
   * What the kernel side has counted since its programs were attached: at the last checkpoint, and with what arrived since.
   * Null before the first.
   */
  sinceAttached(): Record<string, Record<keyof KindCounters, number>> | null {
    const { settled } = this;
    if (!settled) return null;
    return Object.fromEntries(
      [...EVENT_TYPES].map(([kind, type]) => {
        const since = this.unsettled(kind);
        return [
          type,
          {
            attempts: sumOf(settled, kind, "attempts") + since,
            submitted: sumOf(settled, kind, "submitted") + since,
            lost: sumOf(settled, kind, "lost"),
            discarded: sumOf(settled, kind, "discarded"),
            filtered: sumOf(settled, kind, "filtered"),
            unheard: sumOf(settled, kind, "unheard"),
          },
        ];
      }),
    );
  }

  /** Records of a kind that arrived and that the last checkpoint does not count. */
  private unsettled(kind: number): number {
    let count = 0;
    for (let cell = kind; cell < this.arrived.length; cell += KINDS_MAX)
      count += (this.arrived[cell] ?? 0) - (this.within[cell] ?? 0);
    return count;
  }

  /** Compares the pending counters with what arrived, if all of their records have. */
  private settle(positions: readonly bigint[]): Findings {
    const losses: Loss[] = [];
    const mismatches: Mismatch[] = [];
    if (this.base && !this.backlogPassed && hasPassed(this.base, positions)) {
      this.backlogPassed = true;
      losses.push(...this.backlogHoles());
    }
    if (this.pending && hasPassed(this.pending, positions)) {
      const { pending } = this;
      this.pending = null;
      const rows = rowLaws(pending);
      const resting = rows.every(({ left, right }) => left === right);
      this.restless = resting ? 0 : this.restless + 1;
      if (resting) {
        this.settled = pending;
        this.within = this.arrived.map((count, cell) => count - (this.beyond[cell] ?? 0));
        rows.push(...this.compare());
      }
      if (resting || this.restless >= RESTLESS_MAX)
        mismatches.push(...rows.filter((one) => this.isNews(one)));
    }
    return { losses, mismatches };
  }

  /** Holds holes in the sequence numbers against losses that were counted, and arrivals against submissions. */
  private compare(): Mismatch[] {
    const { base, settled } = this;
    if (!base || !settled) return [];
    const mismatches: Mismatch[] = [];
    for (let cpu = 0; cpu < settled.cpus; cpu++) {
      for (const ring of RINGS) {
        const place = cpu * RINGS_MAX + ring;
        let holes = (settled.cut[place] ?? 0) - (base.cut[place] ?? 0);
        let counted = 0;
        for (const { kind, type } of ALL_EVENT_KINDS) {
          if (ringOf(kind) !== ring) continue;
          const change = (key: keyof KindCounters) => settled.get(cpu, kind, key) - base.get(cpu, kind, key);
          const arrivals = this.within[cpu * KINDS_MAX + kind] ?? 0;
          holes -= arrivals;
          counted += change("lost") + change("discarded");
          mismatches.push({
            law: "submitted = received",
            cpu,
            of: type,
            left: change("submitted"),
            right: arrivals,
          });
        }
        const of = `${RING_NAMES[ring]} ring`;
        mismatches.push({
          law: "holes in sequence numbers = lost + discarded",
          cpu,
          of,
          left: holes,
          right: counted,
        });
      }
    }
    return mismatches;
  }

  /** Does it differ, and by something else than was told before? */
  private isNews({ law, cpu, of, left, right }: Mismatch): boolean {
    const key = `${law} (${of}, CPU ${cpu})`;
    const before = this.told.get(key) ?? 0;
    if (left === right) this.told.delete(key);
    else this.told.set(key, left - right);
    return left !== right && left - right !== before;
  }

  /** Records that were lost among those that waited for this evaluator, or before its first counters. */
  private backlogHoles(): Loss[] {
    const { base } = this;
    if (!base) return [];
    const losses: Loss[] = [];
    for (let cpu = 0; cpu < base.cpus; cpu++) {
      for (const ring of RINGS) {
        const place = cpu * RINGS_MAX + ring;
        const waited = this.waitedInRing[place] ?? 0;
        const count = waited === 0 ? 0 : (base.cut[place] ?? 0) - (this.waitedFrom[place] ?? 0) - waited;
        if (count <= 0) continue;
        const reason = "ring full before this evaluator was connected";
        const time = base.counters.time;
        losses.push({ stage: "backlog", kind: null, ring, cpu, reason, count, from: time, to: time });
        const totals = this.of(UNKNOWN_KIND);
        totals.attempts += count;
        totals.lost += count;
      }
    }
    return losses;
  }

  private kernelSide(
    kind: number,
  ): Pick<Totals, "attempts" | "submitted" | "lost" | "discarded" | "filtered" | "missed"> {
    const carried = this.of(kind);
    const { base, settled, last } = this;
    // Before the first counters, and for streams without any, what arrived is all that is known.
    const known = (this.waited[kind] ?? 0) + this.unsettled(kind);
    const change = (key: keyof KindCounters) =>
      base && settled ? sumOf(settled, kind, key) - sumOf(base, kind, key) : 0;
    const missed = Number((last?.counters.missed[kind] ?? 0n) - (base?.counters.missed[kind] ?? 0n));
    return {
      attempts: carried.attempts + change("attempts") + known,
      submitted: carried.submitted + change("submitted") + known,
      lost: carried.lost + change("lost"),
      discarded: carried.discarded + change("discarded"),
      filtered: carried.filtered + change("filtered"),
      missed: carried.missed + missed,
    };
  }
}

function hasPassed({ counters }: Checkpoint, positions: readonly bigint[]): boolean {
  return positions.every((position, ring) => position >= (counters.producerPosition[ring] ?? 0n));
}

/** What holds for every row that is of one moment: attempts have an end and a sequence number. */
function rowLaws(checkpoint: Checkpoint): Mismatch[] {
  const rows: Mismatch[] = [];
  for (let cpu = 0; cpu < checkpoint.cpus; cpu++) {
    for (const ring of RINGS) {
      const of = `${RING_NAMES[ring]} ring`;
      const sum = (key: keyof KindCounters) =>
        ALL_EVENT_KINDS.reduce(
          (total, { kind }) => total + (ringOf(kind) === ring ? checkpoint.get(cpu, kind, key) : 0),
          0,
        );
      const attempts = sum("attempts");
      const ended = sum("submitted") + sum("lost") + sum("discarded");
      const numbers = checkpoint.cut[cpu * RINGS_MAX + ring] ?? 0;
      rows.push({ law: "attempts = submitted + lost + discarded", cpu, of, left: attempts, right: ended });
      rows.push({ law: "attempts = sequence numbers", cpu, of, left: attempts, right: numbers });
    }
  }
  return rows;
}

function sumOf(checkpoint: Checkpoint, kind: number, key: keyof KindCounters): number {
  let sum = 0;
  for (let cpu = 0; cpu < checkpoint.cpus; cpu++) sum += checkpoint.get(cpu, kind, key);
  return sum;
}

function lossesBetween(before: Checkpoint, now: Checkpoint): Loss[] {
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
