// The rule engine: asks only the rules that the index offers, and these in full.

import { compileIndex } from "./compile.ts";
import { type Facts, factsOf, type Subject } from "./conditions.ts";
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
  const candidates = compileIndex(rules);
  return {
    evaluate(event) {
      const matches: Match[] = [];
      for (const { rule, match } of candidates(event)) {
        const facts = factsOf(match, event);
        if (facts) matches.push({ rule, ...facts });
      }
      return matches;
    },
    watching: (type) =>
      rules.filter(({ enabled, match }) => enabled && sees(match, type)).map(({ id }) => id),
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
