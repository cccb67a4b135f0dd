// The rule engine.

import { compileAll } from "./compile.ts";
import type { Facts, Subject } from "./conditions.ts";
import type { Rule } from "./schema.ts";

/** A rule that matched, and what of the event it was. */
export type Match = { rule: Rule } & Facts;

/** Rules, ready for events. */
export type Engine = {
  /** The rules that match, in the order of the rules. */
  evaluate(event: Subject): Match[];
  /** The ids of the rules that see events of this type: what is blind when one of them is lost. */
  watching(type: string): string[];
};

/** Compiles rules once; disabled ones are left out. */
export function compileRules(rules: readonly Rule[]): Engine {
  const enabled = rules.filter((rule) => rule.enabled);
  const matching = compileAll(enabled);
  return {
    evaluate: (event) => matching(event).map(({ thing, facts }) => ({ rule: thing, ...facts })),
    watching: (type) => enabled.filter(({ match }) => sees(match, type)).map(({ id }) => id),
  };
}

/** Can an event of this type match at all? */
function sees(match: Rule["match"], type: string): boolean {
  switch (match.type) {
    case "process":
      return type === "process_start" || type === "process_relationship";
    case "file":
      return match.operations.some((operation) => operation === type);
    case "network": {
      const direction = type === "network_connect" ? "outbound" : "inbound";
      return (
        type.startsWith("network_") && (match.directions.length === 0 || match.directions.includes(direction))
      );
    }
  }
}
