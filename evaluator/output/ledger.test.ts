import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { KINDS_MAX, RecordKind, Ring } from "../../bpf/event.gen.ts";
import { CPUS, Kernel, KINDS, type Outcome } from "../../scripts/kernel.ts";
import type { Counters, Taken } from "../input/counters.ts";
import { type Findings, Ledger } from "./ledger.ts";

type Step =
  | { is: "hook"; cpu: number; kind: number; outcome: Outcome }
  | { is: "take"; ring: number; count: number }
  | { is: "count" }
  /** Counters that were read while a program ran: its attempt has a number, and no end yet. */
  | { is: "restless"; cpu: number; kind: number; outcome: Outcome };
const cpu = fc.nat(CPUS - 1);
const kind = fc.constantFrom(...KINDS);
const anyOutcome = fc.constantFrom<Outcome[]>("submitted", "submitted", "lost", "discarded");
const restless: fc.Arbitrary<Step> = fc.record({
  is: fc.constant("restless" as const),
  cpu,
  kind,
  outcome: anyOutcome,
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ is: fc.constant("hook" as const), cpu, kind, outcome: anyOutcome }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ is: fc.constant("take" as const), ring: fc.nat(1), count: fc.nat(8) }),
  },
  { weight: 2, arbitrary: fc.constant({ is: "count" as const }) },
  { weight: 1, arbitrary: restless },
);

const counted: Step = { is: "count" };
const hooks = (count: number, outcome: Outcome): Step[] =>
  Array.from({ length: count }, () => ({ is: "hook", cpu: 0, kind: RecordKind.exec, outcome }));

/** Fires the hooks among these steps. */
function fire(kernel: Kernel, steps: Step[]): void {
  for (const one of steps) if (one.is === "hook") kernel.hook(one.cpu, one.kind, one.outcome);
}

/** A record arrives, and its line is written. */
function write(ledger: Ledger, record: { kind: number; cpu: number; sequence: bigint }): void {
  const totals = ledger.of(record.kind);
  for (const key of ["received", "decoded", "written", "lines"] as const) totals[key] += 1;
  ledger.arrive(record.kind, record.cpu, Number(record.sequence));
}

const toldIn = ({ losses }: Findings) => losses.reduce((total, { count }) => total + count, 0);

/** Plays steps, then lets all arrive and be counted twice. `drop`: the number of the record that vanishes on the way. */
function play(steps: Step[], drop: number | null = null) {
  const kernel = new Kernel();
  const ledger = new Ledger();
  const found: Findings = { losses: [], mismatches: [] };
  let arrived = 0;
  const take = (ring: number, count: number) => {
    for (const record of kernel.rings[ring]?.splice(0, count) ?? []) {
      kernel.taken[ring] = record.until;
      arrived += 1;
      if (arrived === drop) continue; // nobody has counted it
      write(ledger, record);
    }
  };
  const count = (counters: Counters) => {
    const { losses, mismatches } = ledger.count(counters, kernel.taken);
    found.losses.push(...losses);
    found.mismatches.push(...mismatches);
  };
  for (const item of steps) {
    if (item.is === "hook") kernel.hook(item.cpu, item.kind, item.outcome);
    else if (item.is === "take") take(item.ring, item.count);
    else if (item.is === "count") count(kernel.counters());
    else {
      const { producerPosition, waiting } = kernel.counters();
      kernel.hook(item.cpu, item.kind, item.outcome);
      const torn = { ...kernel.counters(), producerPosition, waiting };
      const cell = torn.cells.find((one) => one.cpu === item.cpu && one.kind === item.kind);
      if (cell) cell.counters[item.outcome] -= 1n;
      count(torn);
      count(kernel.counters());
    }
    if (drop !== null) continue;
    const { balanced, lost, discarded } = ledger.statement();
    expect({ balanced, gone: lost + discarded }).toEqual({ balanced: true, gone: toldIn(found) });
  }
  take(0, Infinity);
  take(1, Infinity);
  for (let i = 0; i < 2; i++) count(kernel.counters());
  const last = ledger.end(kernel.taken);
  found.losses.push(...last.losses);
  found.mismatches.push(...last.mismatches);
  return { kernel, ledger, found };
}

