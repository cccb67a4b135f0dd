// Alerts that are expected of a replay, and how those that were raised differ.

import { type Bytes, fromUtf8 } from "../event/text.ts";
import { parseJson, readFields } from "../rule/given.ts";
import { describe, isTable, type Problem } from "../rule/problem.ts";
import { ALERT_FIELDS, type Alert } from "./alert.ts";
import { type JsonValue, ndjson } from "./ndjson.ts";

/** An alert as a line of a file says it: the keys that matter, with their values. */
type Facts = Record<string, JsonValue>;
export type Expected = { line: number; facts: Facts };
/** Expected alerts that were not raised, and alerts that nobody expected. */
export type Difference = { missing: Expected[]; unexpected: Alert[] };

/** So many lines of each side of a difference are shown. */
const SHOWN_MAX = 20;
/** The keys that tell what an alert is about: a line with them can be put into the file of those that are expected. */
const TELLING = [
  "rule_id",
  "severity",
  "source_event_type",
  "comm",
  "parent_name",
  "path",
  "direction",
  "port",
] as const;

/**
 * Reads expected alerts: NDJSON with the keys that matter. Lines of another `event_type` are passed over, so that the output
 * of a replay can serve as it is.
 */
export function readExpected(file: string, text: string): { expected: Expected[]; problems: Problem[] } {
  const expected: Expected[] = [];
  const problems: Problem[] = [];
  text.split("\n").forEach((source, i) => {
    if (source.trim() === "") return;
    const line = i + 1;
    const say = (message: string, key?: string) => {
      const column = key === undefined ? 1 : source.indexOf(JSON.stringify(key)) + 1;
      problems.push({ severity: "error", file, line, column, message, source });
    };
    let value: unknown;
    try {
      value = parseJson(source);
    } catch (error) {
      return say(`not JSON: ${(error as Error).message}`);
    }
    if (!isTable(value)) return say(`expected an alert as a JSON object, found ${describe(value)}`);
    if ((value["event_type"] ?? "alert") !== "alert") return;
    const facts = readFields(ALERT_FIELDS, value, (key, message) => say(message, key));
    expected.push({ line, facts: facts as Facts });
  });
  return { expected, problems };
}

/** Pairs each expected alert with one that was raised, so that as few as possible are left over. */
export function compareAlerts(expected: readonly Expected[], alerts: readonly Alert[]): Difference {
  const pairs = new Pairs(expected, alerts);
  const missing = expected.filter((_, index) => !pairs.add(index));
  return { missing, unexpected: alerts.filter((_, i) => !pairs.taken(i)) };
}

/** Pairs of expected alerts and raised ones, both by index: a matching that grows along augmenting paths. */
class Pairs {
  private readonly alertOf = new Map<number, number>();
  private readonly expectedOf = new Map<number, number>();
  /** Of alerts that a failed search has met, none can end a later one. */
  private readonly seen = new Set<number>();
  private readonly byRule: ReadonlyMap<unknown, number[]>;
  private readonly fittingOf = new Map<string, number[]>();

  constructor(
    private readonly expected: readonly Expected[],
    private readonly alerts: readonly Alert[],
  ) {
    this.byRule = Map.groupBy(alerts.keys(), (i) => alerts[i]?.rule_id);
  }

  taken(alert: number): boolean {
    return this.expectedOf.has(alert);
  }

  /** Finds an alert for one more expected one; those before it may have to change theirs. */
  add(start: number): boolean {
    const askedBy = new Map<number, number>();
    const asking = [start];
    for (const index of asking) {
      const fitting = this.fitting(index);
      const free = fitting.find((i) => !this.taken(i));
      if (free !== undefined) {
        askedBy.set(free, index);
        this.change(free, askedBy);
        this.seen.clear();
        return true;
      }
      for (const i of fitting) {
        if (this.seen.has(i)) continue;
        this.seen.add(i);
        askedBy.set(i, index);
        asking.push(this.expectedOf.get(i) ?? index);
      }
    }
    return false;
  }

  /** Gives `alert` to the one that asks for it, the one that this one had to the one that asks for that, and so on. */
  private change(alert: number | undefined, askedBy: ReadonlyMap<number, number>): void {
    for (let at = alert; at !== undefined; ) {
      const index: number = askedBy.get(at) ?? 0;
      const before: number | undefined = this.alertOf.get(index);
      this.alertOf.set(index, at);
      this.expectedOf.set(at, index);
      at = before;
    }
  }

  private fitting(index: number): number[] {
    const facts = this.expected[index]?.facts ?? {};
    const text = ndjson(facts);
    const known = this.fittingOf.get(text);
    if (known) return known;
    const all = "rule_id" in facts ? (this.byRule.get(facts["rule_id"]) ?? []) : [...this.alerts.keys()];
    const fitting = all.filter((i) => differing(facts, this.alerts[i]).length === 0);
    this.fittingOf.set(text, fitting);
    return fitting;
  }
}

/** The keys of `facts` whose values an alert does not have. */
function differing(facts: Facts, alert: Alert | undefined): string[] {
  const values = alert as Facts | undefined;
  return Object.keys(facts).filter((key) => !Bun.deepEquals(facts[key], values?.[key]));
}

/** A difference for eyes: `-` before what is missing, with what comes closest; `+` before what is not expected. */
export function renderDifference(file: string, { missing, unexpected }: Difference): Bytes {
  const lines: string[] = [];
  for (const one of missing.slice(0, SHOWN_MAX)) {
    lines.push(`- ${fromUtf8(`${file}:${one.line}`)}: ${ndjson(one.facts).trimEnd()}`);
    const near = nearest(one, unexpected);
    if (near) lines.push(`    nearest: an alert with ${near}`);
  }
  if (missing.length > SHOWN_MAX) lines.push(`- and ${missing.length - SHOWN_MAX} more that are missing`);
  for (const alert of unexpected.slice(0, SHOWN_MAX)) lines.push(`+ ${factsOf(alert, TELLING)}`);
  if (unexpected.length > SHOWN_MAX)
    lines.push(`+ and ${unexpected.length - SHOWN_MAX} more that are not expected`);
  return lines.map((line) => `${line}\n`).join("") as Bytes;
}

/** What differs in the alert of the same rule that differs least; null when none is like it. */
function nearest({ facts: wanted }: Expected, alerts: readonly Alert[]): string | null {
  const candidates = alerts
    .map((alert) => ({ alert, keys: differing(wanted, alert) }))
    .filter(({ keys }) => !keys.includes("rule_id") && keys.length < Object.keys(wanted).length);
  const [best] = candidates.toSorted((a, b) => a.keys.length - b.keys.length);
  return best ? factsOf(best.alert, best.keys) : null;
}

/** Some keys of an alert as one JSON object. */
function factsOf(alert: Alert, keys: readonly string[]): string {
  const values = alert as unknown as Facts;
  const told = keys.filter((key) => keys !== TELLING || values[key] !== null);
  return ndjson(Object.fromEntries(told.map((key) => [key, values[key]]))).trimEnd();
}
