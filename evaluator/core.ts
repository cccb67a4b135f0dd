// The evaluator's core: frames in, lines out. It has no clock, no file and no socket, so that a replay is the same as the
// live run that was recorded. Time comes from records and counters.

import {
  DecodeError,
  decodeRecord,
  RECORD_HEADER,
  Ring,
  readRecordHeader,
  type StreamPreamble,
} from "../bpf/event.gen.ts";
import { Processes, type ProcessLimits } from "./context/processes.ts";
import { type Event, SCHEMA_VERSION } from "./event/event.ts";
import { normalise, type Origin, wallTime } from "./event/normalise.ts";
import { type Counters, type Frame, recordSpans } from "./input/records.ts";
import type { Alert } from "./output/alert.ts";
import { alertOf } from "./output/alert.ts";
import { EVENT_TYPES, Ledger, type Loss } from "./output/ledger.ts";
import type { Engine } from "./rule/engine.ts";

/** What is written, one line each; `kind` is the record kind behind an event or alert. */
export type Output =
  | { is: "event"; kind: number; record: Event }
  | { is: "alert"; kind: number; record: Alert }
  | { is: "notice"; record: Notice };

/** A line about the stream itself: coverage, health, loss. Keys are written in the object's order. */
type Notice = { event_type: "coverage" | "health" | "loss"; timestamp_ns: bigint } & Record<string, unknown>;

export type CoreSettings = {
  engine: Engine;
  /** Writes into an event what built-in detections see in it. */
  annotate: (event: Event) => void;
  limits: ProcessLimits;
  /** Events are decided upon, but only alerts are written. */
  alertsOnly: boolean;
  /** How many file and network events are written per second of boot time; 0: all. Those with an alert always are. */
  eventsPerSecond: number;
  /** Boot time between two health lines, ns. */
  healthInterval: bigint;
  /** Resident memory in KiB; null where it would make two replays differ. */
  memory: () => number | null;
};

const SECOND_NS = 1_000_000_000n;
/** The rings whose records are read. */
const RINGS = Object.values(Ring);

/** Decides what every frame means. The caller writes what it returns, tells of failures, then acknowledges `positions`. */
export class Core {
  readonly ledger = new Ledger();
  /** All records before these positions of the rings have been handled. */
  positions: bigint[] = RINGS.map(() => 0n);
  alerts = 0;
  malformed = 0;
  unsupported = 0;
  /** First and last time of a record, ns of wall time. */
  span: { from: bigint; to: bigint } | null = null;
  readonly alertsBySeverity = new Map<string, number>();
  private stream: StreamPreamble | null = null;
  private origin: Origin = { bootId: "", hostId: null, wallOffset: 0n };
  private processes: Processes;
  private redeliverUntil: bigint[] = [];
  private started: bigint | null = null;
  private now = 0n;
  private nextHealth: bigint | null = null;
  private limited = { second: -1n, count: 0 };
  private evictedBefore = 0;
  private unattributedBefore = 0;

  constructor(private readonly settings: CoreSettings) {
    this.processes = new Processes("", settings.limits);
  }

  /** Has a stream begun? */
  get begun(): boolean {
    return this.stream !== null;
  }

  /** Handles the next frame of the stream. */
  handle(frame: Frame): Output[] {
    switch (frame.type) {
      case "preamble":
        this.begin(frame.preamble);
        return [];
      case "clock":
        this.origin = { ...this.origin, wallOffset: frame.wallOffset };
        this.now = frame.time;
        return [];
      case "coverage":
        return [this.notice("coverage", frame.coverage)];
      case "snapshot":
        for (const { record } of this.decoded(frame.bytes)) this.processes.remember(record);
        return [];
      case "records":
        return this.handleRecords(frame.bytes, frame.ring, frame.position);
      case "counters":
        return this.count(frame.counters);
      case "end":
        this.ledger.end(this.positions);
        return [this.health()];
    }
  }

  /** The stream ended without saying so: the sensor was killed, or the capture was cut. */
  cut(): Output[] {
    return this.stream ? [this.health()] : [];
  }

  /** An output of `handle` could not be written. */
  failed(output: Output): void {
    if (output.is !== "notice") this.ledger.of(output.kind).write_failed += 1;
  }

  private begin(preamble: StreamPreamble): void {
    const bootId = dashed(Buffer.from(preamble.bootId).toString("hex"));
    const hostId = Buffer.from(preamble.hostId).toString("hex");
    const sameBoot = this.stream !== null && this.origin.bootId === bootId;
    if (!sameBoot || this.stream?.instance !== preamble.instance) {
      this.ledger.restart();
      this.positions = RINGS.map(() => 0n);
    }
    if (!sameBoot) {
      this.evictedBefore += this.processes.evicted;
      this.unattributedBefore += this.processes.unattributed;
      this.processes = new Processes(bootId, this.settings.limits);
      this.nextHealth = null;
    }
    this.stream = preamble;
    this.origin = { ...this.origin, bootId, hostId: /^0+$/.test(hostId) ? null : hostId };
  }