test("whatever is lost and however the reader lags, the sums agree with the kernel's at the end, and never disagree before, nor with what was told", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.constant(counted), restless),
      fc.array(step, { maxLength: 80 }),
      (first, steps) => {
        const { kernel, ledger, found } = play([first, ...steps]);
        const sum = (key: "attempts" | Outcome) =>
          Number(
            kernel.cells.flatMap((row) => Object.values(row)).reduce((total, cell) => total + cell[key], 0n),
          );
        expect(ledger.statement()).toMatchObject({
          attempts: sum("attempts"),
          submitted: sum("submitted"),
          received: sum("submitted"),
          lost: sum("lost"),
          discarded: sum("discarded"),
          unaccounted: 0,
          balanced: true,
        });
        expect(found.mismatches).toEqual([]);
        expect(toldIn(found)).toBe(sum("lost") + sum("discarded"));
      },
    ),
    { numRuns: 500 },
  );
});

describe("two measures of the same thing that differ are told,", () => {
  test("a record that vanishes on the way", () => {
    const { ledger, found } = play([counted, ...hooks(10, "submitted"), counted], 4);
    expect(ledger.statement()).toMatchObject({ submitted: 10, received: 9, unaccounted: 1, balanced: false });
    expect(found.mismatches).toEqual([
      { law: "submitted = received", cpu: 0, of: "process_start", left: 10, right: 9 },
      { law: "holes in sequence numbers = lost + discarded", cpu: 0, of: "process ring", left: 1, right: 0 },
    ]);
  });

  test("a loss that no counter knows", () => {
    const kernel = new Kernel();
    const ledger = new Ledger();
    ledger.count(kernel.counters(), kernel.taken);
    kernel.hook(1, RecordKind.fileOpen, "lost");
    const cell = kernel.cells[1]?.[RecordKind.fileOpen];
    if (cell) [cell.lost, cell.submitted] = [0n, 1n];
    ledger.count(kernel.counters(), kernel.taken);
    const { mismatches } = ledger.count(kernel.counters(), kernel.taken);
    expect(mismatches.map(({ law, left, right }) => [law, left, right])).toEqual([
      ["submitted = received", 1, 0],
      ["holes in sequence numbers = lost + discarded", 1, 0],
    ]);
    expect(ledger.statement().balanced).toBe(false);
    // Once, not every second.
    expect(ledger.count(kernel.counters(), kernel.taken).mismatches).toEqual([]);
  });

  test("attempts that never end, or have no number", () => {
    for (const [change, law] of [
      ["attempts", "attempts = submitted + lost + discarded"],
      ["sequence", "attempts = sequence numbers"],
    ] as const) {
      const kernel = new Kernel();
      const ledger = new Ledger();
      ledger.count(kernel.counters(), kernel.taken);
      const cell = kernel.cells[0]?.[RecordKind.exec];
      const row = kernel.sequences[0];
      if (!cell || !row) throw new Error("no CPU 0");
      if (change === "attempts") cell.attempts += 1n;
      row[0] = 1n;
      const told = Array.from({ length: 6 }, () => ledger.count(kernel.counters(), kernel.taken).mismatches);
      expect(told.flat().map((one) => one.law)).toEqual([law]);
      expect(ledger.statement().balanced).toBe(false);
    }
  });
});

test("records that waited before the first counters are counted as attempts once", () => {
  const waiting: Step[] = hooks(5, "submitted");
  const { ledger } = play([...waiting, counted, { is: "take", ring: 0, count: 5 }, ...hooks(1, "lost")]);
  expect(ledger.statement()).toMatchObject({
    attempts: 6,
    submitted: 5,
    lost: 1,
    received: 5,
    balanced: true,
  });
});

