// Do the sensor's hooks still report? It acts once a second and says how often; here its acts are compared with the records of
// them that arrived. Places in the rings decide which record belongs to which report.

import type { Counters } from "../input/counters.ts";
import { EVENT_TYPES, typeOf } from "./totals.ts";

/** Hooks that were heard before and report no more, or report again; the names are event types. */
export type Silence = { types: string[]; since: bigint; reason: string };
/** What a report has brought to light. `forged`: more records than acts. */
export type Hearing = { silent: Silence[]; heard: string[]; forged: { type: string; count: number }[] };

const KINDS = [...EVENT_TYPES.keys()];
const NO_CANARY = "the sensor acted, and no record of it came";
const DETACHED = "its hook is not attached any more";

/** Compares acts and records within one stream. */
export class Canaries {
  private before: Counters | null = null;
  private now: Counters | null = null;
  /** Records by kind since `before`: those that belong to `now`, and those that came after it. */
  private arrived = new Map<number, number>();
  private beyond = new Map<number, number>();
  private readonly silent = new Map<number, string>();

  /** A stream begins: its sensor counts from zero. */
  begin(): void {
    this.before = this.now = null;
    this.arrived.clear();
    this.beyond.clear();
  }

  /** The record of an act came, and ends at this position of its ring. */
  arrive(kind: number, ring: number, until: bigint): void {
    if (!this.before || until <= (this.before.producerPosition[ring] ?? 0n)) return;
    const late = this.now !== null && until > (this.now.producerPosition[ring] ?? 0n);
    const counts = late ? this.beyond : this.arrived;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }

  /** The event types that report no more, and why. */
  get silences(): { type: string; reason: string }[] {
    return [...this.silent].map(([kind, reason]) => ({ type: typeOf(kind), reason }));
  }

  /** A report came when the records before these positions had. */
  report(counters: Counters, positions: readonly bigint[]): Hearing {
    const hearing: Hearing = { silent: [], heard: [], forged: [] };
    if (
      this.before &&
      this.now &&
      positions.every((at, ring) => at >= (this.now?.producerPosition[ring] ?? 0n))
    ) {
      this.compare(this.before, this.now, hearing);
      this.before = this.now;
      this.now = null;
      this.arrived = this.beyond;
      this.beyond = new Map();
    }
    if (!this.before) this.before = counters;
    else this.now ??= counters;
    return hearing;
  }

  private compare(before: Counters, now: Counters, hearing: Hearing): void {
    for (const kind of KINDS) {
      const acts = Number((now.canaries[kind] ?? 0n) - (before.canaries[kind] ?? 0n));
      const records = this.arrived.get(kind) ?? 0;
      if (records > acts) hearing.forged.push({ type: typeOf(kind), count: records - acts });
      const detached = ((now.detached[kind >>> 5] ?? 0) >>> (kind & 31)) & 1;
      const isMissing = records + unheardOf(now, kind) - unheardOf(before, kind) < acts;
      const reason = detached ? DETACHED : isMissing ? NO_CANARY : null;
      if (reason !== null) {
        if (this.silent.get(kind) !== reason) addSilence(hearing.silent, typeOf(kind), before.time, reason);
        this.silent.set(kind, reason);
      } else if (acts > 0 && this.silent.delete(kind)) hearing.heard.push(typeOf(kind));
    }
  }
}

function addSilence(silences: Silence[], type: string, since: bigint, reason: string): void {
  const same = silences.find((one) => one.reason === reason);
  if (same) same.types.push(type);
  else silences.push({ types: [type], since, reason });
}

/** The acts whose records were lost with others. */
function unheardOf({ cells }: Counters, kind: number): number {
  return cells.reduce((sum, cell) => (cell.kind === kind ? sum + Number(cell.counters.unheard) : sum), 0);
}
