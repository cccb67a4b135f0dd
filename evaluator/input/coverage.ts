// The coverage frame: JSON that a sensor wrote about itself. It is printed as it is, so it has to be what can be printed: few
// and plain keys, whole numbers, no depth.

import type { Bytes } from "../../bpf/event.gen.ts";

/** Bytes of a coverage frame; what the sensor says is a few thousand. */
export const COVERAGE_SIZE_MAX = 64 * 1024;
const DEPTH_MAX = 8;
const KEY = /^[a-z][a-z0-9_]{0,63}$/;

/** A value of the coverage; texts are bytes, as everywhere. */
type CoverageValue = Bytes | number | boolean | null | CoverageValue[] | { [key: string]: CoverageValue };

/** What is observed on a host, and what not. */
export type Coverage = { [key: string]: CoverageValue };

/** Reads the payload of a coverage frame. Returns what is wrong with it as a text. */
export function readCoverage(bytes: Uint8Array): Coverage | string {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return "a coverage frame that is not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return "a coverage frame that is not a JSON object";
  try {
    return convert(value, DEPTH_MAX) as Coverage;
  } catch (error) {
    if (error instanceof NotPlain) return `a coverage frame with ${error.message}`;
    throw error;
  }
}

class NotPlain extends Error {}

function convert(value: unknown, depth: number): CoverageValue {
  if (depth === 0) throw new NotPlain(`more than ${DEPTH_MAX} levels`);
  if (typeof value === "string") return Buffer.from(value, "utf8").toString("latin1") as Bytes;
  if (typeof value === "boolean" || value === null) return value;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new NotPlain("a number that is not whole, or too large");
    return value + 0;
  }
  if (Array.isArray(value)) return value.map((item) => convert(item, depth - 1));
  return Object.fromEntries(
    Object.entries(value as object).map(([key, item]) => {
      if (!KEY.test(key)) throw new NotPlain("a key that is not in snake_case");
      return [key, convert(item, depth - 1)];
    }),
  );
}
