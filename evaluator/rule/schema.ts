// What a rule and a detection may say. The language is equality and list matching on single events, and stays that.

import { createHash } from "node:crypto";
import * as v from "valibot";
import { suggest } from "../../bpf/words.ts";
import type { Event } from "../event/event.ts";
import { advise } from "./advice.ts";
import { readEvent, type Say } from "./given.ts";
import { checkTable, type Document, describe, isTable, type Path, type Problem, report } from "./problem.ts";

export const SEVERITIES = ["low", "medium", "high", "critical"] as const;
export const FILE_OPERATIONS = ["file_open", "file_write", "file_rename", "file_unlink"] as const;
export const RULE_TYPES = ["process", "file", "network"] as const;
export const ACTIONS = ["alert"] as const;
export const DIRECTIONS = ["inbound", "outbound"] as const;
const TEXT_LENGTH_MAX = 4096;
const LIST_LENGTH_MAX = 100_000;

export type Severity = (typeof SEVERITIES)[number];
export type FileOperation = (typeof FILE_OPERATIONS)[number];
export type Direction = (typeof DIRECTIONS)[number];

/** What must hold of an event. An empty list asks for nothing; ports, and one of the lists of the others, are never empty. */
export type ProcessMatch = { type: "process"; processNames: string[]; parentNames: string[] };
export type FileMatch = { type: "file"; paths: string[]; patterns: string[]; operations: FileOperation[] };
export type NetworkMatch = {
  type: "network";
  directions: Direction[];
  ports: number[];
  processNames: string[];
};

/** A rule's own test: an event, as far as it matters, and whether the rule must match it. */
export type RuleTest = { match: boolean; event: Event };

/** A rule, checked. */
export type Rule = {
  id: string;
  name: string;
  enabled: boolean;
  type: (typeof RULE_TYPES)[number];
  severity: Severity;
  action: "alert";
  attack: string[];
  description: string | null;
  references: string[];
  falsePositives: string[];
  tests: RuleTest[];
  match: ProcessMatch | FileMatch | NetworkMatch;
  /** Identifies what the rule says; changes with any word of it that matters for a match. */
  hash: string;
  /** The file it comes from; "built in" for those that are always there. */
  file: string;
};

/** A built-in detection: annotates events, and raises no alert. */
export type Detection = { name: string; match: FileMatch | NetworkMatch };

/**
 * A list, a text, a number: the checks that rules, detections and settings share. What a check of ours asks for is beside it in
 * the words of JSON Schema.
 */
export const text = v.pipe(
  v.string((issue) => `expected a text, found ${describe(issue.input)}`),
  v.regex(/\S/, "must not be empty"),
  v.maxLength(TEXT_LENGTH_MAX, `longer than ${TEXT_LENGTH_MAX} characters`),
  v.check((value) => !value.includes("\0"), "contains a NUL, which no name or path does"),
);
export const flag = v.boolean((issue) => `expected true or false, found ${describe(issue.input)}`);
export const listOf = <Item extends v.GenericSchema>(item: Item) =>
  v.pipe(
    v.array(item, (issue) => `expected a list, found ${describe(issue.input)}`),
    v.maxLength(LIST_LENGTH_MAX, `more than ${LIST_LENGTH_MAX} entries`),
  );
export const oneOf = <const Words extends readonly string[]>(words: Words) =>
  v.picklist(words, ({ input }) => {
    const found = typeof input === "string" ? JSON.stringify(input) : describe(input);
    return `${found} is not one of ${words.join(", ")}${typeof input === "string" ? suggest(input, words) : ""}`;
  });
