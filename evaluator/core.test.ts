// The core against its meaning: every record is decoded, made an event, held against all rules and detections one by one, and
// rendered. What is quicker must give the same lines and the same books, whatever comes.

import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Bytes,
  type DecodedRecord,
  DecodeError,
  decodeRecord,
  type ExecRecord,
  encodeRecord,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RecordFlag,
  TEXT,
} from "../bpf/event.gen.ts";
import { anyDetection, anyRule } from "../scripts/matches.ts";
import { anyRecord, execRecord, framed, viewOf } from "../scripts/records.ts";
import { Processes } from "./context/processes.ts";
import { Core } from "./core.ts";
import type { Decision } from "./decide.ts";
import { normalise } from "./event/normalise.ts";
import { fromUtf8 } from "./event/text.ts";
import type { Counters } from "./input/counters.ts";
import type { RecordsFrame } from "./input/records.ts";
import { RecordView } from "./input/view.ts";
import { ALERT_ARGS_SIZE_MAX, alertOf, contextOf } from "./output/alert.ts";
import { EventWriter } from "./output/direct/events.ts";
import { ALERT, Lines } from "./output/lines.ts";
import { ndjson } from "./output/ndjson.ts";
import { EVENT_TYPES, type Totals } from "./output/totals.ts";
import { compileMatch, factsOf, plainly } from "./rule/conditions.ts";
import { annotate, compileDetections } from "./rule/detections.ts";
import { compileRules } from "./rule/engine.ts";
import { compileFilter } from "./rule/filter.ts";
import type { Detection, Rule } from "./rule/schema.ts";

const LIMITS = { entriesMax: 8, ancestorsMax: 3 };
const PREAMBLE = {
  ...{ magic: "" as never, abi: "" as never, instance: 1n, attached: 0n, cpus: 4, checksums: 0 },
  ...{ bootId: new Uint8Array(16).fill(0xab), hostId: new Uint8Array(16).fill(0xcd) },
};
const BOOT_ID = "abababab-abab-abab-abab-abababababab";
const RAW = new Uint8Array(0);

/** What may be done to a record on its way. */
type Damage = "none" | "cut" | "longer" | "text beyond" | "unknown kind" | "no header";
type Item = { record: DecodedRecord; damage: Damage };
/** A frame of one of the rings; some come twice, and of some an earlier evaluator may have had the beginning. */
type Batch = { ring: number; items: Item[]; again: boolean; redelivered: number };
type Case = {
  rules: Rule[];
  detections: Detection[];
  alertsOnly: boolean;
  eventsPerSecond: number;
  batches: Batch[];
};

const damage = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Damage>("none") },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Damage[]>("cut", "longer", "text beyond", "unknown kind", "no header"),
  },
);
/** Many are of the same two seconds. */
const timedRecord = fc.tuple(anyRecord, fc.boolean()).map(([one, isEarly]): DecodedRecord => {
  const { header } = one;
  return isEarly ? { ...one, header: { ...header, time: header.time % 2_000_000_000n } } : one;
});
const anyCase: fc.Arbitrary<Case> = fc.record({
  rules: fc.array(anyRule, { maxLength: 6 }),
  detections: fc.array(anyDetection, { maxLength: 5 }),
  alertsOnly: fc.boolean(),
  eventsPerSecond: fc.constantFrom(0, 0, 1, 3),
  batches: fc.array(
    fc.record({
      ring: fc.nat(1),
      items: fc.array(fc.record({ record: timedRecord, damage }), { minLength: 1, maxLength: 6 }),
      again: fc.integer({ min: 0, max: 3 }).map((number) => number === 0),
      redelivered: fc.nat(3),
    }),
    { minLength: 1, maxLength: 8 },
  ),
});

function damaged({ record, damage: how }: Item): Uint8Array {
  const bytes = encodeRecord(record);
  if (how === "cut") return bytes.subarray(0, -1);
  if (how === "longer") return Uint8Array.of(...bytes, 0);
  if (how === "text beyond") {
    const { at, variable } = RECORD_LAYOUTS[record.kind];
    const text = (at as Record<string, number>)[Object.keys(variable)[0] ?? ""] ?? 0;
    new DataView(bytes.buffer).setUint32(text + TEXT.at.fullSize, 0, true);
  }
  if (how === "no header") return bytes.subarray(0, RECORD_HEADER.size - 1);
  if (how === "unknown kind") new DataView(bytes.buffer).setUint16(RECORD_HEADER.at.kind, 99, true);
  return bytes;
}

