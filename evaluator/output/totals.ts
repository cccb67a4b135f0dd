// The sums of the ledger: where the records of a kind have gone.

import { KINDS_MAX } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS } from "../../bpf/kinds.ts";

/** The event type that a record kind becomes. A snapshot becomes none and is in no ring. */
export const EVENT_TYPES: ReadonlyMap<number, string> = new Map(
  ALL_EVENT_KINDS.map(({ kind, type }) => [kind, type]),
);

/** The kind under which everything is entered whose kind nobody knows. */
export const UNKNOWN_KIND = 0;

const KNOWN = Uint8Array.from({ length: KINDS_MAX }, (_, kind) =>
  EVENT_TYPES.has(kind) ? kind : UNKNOWN_KIND,
);

/** Under which kind a record of this kind is entered. */
export function entryOf(kind: number): number {
  return KNOWN[kind] ?? UNKNOWN_KIND;
}

/** The event type of a record kind, or "unknown". */
export function typeOf(kind: number): string {
  return EVENT_TYPES.get(kind) ?? "unknown";
}

/** Where the records of one kind, or of all, have gone. The keys are those of the output. */
export type Totals = {
  attempts: number;
  submitted: number;
  lost: number;
  discarded: number;
  missed: number;
  /** In a ring that went with its sensor before it was read. */
  abandoned: number;
  filtered: number;
  received: number;
  repeated: number;
  malformed: number;
  decoded: number;
  /** Acts of the sensor, to see that its hooks report: never events. */
  canaries: number;
  /** Of kinds that settings switch off, told for the lineage of others. */
  lineage: number;
  /** Events that settings keep from the output ("alerts only"); rules have seen them. */
  withheld: number;
  rate_limited: number;
  /** Events handed to the output: `lines` of these got out, `write_failed` did not. */
  written: number;
  lines: number;
  write_failed: number;
  /** Rules that matched: as many alerts got out, were not repeated, or could not be written. */
  matched: number;
  alert_lines: number;
  suppressed: number;
  alert_write_failed: number;
  unaccounted: number;
};

/** The totals of everything, the same by event type, and whether all sums agree. */
export type Statement = Totals & { by_kind: Record<string, Totals>; balanced: boolean };

/** The sums at the beginning. */
export const NOTHING: Totals = {
  attempts: 0,
  submitted: 0,
  lost: 0,
  discarded: 0,
  missed: 0,
  abandoned: 0,
  filtered: 0,
  received: 0,
  repeated: 0,
  malformed: 0,
  decoded: 0,
  canaries: 0,
  lineage: 0,
  withheld: 0,
  rate_limited: 0,
  written: 0,
  lines: 0,
  write_failed: 0,
  matched: 0,
  alert_lines: 0,
  suppressed: 0,
  alert_write_failed: 0,
  unaccounted: 0,
};
