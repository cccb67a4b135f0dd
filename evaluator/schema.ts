// JSON Schemas (2020-12) of what is written and of what people write, made from what the code itself reads them by: the keys
// of lines, and the checks of rules and settings.

import { type ConversionConfig, toJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { SECTIONS, WITHOUT_MEANING } from "./config.ts";
import { EVENT_FIELDS, EVENT_MEANINGS, type Field, NAMESPACE_FIELDS } from "./event/fields.ts";
import { ALERT_FIELDS } from "./output/alert.ts";
import {
  NOTICE_FIELDS,
  NOTICE_MEANINGS,
  OUTPUT_FIELDS,
  PRODUCER_FIELDS,
  SERVICE_FIELDS,
  SINCE_ATTACHED_FIELDS,
  TOTALS_FIELDS,
} from "./output/notice.ts";
import { DISABLE_ENTRIES } from "./rule/load.ts";
import { DETECTION_ENTRIES, RULE_ENTRIES } from "./rule/schema.ts";

export type JsonSchema = { readonly [keyword: string]: unknown };
type Keys = Readonly<Record<string, Field>>;

const DIALECT = "https://json-schema.org/draft/2020-12/schema";
const ALERT_MEANING = "a rule has matched an event";

/** What there is a schema of. */
export const SUBJECTS = ["event", "alert", "rule", "config"] as const;

/** The schema of a line, of alerts alone, of a file of rules, or of a settings file. */
export function schemaOf(subject: (typeof SUBJECTS)[number]): JsonSchema {
  switch (subject) {
    case "event":
      return { ...head("event", "A line of Warder's output"), ...oneOfLines() };
    case "alert":
      return { ...head("alert", "An alert of Warder"), ...lineOf("alert", ALERT_MEANING, ALERT_FIELDS) };
    case "rule":
      return { ...head("rule", "A file of rules for Warder"), ...table(rules()) };
    case "config":
      return { ...head("config", "Settings of Warder"), ...table({ ...settings(), ...rules() }) };
  }
}

function head(name: string, title: string): JsonSchema {
  return { $schema: DIALECT, $id: `urn:warder:schema:${name}`, title };
}

/** All types of lines, told apart by `event_type`. */
function oneOfLines(): JsonSchema {
  const lines: Record<string, JsonSchema> = { alert: lineOf("alert", ALERT_MEANING, ALERT_FIELDS) };
  for (const [type, fields] of Object.entries(EVENT_FIELDS))
    lines[type] = lineOf(type, EVENT_MEANINGS[type as keyof typeof EVENT_FIELDS], fields);
  for (const [type, fields] of Object.entries(NOTICE_FIELDS))
    lines[type] = lineOf(type, NOTICE_MEANINGS[type as keyof typeof NOTICE_FIELDS], fields);
  return { oneOf: Object.keys(lines).map((type) => ({ $ref: `#/$defs/${type}` })), $defs: lines };
}

function lineOf(type: string, description: string, fields: Keys): JsonSchema {
  const { properties, required } = objectOf(fields);
  const named = { event_type: { const: type, description }, ...properties };
  return { type: "object", description, properties: named, required: ["event_type", ...required] };
}

/** A table with these keys, and perhaps with keys that a later version adds. */
function objectOf(fields: Keys) {
  const properties: Record<string, JsonSchema> = Object.fromEntries(
    Object.entries(fields).flatMap(([key, field]) => propertiesOf(key, field)),
  );
  const required = Object.keys(fields).filter((key) => !fields[key]?.[0].includes("?"));
  return { type: "object", properties, required };
}

const TEXT = { type: "string" };
const SHAPES: Readonly<Record<string, JsonSchema>> = {
  bytes: TEXT,
  text: TEXT,
  integer: { type: "integer" },
  number: { type: "integer" },
  flag: { type: "boolean" },
  "bytes list": { type: "array", items: TEXT },
  "text list": { type: "array", items: TEXT },
};
const MOMENTS = ["time", "from", "to", "since", "attached_since"];
const BASE64 = { type: "string", contentEncoding: "base64" };
const EXACT: Readonly<Record<string, JsonSchema>> = {
  bytes: { ...BASE64, description: "the exact bytes, where they are not UTF-8" },
  "bytes list": {
    type: "array",
    items: { ...BASE64, type: ["string", "null"] },
    description: "the exact bytes of what is not UTF-8; null for what is",
  },
};

/** What the tables hold, by their keys. */
const TABLES: Readonly<Record<string, () => JsonSchema>> = {
  namespaces: () => objectOf(NAMESPACE_FIELDS),
  events: () => byEventType(SERVICE_FIELDS),
  producers: () => ({ type: "array", items: objectOf(PRODUCER_FIELDS) }),
  outputs: () => ({ type: "array", items: objectOf(OUTPUT_FIELDS) }),
  since_attached: () => byEventType(SINCE_ATTACHED_FIELDS),
  ledger: () => {
    const { properties, required, ...totals } = objectOf(TOTALS_FIELDS);
    const byKind = { ...byEventType(TOTALS_FIELDS), description: "the same, by event type" };
    const balanced = { type: "boolean", description: "do all sums agree?" };
    return {
      ...totals,
      properties: { ...properties, by_kind: byKind, balanced },
      required: [...required, "by_kind", "balanced"],
    };
  },
};

function byEventType(fields: Keys): JsonSchema {
  return { type: "object", additionalProperties: objectOf(fields) };
}

/** A key, and the one beside it for bytes that are no text. */
function propertiesOf(key: string, [shape, description, words]: Field): [string, JsonSchema][] {
  const base = shape.replace(/\??( or null)?$/, "");
  const { type, ...kind }: JsonSchema = SHAPES[base] ?? TABLES[key]?.() ?? {};
  const unknown = shape.endsWith(" or null");
  const schema = {
    description,
    type: unknown ? [type, "null"] : type,
    ...kind,
    ...(words ? { enum: unknown ? [...words, null] : words } : {}),
    ...(MOMENTS.includes(key) ? { format: "date-time" } : {}),
  };
  const exact = EXACT[base];
  return exact
    ? [
        [key, schema],
        [`${key}_b64`, exact],
      ]
    : [[key, schema]];
}

/** A table that people write: no other keys. */
function table(properties: JsonSchema, required: readonly string[] = []): JsonSchema {
  return { type: "object", properties, required, additionalProperties: false };
}

const CONVERSION: ConversionConfig = {
  typeMode: "input",
  target: "draft-2020-12",
  // What these ask for has no word in JSON Schema, or has one beside it.
  ignoreActions: ["check", "max_bytes"],
};

function converted(entries: v.ObjectEntries): JsonSchema & { properties: Record<string, JsonSchema> } {
  const { $schema: _, ...schema } = toJsonSchema(v.strictObject(entries), CONVERSION);
  return { ...schema, properties: schema.properties as Record<string, JsonSchema> };
}

/** What a word of a table allows: keys, those of them that must be there, lists of which one must hold something. */
type Kind = {
  properties: Record<string, JsonSchema>;
  required: readonly string[];
  oneOf?: readonly string[];
};

/**
 * A table whose other keys depend on the word that one of them is. All keys stand side by side, so that editors can offer each,
 * and say of each what is wrong with it.
 */
function tableBy(key: string, description: string, kinds: Readonly<Record<string, Kind>>): JsonSchema {
  const keys = new Set(Object.values(kinds).flatMap(({ properties }) => Object.keys(properties)));
  /** Those that mean the same wherever they are. */
  const common: Record<string, JsonSchema> = { [key]: { enum: Object.keys(kinds), description } };
  const named: Record<string, JsonSchema> = {};
  for (const name of keys) {
    const [first, ...others] = Object.values(kinds)
      .map(({ properties }) => properties[name])
      .filter((schema) => schema !== undefined);
    if (others.every((other) => Bun.deepEquals(other, first))) common[name] ??= first ?? {};
    else named[name] = { description: first?.["description"] };
  }
  let rest: JsonSchema = {};
  for (const [word, { properties, required, oneOf = [] }] of Object.entries(kinds).toReversed()) {
    const own = Object.entries(properties).filter(([name]) => name in named);
    const condition = { type: "object", properties: { [key]: { const: word } }, required: [key] };
    const consequence = {
      type: "object",
      properties: Object.fromEntries(own),
      propertyNames: { enum: [key, ...Object.keys(properties)] },
      required,
      ...(oneOf.length > 0 ? { anyOf: oneOf.map(filled) } : {}),
    };
    // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
    rest = { if: condition, then: consequence, else: rest };
  }
  // One chain, and no allOf: beside that, some editors offer no keys.
  return { ...table({ ...named, ...common }, [key]), ...rest };
}

/** A test of a rule: an event, as far as it matters. */
function test(): JsonSchema {
  const match = { type: "boolean", description: "must the rule match this event?" };
  const kinds = Object.entries(EVENT_FIELDS).map(([type, fields]) => {
    const { properties } = objectOf(fields);
    return [type, { properties: { match, ...properties }, required: ["match"] }] as const;
  });
  return tableBy("event_type", "what happened", Object.fromEntries(kinds));
}

function filled(list: string): JsonSchema {
  return { required: [list], properties: { [list]: NOT_EMPTY } };
}

const NOT_EMPTY = { type: "array", minItems: 1 };
/** Of the lists of a rule, those that must be there, and those of which one must. */
const LISTS: Readonly<Record<string, { all: readonly string[]; oneOf: readonly string[] }>> = {
  process: { all: [], oneOf: ["process_names", "parent_names"] },
  file: { all: ["operations"], oneOf: ["paths", "patterns"] },
  network: { all: ["ports"], oneOf: [] },
};

function rule(): JsonSchema {
  const event = test();
  const kinds = Object.entries(RULE_ENTRIES).map(([type, entries]) => {
    const { properties, required } = converted(entries);
    const { all = [], oneOf = [] } = LISTS[type] ?? {};
    const { type: _, ...rest } = properties;
    const lists = Object.fromEntries(all.map((key) => [key, { ...properties[key], minItems: 1 }]));
    const id = { ...properties["id"], not: { pattern: "^BUILTIN-" } };
    const tests = { ...properties["tests"], items: event };
    return [
      type,
      {
        properties: { ...rest, ...lists, id, tests },
        required: [...new Set([...(required as string[]), ...all])],
        oneOf,
      },
    ] as const;
  });
  return tableBy("type", "what the rule looks at", Object.fromEntries(kinds));
}

/** What rule files and settings files can hold of rules. */
function rules(): Record<string, JsonSchema> {
  return {
    rules: { type: "array", description: "rules: each match writes an alert", items: rule() },
    disable: {
      type: "array",
      description: "rules of earlier files, or built-in ones, that are switched off",
      items: converted(DISABLE_ENTRIES),
    },
  };
}

const DETECTION_MEANINGS: Readonly<Record<string, string>> = {
  persistence: "detections that look at files",
  network: "detections that look at connections",
};
const SECTION_MEANINGS: Readonly<Record<keyof typeof SECTIONS, string>> = {
  agent: "events and alerts, or alerts only",
  sensor: "where the two programs meet, and as whom",
  ebpf: "the kernel side",
  events: "which families of events there are",
  process: "events about processes",
  file: "events about files",
  network: "events about connections",
  output: "where lines go, and how they look",
  health: "what is said about the stream itself",
  metrics: "what Prometheus can ask for",
  performance: "limits",
};

/** The sections of a settings file. */
function settings(): Record<string, JsonSchema> {
  const sections = Object.entries(SECTIONS).map(([name, entries]) => {
    const { properties, ...section } = converted(entries);
    const idle = Object.entries(WITHOUT_MEANING[name] ?? {}).map(([key, reason]) => [
      key,
      { ...properties[key], description: `accepted, without effect here: ${reason}` },
    ]);
    const description = SECTION_MEANINGS[name as keyof typeof SECTIONS];
    return [name, { ...section, description, properties: { ...properties, ...Object.fromEntries(idle) } }];
  });
  const detections = Object.entries(DETECTION_ENTRIES).map(([name, entries]) => [
    name,
    { type: "array", description: DETECTION_MEANINGS[name], items: converted(entries) },
  ]);
  return {
    ...Object.fromEntries(sections),
    detections: {
      ...table(Object.fromEntries(detections)),
      description: 'they annotate events ("alert": true and "detection_type"), and raise no alert',
    },
  };
}
