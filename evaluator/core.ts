// The evaluator's core: frames in, lines out. It has no clock, no file and no socket, so that a replay is the same as the
// live run that was recorded. Time comes from records and counters.

import {
  DecodeError,
  RECORD_HEADER,
  RecordFlag,
  RecordKind,
  Ring,
  type StreamPreamble,
  Tamper,
} from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, RING_NAMES, ringOf } from "../bpf/kinds.ts";
import type { ProcessLimits } from "./context/processes.ts";
import { Decider, type Decision, type Sink } from "./decide.ts";
import { SCHEMA_VERSION } from "./event/event.ts";
import { wallTime } from "./event/normalise.ts";
import { type Bytes, fromUtf8 } from "./event/text.ts";
import type { Counters, Taken } from "./input/counters.ts";
import type { Coverage } from "./input/coverage.ts";
import { type Frame, partOf, type RecordsFrame } from "./input/records.ts";
import { RecordView } from "./input/view.ts";
import { Canaries } from "./output/canaries.ts";
import type { Loss } from "./output/checkpoint.ts";
import { Debts } from "./output/debts.ts";
import { type Findings, Ledger } from "./output/ledger.ts";
import { ALERT, NOTICE } from "./output/lines.ts";
import { Losers } from "./output/losers.ts";
import type { Notice, NoticeFacts, NoticeType } from "./output/notice.ts";
import type { Shortfall } from "./output/outputs.ts";
import type { Tally } from "./output/summary.ts";
import { EVENT_TYPES, entryOf, typeOf, UNKNOWN_KIND } from "./output/totals.ts";

export type CoreSettings = {
  decision: Decision;
  limits: ProcessLimits;
  /** Boot time between two health lines, ns. */
  healthInterval: bigint;
  /** Resident memory in KiB; null where it would make two replays differ. */
  memory: () => number | null;
  /** How many lines each output lacks so far, events, alerts and notices. */
  shortfalls: () => Shortfall[];
  /** Do lines about the stream get into the output? Else the words of a loss are all that is ever said of it. */
  hasNotices: boolean;
};

/** Whose records were lost most, and the rules that were blind. */
type LossFacts = Pick<NoticeFacts["loss"], "producers" | "rules_blind">;

const HEADER = RECORD_HEADER.at;
const SECOND_NS = 1_000_000_000n;
/** So many of the rules that were blind a loss names. */
const RULES_NAMED_MAX = 100;
const TAMPERED: Record<number, string> = {
  [Tamper.pins]: "pins were removed, or their file system was unmounted",
  [Tamper.own]:
    "somebody else told the kernel side what only the sensor tells it, such as which processes are the sensor's own",
  [Tamper.position]: "somebody moved the consumer position of a ring",
  [Tamper.canary]:
    "the sensor's canary cannot act: its folder beside the socket, or its program, is gone or full",
  [Tamper.args]:
    "a process keeps its arguments where reading them does not end: of running processes, none are known",
};
const MUTE = "the sensor has not said a word since this evaluator connected";
const RINGS = Object.values(Ring);

/**
 * Decides what every frame means. Events and alerts go to the sink; the caller writes what `handle` returns behind them, tells
 * the ledger what became of every line, then acknowledges the records.
 */
export class Core {
  readonly ledger = new Ledger();
  /** All records before these positions of the rings have been handled. */
  positions: bigint[] = RINGS.map(() => 0n);
  malformed = 0;
  unsupported = 0;
  /** Has somebody hidden events, as if the sensor itself had acted? */
  hasHidden = false;
  /** What of the last frame is still to be handled, when its lines have been written: its records have raised very many alerts. */
  rest: RecordsFrame | null = null;
  /** First and last time of a record, ns of wall time. */
  span: { from: bigint; to: bigint } | null = null;
  private readonly decider: Decider;
  private stream: StreamPreamble | null = null;
  /** Is it the first of this boot? */
  private isFirst = true;
  private readonly canaries = new Canaries();
  /** Types of events whose hooks are attached. */
  private attached: string[] = [];
  private readonly losers = new Losers();
  private tampered = 0;
  private refused = 0n;
  private refusedBefore = 0n;
  private silentSince: bigint | null = null;
  private redeliverUntil: bigint[] = [];
  readonly debts = new Debts();
  private started: bigint | null = null;
  private now = 0n;
  /** When the last counters were read: nobody knows what was lost after that. */
  private counted = 0n;
  private nextHealth: bigint | null = null;
  private readonly record = new RecordView();
  private readonly ofProcesses = new RecordView();

