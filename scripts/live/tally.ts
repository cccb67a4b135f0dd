// Adds up what evaluators wrote, and compares it with what the kernel side has counted.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Line } from "./pair.ts";

/** What the outputs of one or more evaluators hold, taken together. */
export type Tally = {
  /** Distinct events by type. */
  events: Map<string, number>;
  /** Those of them that name something in the watched folder. */
  watched: Map<string, number>;
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
export function tally(files: readonly string[], folder: string): Tally {
  const books = new Books(folder);
  for (const file of files) books.read(file);
  return books.tally;
}

/** Outputs that are read while they grow. */
export class Books {
  readonly tally: Tally = {
    events: new Map(),
    watched: new Map(),
    repeated: 0,
    alertIds: new Map(),
    disordered: new Set(),
    notices: [],
  };
  private readonly mark: string;
  private readonly seen = new Ids();
  private readonly latest = new Map<string, bigint>();
  private readonly offsets = new Map<string, number>();

  /** `folder`: the one that is watched. */
  constructor(folder: string) {
    this.mark = `"${folder}/`;
  }

  /** Reads what was added to a file since the last time; with `untilHealth`, up to the last health line only. */
  read(file: string, untilHealth = false): void {
    const { lines, end } = linesOf(file, this.offsets.get(file) ?? 0, untilHealth);
    this.offsets.set(file, end);
    for (const line of lines) this.enter(line);
  }

  private enter(text: string): void {
    const { tally: result, seen, latest } = this;
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
    if (!seen.add(id)) {
      result.repeated += 1;
      return;
    }
    result.events.set(type, (result.events.get(type) ?? 0) + 1);
    if (text.includes(this.mark)) result.watched.set(type, (result.watched.get(type) ?? 0) + 1);
    const tid = /"tid":(\d+)/.exec(text)?.[1] ?? "";
    const thread = `${fieldOf(text, "process_id")} ${tid}`;
    const time = BigInt(/"timestamp_ns":(\d+)/.exec(text)?.[1] ?? "0");
    if (time < (latest.get(thread) ?? 0n)) result.disordered.add(thread);
    latest.set(thread, time);
  }
}

/** A text that is known to need no escapes. */
function fieldOf(line: string, key: string): string {
  const at = line.indexOf(`"${key}":"`);
  if (at < 0) throw new Error(`no ${key} in ${line.slice(0, 200)}`);
  const start = at + key.length + 4;
  return line.slice(start, line.indexOf('"', start));
}

/** So many ids that one Set could not hold them. */
class Ids {
  private readonly sets = Array.from({ length: 256 }, () => new Set<string>());

  /** False when it was there before. */
  add(id: string): boolean {
    const set = this.sets[(id.charCodeAt(id.length - 1) * 31 + id.charCodeAt(id.length - 2)) & 255];
    if (set?.has(id)) return false;
    // A part of a line would keep the whole line in memory.
    set?.add(Buffer.from(id, "latin1").toString("latin1"));
    return true;
  }
}

const HEALTH = Buffer.from('\n{"event_type":"health"');
const PIECE_SIZE = 64 * 1024 * 1024;

/** Whole lines of a file from `start` on, with `untilHealth` up to the last health line; and where what is behind them begins. */
export function linesOf(
  path: string,
  start = 0,
  untilHealth = false,
): { lines: Iterable<string>; end: number } {
  const fd = openSync(path, "r");
  const { size } = fstatSync(fd);
  const tail = piece(fd, Math.max(start, size - PIECE_SIZE), size);
  // The line end before the last health line, and then the one of that line.
  const from = untilHealth ? tail.lastIndexOf(HEALTH) : -1;
  const last = untilHealth ? (from < 0 ? -1 : tail.indexOf("\n", from + 1)) : tail.lastIndexOf("\n");
  const end = last < 0 ? start : size - tail.length + last + 1;
  return { lines: linesBetween(fd, start, end), end };
}

function piece(fd: number, start: number, end: number): Buffer {
  const bytes = Buffer.alloc(end - start);
  return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start));
}

function* linesBetween(fd: number, start: number, end: number): Generator<string> {
  for (let at = start; at < end; ) {
    const bytes = piece(fd, at, Math.min(end, at + PIECE_SIZE));
    const whole = bytes.lastIndexOf("\n") + 1;
    if (whole === 0) throw new Error("a line is longer than a piece of its file");
    yield* split(bytes.subarray(0, whole));
    at += whole;
  }
  closeSync(fd);
}

function* split(bytes: Buffer): Generator<string> {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf("\n", at);
    yield bytes.toString("latin1", at, end);
    at = end + 1;
  }
}

/** One event type in the books. `unaccounted` must be 0. */
export type Account = { attempts: number; written: number; counted: number; unaccounted: number };

type Counted = { attempts: number; lost: number; discarded: number; unheard: number };
type Sums = { abandoned: number; write_failed: number };

/** What the last health line says that the kernel side has counted since its programs were attached, by type. */
function sinceAttached(notices: readonly Line[]): Record<string, Counted> {
  const health = notices.findLast((line) => line.event_type === "health");
  return (health?.["since_attached"] ?? {}) as Record<string, Counted>;
}

/**
 * Are all losses of the kernel side told? Returns the types of which they are not, with the difference. An evaluator that was killed may have told
 * what it did not acknowledge, and the next one tells it again: of lines whose times overlap, the later one stands.
 */
export function untold({ notices }: Tally): Map<string, string> {
  const told = new Map<string, Line[]>();
  for (const line of notices) {
    if (line.event_type !== "loss" || line["stage"] !== "kernel") continue;
    const about = `${String(line["kind"])} ${String(line["cpu"])} ${String(line["reason"])}`;
    const earlier = (told.get(about) ?? []).filter((one) => Number(one["to_ns"]) <= Number(line["from_ns"]));
    told.set(about, [...earlier, line]);
  }
  const lines = [...told.values()].flat();
  const differences = new Map<string, string>();
  for (const [type, { lost, discarded }] of Object.entries(sinceAttached(notices))) {
    const sum = lines.reduce((total, line) => total + (line["kind"] === type ? Number(line["count"]) : 0), 0);
    if (sum !== lost + discarded) differences.set(type, `${lost + discarded} lost, ${sum} told`);
  }
  return differences;
}

/** The type under which is entered what an earlier evaluator could not write: of what types that was, nobody knows any more. */
const UNKNOWN = "unknown";

/**
 * Compares by type what was written with what the kernel side counted since its programs were attached, by the last health
 * line. There must have been no canary, but for the one on each CPU with which the sensor has tested its hooks.
 */
export function accountsOf({ events, notices }: Tally): Map<string, Account> {
  const health = notices.findLast((line) => line.event_type === "health");
  const tested = Number(notices.find((line) => line.event_type === "coverage")?.["tested_cpus"] ?? 0);
  const { by_kind: kinds } = (health?.["ledger"] ?? { by_kind: {} }) as { by_kind: Record<string, Sums> };
  const accounts = new Map(
    Object.entries(sinceAttached(notices)).map(([type, { lost, discarded, unheard, ...rest }]) => {
      const attempts = rest.attempts - tested;
      const written = events.get(type) ?? 0;
      const counted =
        lost + discarded - unheard + (kinds[type]?.abandoned ?? 0) + (kinds[type]?.write_failed ?? 0);
      return [type, { attempts, written, counted, unaccounted: attempts - written - counted }];
    }),
  );
  const counted = kinds[UNKNOWN]?.write_failed ?? 0;
  if (counted > 0) accounts.set(UNKNOWN, { attempts: 0, written: 0, counted, unaccounted: -counted });
  return accounts;
}
