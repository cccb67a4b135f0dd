// Why a rule matches an event, or why not: each condition with what the event has.

import type { Event } from "../event/event.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import {
  isFileEvent,
  isNetworkEvent,
  nameOf,
  namesFit,
  pathFits,
  pathsOf,
  patternFits,
  portOf,
  processesOf,
} from "./conditions.ts";
import type { Rule } from "./schema.ts";

/** One condition of a rule: what it asks for, what the event has, and whether that fits. */
export type Verdict = {
  /** The rule's key, or `event_type`. */
  condition: string;
  /** The entries as the rule has them. */
  expected: readonly string[];
  /** What the event has; nothing when it is unknown. A name comes with its executable. */
  actual: readonly Bytes[];
  /** The first entry that fits. */
  fits: string | null;
  holds: boolean;
};

/** All conditions of a rule for an event; the rule matches when all hold. */
export function explain({ enabled, match }: Rule, event: Event): Verdict[] {
  const verdicts: Verdict[] = [];
  const say = <Entry extends string | number>(
    condition: string,
    entries: readonly Entry[],
    actual: readonly (string | number | null)[],
    fits: (entry: Entry) => boolean,
  ) => {
    const fit = entries.find(fits);
    verdicts.push({
      condition,
      expected: entries.map(String),
      actual: actual.filter((value) => value !== null).map((value) => String(value) as Bytes),
      fits: fit === undefined ? null : String(fit),
      holds: fit !== undefined,
    });
  };
  const sayNames = (condition: string, names: readonly string[], comm: Bytes | null, exe: Bytes | null) => {
    if (names.length > 0) say(condition, names, [comm, exe], (name) => namesFit([nameOf(name)], comm, exe));
  };
  const sayType = (types: readonly string[]) =>
    say("event_type", types, [event.event_type], (type) => type === event.event_type);

  say("enabled", ["true"], [String(enabled)], () => enabled);
  switch (match.type) {
    case "process": {
      const found = processesOf(event);
      sayType(["process_start", "process_relationship"]);
      if (!found) break;
      sayNames("process_names", match.processNames, found.name, found.exe);
      sayNames("parent_names", match.parentNames, found.parentName, found.parentExe);
      break;
    }
    case "file": {
      say("operations", match.operations, [event.event_type], (operation) => operation === event.event_type);
      if (!isFileEvent(event)) break;
      const all = pathsOf(event);
      const below = all.filter((path) => match.paths.some((entry) => pathFits(fromUtf8(entry), path)));
      if (match.paths.length > 0)
        say("paths", match.paths, all, (entry) => all.some((path) => pathFits(fromUtf8(entry), path)));
      if (match.patterns.length === 0) break;
      // One and the same name has to fit both lists.
      const left = below.length > 0 ? below : all;
      say("patterns", match.patterns, left, (glob) => left.some((path) => patternFits(fromUtf8(glob), path)));
      break;
    }
    case "network": {
      sayType(["network_connect", "network_bind", "network_listen", "network_accept"]);
      if (!isNetworkEvent(event)) break;
      const { direction, port } = portOf(event);
      if (match.directions.length > 0)
        say("direction", match.directions, [direction], (entry) => entry === direction);
      say("ports", match.ports, [port], (entry) => entry === port);
      sayNames("process_names", match.processNames, event.comm, event.exe_path);
    }
  }
  return verdicts;
}