  constructor(
    private readonly settings: CoreSettings,
    private readonly sink: Sink,
  ) {
    this.decider = new Decider(settings.decision, settings.limits, this.ledger, sink);
  }

  /** From the next record on, decides by something else. */
  set decision(decision: Decision) {
    this.decider.decision = decision;
  }

  get tally(): Tally {
    return this.decider.tally;
  }

  /** Has a stream begun? */
  get begun(): boolean {
    return this.stream !== null;
  }

  /** Handles the next frame of the stream, or the `rest` of one. Returns what is to be said of the stream itself. */
  handle(frame: Frame): Notice[] {
    this.rest = null;
    switch (frame.type) {
      case "preamble":
        return this.begin(frame.preamble);
      case "clock":
        this.decider.origin = { ...this.decider.origin, wallOffset: frame.wallOffset };
        this.now = later(this.now, frame.time);
        return [];
      case "coverage":
        return [this.coverage(frame.coverage)];
      case "losers":
        this.losers.set(frame.losers);
        return [];
      case "taken":
        return this.inherit(frame.taken);
      case "snapshot":
        this.handleSnapshot(frame.bytes);
        return [];
      case "records":
        this.handleRecords(frame);
        return [];
      case "counters":
        return this.count(frame.counters);
      case "end":
        return frame.cut ? this.cut() : [...this.found(this.ledger.end(this.positions)), this.health()];
    }
  }

  /** The stream ended without saying so: the sensor was killed, or the capture was cut. What came after its last counters is not known. */
  cut(): Notice[] {
    if (!this.stream) return [];
    this.ledger.cut();
    return [this.notice("sensor_gone", { types: this.attached }), this.health()];
  }

  /** The reader of the stream stops, and leaves the rest of it to the next one. */
  leave(): Notice[] {
    return this.stream ? [this.health()] : [];
  }

  /** Nothing has come for a while, by the clock of whoever reads the stream. What says not even who it is has no line. */
  silent(seconds: number): Notice[] {
    if (this.silentSince !== null) return [];
    this.silentSince = this.now;
    if (!this.stream) return [];
    const since = this.wall(this.now);
    const reason = `no word for ${seconds} s`;
    return [this.notice("sensor_silent", { types: this.attached, since, reason, rules_blind: undefined })];
  }

  /** The line of this owner got out. */
  wrote(owner: number): void {
    this.debts.wrote(owner);
    if (owner >= NOTICE) return;
    const totals = this.ledger.of(owner & ~ALERT);
    if (owner & ALERT) totals.alert_lines += 1;
    else totals.lines += 1;
  }

  /** It did not; `torn` when it had been taken for one that did, because its beginning had got out. */
  lost(owner: number, torn: boolean): void {
    this.debts.lost(owner);
    if (owner >= NOTICE) return;
    const totals = this.ledger.of(owner & ~ALERT);
    if (owner & ALERT) {
      totals.alert_write_failed += 1;
      if (torn) totals.alert_lines -= 1;
    } else {
      totals.write_failed += 1;
      if (torn) totals.lines -= 1;
    }
  }

