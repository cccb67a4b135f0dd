// Holds events against the Open Cybersecurity Schema Framework: names of attributes, their types, what is required, and what
// numbers mean.

import { isIP } from "node:net";
import { inspect } from "bun";
import type { JsonValue } from "../../evaluator/output/ndjson.ts";
import type { JsonObject } from "../../evaluator/output/projection.ts";
// Of the release 1.8.0: the attributes that are used here or required. "[]": a list; "!": required.
import published from "./ocsf.json";

const CLASSES: Readonly<
  Record<string, { name: string; category: number; categoryName: string; object: string }>
> = published.classes;
const OBJECTS: Readonly<Record<string, Readonly<Record<string, string>>>> = published.objects;
const AT_LEAST_ONE: Readonly<Record<string, readonly string[]>> = published.at_least_one;
const ENUMS: Readonly<Record<string, Readonly<Record<string, string>>>> = published.enums;
const SIBLINGS: Readonly<Record<string, string>> = published.siblings;
const OTHER = "99";
const LONG_MAX = 2n ** 63n - 1n;
/** Milliseconds of the year 2100. */
const TIME_MAX = 4_102_444_800_000;

function isOfType(value: JsonValue, type: string): boolean {
  switch (type) {
    case "boolean_t":
      return typeof value === "boolean";
    case "integer_t":
    case "long_t":
      return (typeof value === "bigint" || Number.isInteger(value)) && BigInt(value as number) <= LONG_MAX;
    case "timestamp_t":
      return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= TIME_MAX;
    case "port_t":
      return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65535;
    case "ip_t":
      return typeof value === "string" && isIP(value) !== 0;
    default:
      return type.endsWith("_t") && typeof value === "string";
  }
}

/** What of an object the schema does not allow. */
function wrongWith(object: JsonObject, name: string, at: string): string[] {
  const attributes = OBJECTS[name] ?? {};
  const wrong = Object.entries(attributes)
    .filter(([key, type]) => type.endsWith("!") && object[key] === undefined)
    .map(([key]) => `${at}.${key} is missing`);
  const some = AT_LEAST_ONE[name];
  if (some && !some.some((key) => object[key] !== undefined)) wrong.push(`${at}: one of ${some.join(", ")}`);
  for (const [key, value] of Object.entries(object)) {
    const place = `${at}.${key}`;
    const type = attributes[key]?.replace("!", "") ?? "unknown";
    if (type.endsWith("[]") !== Array.isArray(value)) wrong.push(`${place}: is a list, or should be one`);
    for (const item of Array.isArray(value) ? value : [value]) {
      const base = type.replace("[]", "");
      if (OBJECTS[base]) wrong.push(...wrongWith(item as JsonObject, base, place));
      else if (!isOfType(item, base)) wrong.push(`${place}: ${inspect(item)} is no ${type}`);
    }
    const words = ENUMS[`${name}.${key}`];
    const word = words?.[inspect(value)];
    const sibling = object[SIBLINGS[key] ?? ""];
    if (words && word === undefined) wrong.push(`${place}: ${inspect(value)} means nothing`);
    if (words && sibling !== undefined && inspect(value) !== OTHER && sibling !== word)
      wrong.push(`${place}: ${inspect(value)} is not ${inspect(sibling)}`);
  }
  return wrong;
}

/** What of an event the schema does not allow. */
export function wrongWithOcsf({ unmapped: _, ...event }: JsonObject): string[] {
  const type = CLASSES[inspect(event["class_uid"])];
  if (!type) return [`no class ${inspect(event["class_uid"])}`];
  const wrong = wrongWith(event, type.object, type.object);
  const expected = {
    category_uid: type.category,
    category_name: type.categoryName,
    class_name: type.name,
    type_uid: Number(event["class_uid"]) * 100 + Number(event["activity_id"]),
    type_name: `${type.name}: ${event["activity_name"] as string}`,
  };
  for (const [key, value] of Object.entries(expected))
    if (event[key] !== value) wrong.push(`${key}: ${inspect(event[key])} instead of ${value}`);
  return wrong;
}
