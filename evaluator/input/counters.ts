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
  readTakenFrame,
  TAKEN_FRAME,
  type TakenFrame,
} from "../../bpf/event.gen.ts";

/** What the kernel has counted until a moment. */
type Rows = {
  /** The next sequence number, by CPU and ring. */
  sequences: bigint[][];
  /** By CPU and kind, as the kernel keeps them; only kinds that moved are listed. */
  cells: { cpu: number; kind: number; counters: KindCounters }[];
};

/** What the kernel had counted at boot time `time`, ns, and what the sensor has found; as in struct counters_frame. */
export type Counters = CountersFrame & Rows;

/** What the kernel had counted when an earlier evaluator told it, and what that one owes; as in struct taken_frame. */
export type Taken = TakenFrame & Rows;

const KINDS = Object.values(RecordKind);
/** Runs of kinds that nobody counts, as places in a row of counters. */
const UNUSED = [-1, ...KINDS, KINDS_MAX]
  .toSorted((one, other) => one - other)
  .map((kind, i, kinds) => ({ from: kind + 1, to: kinds[i + 1] ?? 0 }))
  .filter(({ from, to }) => from < to);
/** They are added to what this stream counts, and all of it has to stay exact. */
const OWED_MAX = 2n ** 48n;
const ZEROS = Buffer.alloc(CPU_COUNTERS.size);

/** Reads the payload of a counters frame, whose size is right for so many CPUs. Returns what is wrong with it as a text. */
export function readCounters(view: DataView, cpus: number): Counters | string {
  const frame = readCountersFrame(view, 0);
  const wrong = owedIsWrong(frame.waiting);
  if (wrong !== null) return wrong;
  const counted = [frame.refused, ...frame.waiting, ...frame.missed, ...frame.canaries];
  const rows = readRows(view, COUNTERS_FRAME.size, cpus, counted);
  return typeof rows === "string" ? rows : { ...frame, ...rows };
}

/** The same of a frame of what was taken. */
export function readTaken(view: DataView, cpus: number): Taken | string {
  const frame = readTakenFrame(view, 0);
  const owed = [...frame.unread, frame.unwrittenEvents, frame.unwrittenAlerts];
  const wrong = owedIsWrong(owed);
  if (wrong !== null) return wrong;
  const rows = readRows(view, TAKEN_FRAME.size, cpus, [...frame.missed, ...owed]);
  return typeof rows === "string" ? rows : { ...frame, ...rows };
}

/** The rows of all CPUs from `start` on. `counted`: what else will be added up with them. */
function readRows(view: DataView, start: number, cpus: number, counted: bigint[]): Rows | string {
  const sequences: bigint[][] = [];
  const cells: Rows["cells"] = [];
  for (let cpu = 0; cpu < cpus; cpu++) {
    const row = start + cpu * CPU_COUNTERS.size;
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
  return sumIsWrong(counted) ?? { sequences, cells };
}

/** Reads the payload of a frame of losers, of whole ones. Returns what is wrong with it as a text. */
export function readLosers(view: DataView): Loser[] | string {
  const losers = Array.from({ length: view.byteLength / LOSER.size }, (_, i) =>
    readLoser(view, i * LOSER.size),
  );
  return sumIsWrong(losers.map(({ lost }) => lost)) ?? losers;
}

function owedIsWrong(owed: bigint[]): string | null {
  const most = owed.find((count) => count > OWED_MAX);
  return most === undefined ? null : `${most} records or lines that are owed; at most ${OWED_MAX} can be`;
}

/** Beyond a certain sum, others would not be exact any more; and nobody has counted so far. */
function sumIsWrong(counted: bigint[]): string | null {
  const sum = counted.reduce((total, count) => total + count, 0n);
  if (sum <= Number.MAX_SAFE_INTEGER) return null;
  return `counters that add up to ${sum}; at most ${Number.MAX_SAFE_INTEGER} can be`;
}
