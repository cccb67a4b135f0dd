// What a run or replay came to, in one line for the person at the terminal.

import type { Ledger } from "./ledger.ts";
import type { Shortfall } from "./outputs.ts";

/** What a summary is about. */
export type Totals = { alerts: number; alertsBySeverity: ReadonlyMap<string, number>; ledger: Ledger };

const SEVERITIES = ["critical", "high", "medium", "low"];

/** For example `128,004 events (41,200/s), 3 alerts (2 high, 1 medium), 0 lost, 3m06s`. */
export function summary(run: Totals, outputs: Shortfall[], elapsedMs: number): string {
  const { decoded, canaries, lineage, malformed, balanced, ...rest } = run.ledger.statement();
  const events = decoded - canaries - lineage;
  const rate = Math.round(events / Math.max(elapsedMs / 1000, 0.001));
  const bySeverity = SEVERITIES.filter((severity) => run.alertsBySeverity.has(severity))
    .map((severity) => `${run.alertsBySeverity.get(severity)} ${severity}`)
    .join(", ");
  const parts = [
    `${count(events, "event")} (${rate.toLocaleString("en-US")}/s)`,
    `${count(run.alerts, "alert")}${bySeverity ? ` (${bySeverity})` : ""}`,
    `${(rest.lost + rest.discarded + rest.missed + rest.abandoned).toLocaleString("en-US")} lost`,
    malformed > 0 && `${malformed.toLocaleString("en-US")} malformed`,
    ...outputs.map(({ path, failed }) => failed > 0 && `${count(failed, "line")} not written to ${path}`),
    !balanced && "the ledger does not balance",
    duration(elapsedMs),
  ];
  return parts.filter((part) => part !== false).join(", ");
}

function count(number: number, noun: string): string {
  return `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;
}

function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const rest = String(Math.floor(seconds % 60)).padStart(2, "0");
  return `${Math.floor(seconds / 60)}m${rest}s`;
}