export const wholeNumber = (least: number, most: number) => {
  const expected = (input: unknown) =>
    `expected a whole number from ${least} to ${most}, found ${describe(input)}`;
  return v.pipe(
    v.number((issue) => expected(issue.input)),
    v.check(
      (value) => Number.isInteger(value) && value >= least && value <= most,
      (issue) => expected(issue.input),
    ),
    v.metadata({ type: "integer", minimum: least, maximum: most }),
  );
};
/** The same with its meaning, for readers of the JSON Schema. */
export const described = <Schema extends v.GenericSchema>(schema: Schema, meaning: string) =>
  v.pipe(schema, v.description(meaning));
/** The path of a file as events show it. */
export const absolutePath = v.pipe(
  text,
  v.check(
    (value) => value.startsWith("/"),
    (issue) => `${JSON.stringify(issue.input)} is not absolute: expected a path that begins with "/"`,
  ),
  v.metadata({ pattern: "^/" }),
);
/** A glob in which `*` stands for any bytes. */
export const pattern = v.pipe(
  text,
  v.check((value) => !value.startsWith("!"), 'patterns cannot be negated: a leading "!" has no meaning here'),
  v.check(
    (value) => !/[?[\]{}]/.test(value),
    'only "*" is special in a pattern; "?", "[ ]" and "{ }" are not known',
  ),
  v.metadata({ pattern: String.raw`^[^!?\[\]{}][^?\[\]{}]*$` }),
);
const operation = v.pipe(
  oneOf([...FILE_OPERATIONS, "open", "write", "rename", "unlink", "*"]),
  v.transform((word): FileOperation[] => {
    if (word === "*") return [...FILE_OPERATIONS];
    return [(word.startsWith("file_") ? word : `file_${word}`) as FileOperation];
  }),
);
const TECHNIQUE = /^T\d{4}(\.\d{3})?$/;
const attack = v.pipe(
  text,
  v.check(
    (value) => TECHNIQUE.test(value),
    (issue) => `${JSON.stringify(issue.input)} is not an ATT&CK technique such as T1059 or T1059.004`,
  ),
  v.metadata({ pattern: TECHNIQUE.source }),
);
const port = wholeNumber(1, 65535);
const names = (meaning: string) => v.optional(described(listOf(text), meaning), []);

const COMMON = {
  id: described(text, "identifies the rule; unique over all files"),
  name: described(text, "what an alert is called"),
  enabled: described(flag, "false: the rule is checked and never matches"),
  type: described(oneOf(RULE_TYPES), "what the rule looks at"),
  severity: described(oneOf(SEVERITIES), "how bad a match is"),
  action: described(oneOf(ACTIONS), "what a match does: it writes an alert"),
  description: v.optional(described(text, "what it means when the rule matches, and what to look at then")),
  attack: v.optional(described(listOf(attack), "ATT&CK techniques, such as T1059.004"), []),
  references: v.optional(described(listOf(text), "where to read more"), []),
  false_positives: v.optional(described(listOf(text), "what matches and is harmless"), []),
  tests: v.optional(
    described(listOf(v.looseObject({ match: flag })), "events that the rule must match, or must not"),
    [],
  ),
  override: v.optional(described(flag, "true: replaces the rule of this id in an earlier file"), false),
};
const PROCESS = {
  process_names: names("names of the process, or paths of its executable; any of them; none: all processes"),
  parent_names: names("names of the parent, or paths of its executable; any of them; none: all parents"),
};
const FILE = {
  paths: v.optional(
    described(listOf(absolutePath), 'files, and what is below them; with "/" at the end only what is below'),
    [],
  ),
  patterns: v.optional(
    described(listOf(pattern), 'globs on the whole path; "*" stands for any bytes, "/" too'),
    [],
  ),
  operations: v.optional(described(listOf(operation), "what is done to the file; any of them"), []),
};
const NETWORK = {
  direction: described(oneOf(DIRECTIONS), "outbound: connects; inbound: binds, listens, accepts"),
  ports: described(listOf(port), "remote ports of outbound, local ports of inbound connections; any of them"),
  process_names: PROCESS.process_names,
};
const MATCH_FIELDS = { process: PROCESS, file: FILE, network: NETWORK };
/** The keys of a rule, by its type. */
export const RULE_ENTRIES = {
  process: { ...COMMON, ...PROCESS },
  file: { ...COMMON, ...FILE },
  network: { ...COMMON, ...NETWORK },
};