  private handleRecords(bytes: Uint8Array, ring: number, position: bigint): Output[] {
    const outputs: Output[] = [];
    for (const item of this.decoded(bytes, { ring, position })) {
      const { record, redelivered } = item;
      const { kind, header } = record;
      const lineage = this.processes.observe(record);
      const event = normalise(record, lineage, this.origin, redelivered);
      if (!event) continue;
      this.settings.annotate(event);
      const wall = header.time + this.origin.wallOffset;
      this.span = { from: this.span?.from ?? wall, to: wall };
      this.now = header.time;
      const totals = this.ledger.of(kind);
      const matches = this.settings.engine.evaluate(event);
      if (this.settings.alertsOnly) totals.withheld += 1;
      else if (matches.length === 0 && this.overLimit(event)) totals.rate_limited += 1;
      else {
        totals.written += 1;
        outputs.push({ is: "event", kind, record: event });
      }
      for (const match of matches) {
        const image = event.event_type === "process_start" ? event : this.processes.imageOf(header.process);
        totals.matched += 1;
        this.alerts += 1;
        this.alertsBySeverity.set(
          match.rule.severity,
          (this.alertsBySeverity.get(match.rule.severity) ?? 0) + 1,
        );
        const context = { args: image?.args ?? null, cwd: image?.cwd ?? null };
        outputs.push({ is: "alert", kind, record: alertOf(match, event, context) });
      }
    }
    return outputs;
  }

  /** Is this file or network event beyond what is written in one second of the stream? */
  private overLimit(event: Event): boolean {
    if (this.settings.eventsPerSecond === 0 || event.event_type.startsWith("process_")) return false;
    const second = event.timestamp_ns / SECOND_NS;
    if (second !== this.limited.second) this.limited = { second, count: 0 };
    this.limited.count += 1;
    return this.limited.count > this.settings.eventsPerSecond;
  }

  /** The records of a frame, decoded and entered in the books. Without `position` they come from no ring. */
  private *decoded(bytes: Uint8Array, from: { ring: number; position: bigint } | null = null) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (const { start, size, next } of recordSpans(bytes)) {
      const header = size >= RECORD_HEADER.size ? readRecordHeader(view, start) : null;
      const totals = from === null ? null : this.ledger.of(header?.kind ?? 0);
      const until = from === null ? 0n : from.position + BigInt(next);
      if (totals && from) {
        totals.received += 1;
        if (until <= (this.positions[from.ring] ?? 0n)) {
          totals.repeated += 1;
          continue;
        }
        this.positions[from.ring] = until;
        this.ledger.arrive(header?.kind ?? 0, header?.cpu ?? 0, header?.sequence ?? 0n);
      }
      try {
        const record = decodeRecord(view, buffer, start, size);
        if (totals && !EVENT_TYPES.has(record.kind)) throw new DecodeError(record.kind, "unknown kind");
        if (totals) totals.decoded += 1;
        yield { record, redelivered: from !== null && until <= (this.redeliverUntil[from.ring] ?? 0n) };
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        if (totals) totals.malformed += 1;
        if (error.reason === "unknown kind") this.unsupported += 1;
        else this.malformed += 1;
      }
    }
  }

  private count(counters: Counters): Output[] {
    this.now = counters.time;
    this.started ??= counters.time;
    this.redeliverUntil = counters.redeliverUntil;
    const outputs = this.ledger.count(counters, this.positions).map((loss) => this.loss(loss));
    this.nextHealth ??= counters.time + this.settings.healthInterval;
    if (counters.time >= this.nextHealth) {
      this.nextHealth = counters.time + this.settings.healthInterval;
      outputs.push(this.health());
    }
    return outputs;
  }

  private loss({ kind, cpu, reason, count, from, to }: Loss): Output {
    const [start, end] = [from, to].map((time) => wallTime(time + this.origin.wallOffset));
    return this.notice("loss", {
      stage: "kernel",
      kind: EVENT_TYPES.get(kind) ?? `kind_${kind}`,
      cpu,
      reason,
      count,
      from: start,
      to: end,
    });
  }

  private health(): Output {
    const ledger = this.ledger.statement();
    return this.notice("health", {
      raw_events_read: ledger.received,
      normalized_events_output: ledger.written,
      alerts_output: this.alerts,
      userspace_filtered: ledger.withheld,
      userspace_rate_limited: ledger.rate_limited,
      userspace_invalid_schema: this.malformed,
      userspace_unsupported_kind: this.unsupported,
      userspace_output_failures: ledger.write_failed,
      process_table_size: this.processes.size,
      pending_exec_source_size: 0,
      process_records_evicted: this.evictedBefore + this.processes.evicted,
      pending_sources_evicted: 0,
      unattributed: this.unattributedBefore + this.processes.unattributed,
      uptime_secs: Number((this.now - (this.started ?? this.now)) / SECOND_NS),
      rss_kb: this.settings.memory(),
      ledger,
    });
  }

  private notice(type: Notice["event_type"], facts: Record<string, unknown>): Output {
    return {
      is: "notice",
      record: {
        event_type: type,
        timestamp_ns: this.now,
        time: wallTime(this.now + this.origin.wallOffset),
        schema_version: SCHEMA_VERSION,
        host_id: this.origin.hostId,
        boot_id: this.origin.bootId,
        ...facts,
      },
    };
  }
}

/** A boot id in the kernel's notation. */
function dashed(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
