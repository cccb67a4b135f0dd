// What the kernel side counted, and whose records were lost: frames of numbers. They are added up and compared later, so here
// it is seen to that all sums are exact.

import {
  COUNTERS_FRAME,
  type CountersFrame,
  CPU_COUNTERS,
  KIND_COUNTERS,
  KINDS_MAX,
  type KindCounters,
  LOSER,
  type Loser,
  RecordKind,
  RINGS_MAX,
  readCountersFrame,
  readKindCounters,
  readLoser,
} from "../../bpf/event.gen.ts";

/** What the kernel had counted at boot time `time`, ns, and what the sensor has found; as in struct counters_frame. */
export type Counters = CountersFrame & {
  /** The next sequence number, by CPU and ring. */
  sequences: bigint[][];
  /** By CPU and kind, as the kernel keeps them; only kinds that moved are listed. */
  cells: { cpu: number; kind: number; counters: KindCounters }[];
};

const KINDS = Object.values(RecordKind);
/** Runs of kinds that nobody counts, as places in a row of counters. */
const UNUSED = [-1, ...KINDS, KINDS_MAX]
  .toSorted((one, other) => one - other)
  .map((kind, i, kinds) => ({ from: kind + 1, to: kinds[i + 1] ?? 0 }))
  .filter(({ from, to }) => from < to);
const ZEROS = Buffer.alloc(CPU_COUNTERS.size);

/** Reads the payload of a counters frame, whose size is right for so many CPUs. Returns what is wrong with it as a text. */
export function readCounters(view: DataView, cpus: number): Counters | string {
  const frame = readCountersFrame(view, 0);
  const counted = [frame.refused, ...frame.missed, ...frame.canaries];
  const sequences: bigint[][] = [];
  const cells: Counters["cells"] = [];
  for (let cpu = 0; cpu < cpus; cpu++) {
    const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size;
    const rings = Array.from({ length: RINGS_MAX }, (_, ring) =>
      view.getBigUint64(row + CPU_COUNTERS.at.sequence + ring * 8, true),
    );
    sequences.push(rings);
    counted.push(...rings);
    const kinds = row + CPU_COUNTERS.at.kinds;
    for (const kind of KINDS) {
      const counters = readKindCounters(view, kinds + kind * KIND_COUNTERS.size);
      const sum = Object.values(counters).reduce((total, count) => total + count, 0n);
      if (sum === 0n) continue;
      counted.push(sum);
      cells.push({ cpu, kind, counters });
    }
    for (const { from, to } of UNUSED) {
      const size = (to - from) * KIND_COUNTERS.size;
      const bytes = Buffer.from(view.buffer, view.byteOffset + kinds + from * KIND_COUNTERS.size, size);
      if (bytes.compare(ZEROS, 0, size) !== 0)
        return `counters of CPU ${cpu} for a kind from ${from} to ${to - 1}: none is known`;
    }
  }
  return sumIsWrong(counted) ?? { ...frame, sequences, cells };
}

/** Reads the payload of a frame of losers, of whole ones. Returns what is wrong with it as a text. */
export function readLosers(view: DataView): Loser[] | string {
  const losers = Array.from({ length: view.byteLength / LOSER.size }, (_, i) =>
    readLoser(view, i * LOSER.size),
  );
  return sumIsWrong(losers.map(({ lost }) => lost)) ?? losers;
}

/** Beyond a certain sum, others would not be exact any more; and nobody has counted so far. */
function sumIsWrong(counted: bigint[]): string | null {
  const sum = counted.reduce((total, count) => total + count, 0n);
  if (sum <= Number.MAX_SAFE_INTEGER) return null;
  return `counters that add up to ${sum}; at most ${Number.MAX_SAFE_INTEGER} can be`;
}
