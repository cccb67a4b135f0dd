// Records as people give them: the event of a rule's test, an event to explain, an alert that is expected. They have the shape
// of the output and hold only what matters.

import { suggest } from "../../bpf/words.ts";
import { COMM_LENGTH, type Event, type EventType } from "../event/event.ts";
import { EVENT_FIELDS, type Field, type Shape } from "../event/fields.ts";
import { fromUtf8 } from "../event/text.ts";
import { describe, isTable } from "./problem.ts";

/** Takes what is wrong: with the name of a key, or with its value. */
export type Say = (key: string, message: string, about: "name" | "value") => void;

const EVENT_TYPES = Object.keys(EVENT_FIELDS) as EventType[];
const PORT_MAX = 65535;
/** Keys that are written beside another one with the same value. */
const SAME = { resolved_path: "path", child_comm: "comm" } as const;
/** What a key holds that was not given. */
const NOTHING: Readonly<Record<string, unknown>> = {
  bytes: "",
  integer: 0n,
  number: 0,
  flag: false,
  "bytes list": [],
  "text list": [],
  "table list": [],
  text: "",
  table: {},
};

/** Parses JSON; integers that a double cannot hold are bigints. @throws SyntaxError */
export function parseJson(text: string): unknown {
  const exact = (_key: string, value: unknown, { source = "" }: { source?: string }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
      ? BigInt(source)
      : value;
  // The third parameter is newer than the types.
  return JSON.parse(text, exact as Parameters<typeof JSON.parse>[1]);
}

/** Reads an event; what it does not hold, or holds wrongly, counts as unknown. Null when its type is not known. */
export function readEvent(value: Readonly<Record<string, unknown>>, say: Say): Event | null {
  const type = EVENT_TYPES.find((known) => known === value["event_type"]);
  if (!type) {
    say("event_type", eventTypeProblem(value["event_type"]), "value");
    return null;
  }
  const fields: Readonly<Record<string, Field>> = EVENT_FIELDS[type];
  const given = readFields(fields, value, say);
  const direction = type === "network_connect" ? "outbound" : "inbound";
  if (given["direction"] !== undefined && given["direction"] !== direction)
    say("direction", `direction: a ${type} event is always ${direction}`, "value");
  for (const [copy, key] of Object.entries(SAME)) given[key] ??= given[copy];
  return { event_type: type, ...completed(fields, given) } as unknown as Event;
}

/** What a record holds, and nothing where a key is not given. */
export function completed(
  fields: Readonly<Record<string, Field>>,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, [shape]]) => [key, given[key] ?? nothing(shape)]),
  );
}

function eventTypeProblem(found: unknown): string {
  if (found === "alert")
    return 'event_type: this is an alert; its source event is the line before it, with the same "event_id"';
  const known = EVENT_TYPES.join(", ");
  if (found === undefined) return `event_type: missing, and required: one of ${known}`;
  const hint = typeof found === "string" ? suggest(found, EVENT_TYPES) : "";
  return `event_type: ${typeof found === "string" ? JSON.stringify(found) : describe(found)} is not one of ${known}${hint}`;
}

function nothing(shape: Shape): unknown {
  if (shape.endsWith(" or null")) return null;
  return shape.endsWith("?") ? undefined : NOTHING[shape];
}

/** Reads what a record holds of `fields`, as it is inside the evaluator. `event_type` and `<key>_b64` are known everywhere. */
export function readFields(
  fields: Readonly<Record<string, Field>>,
  value: Readonly<Record<string, unknown>>,
  say: Say,
): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  const known = ["event_type", ...Object.keys(fields)];
  for (const [key, found] of Object.entries(value)) {
    const field = fieldOf(fields, key);
    const exact = value[`${key}_b64`];
    if (field) {
      const [shape] = field;
      const expected = mismatch(key, field, found, exact);
      if (expected) say(key, `${key}: expected ${expected}, found ${describe(found)}`, "value");
      else if (!shape.startsWith("bytes") || found === null) given[key] = inside(shape, found);
      else
        given[key] = Array.isArray(found)
          ? found.map((text, i) => bytesOf(text, at(exact, i)))
          : bytesOf(found as string, exact);
    } else if (key !== "event_type" && !fieldOf(fields, key.replace(/_b64$/, ""))?.[0].startsWith("bytes"))
      say(key, `${key}: unknown key${suggest(key, known)}`, "name");
  }
  return given;
}

/** Not what every object has, such as "constructor". */
function fieldOf(fields: Readonly<Record<string, Field>>, key: string): Field | undefined {
  return Object.hasOwn(fields, key) ? fields[key] : undefined;
}

/** What was expected instead of a value; null when it is right. */
function mismatch(key: string, [shape, , words]: Field, found: unknown, exact: unknown): string | null {
  if (found === null && shape.endsWith(" or null")) return null;
  const isText = typeof found === "string";
  const texts = Array.isArray(found) && found.every((item) => typeof item === "string");
  switch (shape.replace(/\?? or null$|\?$/, "")) {
    case "bytes":
      if (!isText) return "a text";
      // One that was cut by a test's author would never be met.
      return key.endsWith("comm") && bytesOf(found, exact).length > COMM_LENGTH
        ? `at most ${COMM_LENGTH} bytes, which is what the kernel keeps of a name`
        : null;
    case "text":
      if (!isText) return "a text";
      return words && !words.includes(found) ? `one of ${words.join(", ")}${suggest(found, words)}` : null;
    case "flag":
      return typeof found === "boolean" ? null : "true or false";
    case "bytes list":
    case "text list":
      return texts ? null : "a list of texts";
    case "table list":
      return Array.isArray(found) && found.every(isTable) ? null : "a list of tables";
    case "table":
      return isTable(found) ? null : "a table";
    default: {
      if (typeof found !== "bigint" && !Number.isInteger(found)) return "a whole number";
      const port = key.endsWith("_port");
      return port && (Number(found) < 0 || Number(found) > PORT_MAX) ? `a port from 0 to ${PORT_MAX}` : null;
    }
  }
}

function inside(shape: Shape, found: unknown): unknown {
  if (shape.startsWith("table")) return bytesWithin(found);
  return shape.startsWith("integer") && found !== null ? BigInt(found as number | bigint) : found;
}

/** A table with its texts as bytes. */
function bytesWithin(value: unknown): unknown {
  if (typeof value === "string") return fromUtf8(value);
  if (Array.isArray(value)) return value.map(bytesWithin);
  if (!isTable(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, bytesWithin(item)]));
}

/** The bytes of a text; `exact` is what the output adds in base64 where the text does not show them all. */
function bytesOf(text: string, exact: unknown): string {
  return typeof exact === "string" ? Buffer.from(exact, "base64").toString("latin1") : fromUtf8(text);
}

function at(list: unknown, index: number): unknown {
  return Array.isArray(list) ? list[index] : undefined;
}
