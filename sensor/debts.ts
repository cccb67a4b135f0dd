// What programs that are replaced leave behind: records that nobody will read any more, and what an evaluator owed.

import { KINDS_MAX, RINGS_MAX, type TakenFrame } from "../bpf/event.gen.ts";
import { ringOf } from "../bpf/kinds.ts";
import { lostByRing, mapCounters } from "./counters.ts";
import { maxEntries } from "./libbpf.ts";
import { blocksFor, openMemory } from "./memory.ts";
import type { Messages } from "./message.ts";
import { mapRing } from "./ring.ts";
import { type Missable, missedByKind } from "./watch.ts";

/** As in struct taken_frame. */
export type Debts = Pick<TakenFrame, "unread" | "unwrittenEvents" | "unwrittenAlerts">;

/** Nothing. */
export const NO_DEBTS: Debts = {
  unread: Array.from({ length: RINGS_MAX }, () => 0n),
  unwrittenEvents: 0n,
  unwrittenAlerts: 0n,
};

/** The programs, and descriptors of pinned maps; null where there is none. */
export type Left = {
  programs: Missable[];
  rings: (number | null)[];
  counters: number | null;
  memory: number | null;
};

/** What is left is only read. */
const NO_MESSAGES: Messages = { send() {}, strangers: () => 0n, reading: () => 0 };

/** Reads what is left in maps of programs that nobody serves. Of another version's, only the rings can be read. */
export function debtsOf({ programs, rings, counters, memory }: Left, cpus: number): Debts {
  const unread = Array.from({ length: RINGS_MAX }, (_, i) => BigInt(unreadIn(rings[i] ?? null)));
  const fits = memory !== null && maxEntries(memory) === blocksFor(cpus);
  const remembered = fits ? openMemory(memory, cpus, NO_MESSAGES) : null;
  if (!remembered?.isOurs() || counters === null) return { ...NO_DEBTS, unread };
  const taken = remembered.read();
  const { copyTo, size } = mapCounters(counters, cpus);
  const now = new Uint8Array(size);
  copyTo(now);
  const owed = [taken.facts.unread, lostByRing(now), missedByRing(missedByKind(programs))];
  const told = [lostByRing(taken.rows), missedByRing(taken.facts.missed)];
  const sum = (counts: bigint[][], ring: number) => counts.reduce((all, one) => all + (one[ring] ?? 0n), 0n);
  return { ...taken.facts, unread: unread.map((count, i) => count + sum(owed, i) - sum(told, i)) };
}

/** Where the records of hooks that did not run would have been. Programs that serve several kinds have the second ring. */
export function missedByRing(missed: bigint[]): bigint[] {
  const rings = Array.from({ length: RINGS_MAX }, () => 0n);
  missed.forEach((count, kind) => {
    const ring = ringOf(kind || KINDS_MAX);
    rings[ring] = (rings[ring] ?? 0n) + count;
  });
  return rings;
}

function unreadIn(ring: number | null): number {
  return ring === null ? 0 : mapRing(ring, maxEntries(ring)).count();
}

/** Both together. */
export function addDebts(one: Debts, other: Debts): Debts {
  return {
    unread: one.unread.map((count, i) => count + (other.unread[i] ?? 0n)),
    unwrittenEvents: one.unwrittenEvents + other.unwrittenEvents,
    unwrittenAlerts: one.unwrittenAlerts + other.unwrittenAlerts,
  };
}
