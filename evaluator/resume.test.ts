// Sensors and evaluators that are killed at any moment, on a simulated pipe: rounds, acknowledgements and ledger together. Every
// record comes out once for each evaluator that lives, in the order of time, and none is acknowledged that has not.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { RECORD_HEADER, RecordKind, Ring } from "../bpf/event.gen.ts";
import { entryOf, firstOf, preambleOf, recordsOf, sampleCapture } from "../scripts/fuzz/stream.ts";
import { CPUS, Kernel } from "../scripts/kernel.ts";
import { Core } from "./core.ts";
import type { Counters } from "./input/counters.ts";
import { type Frame, FrameReader } from "./input/records.ts";
import { Rounds } from "./input/rounds.ts";
import { Handled } from "./input/socket.ts";
import type { Notice } from "./output/notice.ts";
import { compileDetections } from "./rule/detections.ts";
import { compileRules } from "./rule/engine.ts";
import { compileFilter } from "./rule/filter.ts";

const RAW = new Uint8Array(0);
const RINGS = [Ring.process, Ring.activity] as const;
const known = recordsOf(sampleCapture());
/** One record of each ring, and its kind. */
const TEMPLATES = [RecordKind.exec, RecordKind.fileOpen].map((kind) => ({
  kind,
  record: firstOf(known, kind),
}));
const DECISION = {
  ...{ alertsOnly: false, eventsPerSecond: 0 },
  ...{ engine: compileRules([]), detections: compileDetections([]), filter: compileFilter([], []) },
};

/** A record in its ring; `out`: the evaluator that lives has handled it. */
type Entry = { bytes: Uint8Array; position: number; end: number; out: boolean };

const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);

/** The kernel's rings and counters, a sensor, its socket, and an evaluator. */
class Pair {
  readonly notices: Notice[] = [];
  /** Events that came out of the evaluator that lives; of any; records that went with their rings. */
  private own = new Set<string>();
  readonly events = new Set<string>();
  submitted = 0;
  gone = 0;
  private kernel = new Kernel();
  private rings: Entry[][] = [[], []];
  private instance = 0n;
  private time = 1000n;
  private consumed = [0, 0];
  private sent = [0, 0];
  private limits = [0, 0];
  private queue: Frame[] = [];
  private counted: Counters[] = [];
  /** The counters that were acknowledged last. */
  private taken: Counters | null = null;
  private core = this.makeCore();
  private rounds = new Rounds();
  private handled = new Handled();
  private latest = 0n;
  /** Then what was held back came out as it was. */
  private wasSilent = false;

  constructor() {
    this.replace();
  }

  private makeCore(): Core {
    const settings = { decision: DECISION, limits: { entriesMax: 8, ancestorsMax: 3 } };
    const none = { healthInterval: 10n ** 9n, memory: () => null, shortfalls: () => [], hasNotices: true };
    const core: Core = new Core(
      { ...settings, ...none },
      {
        direct: null,
        isFull: false,
        event: (kind, { event_id: id, timestamp_ns: time }) => {
          expect(this.own.has(id)).toBe(false);
          this.own.add(id);
          this.events.add(id);
          if (!this.wasSilent) expect(time).toBeGreaterThanOrEqual(this.latest);
          this.latest = time;
          core.wrote(kind);
        },
        alert() {},
      },
    );
    return core;
  }

  private produced(ring: Ring): number {
    return this.rings[ring]?.at(-1)?.end ?? 0;
  }

  private get isBetweenRounds(): boolean {
    return RINGS.every((ring) => (this.sent[ring] ?? 0) >= (this.limits[ring] ?? 0));
  }

  /** A hook fires. */
  hook(ring: Ring, cpu: number, isLost: boolean): void {
    const { kind = 0, record } = TEMPLATES[ring] ?? {};
    const sequence = this.kernel.sequences[cpu]?.[ring] ?? 0n;
    this.kernel.hook(cpu, kind, isLost ? "lost" : "submitted");
    this.time += 1n;
    if (isLost) return;
    this.submitted += 1;
    const bytes = Buffer.from(record ?? RAW);
    bytes.writeBigUInt64LE(this.time, RECORD_HEADER.at.time);
    bytes.writeBigUInt64LE(sequence, RECORD_HEADER.at.sequence);
    bytes.writeUInt16LE(cpu, RECORD_HEADER.at.cpu);
    const position = this.produced(ring);
    const entry = entryOf(bytes);
    this.rings[ring]?.push({ bytes: entry, position, end: position + entry.length, out: false });
  }

