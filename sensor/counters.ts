// What the kernel side has counted, copied so that each CPU's row is of one moment.

import { CPU_COUNTERS, KIND_COUNTERS, LOSER, RINGS_MAX } from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, ringOf } from "../bpf/kinds.ts";
import { readEntries } from "./libbpf.ts";
import { mapShared, poll } from "./libc.ts";

/** So often is a row copied that keeps changing, with pauses; then it is sent as it is, and the reader sees that it does not add up. */
const [TRIES_MAX, PAUSE_EVERY] = [1000, 50];
/** LOSERS_MAX in maps.bpf.h. */
const LOSERS_MAX = 256;
const ROW_CELLS = CPU_COUNTERS.size / 8;
/** Where a kind's counters are in a row of __u64. */
const cellsOf = (kind: number) => (CPU_COUNTERS.at.kinds + kind * KIND_COUNTERS.size) / 8;
const EVENT_CELLS = ALL_EVENT_KINDS.map(({ kind }) => ({ at: cellsOf(kind), ring: ringOf(kind) }));

/** The mapped counters of all CPUs. */
export type CounterMemory = {
  size: number;
  /** Copies all rows, each of one moment, to where numbers of 8 bytes may begin. */
  copyTo: (target: Uint8Array) => void;
  /** The attempts of a CPU now, by record kind. */
  attemptsOf: (cpu: number) => Map<number, bigint>;
};

/** Maps the counters of map `fd`: one struct cpu_counters for each of `cpus`. */
export function mapCounters(fd: number, cpus: number): CounterMemory {
  const size = cpus * CPU_COUNTERS.size;
  const { bytes } = mapShared(fd, 0, size, false);
  const cells = new BigUint64Array(bytes);
  return {
    size,
    attemptsOf: (cpu) =>
      new Map(ALL_EVENT_KINDS.map(({ kind }) => [kind, cells[cpu * ROW_CELLS + cellsOf(kind)] ?? 0n])),
    copyTo(target) {
      for (let cpu = 0; cpu < cpus; cpu++) {
        const live = cells.subarray(cpu * ROW_CELLS, (cpu + 1) * ROW_CELLS);
        const row = new BigUint64Array(target.buffer, target.byteOffset + cpu * CPU_COUNTERS.size, ROW_CELLS);
        for (let tries = 0; tries < TRIES_MAX; tries++) {
          row.set(live);
          if (isStill(row, live) && addsUp(row)) break;
          if (tries % PAUSE_EVERY === PAUSE_EVERY - 1) poll([], 1); // a program was interrupted: it has to go on
        }
      }
    },
  };
}

/** Has no attempt begun since the row was copied? Asked first, for under load a row does not rest as long as sums take. */
const isStill = (row: BigUint64Array, live: BigUint64Array) =>
  row.subarray(0, RINGS_MAX).every((number, ring) => number === live[ring]);

/** Does every attempt of a copied row have its end and its sequence number? */
function addsUp(row: BigUint64Array): boolean {
  const attempted = Array.from({ length: RINGS_MAX }, () => 0n);
  for (const { at, ring } of EVENT_CELLS) {
    const [attempts = 0n, submitted = 0n, lost = 0n, discarded = 0n] = row.subarray(at, at + 4);
    if (attempts !== submitted + lost + discarded) return false;
    attempted[ring] = (attempted[ring] ?? 0n) + attempts;
  }
  return attempted.every((attempts, ring) => attempts === row[ring]);
}

/** How many records these rows count as lost or discarded, by ring. */
export function lostByRing(rows: Uint8Array): bigint[] {
  const cells = new BigUint64Array(Uint8Array.from(rows).buffer);
  const lost = Array.from({ length: RINGS_MAX }, () => 0n);
  for (let row = 0; row < cells.length; row += ROW_CELLS)
    for (const { at, ring } of EVENT_CELLS)
      lost[ring] = (lost[ring] ?? 0n) + (cells[row + at + 2] ?? 0n) + (cells[row + at + 3] ?? 0n);
  return lost;
}

/** The entries of the map of losers, as structs one behind the other. */
export function readLosers(fd: number): Uint8Array {
  return Buffer.concat(readEntries(fd, LOSER.at.lost, LOSER.size - LOSER.at.lost, LOSERS_MAX));
}