describe("what an earlier evaluator has left:", () => {
  const nothing: Counters["missed"] = Array.from({ length: KINDS_MAX }, () => 0n);
  const takenOf = ({ time, missed, sequences, cells }: Counters): Taken => ({
    ...{ time, missed, sequences, cells },
    ...{ unread: [0n, 0n, 0n, 0n], unwrittenEvents: 0n, unwrittenAlerts: 0n },
  });

  test("whatever each of many evaluators has told before it was killed, all losses are told, and none twice", () => {
    const losing = fc.array(
      fc.record({
        is: fc.constant("hook" as const),
        cpu,
        kind,
        outcome: fc.constantFrom<Outcome[]>("lost", "discarded"),
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(losing, losing)), (lives) => {
        const kernel = new Kernel();
        let taken = takenOf({ ...kernel.counters(), time: 0n });
        let told = 0;
        for (const [before, during] of lives) {
          fire(kernel, before);
          const ledger = new Ledger();
          ledger.inherit(taken, true);
          const first = ledger.count(kernel.counters(), kernel.taken).losses;
          fire(kernel, during);
          const last = kernel.counters();
          const second = ledger.count(last, kernel.taken).losses;
          for (const { from } of first) expect(from).toBe(taken.time);
          told += [...first, ...second].reduce((sum, { count }) => sum + count, 0);
          expect(ledger.statement()).toMatchObject({ lost: expect.any(Number), balanced: true });
          taken = takenOf(last);
        }
        const lost = kernel.cells
          .flatMap((row) => Object.values(row))
          .map((cell) => cell.lost + cell.discarded);
        expect(told).toBe(Number(lost.reduce((sum, count) => sum + count, 0n)));
      }),
    );
  });

  test("losses that nobody told are in the sums, with hooks that did not run", () => {
    const kernel = new Kernel();
    const ledger = new Ledger();
    ledger.inherit(takenOf({ ...kernel.counters(), time: 0n }), true);
    fire(kernel, [...hooks(7, "lost"), ...hooks(2, "discarded")]);
    const missed = nothing.with(RecordKind.exec, 4n);
    const { losses } = ledger.count({ ...kernel.counters(), missed }, kernel.taken);
    expect(losses.map(({ stage, kind: of, count }) => [stage, of, count])).toEqual([
      ["kernel", RecordKind.exec, 7],
      ["kernel", RecordKind.exec, 2],
      ["hook", RecordKind.exec, 4],
    ]);
    expect(ledger.statement()).toMatchObject({
      attempts: 9,
      lost: 7,
      discarded: 2,
      missed: 4,
      balanced: true,
    });
  });

  test("an evaluator that has counters of its own knows better", () => {
    const kernel = new Kernel();
    const ledger = new Ledger();
    const old = takenOf(kernel.counters());
    fire(kernel, hooks(3, "lost"));
    ledger.count(kernel.counters(), kernel.taken);
    expect(ledger.inherit({ ...old, unwrittenEvents: 9n }, true)).toBeNull();
    expect(ledger.count(kernel.counters(), kernel.taken).losses).toEqual([]);
  });

  test("an evaluator that another one has overtaken goes on behind it: what that one has read and told is no difference", () => {
    const kernel = new Kernel();
    const ledger = new Ledger();
    const read = (count: number, on: Ledger) => {
      for (const record of kernel.rings[Ring.process]?.splice(0, count) ?? []) {
        kernel.taken[Ring.process] = record.until;
        write(on, record);
      }
    };
    ledger.count(kernel.counters(), kernel.taken);
    fire(kernel, [...hooks(4, "submitted"), ...hooks(1, "lost")]);
    read(2, ledger); // the other two are still in the ring when its sensor ends
    ledger.count(kernel.counters(), kernel.taken);
    const other = new Ledger();
    other.count(kernel.counters(), kernel.taken);
    fire(kernel, [...hooks(5, "submitted"), ...hooks(2, "lost")]);
    read(7, other);
    const told = kernel.counters();
    other.count(told, kernel.taken);
    fire(kernel, [...hooks(3, "submitted"), ...hooks(6, "lost")]);
    expect(ledger.isOvertakenBy(takenOf(told))).toBe(true);
    expect(ledger.inherit(takenOf(told), true)).toEqual([]);
    const { losses } = ledger.count(kernel.counters(), kernel.taken);
    expect(losses.map(({ count }) => count)).toEqual([6]);
    read(3, ledger);
    expect(ledger.count(kernel.counters(), kernel.taken).mismatches).toEqual([]);
    expect(ledger.end(kernel.taken).mismatches).toEqual([]);
    expect(ledger.statement()).toMatchObject({ received: 5, lost: 7, unaccounted: 0, balanced: true });
    expect(ledger.isOvertakenBy(takenOf(told))).toBe(false);
  });

  test("records that nobody will read, and lines that could not be written, are losses, and the sums agree", () => {
    const ledger = new Ledger();
    const taken = takenOf(new Kernel().counters());
    const left = {
      ...taken,
      unread: [0n, 5n, 0n, 0n],
      unwrittenEvents: 3n,
      unwrittenAlerts: 2n,
    };
    const losses = ledger.inherit(left, true);
    expect(losses?.map(({ stage, ring, count }) => [stage, ring, count])).toEqual([
      ["ring", 1, 5],
      ["output", null, 3],
      ["output", null, 2],
    ]);
    expect(ledger.statement()).toMatchObject({
      ...{ attempts: 8, submitted: 8, abandoned: 5, received: 3, written: 3, write_failed: 3 },
      ...{ matched: 2, alert_write_failed: 2, unaccounted: 0, balanced: true },
    });
    expect(ledger.inherit(left, true)).toBeNull();
    // Who has read the stream before knows what it could not write itself.
    expect(new Ledger().inherit(left, false)?.map(({ stage }) => stage)).toEqual(["ring"]);
  });
});

