// Why a rule matches an event or not, for eyes: a line for each condition.

import { type Bytes, fromUtf8 } from "../event/text.ts";
import type { Verdict } from "../rule/explain.ts";
import { quoted } from "./compact.ts";

/** So many entries of a list are shown. */
const ENTRIES_MAX = 8;

/** The words between what an event has and what a rule asks for. */
const RELATIONS: Readonly<Record<string, [fits: string, fails: string]>> = {
  paths: ["is, or lies below,", "is not, and does not lie below,"],
  patterns: ["fits", "does not fit"],
};

/** Conditions as lines with line ends, as UTF-8 bytes. */
export function explanation(verdicts: readonly Verdict[]): Bytes {
  return verdicts.map((verdict) => `${line(verdict)}\n`).join("") as Bytes;
}

function line({ condition, expected, actual, fits, holds }: Verdict): string {
  const [yes, no] = RELATIONS[condition] ?? ["is", "is not"];
  const head = `  ${holds ? "holds" : "fails"}  ${condition.padEnd(13)}  ${shownActual(condition, actual)}`;
  // What is the entry itself needs no second mention.
  if (fits !== null)
    return actual.length === 1 && actual[0] === fromUtf8(fits) ? head : `${head} ${yes} ${entry(fits)}`;
  const shown = expected.slice(0, ENTRIES_MAX).map(entry).join(", ");
  const rest = expected.length - ENTRIES_MAX;
  const any = expected.length > 1 ? "any of " : "";
  return `${head} ${no} ${any}${shown}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function shownActual(condition: string, actual: readonly Bytes[]): string {
  const [first, ...others] = actual.map((value) => (value === "" ? "(no name)" : quoted(value)));
  if (first === undefined) return "(unknown)";
  if (others.length === 0) return first;
  return condition.endsWith("_names")
    ? `${first} (${others.join(", ")})`
    : `${first} -> ${others.join(", ")}`;
}

function entry(text: string): string {
  return quoted(fromUtf8(text));
}