  private begin(preamble: StreamPreamble): Notice[] {
    const outputs: Notice[] = [];
    const [before, stopped] = [this.stream, this.counted];
    const bootId = dashed(Buffer.from(preamble.bootId).toString("hex"));
    const hostId = Buffer.from(preamble.hostId).toString("hex");
    const sameBoot = this.stream !== null && this.decider.origin.bootId === bootId;
    if (!sameBoot || this.stream?.instance !== preamble.instance) {
      outputs.push(...this.found({ losses: this.ledger.restart(), mismatches: [] }));
      this.positions = RINGS.map(() => 0n);
    }
    if (!sameBoot) {
      this.decider.restart(bootId);
      this.nextHealth = null;
      this.now = this.counted = 0n;
    }
    this.stream = preamble;
    this.isFirst = !sameBoot;
    this.decider.origin = { ...this.decider.origin, bootId, hostId: /^0+$/.test(hostId) ? null : hostId };
    this.canaries.begin();
    this.refusedBefore += this.refused;
    this.refused = 0n;
    this.tampered = 0;
    this.silentSince = null;
    if (!sameBoot || before?.instance === preamble.instance || preamble.attached <= stopped) return outputs;
    // Nobody can say what happened between the last word of the old programs and the first of the new ones.
    const [from, to] = [this.wall(stopped), this.wall(preamble.attached)];
    outputs.push(this.notice("gap", { from, to, duration_ns: preamble.attached - stopped }));
    return outputs;
  }

  private coverage(coverage: Coverage): Notice {
    const events = Object.entries(
      (coverage["events"] ?? {}) as Record<string, { attached?: unknown } | null>,
    );
    const types = new Set(EVENT_TYPES.values());
    this.attached = events
      .filter(([type, facts]) => types.has(type) && facts?.attached === true)
      .map(([type]) => type);
    const since = this.wall(this.stream?.attached ?? 0n);
    // What a sensor says of itself is passed on, whatever its version.
    const facts = { ...coverage, attached_since: since } as unknown as NoticeFacts["coverage"];
    return this.notice("coverage", facts);
  }

  /** What an earlier evaluator has left. */
  private inherit(taken: Taken): Notice[] {
    this.isFirst ||= this.ledger.isOvertakenBy(taken);
    const losses = this.ledger.inherit(taken, this.isFirst);
    if (!losses) return [];
    this.losers.inherit();
    if (this.isFirst && this.settings.hasNotices)
      this.debts.take({ events: Number(taken.unwrittenEvents), alerts: Number(taken.unwrittenAlerts) });
    return this.found({ losses, mismatches: [] });
  }

  private handleSnapshot(bytes: Uint8Array): void {
    const { record } = this;
    for (record.open(bytes); record.advance(); ) {
      if (record.isWhole() && record.u16(HEADER.kind) === RecordKind.snapshot) this.decider.remember(record);
      else this.countMalformed(record);
    }
  }

  private handleRecords(frame: RecordsFrame): void {
    const { ledger, sink, tally } = this;
    const { bytes, ring, position } = frame;
    const alerts = tally.alerts;
    // One for each ring: where they take turns, each stays in its memory.
    const record = ring === Ring.process ? this.ofProcesses : this.record;
    const repeatedSize = sizeBelow(this.positions[ring], position);
    const redeliveredSize = sizeBelow(this.redeliverUntil[ring], position);
    let end = 0;
    let [firstEvent, lastEvent] = [-1, -1];
    for (record.open(bytes); record.advance(); ) {
      const kind = record.hasHeader ? record.u16(HEADER.kind) : UNKNOWN_KIND;
      const totals = ledger.of(kind);
      totals.received += 1;
      if (record.passed <= repeatedSize) {
        totals.repeated += 1;
        continue;
      }
      end = record.passed;
      if (record.hasHeader) ledger.arrive(kind, record.u16(HEADER.cpu), record.u64(HEADER.sequence));
      else ledger.arrive(UNKNOWN_KIND, 0, 0);
      if (entryOf(kind) === UNKNOWN_KIND || !record.isWhole()) {
        totals.malformed += 1;
        this.countMalformed(record);
        continue;
      }
      totals.decoded += 1;
      if (record.u32(HEADER.flags) & RecordFlag.canary) {
        totals.canaries += 1;
        this.canaries.arrive(kind, ring, position + BigInt(record.passed));
      } else if (this.decider.decide(record, record.passed <= redeliveredSize)) {
        lastEvent = record.start + HEADER.time;
        if (firstEvent < 0) firstEvent = lastEvent;
        if (tally.alerts !== alerts && sink.isFull) break;
      }
    }
    if (record.passed < bytes.length) this.rest = partOf(frame, record.passed, bytes.length);
    if (end > 0) this.positions[ring] = position + BigInt(end);
    if (firstEvent >= 0) this.passTime(record, firstEvent, lastEvent);
  }