/** Counters that say no more than what may have reached an earlier evaluator. */
function countersWith(redeliverUntil: bigint[]): Counters {
  const none = Array.from({ length: 128 }, () => 0n);
  return {
    ...{
      time: 0n,
      producerPosition: [0n, 0n, 0n, 0n],
      sentPosition: [0n, 0n, 0n, 0n],
      redeliverUntil,
      waiting: [],
    },
    ...{ refused: 0n, tampered: 0, detached: [0, 0, 0, 0], abandoned: 0, missed: none, canaries: none },
    ...{ sequences: [], cells: [] },
  };
}

const BOOKS = [
  ...["received", "repeated", "malformed", "decoded", "canaries", "lineage"],
  ...["withheld", "rate_limited", "written", "matched"],
] as (keyof Totals)[];
type Books = Map<number, Partial<Record<keyof Totals, number>>>;
type Result = { lines: string[]; owners: number[]; books: Books; truncated: number; alerts: number };

function compiled(
  rules: Case["rules"],
  detections: Case["detections"],
): Pick<Decision, "engine" | "detections" | "filter"> {
  return {
    engine: compileRules(rules),
    detections: compileDetections(detections),
    filter: compileFilter(rules, detections),
  };
}

function coreOf(decision: Decision, outputs: ConstructorParameters<typeof Core>[1], hasNotices = true): Core {
  const none = { healthInterval: 10n ** 30n, memory: () => null, shortfalls: () => [], hasNotices };
  return new Core({ decision, limits: LIMITS, ...none }, outputs);
}

/** Runs batches through the core; `direct` as JSON, else by way of event objects. */
function byCore({ rules, detections, batches, ...settings }: Case, direct: boolean): Result {
  const lines = new Lines(4000);
  const core = coreOf(
    { ...settings, ...compiled(rules, detections) },
    {
      direct: direct ? new EventWriter(lines) : null,
      // One way, what waits is never written before more is made; the other way, after each event with alerts.
      isFull: !direct,
      event: (kind, event) => lines.add(ndjson(event), kind),
      alert: (kind, alert) => lines.add(ndjson(alert), kind | ALERT),
    },
  );
  core.handle({ type: "preamble", preamble: PREAMBLE, raw: RAW });
  core.handle({ type: "clock", time: 0n, wallOffset: 1_790_000_000_000_000_000n, raw: RAW });
  const positions = [0n, 0n];
  for (const { ring, items, again, redelivered } of batches) {
    const position = positions[ring] ?? 0n;
    const bytes = framed(items.map(damaged));
    const until = position + BigInt(endsOf(bytes)[Math.min(redelivered, items.length) - 1] ?? 0);
    core.handle({ type: "counters", counters: countersWith([until, until, 0n, 0n]), raw: RAW });
    for (let i = 0; i < (again ? 2 : 1); i++) {
      let part: RecordsFrame | null = { type: "records", ring, position, more: false, bytes, raw: RAW };
      for (; part; part = core.rest) core.handle(part);
    }
    positions[ring] = position + BigInt(bytes.length);
  }
  const indices = Array.from({ length: lines.count }, (_, i) => i);
  const books: Books = new Map(
    [...EVENT_TYPES.keys(), 0].map((kind) => {
      const totals = core.ledger.of(kind);
      return [kind, Object.fromEntries(BOOKS.map((key) => [key, totals[key]]))];
    }),
  );
  const sum = [...books.values()].reduce((total, totals) => total + (totals.malformed ?? 0), 0);
  // By their reasons, they are as many.
  expect(core.malformed + core.unsupported).toBe(sum);
  return {
    lines: indices.map((i) => lines.buffer.bytes.toString("latin1", lines.startOf(i), lines.endOf(i))),
    owners: indices.map((i) => lines.ownerOf(i)),
    books,
    truncated: core.tally.truncated,
    alerts: core.tally.alerts,
  };
}

/** Where each record's entry of a frame ends. */
function endsOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const ends: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    at += (8 + view.getUint32(at, true) + 7) & ~7;
    ends.push(at);
  }
  return ends;
}

