// Holds events against the Elastic Common Schema: names of fields, their types, and the words that are allowed.

import { isIP } from "node:net";
import { inspect } from "bun";
import type { JsonValue } from "../../evaluator/output/ndjson.ts";
import type { JsonObject } from "../../evaluator/output/projection.ts";
// Of generated/ecs/ecs_flat.yml in the release 9.4.0: the fields that are used here.
import published from "./ecs.json";

const FIELDS: Readonly<Record<string, string>> = published.fields;
const WORDS: Readonly<Record<string, readonly string[]>> = published.words;
const PATTERNS: Readonly<Record<string, string>> = published.patterns;
const CATEGORIES: Readonly<Record<string, readonly string[]>> = published.categories;
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const LONG_MAX = 2n ** 63n - 1n;

/** The fields of an event, by dotted name. */
export function fieldsOf(object: JsonObject, prefix = ""): [string, JsonValue][] {
  return Object.entries(object).flatMap(([key, value]) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? fieldsOf(value as JsonObject, `${prefix}${key}.`)
      : [[`${prefix}${key}`, value]],
  );
}

function isOfType(value: JsonValue, type: string): boolean {
  switch (type) {
    case "keyword":
    case "wildcard":
    case "match_only_text":
      return typeof value === "string";
    case "long":
      return (typeof value === "bigint" || Number.isInteger(value)) && BigInt(value as number) <= LONG_MAX;
    case "date":
      return typeof value === "string" && DATE.test(value) && !Number.isNaN(Date.parse(value));
    case "ip":
      return typeof value === "string" && isIP(value) !== 0;
    default:
      return false;
  }
}

/** What of an event the schema does not allow. */
export function wrongWithEcs({ warder: _, ...standard }: JsonObject): string[] {
  const fields = new Map(fieldsOf(standard));
  const wrong = published.required.filter((name) => !fields.has(name)).map((name) => `${name} is missing`);
  for (const [name, value] of fields) {
    const type = FIELDS[name] ?? "unknown";
    const values = Array.isArray(value) ? value : [value];
    if (type.endsWith("[]") !== Array.isArray(value)) wrong.push(`${name}: is a list, or should be one`);
    for (const item of values) {
      if (!isOfType(item, type.replace("[]", ""))) wrong.push(`${name}: ${inspect(item)} is no ${type}`);
      if (WORDS[name]?.includes(item) === false) wrong.push(`${name}: ${inspect(item)} is not allowed`);
      if (typeof item === "string" && !new RegExp(PATTERNS[name] ?? "").test(item))
        wrong.push(`${name}: ${item} does not fit ${PATTERNS[name]}`);
    }
  }
  for (const category of fields.get("event.category") as string[])
    for (const type of fields.get("event.type") as string[])
      if (!CATEGORIES[category]?.includes(type)) wrong.push(`event.type ${type} with category ${category}`);
  return wrong;
}