  /** Events came whose times are at these places. */
  private passTime({ view }: RecordView, first: number, last: number): void {
    const wallOf = (time: bigint) => time + this.decider.origin.wallOffset;
    const time = view.getBigUint64(last, true);
    // Counters may be ahead of records that still waited when they were read.
    this.now = later(this.now, time);
    this.span = { from: this.span?.from ?? wallOf(view.getBigUint64(first, true)), to: wallOf(time) };
  }

  /** Of what sort is a record that does not decode? */
  private countMalformed(record: RecordView): void {
    let reason: DecodeError["reason"] = "unknown kind";
    try {
      record.decode();
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      reason = error.reason;
    }
    if (reason === "unknown kind") this.unsupported += 1;
    else this.malformed += 1;
  }

  private count(counters: Counters): Notice[] {
    this.now = later(this.now, counters.time);
    // Of a stream that is read again, the records are passed over, and the sensor's acts among them.
    const isRepeated = counters.time <= this.counted;
    this.counted = later(this.counted, counters.time);
    this.started ??= counters.time;
    this.redeliverUntil = counters.redeliverUntil;
    this.refused = counters.refused;
    this.positions = this.positions.map((position, ring) => later(position, counters.sentPosition[ring]));
    const outputs = isRepeated ? [] : this.watch(counters);
    outputs.push(...this.found(this.ledger.count(counters, this.positions)));
    this.nextHealth ??= counters.time + this.settings.healthInterval;
    if (counters.time >= this.nextHealth || this.debts.isDue) {
      this.nextHealth = counters.time + this.settings.healthInterval;
      outputs.push(this.health());
    }
    return outputs;
  }

  /** What the sensor's acts and its looking around have brought to light. */
  private watch(counters: Counters): Notice[] {
    const outputs: Notice[] = [];
    if (this.silentSince !== null) outputs.push(this.notice("sensor_heard", { types: this.attached }));
    this.silentSince = null;
    const { silent, heard, forged } = this.canaries.report(counters, this.positions);
    for (const { types, since, reason } of silent) {
      const facts = { types, since: this.wall(since), reason, rules_blind: this.blind(types) };
      outputs.push(this.notice("sensor_silent", facts));
    }
    if (heard.length > 0) outputs.push(this.notice("sensor_heard", { types: heard }));
    for (const { type, count } of forged) {
      const what = `${count} records of ${type} are marked as the sensor's acts, and are none`;
      outputs.push(this.notice("tampered", { what }));
    }
    this.hasHidden ||= forged.length > 0 || (counters.tampered & Tamper.own) !== 0;
    for (const [bit, what] of Object.entries(TAMPERED)) {
      if (counters.tampered & ~this.tampered & Number(bit)) outputs.push(this.notice("tampered", { what }));
    }
    this.tampered = counters.tampered;
    return outputs;
  }

  private found({ losses, mismatches }: Findings): Notice[] {
    // Who lost most and which rules were blind is the same for all CPUs.
    const known = new Map<string, LossFacts>();
    const outputs = losses.map((loss) => {
      const about = `${loss.kind} ${loss.ring}`;
      const facts = known.get(about) ?? this.factsOf(loss);
      known.set(about, facts);
      return this.loss(loss, facts);
    });
    this.losers.told(losses);
    for (const { law, cpu, of, left, right } of mismatches) {
      outputs.push(this.notice("ledger_mismatch", { law, cpu, of, left, right }));
    }
    return outputs;
  }

