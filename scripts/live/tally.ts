// Adds up what evaluators wrote, and compares it with what the kernel side has counted.

import { closeSync, openSync, readSync } from "node:fs";
import type { Line } from "./pair.ts";

const PIECE_SIZE = 1024 * 1024;

/** What the outputs of one or more evaluators hold, taken together. */
export type Tally = {
  /** Distinct events by type. */
  events: Map<string, number>;
  /** Lines of events that were there before. */
  repeated: number;
  /** Alerts by their event and rule: the ids that they were given. More than one is an error. */
  alertIds: Map<string, Set<string>>;
  /** Threads whose events are not in the order of time: two threads of a process may run at once. */
  disordered: Set<string>;
  /** What the stream says about itself, in order. */
  notices: Line[];
};

/** Reads outputs in the order in which they were written. A last line that was cut belongs to an evaluator that was killed. */
export function tally(files: readonly string[]): Tally {
  const result: Tally = {
    events: new Map(),
    repeated: 0,
    alertIds: new Map(),
    disordered: new Set(),
    notices: [],
  };
  const seen = new Set<string>();
  const latest = new Map<string, bigint>();
  for (const file of files) for (const line of linesOf(file)) enter(line, result, seen, latest);
  return result;
}

function enter(text: string, result: Tally, seen: Set<string>, latest: Map<string, bigint>): void {
  const type = fieldOf(text, "event_type");
  if (type === "alert") {
    const key = `${fieldOf(text, "event_id")} ${fieldOf(text, "rule_id")}`;
    const ids = result.alertIds.get(key) ?? new Set();
    result.alertIds.set(key, ids.add(fieldOf(text, "alert_id")));
    return;
  }
  if (!/^(process|file|network)_/.test(type)) {
    result.notices.push(JSON.parse(text) as Line);
    return;
  }
  const id = fieldOf(text, "event_id");
  if (seen.has(id)) {
    result.repeated += 1;
    return;
  }
  seen.add(id);
  result.events.set(type, (result.events.get(type) ?? 0) + 1);
  // Files and sockets have another ring than processes: within one of them, order is kept.
  const thread = `${fieldOf(text, "process_id")} ${/"tid":(\d+)/.exec(text)?.[1] ?? ""} ${type.startsWith("process_")}`;
  const time = BigInt(/"timestamp_ns":(\d+)/.exec(text)?.[1] ?? "0");
  if (time < (latest.get(thread) ?? 0n)) result.disordered.add(thread);
  latest.set(thread, time);
}

/** A text that is known to need no escapes. */
function fieldOf(line: string, key: string): string {
  const at = line.indexOf(`"${key}":"`);
  if (at < 0) throw new Error(`no ${key} in ${line.slice(0, 200)}`);
  const start = at + key.length + 4;
  return line.slice(start, line.indexOf('"', start));
}

function* linesOf(path: string): Generator<string> {
  const fd = openSync(path, "r");
  const piece = Buffer.alloc(PIECE_SIZE);
  let rest = "";
  for (let size = readSync(fd, piece); size > 0; size = readSync(fd, piece)) {
    const lines = (rest + piece.toString("latin1", 0, size)).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  closeSync(fd);
}

/** One event type in the books. `unaccounted` must be 0. */
export type Account = { attempts: number; written: number; counted: number; unaccounted: number };

type Counted = { attempts: number; lost: number; discarded: number };

/**
 * Compares by type what was written with what the kernel side counted since its programs were attached, by the last health
 * line. There must have been no canary, but for the one on each CPU with which the sensor has tested its hooks.
 */
export function accountsOf({ events, notices }: Tally): Map<string, Account> {
  const health = notices.findLast((line) => line.event_type === "health");
  const tested = Number(notices.find((line) => line.event_type === "coverage")?.["tested_cpus"] ?? 0);
  const kernel = (health?.["since_attached"] ?? {}) as Record<string, Counted>;
  const { by_kind: kinds } = (health?.["ledger"] ?? { by_kind: {} }) as {
    by_kind: Record<string, { abandoned: number; write_failed: number }>;
  };
  return new Map(
    Object.entries(kernel).map(([type, { lost, discarded, ...rest }]) => {
      const attempts = rest.attempts - tested;
      const written = events.get(type) ?? 0;
      const counted = lost + discarded + (kinds[type]?.abandoned ?? 0) + (kinds[type]?.write_failed ?? 0);
      return [type, { attempts, written, counted, unaccounted: attempts - written - counted }];
    }),
  );
}