  /** The sensor sends the next frame, of so many records. */
  send(count: number): void {
    if (this.isBetweenRounds) this.limits = RINGS.map((ring) => this.produced(ring));
    for (const ring of RINGS) {
      const [position = 0, limit = 0] = [this.sent[ring], this.limits[ring]];
      if (position >= limit) continue;
      const entries = this.rings[ring]?.filter((one) => one.position >= position && one.end <= limit) ?? [];
      const bytes = Uint8Array.from(Buffer.concat(entries.slice(0, count).map((one) => one.bytes)));
      this.sent[ring] = position + bytes.length;
      const more = !this.isBetweenRounds;
      this.queue.push({ type: "records", ring, position: BigInt(position), more, bytes, raw: RAW });
      return;
    }
  }

  /** The sensor sends what is counted. */
  count(): void {
    this.time += 1n;
    const { kernel, rings, sent, taken } = this;
    const isFirst = this.counted.length === 0;
    const waiting = rings.map((ring, i) => ring.filter(({ position }) => position >= (sent[i] ?? 0)).length);
    const counters = {
      ...kernel.counters(),
      time: this.time,
      producerPosition: RINGS.map((ring) => BigInt(this.produced(ring))),
      sentPosition: sent.map(BigInt),
      waiting: waiting.map((count) => BigInt(isFirst ? count : 0)),
    };
    const nothing = { time: 0n, sequences: counters.sequences.map((row) => row.map(() => 0n)), cells: [] };
    const { time, sequences, cells } = taken ?? nothing;
    const owed = { unread: [0n, 0n], unwrittenEvents: 0n, unwrittenAlerts: 0n };
    const left = { time, sequences, cells, missed: counters.missed, ...owed };
    if (isFirst) this.queue.push({ type: "taken", taken: left, raw: RAW });
    this.counted.push(counters);
    this.queue.push({ type: "counters", counters, raw: RAW });
  }

  /** The evaluator takes so many frames, and says how far it has got. */
  take(count: number, acknowledges: boolean): void {
    // What comes before a stream is of the rings before these.
    for (const frame of this.queue.splice(0, count)) {
      this.handled.came(frame);
      this.handle(this.rounds.portions(frame), frame.type === "preamble" ? [] : this.rings);
    }
    if (acknowledges) this.acknowledge();
  }

  /** The sensor falls silent. */
  silence(): void {
    this.wasSilent = true;
    this.handle(this.rounds.rest(), this.rings);
    this.notices.push(...this.core.silent(4));
  }

  private handle(portions: Iterable<Frame>, rings: Entry[][]): void {
    for (const portion of portions) {
      this.notices.push(...this.core.handle(portion));
      this.handled.add(portion);
      if (portion.type !== "records") continue;
      const [start, end] = [Number(portion.position), Number(portion.position) + portion.bytes.length];
      for (const entry of rings[portion.ring] ?? [])
        entry.out ||= entry.position >= start && entry.end <= end;
    }
  }

  private acknowledge(): void {
    const { position, counters } = this.handled.now();
    for (const ring of RINGS) {
      const until = Number(position[ring]);
      if (until === 0) continue;
      expect(until).toBeGreaterThanOrEqual(this.consumed[ring] ?? 0);
      expect(until).toBeLessThanOrEqual(this.sent[ring] ?? 0);
      expect(this.rings[ring]?.find((one) => one.end <= until && !one.out)).toBeUndefined();
      this.consumed[ring] = until;
    }
    this.taken = this.counted.findLast(({ time }) => time <= counters) ?? this.taken;
  }