/** The same without index, filter, kept texts, and order of convenience. */
function byMeaning({ rules, detections, alertsOnly, eventsPerSecond, batches }: Case): Result {
  const result: Result = { lines: [], owners: [], books: new Map(), truncated: 0, alerts: 0 };
  for (const kind of [...EVENT_TYPES.keys(), 0])
    result.books.set(kind, Object.fromEntries(BOOKS.map((key) => [key, 0])));
  const enter = (kind: number, key: keyof Totals) => {
    const totals = result.books.get(EVENT_TYPES.has(kind) ? kind : 0) ?? {};
    totals[key] = (totals[key] ?? 0) + 1;
  };
  const write = (line: string, owner: number) => {
    result.lines.push(line);
    result.owners.push(owner);
  };
  const processes = new Processes(BOOT_ID, LIMITS);
  const origin = { bootId: BOOT_ID, hostId: "cd".repeat(16), wallOffset: 1_790_000_000_000_000_000n };
  let [second, inSecond] = [-1n, 0];

  const take = (item: Item, redelivered: boolean) => {
    const bytes = damaged(item);
    const kind = item.damage === "unknown kind" ? 99 : item.damage === "no header" ? 0 : item.record.kind;
    enter(kind, "received");
    let record: DecodedRecord;
    try {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      record = decodeRecord(view, Buffer.from(bytes), 0, bytes.length);
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
      return enter(kind, "malformed");
    }
    // A process that was running already is told in a frame of its own.
    if (!EVENT_TYPES.has(kind)) return enter(kind, "malformed");
    enter(kind, "decoded");
    const { header } = record;
    if (header.flags & RecordFlag.canary) return enter(kind, "canaries");
    const view = new RecordView();
    view.open(framed([bytes]));
    if (!view.advance() || !view.isWhole()) throw new Error("not whole");
    const process = processes.observe(view);
    const event = normalise(record, processes.lineageOf(view, process), origin, redelivered);
    if (header.flags & RecordFlag.lineage) return enter(kind, "lineage");
    if (view.isCut) result.truncated += 1;
    const names = detections
      .filter(({ match }) => factsOf(plainly(compileMatch(match)), event))
      .map(({ name }) => name);
    annotate(event, names.map(fromUtf8));
    const matches = rules.flatMap((rule) => {
      const facts = rule.enabled ? factsOf(plainly(compileMatch(rule.match)), event) : null;
      return facts ? [{ rule, ...facts }] : [];
    });
    if (alertsOnly) enter(kind, "withheld");
    else if (matches.length === 0 && isOverLimit(event.event_type, header.time)) enter(kind, "rate_limited");
    else {
      enter(kind, "written");
      write(ndjson(event), kind);
    }
    for (const match of matches) {
      enter(kind, "matched");
      result.alerts += 1;
      const context = contextOf(event, () => processes.imageOf(view, process, ALERT_ARGS_SIZE_MAX));
      write(ndjson(alertOf(match, event, context)), kind | ALERT);
    }
  };
  const isOverLimit = (type: string, time: bigint): boolean => {
    if (eventsPerSecond === 0 || type.startsWith("process_")) return false;
    if (time / 1_000_000_000n !== second) [second, inSecond] = [time / 1_000_000_000n, 0];
    inSecond += 1;
    return inSecond > eventsPerSecond;
  };
  for (const { items, again, redelivered } of batches) {
    for (const [i, item] of items.entries()) take(item, i < redelivered);
    if (!again) continue;
    for (const { record, damage: how } of items) {
      const kind = how === "unknown kind" ? 99 : how === "no header" ? 0 : record.kind;
      enter(kind, "received");
      enter(kind, "repeated");
    }
  }
  return result;
}

test("lines and books are those of the plain meaning, byte for byte, whatever comes and whatever is asked for", () => {
  const seen = { events: 0, alerts: 0, detected: 0, rateLimited: 0, repeated: 0, malformed: 0, canaries: 0 };
  fc.assert(
    fc.property(anyCase, (one) => {
      const meant = byMeaning(one);
      for (const direct of [true, false]) expect(byCore(one, direct)).toEqual(meant);
      const sum = (key: keyof Totals) =>
        [...meant.books.values()].reduce((total, totals) => total + (totals[key] ?? 0), 0);
      seen.events += sum("written");
      seen.alerts += meant.alerts;
      seen.detected += meant.lines.filter((line) => line.includes('"detections":[')).length;
      seen.rateLimited += sum("rate_limited");
      seen.repeated += sum("repeated");
      seen.malformed += sum("malformed");
      seen.canaries += sum("canaries");
    }),
    { numRuns: 1000 },
  );
  for (const [what, count] of Object.entries(seen))
    expect({ what, enough: count > 100 }).toEqual({ what, enough: true });
}, 120_000);

test("a line that got out in part is taken back from those that got out, an event's and an alert's", () => {
  const decision = { alertsOnly: false, eventsPerSecond: 0, ...compiled([], []) };
  const core = coreOf(decision, { direct: null, isFull: false, event() {}, alert() {} });
  const kind = [...EVENT_TYPES.keys()][0] ?? 0;
  for (const owner of [kind, kind | ALERT]) {
    for (let i = 0; i < 3; i++) core.wrote(owner);
    core.lost(owner, true);
    core.lost(owner, false);
  }
  expect(core.ledger.of(kind)).toMatchObject({
    ...{ lines: 2, write_failed: 2 },
    ...{ alert_lines: 2, alert_write_failed: 2 },
  });
});

