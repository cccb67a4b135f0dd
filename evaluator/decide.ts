// What becomes of the record of an event: what it says of its process is taken in, rules and detections are asked, and it is
// written together with the alerts that it raises, or counted as not written, with the reason.
//
// Nearly no record is of interest to any rule. So as little is made of it as has to be: nothing at all, when no rule looks for
// it and only alerts are written; the few texts that rules compare, when one might match; the whole event, when it is written
// or when a rule has matched.

import { RECORD_HEADER, RecordFlag, RecordKind } from "../bpf/event.gen.ts";
import type { Process } from "./context/process.ts";
import { type Circumstances, Processes, type ProcessLimits } from "./context/processes.ts";
import type { Event } from "./event/event.ts";
import { Instant } from "./event/instant.ts";
import { normalise, type Origin } from "./event/normalise.ts";
import type { Bytes } from "./event/text.ts";
import type { RecordView } from "./input/view.ts";
import { ALERT_ARGS_SIZE_MAX, type Alert, alertOf, contextOf } from "./output/alert.ts";
import type { EventWriter } from "./output/direct/events.ts";
import type { Ledger } from "./output/ledger.ts";
import type { Tally } from "./output/summary.ts";
import type { Totals } from "./output/totals.ts";
import { annotate, type Detections } from "./rule/detections.ts";
import type { Engine, Match } from "./rule/engine.ts";
import type { Filter } from "./rule/filter.ts";
import { subjectOf } from "./rule/subject.ts";

/** Where lines go, in order. The kind is that of the record behind a line. */
export type Sink = {
  event: (kind: number, event: Event) => void;
  alert: (kind: number, alert: Alert) => void;
  /** Takes events of files and of the network as records; null where it cannot. */
  readonly direct: EventWriter | null;
  /** Do so many lines wait that they should be written before more are made? */
  readonly isFull: boolean;
};

/** By what it is decided; can be exchanged between two records. */
export type Decision = {
  engine: Engine;
  detections: Detections;
  /** Knows what the engine's rules and the detections look for. */
  filter: Filter;
  /** Events are decided upon, but only alerts are written. */
  alertsOnly: boolean;
  /** How many file and network events are written per second of boot time; 0: all. Those with an alert always are. */
  eventsPerSecond: number;
};

const HEADER = RECORD_HEADER.at;
const NO_NAMES: Bytes[] = [];

/** Decides about one record after the other. */
export class Decider {
  readonly tally: Tally = { alerts: 0, bySeverity: new Map(), byRule: new Map(), truncated: 0 };
  private readonly processes: Processes;
  private from: Origin = { bootId: "", hostId: null, wallOffset: 0n };
  private readonly time = new Instant();
  private limited = { second: -1, count: 0 };

  constructor(
    /** By what the next record is decided. */
    public decision: Decision,
    limits: ProcessLimits,
    private readonly ledger: Ledger,
    private readonly sink: Sink,
  ) {
    this.processes = new Processes("", limits);
  }

  /** Where the records come from. */
  get origin(): Origin {
    return this.from;
  }

  set origin(origin: Origin) {
    this.from = origin;
    this.sink.direct?.setOrigin(origin);
  }

  /** Another boot has begun: its processes have nothing to do with those before. */
  restart(bootId: string): void {
    this.processes.restart(bootId);
  }

  /** How many processes are known. */
  get processCount(): number {
    return this.processes.size;
  }

  /** Processes that were given up for newer ones. */
  get evicted(): number {
    return this.processes.evicted;
  }

  /** Records whose process has an executable that nobody knows. */
  get unattributed(): number {
    return this.processes.unattributed;
  }

  /** Takes in a process that was running when the stream began. */
  remember(record: RecordView): void {
    this.processes.remember(record);
  }

  /** Decides about a whole record of a known kind, and hands on what is written. Returns false when it is no event. */
  decide(record: RecordView, redelivered: boolean): boolean {
    const { decision, processes } = this;
    const kind = record.u16(HEADER.kind);
    const totals = this.ledger.of(kind);
    const process = processes.observe(record);
    if (record.u32(HEADER.flags) & RecordFlag.lineage) {
      totals.lineage += 1;
      return false;
    }
    if (record.isCut) this.tally.truncated += 1;
    if (decision.filter.couldMatch(record)) this.judge(record, process, totals, redelivered);
    else if (this.account(record, totals, false)) this.write(record, process, redelivered);
    return true;
  }

  /** Writes an event that nothing has matched. */
  private write(record: RecordView, process: Process, redelivered: boolean): void {
    const { sink } = this;
    if (sink.direct) sink.direct.add(record, process, this.processes, redelivered);
    else sink.event(record.u16(HEADER.kind), this.eventOf(record, process, redelivered));
  }

  /** Asks rules and detections about an event that might match. */
  private judge(record: RecordView, process: Process, totals: Totals, redelivered: boolean): void {
    const { decision, sink, processes } = this;
    const kind = record.u16(HEADER.kind);
    let event = kind >= RecordKind.connect ? this.eventOf(record, process, redelivered) : null;
    const subject = event ?? subjectOf(record, process, processes.namesOf(record, process));
    const matches = decision.engine.evaluate(subject);
    const detections = kind >= RecordKind.fileOpen ? decision.detections.namesFor(subject) : NO_NAMES;
    const isWritten = this.account(record, totals, matches.length > 0);
    if (matches.length === 0 && detections.length === 0) {
      if (isWritten) this.write(record, process, redelivered);
      return;
    }
    event ??= this.eventOf(record, process, redelivered);
    annotate(event, detections);
    if (isWritten) sink.event(kind, event);
    totals.matched += matches.length;
    if (matches.length === 0) return;
    const context = contextOf(event, () => processes.imageOf(record, process, ALERT_ARGS_SIZE_MAX));
    for (const match of matches) sink.alert(kind, this.raise(match, event, context));
  }

  /** Enters in the books what becomes of an event. Returns whether it is written. */
  private account(record: RecordView, totals: Totals, hasMatched: boolean): boolean {
    if (this.decision.alertsOnly) totals.withheld += 1;
    else if (!hasMatched && this.isOverLimit(record)) totals.rate_limited += 1;
    else {
      totals.written += 1;
      return true;
    }
    return false;
  }

  /** Is this file or network event beyond what is written in one second of the stream? */
  private isOverLimit(record: RecordView): boolean {
    const { eventsPerSecond } = this.decision;
    if (eventsPerSecond === 0 || record.u16(HEADER.kind) < RecordKind.fileOpen) return false;
    this.time.set(record.u32(HEADER.time), record.u32(HEADER.time + 4));
    const { seconds } = this.time;
    if (seconds !== this.limited.second) this.limited = { second: seconds, count: 0 };
    this.limited.count += 1;
    return this.limited.count > eventsPerSecond;
  }

  private eventOf(record: RecordView, process: Process, redelivered: boolean): Event {
    return normalise(record.decode(), this.processes.lineageOf(record, process), this.origin, redelivered);
  }

  private raise(match: Match, event: Event, context: Circumstances): Alert {
    const { tally } = this;
    tally.alerts += 1;
    countUp(tally.bySeverity, match.rule.severity);
    countUp(tally.byRule, match.rule.id);
    return alertOf(match, event, context);
  }
}

function countUp(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
