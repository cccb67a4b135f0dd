// What matches an event, of any number of rules or detections. An index finds those that can match at all: it costs what the
// event has to look up (its names, its path's length and depth, its port), not what the rules are many.

import {
  type Compiled,
  compileMatch,
  type Facts,
  factsOf,
  isFileEvent,
  isNetworkEvent,
  pathsOf,
  portOf,
  processesOf,
  type Subject,
  type Tests,
} from "./conditions.ts";
import { type Key, keysOf, type PathKey, rarestKeys, textOf } from "./keys.ts";
import { addTo, PathTable } from "./lookup.ts";
import { quickly } from "./quick.ts";
import type { Detection, Rule } from "./schema.ts";

/** One of the things that were compiled; `tests` are made when it is first asked. */
type Indexed<T> = { thing: T; order: number; match: Compiled; tests: Tests | null };

/** What matched, and what of the event it was. */
export type Matched<T> = { thing: T; facts: Facts };

/** Compiles rules or detections once. What is returned gives those that match an event, in their order. */
export function compileAll<T extends Pick<Rule | Detection, "match">>(
  things: readonly T[],
): (event: Subject) => Matched<T>[] {
  const candidates = compileIndex(
    things.map((thing, order) => ({ thing, order, match: compileMatch(thing.match), tests: null })),
  );
  return (event) => {
    const matched: Matched<T>[] = [];
    for (const one of candidates(event)) {
      one.tests ??= quickly(one.match);
      const facts = factsOf(one.tests, event);
      if (facts) matched.push({ thing: one.thing, facts });
    }
    return matched;
  };
}

/** Finds all that could match an event, and little else, in order. */
function compileIndex<T>(all: readonly Indexed<T>[]): (event: Subject) => Indexed<T>[] {
  const paths = new PathTable<Indexed<T>>();
  const names = makeLists<Indexed<T>>();
  // Of process and parent both are looked up, where both are asked for: one of them may be common, and the other one not.
  const pairs = makeLists<Indexed<T>>();
  const listsOf = all.map(({ match }) => keysOf(match));
  const keys = rarestKeys(listsOf);
  for (const [i, one] of all.entries()) {
    const lists = listsOf[i] ?? [];
    const isPair = one.match.type === "process" && lists.length > 1;
    for (const key of isPair ? lists.flat(2) : (keys[i] ?? []))
      if (isPathKey(key)) paths.add(key, one);
      else addTo((isPair ? pairs : names)[key.of], textOf(key), one);
  }

  return (event) => {
    if (isFileEvent(event)) return inOrder(pathsOf(event).flatMap((path) => [...paths.in(path)]));
    if (isNetworkEvent(event)) {
      const { comm, exe_path: exe } = event;
      return inOrder([
        ...have(names.port, portOf(event).port),
        ...have(names.actorComm, comm),
        ...have(names.actorExe, exe),
      ]);
    }
    const processes = processesOf(event);
    if (!processes) return [];
    const { name, exe, parentName, parentExe } = processes;
    const byName = ({ comm, exe: exes }: Lists<Indexed<T>>) => [have(comm, name), have(exes, exe)];
    const byParent = ({ parentComm, parentExe: exes }: Lists<Indexed<T>>) => [
      have(parentComm, parentName),
      have(exes, parentExe),
    ];
    const [ofName, ofParent] = [byName(pairs), byParent(pairs)];
    const both = sizeOf(ofName) < sizeOf(ofParent) ? ofName : ofParent;
    return inOrder([...byName(names), ...byParent(names), ...both].flat());
  };
}

function sizeOf(lists: readonly (readonly unknown[])[]): number {
  return lists.reduce((sum, { length }) => sum + length, 0);
}

/** Things by keys that are no paths. */
type Lists<T> = Record<Exclude<Key["of"], PathKey["of"]>, Map<string | number, T[]>>;

function makeLists<T>(): Lists<T> {
  return {
    comm: new Map(),
    exe: new Map(),
    parentComm: new Map(),
    parentExe: new Map(),
    actorComm: new Map(),
    actorExe: new Map(),
    port: new Map(),
  };
}

/** Those that have a key. */
function have<T>(lists: ReadonlyMap<string | number, T[]>, key: string | number | null): readonly T[] {
  return (key === null ? undefined : lists.get(key)) ?? NOBODY;
}

const NOBODY: readonly never[] = [];

/** Each once, in order. */
function inOrder<T extends { order: number }>(found: T[]): T[] {
  return found.length > 1 ? [...new Set(found)].toSorted((a, b) => a.order - b.order) : found;
}

function isPathKey(key: Key): key is PathKey {
  return key.of === "path" || key.of === "ending" || key.of === "part" || key.of === "anyPath";
}
