// An index over rules: which of them can match an event at all. Look-ups cost what the event has to look up (its names, its
// path's depth, its port), not what the rules are many.

import type { Bytes } from "../event/text.ts";
import {
  type Compiled,
  compileMatch,
  isFileEvent,
  isNetworkEvent,
  pathsOf,
  portOf,
  processesOf,
  type Subject,
} from "./conditions.ts";
import { type Key, keysOf } from "./keys.ts";
import type { Rule } from "./schema.ts";

/** A rule that is ready to be asked; `order` is that of its alerts. */
export type CompiledRule = { rule: Rule; order: number; match: Compiled };

/** Finds the rules that could match an event, in order. */
export type Candidates = (event: Subject) => CompiledRule[];

/** The rules that have a key, by what the key is of. */
type Lists = Record<Key["of"], Map<string | number, CompiledRule[]>>;

/** Builds the index over the enabled rules. */
export function compileIndex(rules: readonly Rule[]): Candidates {
  const lists = listsOf(rules);
  const pathSizes = new Set(lists.path.keys().map((path) => String(path).length));
  const endingSizes = new Set(lists.ending.keys().map((ending) => String(ending).length));
  const partSizes = sizesByEnd(lists.part.keys());

  return (event) => {
    const found: CompiledRule[] = [];
    const take = (of: Key["of"], key: string | number | null) => {
      const list = key === null ? undefined : lists[of].get(key);
      for (const rule of list ?? []) found.push(rule);
    };
    if (isFileEvent(event)) {
      take("anyPath", "");
      for (const path of pathsOf(event)) {
        for (const prefix of prefixesOf(path, pathSizes)) take("path", prefix);
        for (const size of endingSizes) take("ending", path.slice(-size));
        for (const part of partsOf(path, partSizes)) take("part", part);
      }
    } else if (isNetworkEvent(event)) take("port", portOf(event).port);
    else {
      const processes = processesOf(event);
      if (!processes) return [];
      take("comm", processes.name);
      take("exe", processes.exe);
      take("parentComm", processes.parentName);
      take("parentExe", processes.parentExe);
    }
    return found.length > 1 ? [...new Set(found)].toSorted((a, b) => a.order - b.order) : found;
  };
}

function listsOf(rules: readonly Rule[]): Lists {
  const lists: Lists = {
    comm: new Map(),
    exe: new Map(),
    parentComm: new Map(),
    parentExe: new Map(),
    port: new Map(),
    path: new Map(),
    ending: new Map(),
    part: new Map(),
    anyPath: new Map(),
  };
  const compiled = rules
    .filter(({ enabled }) => enabled)
    .map((rule, order) => ({ rule, order, match: compileMatch(rule.match) }));
  // Many rules are about the same shells, each with parents of its own: what few rules share is looked up.
  const sharers = new Map<string, number>();
  const nameOf = (key: Key) => `${key.of} ${textOf(key)}`;
  for (const { match } of compiled)
    for (const key of keysOf(match).flat()) sharers.set(nameOf(key), (sharers.get(nameOf(key)) ?? 0) + 1);
  const sharersOf = (keys: Key[]) => keys.reduce((sum, key) => sum + (sharers.get(nameOf(key)) ?? 0), 0);

  for (const rule of compiled) {
    const choices = keysOf(rule.match);
    const keys = choices.reduce((best, other) => (sharersOf(other) < sharersOf(best) ? other : best));
    for (const key of keys) {
      const list = lists[key.of].get(textOf(key));
      if (!list) lists[key.of].set(textOf(key), [rule]);
      else if (list.at(-1) !== rule) list.push(rule);
    }
  }
  return lists;
}

function textOf(key: Key): string | number {
  return "bytes" in key ? key.bytes : "port" in key ? key.port : "";
}

/**
 * A path and each folder above it, as they are in the keys of rules: those of a size that a key has. To cut a path of 4,096
 * bytes at each of 2,048 folders would cost a millisecond.
 */
function* prefixesOf(path: Bytes, sizes: ReadonlySet<number>): Generator<Bytes> {
  if (sizes.has(path.length)) yield path;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
    if (sizes.has(at)) yield path.slice(0, at) as Bytes;
}

/** Sizes of parts, by their last two bytes. */
function sizesByEnd(parts: Iterable<string | number>): Map<number, Set<number>> {
  const sizes = new Map<number, Set<number>>();
  for (const part of parts) {
    const text = String(part);
    const end = lastTwo(text, text.length);
    sizes.set(end, new Set(sizes.get(end)).add(text.length));
  }
  return sizes;
}

/**
 * The pieces of a path that may be parts: those with the last two bytes and the size of one. To cut a path of 4,096 bytes at each
 * place for each size would cost a millisecond, and anybody may open such a path.
 */
function* partsOf(path: Bytes, sizes: ReadonlyMap<number, ReadonlySet<number>>): Generator<Bytes> {
  for (let end = 2; end <= path.length; end++)
    for (const size of sizes.get(lastTwo(path, end)) ?? [])
      if (size <= end) yield path.slice(end - size, end) as Bytes;
}

function lastTwo(text: string, end: number): number {
  return (text.charCodeAt(end - 2) << 8) | text.charCodeAt(end - 1);
}
