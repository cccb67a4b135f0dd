// A projection shows a record in the words of a standard. A table says where each of our keys goes; what it does not name is
// put under a vendor object, so that a key that is added later is never lost.

import type { Event } from "../event/event.ts";
import type { Bytes } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import type { JsonValue } from "./ndjson.ts";
import type { Notice } from "./notice.ts";
import { isText, readable } from "./text.ts";

/** What a projection makes of a record; `null` in it stands for nothing. */
export type JsonObject = { [key: string]: JsonValue };
/** Makes a value of a record; null and undefined are left out. */
type Make<Facts> = (record: Facts) => JsonValue;

/**
 * The places of the standard, as dotted paths; a name that ends in "[]" is a list of one object. Each gets the value of a key;
 * or what is made of the record; or what is made of it and tells all that the keys before it tell.
 */
export type Table<Facts> = {
  readonly [path: string]:
    | (keyof Facts & string)
    | Make<Facts>
    | readonly [told: readonly (keyof Facts & string)[], make: Make<Facts>];
};

type Branch<Facts> = Map<string, Branch<Facts> | Make<Facts>>;

/** What is written, one a line. */
export type Line = Event | Alert | Notice;

/**
 * Compiles a table for each type of record. Keys that it does not tell go under `vendor`, with the exact bytes of texts that
 * are not UTF-8.
 */
export function compileTables<Item extends { event_type: string }>(
  vendor: string,
  tables: { readonly [Type in Item["event_type"]]: Table<Extract<Item, { event_type: Type }>> },
): (record: Item) => JsonObject {
  const entries = Object.entries(tables).map(([type, table]) => [
    type,
    compileTable(table as Table<Item>, vendor),
  ]);
  const projections = Object.fromEntries(entries) as Record<Item["event_type"], (record: Item) => JsonObject>;
  return (record) => projections[record.event_type as Item["event_type"]](record);
}

function compileTable<Facts extends object>(
  table: Table<Facts>,
  vendor: string,
): (record: Facts) => JsonObject {
  const told = new Set<string>();
  const root: Branch<Facts> = new Map();
  for (const [path, entry] of Object.entries(table)) {
    const names = path.split(".");
    const last = names.pop() ?? "";
    let branch = root;
    for (const name of names) {
      const below: Branch<Facts> | Make<Facts> = branch.get(name) ?? new Map();
      if (!(below instanceof Map)) throw new Error(`${path}: ${name} is a value`);
      branch.set(name, below);
      branch = below;
    }
    const keys = typeof entry === "string" ? [entry] : typeof entry === "function" ? [] : entry[0];
    for (const key of keys) told.add(key);
    if (branch.get(last) instanceof Map) throw new Error(`${path}: an object is in the same place`);
    branch.set(last, makerOf(entry));
  }
  const grow = growerOf(root);
  return (record) => {
    const object = grow(record) ?? {};
    const rest = untold(record, told);
    if (rest) object[vendor] = rest;
    return object;
  };
}

function makerOf<Facts>(entry: Table<Facts>[string]): Make<Facts> {
  if (typeof entry === "string") return (record) => record[entry] as JsonValue;
  return typeof entry === "function" ? entry : entry[1];
}

/** How something ended, by the name of its error. What goes on after the call has not ended yet. */
export function outcomeOf(error: string | null): "success" | "failure" | "unknown" {
  if (error === null) return "success";
  return error === "EINPROGRESS" || error === "EINTR" ? "unknown" : "failure";
}

/** Makes an object of what is in a branch; null when there is nothing in it. */
function growerOf<Facts>(branch: Branch<Facts>): (record: Facts) => JsonObject | null {
  const parts = [...branch].map(([name, part]) => ({
    name: name.replace("[]", ""),
    isList: name.endsWith("[]"),
    make: part instanceof Map ? growerOf(part) : (record: Facts) => shown(part(record)),
  }));
  return (record) => {
    let object: JsonObject | null = null;
    for (const { name, isList, make } of parts) {
      const value = make(record);
      if (value === null || value === undefined) continue;
      object ??= {};
      object[name] = isList ? [value] : value;
    }
    return object;
  };
}

/** Texts as UTF-8: a standard has no place for bytes. */
function shown(value: JsonValue): JsonValue {
  if (typeof value === "string") return readable(value as Bytes);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(shown);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shown(item)]));
}

function untold(record: object, told: ReadonlySet<string>): JsonObject | null {
  let rest: JsonObject | null = null;
  for (const key in record) {
    const value = record[key as keyof typeof record] as JsonValue;
    if (value === null || value === undefined) continue;
    const isTold = told.has(key);
    // Of a key that is not told, the writer of JSON adds the exact bytes.
    const kept = isTold ? exactBytes(value) : value;
    if (kept === null) continue;
    rest ??= {};
    rest[isTold ? `${key}_b64` : key] = kept;
  }
  return rest;
}

/** The bytes of what is not UTF-8, in base64; in a list, null stands for entries that are. Null when all is. */
function exactBytes(value: JsonValue): JsonValue {
  if (typeof value === "string") return isText(value as Bytes) ? null : btoa(value);
  if (!Array.isArray(value)) return null;
  const exact = value.map((item) => (typeof item === "string" ? exactBytes(item) : null));
  return exact.some((item) => item !== null) ? exact : null;
}
