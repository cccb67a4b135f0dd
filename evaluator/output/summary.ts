// What a run or replay came to, for the person at the terminal.

import { wallTime } from "../event/normalise.ts";
import { fromUtf8 } from "../event/text.ts";
import { type Rule, SEVERITIES } from "../rule/schema.ts";
import { shown } from "./compact.ts";
import type { Ledger } from "./ledger.ts";
import type { Notice } from "./notice.ts";
import type { Shortfall } from "./outputs.ts";
import { type Statement, type Totals as Sums, typeOf, UNKNOWN_KIND } from "./totals.ts";

/** What was found in records. */
export type Tally = {
  alerts: number;
  bySeverity: Map<string, number>;
  byRule: Map<string, number>;
  /** Events with a text that was cut. */
  truncated: number;
};

/** What a summary is about. */
export type Totals = {
  tally: Tally;
  ledger: Ledger;
  /** First and last time of a record, ns of wall time. */
  span: { from: bigint; to: bigint } | null;
};

const MOST_SEVERE_FIRST = SEVERITIES.toReversed();
/** So many rules are listed. */
const RULES_MAX = 20;
const IDS_MAX = 10;
const SECOND_NS = 1_000_000_000;

/** What is gone, by the keys of the ledger. */
const GONE = [
  ...(["lost", "discarded", "missed", "abandoned", "malformed"] as const),
  ...(["write_failed", "alert_write_failed"] as const),
];

/**
 * Does it say that something is not known, or did not add up, which the books do not show in the end? Of a sensor that only stood
 * still, everything comes later; of a type of events whose hook is gone, nothing.
 */
export function tellsOfMissing(notice: Notice): boolean {
  const { event_type: type } = notice;
  return (
    type === "gap" ||
    type === "ledger_mismatch" ||
    (type === "sensor_silent" && notice.rules_blind !== undefined)
  );
}

/** Is everything that happened in the output, or left out on purpose? `isMissing`: something was said to be missing. */
export function isWhole(ledger: Statement, outputs: Shortfall[], isMissing: boolean): boolean {
  return (
    !isMissing &&
    ledger.balanced &&
    GONE.every((key) => ledger[key] === 0) &&
    outputs.every(({ failed }) => failed === 0)
  );
}

/** How many events these records are: without acts of the sensor, and what only tells of lineage. */
export function eventsIn({ decoded, canaries, lineage }: Sums): number {
  return decoded - canaries - lineage;
}

/** For example `128,004 events (41,200/s), 3 alerts (2 high, 1 medium), 0 lost, 3m06s`. */
export function summary(run: Totals, outputs: Shortfall[], elapsedMs: number): string {
  const statement = run.ledger.statement();
  const { malformed, balanced, ...rest } = statement;
  // What an earlier evaluator could not write is no event of this run.
  const unwritten = rest.by_kind[typeOf(UNKNOWN_KIND)]?.write_failed ?? 0;
  const events = eventsIn(statement) - unwritten;
  const rate = Math.round(events / Math.max(elapsedMs / 1000, 0.001));
  const bySeverity = MOST_SEVERE_FIRST.filter((severity) => run.tally.bySeverity.has(severity))
    .map((severity) => `${run.tally.bySeverity.get(severity)} ${severity}`)
    .join(", ");
  const parts = [
    `${count(events, "event")} (${rate.toLocaleString("en-US")}/s)`,
    `${count(run.tally.alerts, "alert")}${bySeverity ? ` (${bySeverity})` : ""}`,
    `${(rest.lost + rest.discarded + rest.missed + rest.abandoned + unwritten).toLocaleString("en-US")} lost`,
    malformed > 0 && `${malformed.toLocaleString("en-US")} malformed`,
    ...outputs.map(({ path, failed }) => failed > 0 && `${count(failed, "line")} not written to ${path}`),
    !balanced && "the ledger does not balance",
    duration(elapsedMs),
  ];
  return parts.filter((part) => part !== false).join(", ");
}

/** What a replay came to, beside the one line: time range, what was cut, alerts by rule, rules that never matched. */
export function replaySummary({ tally, ledger, span }: Totals, rules: readonly Rule[]): string[] {
  const { malformed } = ledger.statement();
  const enabled = rules.filter((rule) => rule.enabled);
  const idle = enabled.filter(({ id }) => !tally.byRule.has(id)).map(({ id }) => id);
  const matched = MOST_SEVERE_FIRST.flatMap((severity) =>
    enabled
      .filter((rule) => rule.severity === severity && tally.byRule.has(rule.id))
      .map((rule) => ({ ...rule, count: tally.byRule.get(rule.id) ?? 0 }))
      .toSorted((a, b) => b.count - a.count),
  );
  const width = Math.max(...matched.map(({ id }) => id.length), 0);
  const lines = [
    `${timeRange(span)}; ${malformed.toLocaleString("en-US")} malformed, ${tally.truncated.toLocaleString("en-US")} truncated`,
    ...matched.slice(0, RULES_MAX).map(({ severity, count: number, id, name }) => {
      const columns = [
        severity.padEnd(8),
        number.toLocaleString("en-US").padStart(7),
        id.padEnd(width),
        name,
      ];
      return `  ${columns.join("  ")}`;
    }),
    matched.length > RULES_MAX && `  and ${matched.length - RULES_MAX} more rules with alerts`,
    idle.length > 0 &&
      `${idle.length} of ${enabled.length} enabled rules never matched: ${idle.slice(0, IDS_MAX).join(", ")}` +
        (idle.length > IDS_MAX ? ` and ${idle.length - IDS_MAX} more` : ""),
  ];
  return lines.filter((line) => line !== false).map(readable);
}

function timeRange(span: Totals["span"]): string {
  if (!span) return "no records";
  return `${wallTime(span.from)} to ${wallTime(span.to)} (${duration(Number(span.to - span.from) / (SECOND_NS / 1000))})`;
}

/** A text of people without what would steer the terminal. */
export function readable(text: string): string {
  return Buffer.from(shown(fromUtf8(text)), "latin1").toString("utf8");
}

/** For example `1 rule` or `4,000 rules`. */
export function count(number: number, noun: string): string {
  return `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;
}

/** For example `12.5s` or `3m06s`. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const rest = String(Math.floor(seconds % 60)).padStart(2, "0");
  return `${Math.floor(seconds / 60)}m${rest}s`;
}