  /** The connection is gone; `ends`: the sensor has said so. Then there is another one, which begins where the last one was acknowledged. */
  reconnect(ends = false): void {
    if (ends) {
      this.count();
      this.queue.push({ type: "end", cut: false, raw: RAW });
      this.take(Infinity, true);
    } else this.notices.push(...this.core.cut());
    this.queue = [];
    this.counted = [];
    this.sent = [...this.consumed];
    this.limits = [...this.sent];
    this.handled = new Handled();
    const [frame] = new FrameReader().push(preambleOf({ instance: this.instance, cpus: CPUS }));
    if (frame) this.queue.push({ ...frame, raw: RAW });
    this.count();
  }

  /** The evaluator is killed. */
  restart(): void {
    this.core = this.makeCore();
    this.rounds = new Rounds();
    this.own = new Set();
    this.latest = 0n;
    this.notices.length = 0;
    for (const [ring, entries] of this.rings.entries())
      for (const entry of entries) entry.out &&= entry.end <= (this.consumed[ring] ?? 0);
    this.reconnect();
  }

  /** The sensor is killed, and its rings go with it. */
  replace(): void {
    this.gone += sum(this.rings.map((ring) => ring.filter(({ out }) => !out).length));
    this.instance += 1n;
    this.kernel = new Kernel();
    this.rings = [[], []];
    this.consumed = [0, 0];
    this.taken = null;
    this.reconnect();
  }

  /** Another evaluator takes all that there is, and goes; then this one comes back. */
  lend(): void {
    this.count();
    this.taken = this.counted.at(-1) ?? null;
    for (const entry of this.rings.flat()) entry.out = true;
    this.consumed = RINGS.map((ring) => this.produced(ring));
    this.reconnect();
  }

  /** Everything is sent, taken and compared. */
  settle(): void {
    while (RINGS.some((ring) => (this.consumed[ring] ?? 0) < this.produced(ring))) {
      this.send(100);
      this.take(Infinity, true);
    }
    for (let i = 0; i < 3; i++) {
      this.count();
      this.take(Infinity, true);
    }
  }

  get books() {
    return this.core.ledger.statement();
  }
}

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.tuple(fc.constantFrom(...RINGS), fc.nat(CPUS - 1), fc.nat(15)).map(
      ([ring, cpu, luck]) =>
        (pair: Pair) =>
          pair.hook(ring, cpu, luck === 0),
    ),
  },
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 5 }).map((count) => (pair: Pair) => pair.send(count)) },
  { weight: 1, arbitrary: fc.constant((pair: Pair) => pair.count()) },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.integer({ min: 1, max: 6 }), fc.boolean()).map(
      ([count, acknowledges]) =>
        (pair: Pair) =>
          pair.take(count, acknowledges),
    ),
  },
  { weight: 1, arbitrary: fc.boolean().map((ends) => (pair: Pair) => pair.reconnect(ends)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      (pair: Pair) => pair.restart(),
      (pair: Pair) => pair.replace(),
    ),
  },
);

const silence = (pair: Pair) => pair.silence();
const lend = (pair: Pair) => pair.lend();

test("whatever is killed, records come out once and in order, what is acknowledged has come out, and the books balance", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
      const pair = new Pair();
      for (const act of steps) act(pair);
      pair.settle();
      expect(pair.books).toMatchObject({ balanced: true, unaccounted: 0, malformed: 0 });
      expect(pair.notices.filter(({ event_type: type }) => type === "ledger_mismatch")).toEqual([]);
      const missing = pair.submitted - pair.events.size;
      expect(missing).toBeGreaterThanOrEqual(0);
      expect(missing).toBeLessThanOrEqual(pair.gone);
    }),
    { numRuns: 200 },
  );
});

test.each([
  ["sensors fall silent, too", silence],
  ["another evaluator is served meanwhile", lend],
])(
  "where %s, nothing is acknowledged that this stream has not sent, and the books balance",
  (_what, also) => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 12, arbitrary: step }, { weight: 1, arbitrary: fc.constant(also) }), {
          minLength: 20,
          maxLength: 200,
        }),
        (steps) => {
          const pair = new Pair();
          for (const act of steps) act(pair);
          pair.settle();
          expect(pair.books).toMatchObject({ balanced: true, unaccounted: 0, malformed: 0 });
        },
      ),
      { numRuns: 400 },
    );
  },
);
