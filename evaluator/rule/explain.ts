// Why a rule matches an event, or why not: each condition with what the event has.

import type { Event } from "../event/event.ts";
import type { Bytes } from "../event/text.ts";
import {
  compileMatch,
  isFileEvent,
  isNetworkEvent,
  type Name,
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
  condition: string;
  expected: readonly (string | number)[];
  actual: string;
  holds: boolean;
};

/** All conditions of a rule for an event; the rule matches when all hold. */
export function explain(rule: Rule, event: Event): Verdict[] {
  const match = compileMatch(rule.match);
  const verdicts: Verdict[] = [
    { condition: "enabled", expected: ["true"], actual: String(rule.enabled), holds: rule.enabled },
  ];
  const say = (
    condition: string,
    expected: readonly (string | number)[],
    actual: string | number | null,
    holds: boolean,
  ) => verdicts.push({ condition, expected, actual: String(actual ?? "unknown"), holds });
  const sayNames = (condition: string, names: Name[], comm: Bytes | null, exe: Bytes | null) => {
    if (names.length > 0)
      say(
        condition,
        names.map(({ bytes }) => bytes),
        `${comm ?? "unknown"} (${exe ?? "unknown"})`,
        namesFit(names, comm, exe),
      );
  };
  switch (match.type) {
    case "process": {
      const processes = processesOf(event);
      say("event_type", ["process_start", "process_relationship"], event.event_type, processes !== null);
      if (!processes) break;
      sayNames("process_names", match.processNames, processes.name, processes.exe);
      sayNames("parent_names", match.parentNames, processes.parentName, processes.parentExe);
      break;
    }
    case "file": {
      say("operations", match.operations, event.event_type, match.operations.includes(event.event_type));
      if (!isFileEvent(event)) break;
      const paths = pathsOf(event);
      const underPaths = paths.filter(
        (path) => match.paths.length === 0 || match.paths.some((entry) => pathFits(entry, path)),
      );
      const both = underPaths.filter(
        (path) => match.patterns.length === 0 || match.patterns.some((glob) => patternFits(glob, path)),
      );
      if (match.paths.length > 0) say("paths", match.paths, paths.join(", "), underPaths.length > 0);
      if (match.patterns.length > 0)
        say(
          "patterns",
          match.patterns,
          (underPaths.length > 0 ? underPaths : paths).join(", "),
          both.length > 0,
        );
      break;
    }
    case "network": {
      const network = isNetworkEvent(event) ? event : null;
      say("event_type", ["network_*"], event.event_type, network !== null);
      if (!network) break;
      const { direction, port } = portOf(network);
      if (match.directions.length > 0)
        say("direction", match.directions, direction, match.directions.includes(direction));
      say("ports", match.ports, port, port !== null && match.ports.includes(port));
      sayNames("process_names", match.processNames, network.comm, network.exe_path);
    }
  }
  return verdicts;
}
