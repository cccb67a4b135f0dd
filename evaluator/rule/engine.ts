// The rule engine: asks only the rules that the index offers, and these in full.

import type { Event } from "../event/event.ts";
import { compileIndex } from "./compile.ts";
import { type Facts, factsOf } from "./conditions.ts";
import type { Rule } from "./schema.ts";

/** A rule that matched, and what of the event it was. */
export type Match = { rule: Rule } & Facts;

/** Rules, ready for events. */
export type Engine = {
  /** The rules that match, in the order of the rules. */
  evaluate(event: Event): Match[];
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
  };
}