test("a loss is told with its kind, CPU and time", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  ledger.count(kernel.counters(), kernel.taken);
  kernel.hook(1, RecordKind.exec, "lost");
  kernel.hook(1, RecordKind.exec, "lost");
  const loss = { stage: "kernel", kind: RecordKind.exec, ring: 0, cpu: 1, reason: "ring full", count: 2 };
  expect(ledger.count(kernel.counters(), kernel.taken).losses).toMatchObject([{ ...loss, from: 1n, to: 2n }]);
  expect(ledger.count(kernel.counters(), kernel.taken).losses).toEqual([]);
});

test("a hook that did not run is missed, of its kind or of several", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  ledger.count(kernel.counters(), kernel.taken);
  const missed = Array.from({ length: KINDS_MAX }, () => 0n);
  missed[RecordKind.fileOpen] = 3n;
  missed[0] = 2n;
  const { losses } = ledger.count({ ...kernel.counters(), missed }, kernel.taken);
  expect(losses.map(({ stage, kind: of, count }) => [stage, of, count])).toEqual([
    ["hook", null, 2],
    ["hook", RecordKind.fileOpen, 3],
  ]);
  expect(ledger.statement()).toMatchObject({
    missed: 5,
    by_kind: { file_open: { missed: 3 }, unknown: { missed: 2 } },
  });
});

test("programs attached anew begin other counters; what was before stays in the sums", () => {
  const { ledger, kernel } = play([counted, ...hooks(5, "submitted"), ...hooks(2, "lost")]);
  ledger.restart();
  expect(ledger.statement()).toMatchObject({ attempts: 7, submitted: 5, lost: 2, balanced: true });
  const next = new Kernel();
  ledger.count({ ...next.counters(), time: kernel.time + 1n }, next.taken);
  next.hook(0, RecordKind.exec, "lost");
  next.time = kernel.time + 1n;
  ledger.count(next.counters(), next.taken);
  ledger.end(next.taken);
  expect(ledger.statement()).toMatchObject({ attempts: 8, submitted: 5, lost: 3, balanced: true });
});

test("what was in a ring that went with its sensor is abandoned, and told", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  ledger.count(kernel.counters(), kernel.taken);
  kernel.hook(0, RecordKind.exec, "submitted");
  kernel.hook(1, RecordKind.fileOpen, "submitted");
  kernel.hook(1, RecordKind.fileOpen, "lost");
  ledger.count({ ...kernel.counters(), abandoned: 1 }, kernel.taken);
  const { losses } = ledger.end(kernel.taken);
  expect(losses.map(({ stage, kind: of, count }) => [stage, of, count])).toEqual([
    ["ring", RecordKind.exec, 1],
    ["ring", RecordKind.fileOpen, 1],
  ]);
  expect(ledger.statement()).toMatchObject({
    attempts: 3,
    lost: 1,
    abandoned: 2,
    unaccounted: 0,
    balanced: true,
  });
});

