// The ledger: where every time that a hook fired has gone. What the kernel counted and what arrived are two independent
// measures, compared at checkpoints: counters whose records have all passed by.

import { KINDS_MAX, type KindCounters, RINGS_MAX, Ring } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, RING_NAMES, ringOf } from "../../bpf/kinds.ts";
import type { Counters, Taken } from "../input/counters.ts";
import { Checkpoint, hasPassed, LOSSES, type Loss, lossesBetween, type Mismatch } from "./checkpoint.ts";
import {
  EVENT_TYPES,
  entryOf,
  NOTHING,
  type Statement,
  type Totals,
  typeOf,
  UNKNOWN_KIND,
} from "./totals.ts";

/** What a checkpoint has brought to light. */
export type Findings = { losses: Loss[]; mismatches: Mismatch[] };

const RINGS = Object.values(Ring);
/** Counters that were read while programs ran, however often, are of no use; so many in a row are wrong. */
const RESTLESS_MAX = 3;

/** Keeps the books. Who sees something happen to a record counts it up in `of(kind)`. */
export class Ledger {
  private readonly totals: readonly Totals[] = Array.from({ length: KINDS_MAX }, () => ({ ...NOTHING }));
  /** The first counters of this stream: what is before them is not ours, but for records that still waited in the ring. */
  private base: Checkpoint | null = null;
  /** What an earlier evaluator has told the losses of: those between it and the base are ours to tell. */
  private inherited: Checkpoint<Taken> | null = null;
  private settled: Checkpoint | null = null;
  private pending: Checkpoint | null = null;
  private last: Checkpoint | null = null;
  private restless = 0;
  /** Were the rings given up, with what was in them? */
  private isAbandoned = false;
  /** Did the stream end without its last counters? */
  private wasCut = false;
  /** By ring, how many records were given up when the rings before these went. */
  private abandonedBefore: number[] = [];
  /** By CPU and kind: arrivals that the base does not count, those of them that `settled` counts, that `pending` does not. */
  private arrived = new Float64Array(0);
  private within = new Float64Array(0);
  private beyond = new Float64Array(0);
  /** Arrivals that the base counts, by kind. */
  private waited = new Float64Array(KINDS_MAX);
  /** By ring, how many records that waited when the base was read are still to come: they come first. */
  private readonly waiting = new Float64Array(RINGS_MAX);
  /** Differences that were told, by what they are about. */
  private readonly told = new Map<string, number>();

  /** The running totals of a record kind. Those of the kernel side are filled in by `statement`. */
  of(kind: number): Totals {
    return this.totals[entryOf(kind)] as Totals;
  }

  /**
   * A stream begins whose counters have nothing to do with those before: another boot, or programs attached anew. The rings of
   * those before are gone: what was in them and did not arrive is a loss. `overtaken`: another evaluator's.
   */
  restart(overtaken = false): Loss[] {
    const losses =
      this.last && !this.isAbandoned && !overtaken
        ? this.abandon(this.last, "the ring went with its sensor before it was read")
        : [];
    this.abandonedBefore = RINGS.map((ring) =>
      sumOfAll(losses.map((loss) => (loss.ring === ring ? loss.count : 0))),
    );
    for (const [kind, totals] of this.totals.entries()) Object.assign(totals, this.kernelSide(kind));
    this.base = this.inherited = this.settled = this.pending = this.last = null;
    this.restless = 0;
    this.isAbandoned = false;
    this.arrived = this.within = this.beyond = new Float64Array(0);
    this.waited.fill(0);
    this.told.clear();
    return losses;
  }

  /** Has another evaluator taken counters that never came here? Then what came before is settled, and this one begins anew. */
  isOvertakenBy({ time }: Taken): boolean {
    const overtaken = this.last !== null && time > this.last.counters.time;
    if (overtaken) this.restart(true);
    return overtaken;
  }

  /** A record came out of the ring for the first time. */
  arrive(kind: number, cpu: number, sequence: number): void {
    const known = entryOf(kind);
    const ring = ringOf(kind);
    const place = cpu * RINGS_MAX + ring;
    if ((this.waiting[ring] ?? 0) > 0) this.waiting[ring] = (this.waiting[ring] ?? 0) - 1;
    if (!this.base || !(sequence >= (this.base.cut[place] ?? Infinity))) {
      this.waited[known] = (this.waited[known] ?? 0) + 1;
      return;
    }
    const cell = cpu * KINDS_MAX + known;
    this.arrived[cell] = (this.arrived[cell] ?? 0) + 1;
    if (this.pending && sequence >= (this.pending.cut[place] ?? 0))
      this.beyond[cell] = (this.beyond[cell] ?? 0) + 1;
  }

