// One line of JSON per record. A line is Bytes, one character per byte, so that it is written as it stands.
// JSON.stringify is no choice: it knows neither integers beyond 2^53 nor bytes that are not UTF-8.

import type { Bytes } from "../event/text.ts";
import { jsonText } from "./text.ts";

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
      if (!exact) text += `,"${key}_b64":"${base64(value)}"`;
    } else if (Array.isArray(value)) {
      const items = value as readonly JsonValue[];
      text += `[${items.map(valueText).join(",")}]`;
      // In a list of texts, null stands for those that are exact already.
      const inexact = items.map((item) => typeof item === "string" && !jsonText(item as Bytes).exact);
      if (inexact.includes(true)) {
        const exact = items.map((item, i) => (inexact[i] ? `"${base64(item as string)}"` : "null"));
        text += `,"${key}_b64":[${exact.join(",")}]`;
      }
    } else text += valueText(value);
  }
  return `${text}}`;
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

function base64(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("base64");
}
