// One line of JSON per record. A line is Bytes, one character per byte, so that it is written as it stands.
// JSON.stringify is no choice: it knows neither integers beyond 2^53 nor bytes that are not UTF-8.

import type { Bytes } from "../event/text.ts";
import { jsonText, PLAIN } from "./text.ts";

/**
 * What a line can hold. Strings are Bytes; text of people (a rule's name) becomes Bytes before it gets here.
 * A key whose value is `undefined` is left out.
 */
export type JsonValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Writes a record as one line with its line end, keys in the order of the object. */
export function ndjson(record: object): Bytes {
  return `${objectText(record as { [key: string]: JsonValue })}\n` as Bytes;
}

function objectText(object: { readonly [key: string]: JsonValue }): string {
  let text = "{";
  for (const key in object) {
    const value = object[key];
    if (value === undefined) continue;
    text += text === "{" ? `"${key}":` : `,"${key}":`;
    if (typeof value === "string") {
      const { body, exact } = jsonText(value as Bytes);
      text += `"${body}"`;
      if (!exact) text += `,"${key}_b64":"${btoa(value)}"`;
    } else if (Array.isArray(value)) {
      const { items, exact } = listOf(value as readonly JsonValue[]);
      text += `[${items}]`;
      if (exact !== null) text += `,"${key}_b64":[${exact}]`;
    } else text += valueText(value);
  }
  return `${text}}`;
}

/** The inside of a list. In one of texts, null stands for those that are exact already; `exact` is null when all are. */
function listOf(values: readonly JsonValue[]): { items: string; exact: string | null } {
  // A process may have 30,000 arguments.
  const isPlain = values.every((value) => typeof value === "string") && PLAIN.test(values.join(" "));
  if (isPlain && values.length > 0) return { items: `"${values.join('","')}"`, exact: null };
  let isExact = true;
  const exact: string[] = [];
  const items = values.map((value) => {
    const text = typeof value === "string" ? jsonText(value as Bytes) : null;
    if (text && !text.exact) isExact = false;
    exact.push(!text || text.exact ? "null" : `"${btoa(value as string)}"`);
    return text ? `"${text.body}"` : valueText(value);
  });
  return { items: items.join(","), exact: isExact ? null : exact.join(",") };
}

function valueText(value: JsonValue): string {
  switch (typeof value) {
    case "string":
      return `"${jsonText(value as Bytes).body}"`;
    case "object":
      if (value === null) return "null";
      return Array.isArray(value)
        ? `[${value.map(valueText).join(",")}]`
        : objectText(value as { [key: string]: JsonValue });
    case "undefined":
      return "null";
    default:
      return String(value);
  }
}
