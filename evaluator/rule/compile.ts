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
  const names: Record<Exclude<Key["of"], PathKey["of"]>, Map<string | number, Indexed<T>[]>> = {
    comm: new Map(),
    exe: new Map(),
    parentComm: new Map(),
    parentExe: new Map(),
    actorComm: new Map(),
    actorExe: new Map(),
    port: new Map(),
  };
  const keys = rarestKeys(all.map(({ match }) => keysOf(match)));
  for (const [i, one] of all.entries())
    for (const key of keys[i] ?? [])
      if (isPathKey(key)) paths.add(key, one);
      else addTo(names[key.of], textOf(key), one);

  return (event) => {
    const found: Indexed<T>[] = [];
    const take = (of: keyof typeof names, key: string | number | null) => {
      for (const one of (key !== null && names[of].get(key)) || []) found.push(one);
    };
    if (isFileEvent(event)) {
      for (const path of pathsOf(event)) for (const one of paths.in(path)) found.push(one);
    } else if (isNetworkEvent(event)) {
      take("port", portOf(event).port);
      take("actorComm", event.comm);
      take("actorExe", event.exe_path);
    } else {
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

function isPathKey(key: Key): key is PathKey {
  return key.of === "path" || key.of === "ending" || key.of === "part" || key.of === "anyPath";
}