/** A rule as a file has it, with what only matters while files are put together. */
export type LoadedRule = { rule: Rule; override: boolean; document: Document; path: Path };

/** Checks one entry of `[[rules]]`. Null when it is wrong; what is wrong with a disabled rule is a warning. */
export function readRule(document: Document, path: Path, value: unknown): LoadedRule | null {
  if (!isTable(value)) {
    report(document, path, `expected a table [[rules]], found ${describe(value)}`);
    return null;
  }
  const type = RULE_TYPES.find((known) => known === value["type"]);
  const prefix =
    typeof value["id"] === "string" ? `rule ${JSON.stringify(value["id"])}: ` : "rule without id: ";
  const severity: Problem["severity"] = value["enabled"] === false ? "warning" : "error";
  const say = (at: Path, message: string) =>
    report(document, [...path, ...at], prefix + message, { severity });
  const unknown = (key: string) => {
    const owners = RULE_TYPES.filter((other) => key in MATCH_FIELDS[other]);
    const known = { ...COMMON, ...(type ? MATCH_FIELDS[type] : { ...PROCESS, ...FILE, ...NETWORK }) };
    if (owners.length === 0) return `${key}: unknown key${suggest(key, Object.keys(known))}`;
    if (!type) return `${key}: cannot be checked before "type" is right`;
    return `${key}: a match field of ${owners.join(" and ")} rules; this is a ${type} rule, which knows ${Object.keys(MATCH_FIELDS[type]).join(", ")}`;
  };
  const common = checkTable(document, path, type ? pick(value, MATCH_FIELDS[type]) : value, COMMON, {
    prefix,
    severity,
    unknown,
  });
  const match = type ? readMatch(document, path, value, type, prefix, severity) : null;
  if (common?.id.startsWith("BUILTIN-"))
    say(["id"], 'id: "BUILTIN-" is reserved for the rules that come with the evaluator');
  if (!common || !match || common.id.startsWith("BUILTIN-")) return null;
  advise(match, (at, message) =>
    report(document, [...path, ...at], prefix + message, { severity: "warning" }),
  );
  const tests = common.tests.map((test, i) =>
    readTest(test, (key, message, about) =>
      report(document, [...path, "tests", i, key], `${prefix}tests[${i}].${message}`, {
        severity,
        key: about === "name",
      }),
    ),
  );
  if (!tests.every((test) => test !== null)) return null;
  const rule = makeRule(
    {
      id: common.id,
      name: common.name,
      enabled: common.enabled,
      type: common.type,
      severity: common.severity,
      action: common.action,
      attack: common.attack,
      description: common.description ?? null,
      references: common.references,
      falsePositives: common.false_positives,
      tests,
      match,
    },
    document.file,
  );
  return { rule, override: common.override, document, path };
}

function readTest({ match, ...given }: { match: boolean }, say: Say): RuleTest | null {
  let right = true;
  const event = readEvent(given, (...problem) => {
    right = false;
    say(...problem);
  });
  return event && right ? { match, event } : null;
}

/** Everything but the match fields of this rule's own type. */
function pick(value: Record<string, unknown>, without: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !(key in without)));
}