  private factsOf({ kind, ring }: Loss): LossFacts {
    const types =
      kind === null
        ? ALL_EVENT_KINDS.filter((one) => ringOf(one.kind) === ring).map(({ type }) => type)
        : [typeOf(kind)];
    return { producers: this.losers.worst(kind), rules_blind: this.blind(types) };
  }

  private loss({ stage, kind, ring, cpu, reason, count, from, to }: Loss, facts: LossFacts): Notice {
    return this.notice("loss", {
      stage,
      kind: kind === null ? null : typeOf(kind),
      ring: ring === null ? null : (RING_NAMES[ring] ?? null),
      ...{ cpu, reason, count },
      from: this.wall(from),
      to: this.wall(to),
      from_ns: from,
      to_ns: to,
      ...facts,
    });
  }

  /** The enabled rules that could have matched one of these, by id. */
  private blind(types: readonly string[]): Bytes[] {
    const ids = new Set(types.flatMap((type) => this.decider.decision.engine.watching(type)));
    const named = [...ids].slice(0, RULES_NAMED_MAX);
    const rest = ids.size - named.length;
    return [...named, ...(rest > 0 ? [`and ${rest} more`] : [])].map(fromUtf8);
  }

  /** What is wrong at this moment, in words: hooks that report no more, sums that do not agree. */
  get troubles(): string[] {
    const { silentSince } = this;
    return [
      ...(silentSince === null
        ? []
        : [this.stream ? `the sensor is silent since ${this.wall(silentSince)}` : MUTE]),
      ...this.canaries.silences
        .filter(({ type }) => this.attached.includes(type))
        .map(({ type, reason }) => `no word of ${type}: ${reason}`),
      ...this.ledger.differences.map((difference) => `the ledger does not add up: ${difference}`),
    ];
  }

  /** All sums at this moment: what a health line holds. */
  get books(): NoticeFacts["health"] {
    const ledger = this.ledger.statement();
    const outputs = this.settings.shortfalls();
    return {
      raw_events_read: ledger.received,
      normalized_events_output: ledger.written,
      alerts_output: this.tally.alerts,
      userspace_filtered: ledger.withheld,
      userspace_rate_limited: ledger.rate_limited,
      userspace_invalid_schema: this.malformed,
      userspace_unsupported_kind: this.unsupported,
      userspace_output_failures: outputs.reduce((sum, { failed }) => sum + failed, 0),
      process_table_size: this.decider.processCount,
      pending_exec_source_size: 0,
      process_records_evicted: this.decider.evicted,
      pending_sources_evicted: 0,
      unattributed: this.decider.unattributed,
      uptime_secs: Number((this.now - (this.started ?? this.now)) / SECOND_NS),
      rss_kb: this.settings.memory(),
      connections_refused: Number(this.refusedBefore + this.refused),
      outputs: outputs.map(({ path, failed }) => ({ path: fromUtf8(path), failed })),
      ledger,
      since_attached: this.ledger.sinceAttached(),
    };
  }

  private health(): Notice {
    this.debts.say();
    return this.notice("health", this.books);
  }

  private notice<Type extends NoticeType>(type: Type, facts: NoticeFacts[Type]): Notice {
    const { hostId, bootId } = this.decider.origin;
    const common = {
      event_type: type,
      timestamp_ns: this.now,
      time: this.wall(this.now),
      schema_version: SCHEMA_VERSION,
      host_id: hostId,
      boot_id: bootId,
    };
    // First for the order, last because what a stream says of itself must not pass for anything else.
    const record = { ...common, ...facts, ...common };
    // The compiler does not follow that type and facts belong together.
    return record as unknown as Notice;
  }

  /** Boot time as wall time. */
  private wall(time: bigint): string {
    return wallTime(time + this.decider.origin.wallOffset);
  }
}

/** How many of a frame's bytes are below a position of its ring. */
function sizeBelow(limit: bigint | undefined, position: bigint): number {
  return limit === undefined || limit <= position ? 0 : Number(limit - position);
}

function later(one: bigint, other: bigint | undefined): bigint {
  return other !== undefined && other > one ? other : one;
}

/** A boot id in the kernel's notation. */
function dashed(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
