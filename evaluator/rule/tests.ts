// Runs the tests that rules carry, with the engine that runs on events.

import { compileRules } from "./engine.ts";
import { explain, type Verdict } from "./explain.ts";
import type { Rule, RuleTest } from "./schema.ts";

/** What came of one of a rule's tests; `index` counts from 0. */
export type TestResult = { rule: Rule; index: number; test: RuleTest; matched: boolean; verdicts: Verdict[] };

/** Runs all tests of a rule. A rule that is switched off is tested as if it were not. */
export function runTests(rule: Rule): TestResult[] {
  const asked = { ...rule, enabled: true };
  const engine = compileRules([asked]);
  return rule.tests.map((test, index) => ({
    rule,
    index,
    test,
    matched: engine.evaluate(test.event).length > 0,
    verdicts: explain(asked, test.event).filter(({ condition }) => condition !== "enabled"),
  }));
}