function readMatch(
  document: Document,
  path: Path,
  value: Record<string, unknown>,
  type: Rule["type"],
  prefix: string,
  severity: Problem["severity"],
): Rule["match"] | null {
  const own = Object.fromEntries(Object.entries(value).filter(([key]) => key in MATCH_FIELDS[type]));
  // What a rule needs may well be behind a key that was mistyped, which is said already.
  const mistyped = Object.keys(value).some((key) => !(key in COMMON) && !(key in MATCH_FIELDS[type]));
  const say = (message: string) => mistyped || report(document, path, prefix + message, { severity });
  switch (type) {
    case "process": {
      const fields = checkTable(document, path, own, PROCESS, { prefix, severity });
      if (!fields) return null;
      if (fields.process_names.length + fields.parent_names.length === 0) {
        say("a process rule needs process_names or parent_names, or it would match every process");
        return null;
      }
      return { type, processNames: fields.process_names, parentNames: fields.parent_names };
    }
    case "file": {
      const fields = checkTable(document, path, own, FILE, { prefix, severity });
      if (!fields) return null;
      const lacking = [
        fields.paths.length + fields.patterns.length === 0 && "paths or patterns",
        fields.operations.length === 0 && `operations (${FILE_OPERATIONS.join(", ")}, or "*")`,
      ].filter((words) => words !== false);
      for (const words of lacking) say(`a file rule needs ${words}`);
      if (lacking.length > 0) return null;
      return {
        type,
        paths: fields.paths,
        patterns: fields.patterns,
        operations: unique(fields.operations.flat()),
      };
    }
    case "network": {
      const fields = checkTable(document, path, own, NETWORK, { prefix, severity });
      if (!fields) return null;
      if (fields.ports.length === 0) {
        say("a network rule needs ports");
        return null;
      }
      return {
        type,
        directions: [fields.direction],
        ports: fields.ports,
        processNames: fields.process_names,
      };
    }
  }
}

/** Completes a rule with the hash of what it says. */
export function makeRule(parts: Omit<Rule, "hash" | "file">, file: string): Rule {
  const content = JSON.stringify([parts.id, parts.type, parts.severity, parts.action, parts.match]);
  return { ...parts, hash: createHash("sha256").update(content).digest("hex").slice(0, 16), file };
}

const detectionName = described(text, "what an event's detection_type says");
/** The keys of a built-in detection, by its kind. */
export const DETECTION_ENTRIES = {
  persistence: { name: detectionName, ...FILE },
  network: {
    name: detectionName,
    directions: v.optional(described(listOf(oneOf(DIRECTIONS)), "any of them; none: both"), []),
    ports: v.optional(described(listOf(port), "any of them"), []),
    process_names: PROCESS.process_names,
  },
};

/** Checks `[[detections.persistence]]` and `[[detections.network]]`. */
export function readDetections(document: Document, value: unknown): Detection[] {
  const lists = checkTable(document, ["detections"], value, {
    persistence: v.optional(listOf(v.unknown()), []),
    network: v.optional(listOf(v.unknown()), []),
  });
  if (!lists) return [];
  const detections: Detection[] = [];
  lists.persistence.forEach((item, i) => {
    const path = ["detections", "persistence", i];
    const fields = checkTable(document, path, item, DETECTION_ENTRIES.persistence, { prefix: "detection: " });
    if (!fields) return;
    if (fields.paths.length + fields.patterns.length === 0)
      report(document, path, `detection "${fields.name}": needs paths or patterns`);
    const operations = fields.operations.length > 0 ? unique(fields.operations.flat()) : [...FILE_OPERATIONS];
    detections.push({
      name: fields.name,
      match: { type: "file", paths: fields.paths, patterns: fields.patterns, operations },
    });
  });
  lists.network.forEach((item, i) => {
    const path = ["detections", "network", i];
    const fields = checkTable(document, path, item, DETECTION_ENTRIES.network, { prefix: "detection: " });
    if (!fields) return;
    if (fields.ports.length === 0) report(document, path, `detection "${fields.name}": needs ports`);
    detections.push({
      name: fields.name,
      match: {
        type: "network",
        directions: fields.directions,
        ports: fields.ports,
        processNames: fields.process_names,
      },
    });
  });
  return detections;
}

function unique<Item>(items: Item[]): Item[] {
  return [...new Set(items)];
}
