// SIGHUP: rules and settings are read again and take effect in one step, between two records. What is wrong changes nothing.

import { isDeepStrictEqual } from "node:util";
import type { Config, Loaded } from "./config.ts";
import type { Decision } from "./decide.ts";
import { count } from "./output/summary.ts";
import { compileDetections } from "./rule/detections.ts";
import { compileRules } from "./rule/engine.ts";
import { compileFilter } from "./rule/filter.ts";
import { renderProblem } from "./rule/problem.ts";

/** By what is decided, out of settings and rules; `alertsOnly` of the command line is stronger than the mode in the settings. */
export function decisionOf({ config, rules }: Loaded, alertsOnly: boolean | undefined): Decision {
  return {
    engine: compileRules(rules),
    detections: compileDetections(config.detections),
    filter: compileFilter(rules, config.detections),
    eventsPerSecond: config.performance.max_events_per_second,
    alertsOnly: alertsOnly ?? config.agent.mode === "detect",
  };
}

/** Settings that a reload changes; the others are of the sensor, or belong to what is open already. */
const RELOADED = new Set(["agent.mode", "performance.max_events_per_second"]);

/** What a reload came to: the new settings and rules, or null when they are wrong, and words for the person at the terminal. */
export type Reloaded = { loaded: Loaded | null; words: string[] };

/** Compares what was read again with what is in force. */
export function judgeReload(before: Config, now: Loaded): Reloaded {
  const words = now.problems.map(renderProblem);
  const errors = now.problems.filter(({ severity }) => severity === "error").length;
  if (errors > 0) {
    words.push(`${count(errors, "error")} in settings and rules: those before stay in force`);
    return { loaded: null, words };
  }
  const later = changedKeys(before, now.config).filter((key) => !RELOADED.has(key));
  if (later.length > 0) words.push(`takes effect at the next start: ${later.join(", ")}`);
  const enabled = now.rules.filter((rule) => rule.enabled).length;
  words.push(`reloaded: ${count(enabled, "rule")}, ${count(now.config.detections.length, "detection")}`);
  return { loaded: now, words };
}

function changedKeys(before: Config, now: Config): string[] {
  const { detections: _before, ...sections } = before;
  return Object.entries(sections).flatMap(([section, keys]) =>
    Object.keys({ ...keys, ...now[section as keyof typeof sections] })
      .filter((key) => {
        const values = [keys, now[section as keyof typeof sections]] as Record<string, unknown>[];
        return !isDeepStrictEqual(values[0]?.[key], values[1]?.[key]);
      })
      .map((key) => `${section}.${key}`),
  );
}