test("what the counters knew of and did not arrive before the programs were attached anew is abandoned, and told", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  ledger.count(kernel.counters(), kernel.taken);
  for (const on of [0, 1, 1]) kernel.hook(on, RecordKind.fileOpen, "submitted");
  kernel.hook(0, RecordKind.exec, "submitted");
  ledger.count(kernel.counters(), kernel.taken);
  kernel.hook(0, RecordKind.exec, "submitted");
  const arrived = [...(kernel.rings[0] ?? []), ...(kernel.rings[1]?.slice(0, 1) ?? [])];
  for (const record of arrived) {
    Object.assign(ledger.of(record.kind), { received: 1, decoded: 1, written: 1, lines: 1 });
    ledger.arrive(record.kind, record.cpu, Number(record.sequence));
  }
  Object.assign(ledger.of(RecordKind.exec), { received: 2, decoded: 2, written: 2, lines: 2 });
  const losses = ledger.restart();
  expect(losses.map(({ stage, kind: of, count }) => [stage, of, count])).toEqual([
    ["ring", RecordKind.fileOpen, 2],
  ]);
  expect(ledger.statement()).toMatchObject({
    ...{ attempts: 5, submitted: 5, received: 3, abandoned: 2 },
    ...{ unaccounted: 0, balanced: true },
  });
  expect(ledger.restart()).toEqual([]);
});

test.each(["ends", "is killed"])(
  "what waited before the first counters, and went with a sensor that %s, is told once",
  (how) => {
    const kernel = new Kernel();
    const ledger = new Ledger();
    for (let i = 0; i < 3; i++) kernel.hook(0, RecordKind.fileOpen, "submitted");
    kernel.hook(1, RecordKind.exec, "submitted");
    ledger.count(kernel.counters(), kernel.taken);
    kernel.hook(0, RecordKind.fileOpen, "submitted");
    ledger.arrive(RecordKind.fileOpen, 0, 0);
    Object.assign(ledger.of(RecordKind.fileOpen), { received: 1, decoded: 1, written: 1, lines: 1 });
    ledger.count({ ...kernel.counters(), abandoned: how === "ends" ? 1 : 0 }, kernel.taken);
    const losses = how === "ends" ? ledger.end(kernel.taken).losses : ledger.restart();
    expect(losses.map(({ stage, kind: of, ring, count }) => [stage, of, ring, count])).toEqual([
      ["ring", RecordKind.fileOpen, Ring.activity, 1],
      ["ring", null, Ring.process, 1],
      ["ring", null, Ring.activity, 2],
    ]);
    expect(ledger.statement()).toMatchObject({
      ...{ attempts: 5, submitted: 5, received: 1, abandoned: 4, unaccounted: 0, balanced: true },
    });
    expect(ledger.restart()).toEqual([]);
  },
);

test("first counters that were read while a program ran are replaced by the next ones that were not, and every sum stays", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  const exec = kernel.cells[0]?.[RecordKind.exec];
  if (!exec) throw new Error("no CPU 0");
  const missed = (count: bigint) =>
    Array.from({ length: KINDS_MAX }, (_, of) => (of === RecordKind.exec ? count : 0n));
  kernel.hook(0, RecordKind.exec, "lost");
  const torn = kernel.counters();
  for (const { counters } of torn.cells) counters.lost = 0n;
  ledger.count({ ...torn, missed: missed(1n) }, kernel.taken);
  exec.filtered = 3n;
  fire(kernel, [...hooks(2, "submitted"), ...hooks(4, "lost")]);
  for (const record of kernel.rings[Ring.process] ?? []) write(ledger, record);
  ledger.count({ ...kernel.counters(), missed: missed(6n) }, kernel.produced);
  exec.filtered = 5n;
  fire(kernel, hooks(1, "discarded"));
  ledger.count({ ...kernel.counters(), missed: missed(7n) }, kernel.produced);
  expect(ledger.statement()).toMatchObject({ received: 2, unaccounted: 0, balanced: true });
  expect(ledger.end(kernel.produced)).toEqual({ losses: [], mismatches: [] });
  expect(ledger.statement()).toMatchObject({
    ...{ attempts: 8, submitted: 2, lost: 5, discarded: 1, filtered: 5, missed: 6 },
    ...{ received: 2, unaccounted: 0, balanced: true },
  });
});
