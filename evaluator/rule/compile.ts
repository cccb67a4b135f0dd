// An index over rules: which of them can match an event at all. Look-ups cost what the event has to look up (its names, its
// path's depth, its port), not what the rules are many.

import type { Event } from "../event/event.ts";
import type { Bytes } from "../event/text.ts";
import {
  type Compiled,
  compileMatch,
  isFileEvent,
  isNetworkEvent,
  type Name,
  pathsOf,
  portOf,
  processesOf,
} from "./conditions.ts";
import type { Rule } from "./schema.ts";

/** A rule that is ready to be asked; `order` is that of its alerts. */
export type CompiledRule = { rule: Rule; order: number; match: Compiled };

/** Finds the rules that could match an event, in order. */
export type Candidates = (event: Event) => CompiledRule[];

type Lists<Key> = Map<Key, CompiledRule[]>;

function add<Key>(lists: Lists<Key>, key: Key, rule: CompiledRule): void {
  const list = lists.get(key);
  if (!list) lists.set(key, [rule]);
  else if (list.at(-1) !== rule) list.push(rule);
}

/** Builds the index over the enabled rules. */
export function compileIndex(rules: readonly Rule[]): Candidates {
  const names: Lists<string> = new Map();
  const parents: Lists<string> = new Map();
  const ports: Lists<number> = new Map();
  const paths: Lists<Bytes> = new Map();
  const suffixes: Lists<string> = new Map();
  const suffixLengths = new Set<number>();
  const anyPath: CompiledRule[] = [];

  rules
    .filter(({ enabled }) => enabled)
    .forEach((rule, order) => {
      const compiled = { rule, order, match: compileMatch(rule.match) };
      const { match } = compiled;
      if (match.type === "network") for (const port of match.ports) add(ports, port, compiled);
      else if (match.type === "process") {
        const [lists, words] =
          match.processNames.length > 0 ? [names, match.processNames] : [parents, match.parentNames];
        for (const name of words) add(lists, nameKey(name), compiled);
      } else if (match.paths.length > 0) for (const path of match.paths) add(paths, path, compiled);
      else {
        for (const pattern of match.patterns) {
          const star = pattern.lastIndexOf("*");
          const suffix = pattern.slice(star + 1);
          if (star < 0) add(paths, pattern, compiled);
          else if (suffix === "") anyPath.push(compiled);
          else {
            suffixLengths.add(suffix.length);
            add(suffixes, suffix, compiled);
          }
        }
      }
    });

  return (event) => {
    const found: CompiledRule[] = [];
    const take = (list: CompiledRule[] | undefined) => {
      if (list) found.push(...list);
    };
    if (isFileEvent(event)) {
      take(anyPath);
      for (const path of pathsOf(event)) {
        for (const prefix of prefixesOf(path)) take(paths.get(prefix));
        for (const length of suffixLengths) take(suffixes.get(path.slice(-length)));
      }
    } else if (isNetworkEvent(event)) {
      const { port } = portOf(event);
      if (port !== null) take(ports.get(port));
    } else {
      const processes = processesOf(event);
      if (!processes) return [];
      take(names.get(`comm ${processes.name}`));
      if (processes.exe) take(names.get(`exe ${processes.exe}`));
      if (processes.parentName) take(parents.get(`comm ${processes.parentName}`));
      if (processes.parentExe) take(parents.get(`exe ${processes.parentExe}`));
    }
    return found.length > 1 ? [...new Set(found)].toSorted((a, b) => a.order - b.order) : found;
  };
}

function nameKey({ is, bytes }: Name): string {
  return `${is} ${bytes}`;
}

/** All entries that could stand for a path: itself, and each folder above it with and without its "/". */
function* prefixesOf(path: Bytes): Generator<Bytes> {
  yield path;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    if (at > 0) yield path.slice(0, at) as Bytes;
    yield path.slice(0, at + 1) as Bytes;
  }
}
