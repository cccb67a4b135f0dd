import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { anyLine, LINE_FIELDS, sampleLines } from "../../scripts/lines.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import { parseJson } from "../rule/given.ts";
import { ecs } from "./ecs.ts";
import { type JsonValue, ndjson } from "./ndjson.ts";
import { ocsf } from "./ocsf.ts";
import { compileTables } from "./projection.ts";
import { jsonText, PLAIN, readable } from "./text.ts";

type Read = Record<string, unknown>;

const STANDARDS = [
  { name: "ecs", project: ecs, vendor: "warder" },
  { name: "ocsf", project: ocsf, vendor: "unmapped" },
];

/** A line as a reader gets it: text that must be UTF-8, and JSON. */
function read(object: object): Read {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(ndjson(object), "latin1"));
  expect(text.indexOf("\n")).toBe(text.length - 1);
  return parseJson(text) as Read;
}

/** The bytes of a text that was read. */
function exact(value: unknown): unknown {
  return typeof value === "string" ? Buffer.from(value, "base64").toString("latin1") : value;
}

const NO_TEXTS = [
  ["\xff", "\\xff"],
  ["\xff\x01", "\\xff\x01"],
  ["\xff\\", "\\xff\\x5c"],
  ["\xc3\xa9\xc3", "\xc3\xa9\\xc3"],
];
test.each(NO_TEXTS)("a text as long as any, of nothing but %j, is shown as a short one is", (one, shown) => {
  expect(readable(one.repeat(8192) as Bytes) === shown.repeat(8192)).toBe(true);
});

/** What a call takes at best, ms. */
function best(call: () => unknown): number {
  const times = Array.from({ length: 100 }, () => {
    const begun = performance.now();
    call();
    return performance.now() - begun;
  });
  return Math.min(...times);
}

test("a path that is no text, which anybody may open, is shown in no more time than JSON takes for it", () => {
  const path = `/${"\xff\x01".repeat(2040)}` as Bytes;
  // A string that was put together is made when it is looked at.
  const show = () => PLAIN.test(readable(path));
  const render = () => PLAIN.test(jsonText(path).body);
  best(show);
  best(render);
  expect(best(show)).toBeLessThan(1.5 * best(render));
});

describe.each(STANDARDS)("$name", ({ project, vendor }) => {
  test.each(Object.keys(LINE_FIELDS))("keeps every byte and digit of %s", (type) => {
    fc.assert(
      fc.property(anyLine(type), (line) => {
        const told = read(project(line))[vendor] as Read;
        for (const [key, value] of Object.entries(line) as [string, JsonValue][]) {
          if (typeof value === "bigint" && key in told)
            expect(BigInt(told[key] as number | bigint)).toBe(value);
          const texts = (Array.isArray(value) ? value : [value]) as JsonValue[];
          const inexact = texts.map((text) => typeof text === "string" && readable(text as never) !== text);
          if (!inexact.includes(true)) continue;
          const bytes = told[`${key}_b64`];
          const list = (Array.isArray(value) ? bytes : [bytes]) as unknown[];
          expect(list.map(exact)).toEqual(texts.map((text, i) => (inexact[i] ? text : null)));
        }
      }),
      { numRuns: 50 },
    );
  });

  test("gives each key of its own one type of value in all lines, as an index needs it", async () => {
    const random = Object.keys(LINE_FIELDS).flatMap((type) =>
      fc.sample(anyLine(type), { numRuns: 20, seed: 7 }),
    );
    const types = new Map<string, Set<string>>();
    for (const line of [...(await sampleLines()), ...random]) {
      const own = read(project(line))[vendor] as Read;
      for (const [key, value] of Object.entries(own)) {
        const [first] = Array.isArray(value) ? (value as unknown[]) : [value];
        const type = typeof first === "bigint" ? "number" : typeof first;
        if (first === null || first === undefined) continue;
        types.set(key, (types.get(key) ?? new Set()).add(type));
      }
    }
    expect(types.size).toBeGreaterThan(40);
    expect([...types].filter(([, kinds]) => kinds.size > 1)).toEqual([]);
  });

  test("changes nothing in the line itself", async () => {
    const lines = await sampleLines();
    const before = lines.map((line) => ndjson(line));
    lines.forEach(project);
    expect(lines.map((line) => ndjson(line)).join("") === before.join("")).toBe(true);
  });
});

describe("a table", () => {
  type Sample = { event_type: "sample"; pid: number; comm: string; inode: bigint; gone?: string; none: null };
  const line: Sample = { event_type: "sample", pid: 1, comm: "a\xff\\", inode: 2n ** 64n - 1n, none: null };
  const tables = (table: Parameters<typeof compileTables<Sample>>[1]["sample"]) =>
    compileTables<Sample>("vendor", { sample: table });

  test("puts keys where it says, and the rest under the vendor", () => {
    const project = tables({ "a.b.c": "pid", type: "event_type" });
    expect(project(line)).toEqual({
      a: { b: { c: 1 } },
      type: "sample",
      vendor: { comm: "a\xff\\", inode: 18446744073709551615n },
    });
  });

  test("keeps a key whose value it only uses", () => {
    const project = tables({ half: ({ pid }) => pid / 2, whole: [["pid"], ({ pid }) => pid] });
    expect(project(line)["half"]).toBe(0.5);
    expect(tables({ half: ({ pid }) => pid / 2 })(line)["vendor"]).toHaveProperty("pid");
    expect(project(line)["vendor"]).not.toHaveProperty("pid");
  });

  test("shows bytes that are not UTF-8 as text, and has them exactly beside the rest", () => {
    const project = tables({ name: "comm", "list[].name": "comm" });
    expect(project(line)).toMatchObject({
      name: "a\\xff\\x5c",
      list: [{ name: "a\\xff\\x5c" }],
      vendor: { comm_b64: Buffer.from("a\xff\\", "latin1").toString("base64") },
    });
    expect(project({ ...line, comm: fromUtf8("ä\\") })["vendor"]).not.toHaveProperty("comm_b64");
  });

  test("leaves out what is null or absent, and objects with nothing in them", () => {
    const project = tables({ "a.gone": "gone", "a.none": "none", pid: "pid" });
    expect(project(line)).not.toHaveProperty("a");
    expect(project(line)["vendor"]).not.toHaveProperty("none");
  });

  test("cannot have a value and an object in one place", () => {
    expect(() => tables({ a: "pid", "a.b": "comm" })).toThrow("a.b: a is a value");
    expect(() => tables({ "a.b": "comm", a: "pid" })).toThrow("a: an object is in the same place");
  });
});
