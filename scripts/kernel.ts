// A model of the kernel side's counters and rings, for tests of the ledger.

import { KINDS_MAX, RecordKind, RINGS_MAX } from "../bpf/event.gen.ts";
import { ringOf } from "../bpf/kinds.ts";
import type { Counters } from "../evaluator/input/counters.ts";

/** Record kinds and CPUs that it has. */
export const KINDS = [RecordKind.exec, RecordKind.fileOpen, RecordKind.connect] as const;
export const CPUS = 2;
/** What becomes of an attempt. */
export type Outcome = "submitted" | "lost" | "discarded";

/** A kernel with two rings that lose, and a sensor that takes from them: what the ledger must be able to explain. */
export class Kernel {
  readonly cells = Array.from({ length: CPUS }, () =>
    Object.fromEntries(
      KINDS.map((kind) => [
        kind,
        { attempts: 0n, submitted: 0n, lost: 0n, discarded: 0n, filtered: 0n, unheard: 0n },
      ]),
    ),
  );
  readonly sequences = Array.from({ length: CPUS }, () => Array.from({ length: RINGS_MAX }, () => 0n));
  readonly rings: { cpu: number; kind: number; sequence: bigint; until: bigint }[][] = [[], []];
  readonly produced = [0n, 0n];
  /** Positions up to which each ring's records were taken. */
  readonly taken = [0n, 0n];
  time = 0n;

  /** A hook fires. */
  hook(cpu: number, kind: number, outcome: Outcome): void {
    const cell = this.cells[cpu]?.[kind];
    const numbers = this.sequences[cpu];
    const ring = ringOf(kind);
    const sequence = numbers?.[ring];
    if (!cell || !numbers || sequence === undefined) throw new Error("no such CPU or kind");
    cell.attempts += 1n;
    cell[outcome] += 1n;
    numbers[ring] = sequence + 1n;
    if (outcome !== "submitted") return;
    const until = (this.produced[ring] ?? 0n) + 8n;
    this.produced[ring] = until;
    this.rings[ring]?.push({ cpu, kind, sequence, until });
  }

  /** What is counted now. */
  counters(): Counters {
    this.time += 1n;
    const none = Array.from({ length: KINDS_MAX }, () => 0n);
    return {
      time: this.time,
      producerPosition: [...this.produced],
      sentPosition: [...this.taken],
      redeliverUntil: [0n, 0n],
      waiting: this.rings.map(({ length }) => BigInt(length)),
      refused: 0n,
      tampered: 0,
      detached: [0, 0, 0, 0],
      abandoned: 0,
      missed: none,
      canaries: none,
      sequences: this.sequences.map((row) => [...row]),
      cells: this.cells.flatMap((row, cpu) =>
        KINDS.map((kind) => ({
          cpu,
          kind,
          counters: { ...row[kind] } as Counters["cells"][number]["counters"],
        })),
      ),
    };
  }
}