  /**
   * What an earlier evaluator has left; null when this stream has told that before. Its counters say which losses are told
   * already. With `isFirst`, it was another evaluator, and what that one could not say is ours to say.
   */
  inherit(taken: Taken, isFirst: boolean): Loss[] | null {
    if (this.base || this.inherited) return null;
    this.inherited = new Checkpoint(taken);
    const { time, unread } = taken;
    const [events, alerts] = isFirst
      ? [Number(taken.unwrittenEvents), Number(taken.unwrittenAlerts)]
      : [0, 0];
    // Of rings that were ours to read, a part is told already.
    const rest = RINGS.map((ring) =>
      Math.max(0, Number(unread[ring] ?? 0n) - (this.abandonedBefore[ring] ?? 0)),
    );
    this.abandonedBefore = [];
    const totals = this.of(UNKNOWN_KIND);
    this.carry(sumOfAll(rest));
    for (const key of ["attempts", "submitted", "received", "decoded", "written", "write_failed"] as const)
      totals[key] += events;
    for (const key of ["matched", "alert_write_failed"] as const) totals[key] += alerts;
    const moment = { kind: null, cpu: null, from: time, to: time };
    const losses = RINGS.map((ring): Loss => {
      const reason = "not acknowledged when other programs replaced theirs";
      return { stage: "ring", ring, reason, count: rest[ring] ?? 0, ...moment };
    });
    const unwritten = (what: string, count: number): Loss => {
      const reason = `${what} that an earlier evaluator could not write`;
      return { stage: "output", ring: null, reason, count, ...moment };
    };
    return [...losses, unwritten("events", events), unwritten("alerts", alerts)].filter(
      ({ count }) => count > 0,
    );
  }

  /** The kernel's counters arrived when the records before these positions of the rings had been handled. */
  count(counters: Counters, positions: readonly bigint[]): Findings {
    // A stream that is read again has nothing new to say.
    if (this.last && counters.time <= this.last.counters.time) return { losses: [], mismatches: [] };
    const checkpoint = new Checkpoint(counters);
    const before = this.last ?? this.inherited;
    const losses = before ? lossesBetween(before, checkpoint) : [];
    this.last = checkpoint;
    this.wasCut = false;
    if (!this.base) {
      this.base = this.settled = checkpoint;
      this.waiting.set(counters.waiting.map(Number));
      this.arrived = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.within = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.beyond = new Float64Array(checkpoint.cpus * KINDS_MAX);
      this.enter(losses);
      return { losses, mismatches: [] };
    }
    const { mismatches } = this.settle(positions);
    if (!this.pending) {
      this.pending = checkpoint;
      this.beyond.fill(0);
    }
    return { losses, mismatches };
  }

  /** Nothing more comes of this stream: the last counters may be compared, if their records have passed. */
  end(positions: readonly bigint[]): Findings {
    const findings = this.settle(positions);
    if (this.last?.counters.abandoned && !hasPassed(this.last, positions) && !this.isAbandoned)
      findings.losses.push(...this.abandon(this.last, "the sensor ended before its ring was read"));
    return findings;
  }

  /** The rings are gone: what was submitted and has not arrived never will. */
  private abandon(last: Checkpoint, reason: string): Loss[] {
    const { base } = this;
    const losses: Loss[] = [];
    this.settled = last;
    this.pending = null;
    this.isAbandoned = true;
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
    return [...losses, ...this.abandonWaiting(reason)];
  }

  /** The same of what had waited before the first counters. Of it, only the ring is known. */
  private abandonWaiting(reason: string): Loss[] {
    const to = this.base?.counters.time ?? 0n;
    const from = this.inherited?.counters.time ?? to;
    const losses: Loss[] = [];
    for (const ring of RINGS) {
      const count = this.waiting[ring] ?? 0;
      this.carry(count);
      if (count > 0) losses.push({ stage: "ring", kind: null, ring, cpu: null, reason, count, from, to });
    }
    this.waiting.fill(0);
    return losses;
  }