test("an alert has all of a process's arguments, or both ends of long ones, and says so", () => {
  const [exec] = fc.sample(execRecord, { numRuns: 1, seed: 1 }) as [ExecRecord];
  const argsOf = (head: string, tail: string) => {
    const processes = new Processes(BOOT_ID, LIMITS);
    const fullSize = head.length + tail.length + (tail === "" ? 0 : 1);
    const args = { head: head as Bytes, tail: tail as Bytes, fullSize, count: 1 };
    const view = viewOf({ ...exec, header: { ...exec.header, flags: 0 }, args });
    const image = processes.imageOf(view, processes.observe(view), ALERT_ARGS_SIZE_MAX);
    return { args: image.args as string[] | null, isCut: image.cut.includes("args") };
  };
  const half = ALERT_ARGS_SIZE_MAX / 2;
  expect(argsOf(`a\0${"b".repeat(half - 3)}\0`, "c".repeat(half))).toEqual({
    args: ["a", "b".repeat(half - 3), "c".repeat(half)],
    isCut: true,
  });
  expect(argsOf(`a\0${"b".repeat(half)}\0`, "")).toEqual({ args: ["a", "b".repeat(half)], isCut: false });
  expect(argsOf(`a\0${"b".repeat(9000)}`, `${"c".repeat(9000)}\0d\0`)).toEqual({
    args: ["a", "b".repeat(half - 2), "c".repeat(half - 3), "d"],
    isCut: true,
  });
  expect(argsOf(`a\0${"b".repeat(9000)}\0d\0`, "")).toEqual({
    args: ["a", "b".repeat(half - 2), "b".repeat(half - 3), "d"],
    isCut: true,
  });
  // Where the cut is between two of them, there is none that is empty.
  expect(argsOf(`${"b".repeat(9000)}\0${"c".repeat(half - 2)}\0`, "")).toEqual({
    args: ["b".repeat(half), "c".repeat(half - 2)],
    isCut: true,
  });
});

test("connections that one sensor after the other has refused are added up", () => {
  const decision = { alertsOnly: false, eventsPerSecond: 0, ...compiled([], []) };
  const core = coreOf(decision, { direct: null, isFull: false, event() {}, alert() {} });
  const counters = countersWith([0n, 0n, 0n, 0n]);
  for (const [i, refused] of [3n, 2n].entries()) {
    core.handle({ type: "preamble", preamble: PREAMBLE, raw: RAW });
    core.handle({ type: "counters", counters: { ...counters, time: BigInt(i + 1), refused }, raw: RAW });
  }
  expect(core.books.connections_refused).toBe(5);
});

test("between the last word of one sensor's programs and the first of the next is a gap", () => {
  const decision = { alertsOnly: false, eventsPerSecond: 0, ...compiled([], []) };
  const core = coreOf(decision, { direct: null, isFull: false, event() {}, alert() {} });
  const begin = (instance: bigint, attached: bigint) =>
    core.handle({ type: "preamble", preamble: { ...PREAMBLE, instance, attached }, raw: RAW });
  begin(1n, 1n);
  core.handle({ type: "counters", counters: { ...countersWith([0n, 0n, 0n, 0n]), time: 5n }, raw: RAW });
  expect(begin(1n, 1n)).toEqual([]);
  expect(begin(2n, 8n)).toMatchObject([{ event_type: "gap", duration_ns: 3n }]);
});

test.each([
  ["is owed by this one, once", true, { events: 3, alerts: 2 }],
  ["is owed no more where this one can only tell it in words", false, { events: 0, alerts: 0 }],
] as const)("what another evaluator could not write %s", (_, hasNotices, debts) => {
  const decision = { alertsOnly: false, eventsPerSecond: 0, ...compiled([], []) };
  const core = coreOf(decision, { direct: null, isFull: false, event() {}, alert() {} }, hasNotices);
  const { time, missed, sequences, cells } = countersWith([0n, 0n, 0n, 0n]);
  const owed = { unread: [0n, 0n, 0n, 0n], unwrittenEvents: 3n, unwrittenAlerts: 2n };
  const taken = { time, missed, sequences, cells, ...owed };
  core.handle({ type: "preamble", preamble: PREAMBLE, raw: RAW });
  const said = core.handle({ type: "taken", taken, raw: RAW });
  expect(said.map((line) => line.event_type)).toEqual(["loss", "loss"]);
  expect(core.handle({ type: "taken", taken, raw: RAW })).toEqual([]);
  // The same sensor again: what this evaluator itself owes comes back to it.
  core.handle({ type: "preamble", preamble: PREAMBLE, raw: RAW });
  expect(core.handle({ type: "taken", taken, raw: RAW })).toEqual([]);
  expect(core.debts.owed).toEqual(debts);
  expect(core.ledger.statement()).toMatchObject({ write_failed: 3, alert_write_failed: 2, balanced: true });
});
