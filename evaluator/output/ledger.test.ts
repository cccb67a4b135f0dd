import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecordKind } from "../../bpf/event.gen.ts";
import type { Counters } from "../input/records.ts";
import { Ledger } from "./ledger.ts";

const KIND = RecordKind.exec;
const CPUS = 2;

/** A kernel with a ring that loses, and a sensor that takes from it: what the ledger must be able to explain. */
class Kernel {
  readonly cells = Array.from({ length: CPUS }, () => ({
    attempts: 0n,
    submitted: 0n,
    lost: 0n,
    discarded: 0n,
    filtered: 0n,
  }));
  readonly sequences = Array.from({ length: CPUS }, () => 0n);
  readonly ring: { cpu: number; sequence: bigint; until: bigint }[] = [];
  produced = 0n;
  time = 0n;

  hook(cpu: number, outcome: "submitted" | "lost" | "discarded"): void {
    const cell = this.cells[cpu];
    const sequence = this.sequences[cpu];
    if (!cell || sequence === undefined) throw new Error("no such CPU");
    cell.attempts += 1n;
    cell[outcome] += 1n;
    this.sequences[cpu] = sequence + 1n;
    if (outcome !== "submitted") return;
    this.produced += 8n;
    this.ring.push({ cpu, sequence, until: this.produced });
  }

  counters(): Counters {
    this.time += 1n;
    return {
      time: this.time,
      producerPosition: [this.produced],
      redeliverUntil: [0n],
      sequences: this.sequences.map((sequence) => [sequence]),
      cells: this.cells.map((counters, cpu) => ({ cpu, kind: KIND, counters: { ...counters } })),
    };
  }
}

type Step =
  | { is: "hook"; cpu: number; outcome: "submitted" | "lost" | "discarded" }
  | { is: "take"; count: number }
  | { is: "count" };
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      is: fc.constant("hook" as const),
      cpu: fc.nat(CPUS - 1),
      outcome: fc.constantFrom(
        "submitted" as const,
        "submitted" as const,
        "lost" as const,
        "discarded" as const,
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ is: fc.constant("take" as const), count: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.constant({ is: "count" as const }) },
);

function play(
  steps: Step[],
  drop: number | null,
): { kernel: Kernel; ledger: Ledger; position: bigint; arrived: number } {
  const kernel = new Kernel();
  const ledger = new Ledger();
  let position = 0n;
  let arrived = 0;
  const take = (count: number) => {
    for (const { cpu, sequence, until } of kernel.ring.splice(0, count)) {
      position = until;
      arrived += 1;
      if (arrived === drop) continue; // stolen on the way: nobody counted it
      const totals = ledger.of(KIND);
      totals.received += 1;
      totals.decoded += 1;
      totals.written += 1;
      ledger.arrive(KIND, cpu, sequence);
    }
  };
  for (const item of steps) {
    if (item.is === "hook") kernel.hook(item.cpu, item.outcome);
    else if (item.is === "take") take(item.count);
    else ledger.count(kernel.counters(), [position]);
    expect(ledger.statement().balanced || drop !== null).toBe(true);
  }
  take(Infinity);
  ledger.count(kernel.counters(), [position]);
  ledger.end([position]);
  return { kernel, ledger, position, arrived };
}

const counted: Step = { is: "count" };

test("whatever is lost and however the reader lags, the sums agree with the kernel's at the end, and never disagree before", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { kernel, ledger } = play([counted, ...steps], null);
      const sum = (key: "attempts" | "lost" | "discarded" | "submitted") =>
        Number(kernel.cells.reduce((total, cell) => total + cell[key], 0n));
      const statement = ledger.statement();
      expect(statement).toMatchObject({
        attempts: sum("attempts"),
        submitted: sum("submitted"),
        received: sum("submitted"),
        lost: sum("lost"),
        discarded: sum("discarded"),
        unaccounted: 0,
        balanced: true,
      });
    }),
    { numRuns: 500 },
  );
});

test("a record that vanishes on the way breaks the balance", () => {
  const steps: Step[] = [
    counted,
    ...Array.from({ length: 10 }, (): Step => ({ is: "hook", cpu: 0, outcome: "submitted" })),
    counted,
  ];
  const { ledger } = play(steps, 4);
  expect(ledger.statement()).toMatchObject({ submitted: 10, received: 9, unaccounted: 1, balanced: false });
});

test("records that waited before the first counters are counted as attempts once", () => {
  const steps: Step[] = [
    ...Array.from({ length: 5 }, (): Step => ({ is: "hook", cpu: 1, outcome: "submitted" })),
    counted,
    { is: "take", count: 5 },
    { is: "hook", cpu: 1, outcome: "lost" },
  ];
  const { ledger } = play(steps, null);
  expect(ledger.statement()).toMatchObject({
    attempts: 6,
    submitted: 5,
    lost: 1,
    received: 5,
    balanced: true,
  });
});

test("a loss is told with its kind, CPU and time", () => {
  const kernel = new Kernel();
  const ledger = new Ledger();
  expect(ledger.count(kernel.counters(), [0n])).toEqual([]);
  kernel.hook(1, "lost");
  kernel.hook(1, "lost");
  expect(ledger.count(kernel.counters(), [0n])).toEqual([
    { kind: KIND, cpu: 1, reason: "ring full", count: 2, from: 1n, to: 2n },
  ]);
  expect(ledger.count(kernel.counters(), [0n])).toEqual([]);
});