  /** So many records of unknown kinds went with their rings. */
  private carry(count: number): void {
    const totals = this.of(UNKNOWN_KIND);
    totals.attempts += count;
    totals.submitted += count;
    totals.abandoned += count;
  }

  /** The stream ended, and nobody has said that there is no more: until counters come again, nothing balances. */
  cut(): void {
    this.wasCut = true;
  }

  /** All sums as of the last checkpoint, records that arrived and losses that were told after it included. */
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
        const { lost, discarded } = this.toldSince(kind);
        return [
          type,
          {
            attempts: settled.sum(kind, "attempts") + since + lost + discarded,
            submitted: settled.sum(kind, "submitted") + since,
            lost: settled.sum(kind, "lost") + lost,
            discarded: settled.sum(kind, "discarded") + discarded,
            filtered: settled.sum(kind, "filtered"),
            unheard: settled.sum(kind, "unheard"),
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

  /** Losses of a kind that were told when the last counters came, and that the last checkpoint does not count. */
  private toldSince(kind: number): { lost: number; discarded: number } {
    const { settled, last } = this;
    const change = (key: keyof KindCounters) =>
      settled && last ? last.sum(kind, key) - settled.sum(kind, key) : 0;
    return { lost: change("lost"), discarded: change("discarded") };
  }

  /** Compares the pending counters with what arrived, if all of their records have. */
  private settle(positions: readonly bigint[]): Findings {
    const mismatches: Mismatch[] = [];
    if (this.pending && hasPassed(this.pending, positions)) {
      const { pending } = this;
      this.pending = null;
      const rows = [...pending.laws];
      const resting = pending.isResting;
      this.restless = resting ? 0 : this.restless + 1;
      if (resting) {
        this.settled = pending;
        this.within = this.arrived.map((count, cell) => count - (this.beyond[cell] ?? 0));
        if (this.base?.isResting) rows.push(...this.compare());
        else this.beginBehind(pending);
      }
      if (resting || this.restless >= RESTLESS_MAX)
        mismatches.push(...rows.filter((one) => this.isNews(one)));
    }
    return { losses: [], mismatches };
  }

  /** The first counters were read while a program ran, so nothing can be held against them: these take their place. */
  private beginBehind(resting: Checkpoint): void {
    const { base } = this;
    if (!base) return;
    this.enter(lossesBetween(base, resting));
    for (const [kind, totals] of this.totals.entries())
      totals.filtered += resting.sum(kind, "filtered") - base.sum(kind, "filtered");
    for (const [cell, count] of this.within.entries()) {
      const kind = cell % KINDS_MAX;
      this.waited[kind] = (this.waited[kind] ?? 0) + count;
    }
    this.arrived = this.beyond.slice();
    this.within.fill(0);
    this.base = resting;
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

  /** Losses before the base, which no later counters tell. */
  private enter(losses: readonly Loss[]): void {
    for (const { stage, kind, reason, count } of losses) {
      const totals = this.of(kind ?? UNKNOWN_KIND);
      if (stage === "hook") totals.missed += count;
      else {
        totals.attempts += count;
        totals[reason === LOSSES.discarded ? "discarded" : "lost"] += count;
      }
    }
  }

  private kernelSide(
    kind: number,
  ): Pick<Totals, "attempts" | "submitted" | "lost" | "discarded" | "filtered" | "missed"> {
    const carried = this.of(kind);
    const { base, settled, last } = this;
    // Before the first counters, and for streams without any, what arrived is all that is known.
    const known = (this.waited[kind] ?? 0) + this.unsettled(kind);
    const change = (key: keyof KindCounters) =>
      base && settled ? settled.sum(kind, key) - base.sum(kind, key) : 0;
    const missed = Number((last?.counters.missed[kind] ?? 0n) - (base?.counters.missed[kind] ?? 0n));
    const { lost, discarded } = this.toldSince(kind);
    return {
      attempts: carried.attempts + change("attempts") + known + lost + discarded,
      submitted: carried.submitted + change("submitted") + known,
      lost: carried.lost + change("lost") + lost,
      discarded: carried.discarded + change("discarded") + discarded,
      filtered: carried.filtered + change("filtered"),
      missed: carried.missed + missed,
    };
  }
}

function sumOfAll(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
