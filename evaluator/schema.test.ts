// The JSON Schemas, held against real output and real files by a validator that knows nothing of this project.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { parse } from "smol-toml";
import { anyLine, LINE_FIELDS } from "../scripts/lines.ts";
import { parseLines, warder } from "../scripts/live/pair.ts";
import { undescribed, validatorOf } from "../scripts/validator.ts";
import { WITHOUT_MEANING } from "./config.ts";
import { ndjson } from "./output/ndjson.ts";
import { type JsonSchema, SUBJECTS, schemaOf } from "./schema.ts";

const ROOT = join(import.meta.dir, "..");
const SCHEMAS = { event: schemaOf("event"), rule: schemaOf("rule"), config: schemaOf("config") };
const isLine = validatorOf(SCHEMAS.event);
const isFile = { rule: validatorOf(SCHEMAS.rule), config: validatorOf(SCHEMAS.config) };

/** The sample, as a reader of standard output gets it. */
async function sample() {
  const { stdout } = await warder(["replay", "--rules", "rules", "-o", "json", "scripts/sample.capture.zst"]);
  return parseLines(stdout);
}

/** A line as a reader parses it. */
function read(line: object): Record<string, unknown> {
  return JSON.parse(Buffer.from(ndjson(line), "latin1").toString("utf8")) as Record<string, unknown>;
}

describe("a line", () => {
  test("of the sample is allowed, and all of its keys are described", async () => {
    const lines = await sample();
    expect(lines.length).toBeGreaterThan(400);
    for (const line of lines) {
      expect(isLine(line)).toEqual([]);
      expect(undescribed(line, SCHEMAS.event)).toEqual([]);
    }
  });

  test.each(Object.keys(LINE_FIELDS))("of type %s is allowed, whatever it holds", (type) => {
    const property = fc.property(anyLine(type), (line) => {
      expect(isLine(read(line))).toEqual([]);
      expect(undescribed(read(line), SCHEMAS.event)).toEqual([]);
    });
    fc.assert(property, { numRuns: 50 });
  });

  test.each(Object.keys(LINE_FIELDS))(
    "of type %s is refused without a key that it must have, or with a wrong value",
    (type) => {
      const line = read(fc.sample(anyLine(type), { numRuns: 1, seed: 3 })[0] ?? {});
      for (const [key, [shape]] of Object.entries(LINE_FIELDS[type] ?? {})) {
        const { [key]: _, ...rest } = line;
        expect({ key, allowed: isLine(rest).length === 0 }).toEqual({ key, allowed: shape.includes("?") });
        const wrong = { ...line, [key]: shape.startsWith("table") ? 1 : { not: "this" } };
        expect({ key, allowed: isLine(wrong).length === 0 }).toEqual({ key, allowed: false });
      }
      expect(isLine({ ...line, event_type: "nonsense" })).not.toEqual([]);
    },
  );

  test("with keys that a later version adds is allowed", async () => {
    const [line] = await sample();
    expect(isLine({ ...line, added_later: 1 })).toEqual([]);
  });
});

test("alerts have a schema of their own, which events do not fit", async () => {
  const isAlert = validatorOf(schemaOf("alert"));
  const lines = await sample();
  expect(lines.filter((line) => isAlert(line).length === 0)).toEqual(
    lines.filter((line) => line.event_type === "alert"),
  );
});

/** The packs and the example, by name. */
const FILES = [
  { name: "config.example.toml", subject: "config" },
  ...readdirSync(join(ROOT, "rules"))
    .filter((name) => name.endsWith(".toml"))
    .map((name) => ({ name: `rules/${name}`, subject: "rule" })),
] as { name: string; subject: "config" | "rule" }[];

test.each(FILES)("$name fits its schema, and all of its keys are described", ({ name, subject }) => {
  const value = parse(readFileSync(join(ROOT, name), "utf8"));
  expect(isFile[subject](value)).toEqual([]);
  expect(undescribed(value, SCHEMAS[subject])).toEqual([]);
  // A settings file may hold rules, too.
  expect(isFile.config(value)).toEqual([]);
});

const RULE = `
[[rules]]
id = "R"
name = "a rule"
enabled = true
type = "process"
severity = "low"
action = "alert"
process_names = ["sh"]
`;

test("the schemas of files avoid what some editors stumble over", () => {
  for (const subject of ["rule", "config"] as const)
    expect(JSON.stringify(SCHEMAS[subject])).not.toContain('"allOf"');
});

describe("a file is refused", () => {
  const wrong: [string, string][] = [
    ["an unknown key", RULE.replace("process_names", "proces_names")],
    ["a field of another type of rule", `${RULE}ports = [1]`],
    ["a word that is none", RULE.replace('"low"', '"lwo"')],
    ["a missing key", RULE.replace("enabled = true", "")],
    ["nothing to match", RULE.replace('["sh"]', "[]")],
    ["an empty name", RULE.replace('"sh"', '" "')],
    ["a reserved id", RULE.replace('"R"', '"BUILTIN-R"')],
    ["a technique that is none", `${RULE}attack = ["T1"]`],
    ["a test of an unknown event", `${RULE}[[rules.tests]]\nmatch = true\nevent_type = "proces_start"`],
    [
      "a test with an unknown key",
      `${RULE}[[rules.tests]]\nmatch = true\nevent_type = "file_open"\ncom = "a"`,
    ],
    ["a test without verdict", `${RULE}[[rules.tests]]\nevent_type = "file_open"`],
    ["disabling nothing", '[[disable]]\nreason = "none"'],
    ["an unknown section", "[procss]"],
  ];
  const settings: [string, string][] = [
    ["an unknown setting", "[health]\ninterval = 1"],
    ["a number out of range", "[health]\ninterval_s = 0"],
    ["a fraction", "[health]\ninterval_s = 1.5"],
    ["a relative path", '[file]\nwatch_paths = ["etc"]'],
    ["a negated pattern", '[file]\nwatch_patterns = ["!*.service"]'],
    ["a bracket in a pattern", '[file]\nwatch_patterns = ["*.[ch]"]'],
    ["a hook that is none", '[file]\nhooks = ["opne"]'],
    ["a detection without a name", "[[detections.network]]\nports = [1]"],
  ];

  test.each([
    ...wrong.map(([what, toml]) => ["rule", what, toml] as const),
    ...[...wrong, ...settings].map(([what, toml]) => ["config", what, toml] as const),
  ])("of %s: %s", (subject, _, toml) => {
    expect(isFile[subject](parse(RULE))).toEqual([]);
    expect(isFile[subject](parse(toml))).not.toEqual([]);
  });
});

test("every setting has a meaning, and config.example.toml says it in the same words", () => {
  const text = readFileSync(join(ROOT, "config.example.toml"), "utf8");
  const { properties } = SCHEMAS.config as { properties: Record<string, { properties?: object }> };
  const { rules: _, disable: __, detections: ___, ...sections } = properties;
  for (const [section, { properties: settings = {} }] of Object.entries(sections)) {
    const lines = text.split("\n");
    const start = lines.indexOf(`[${section}]`) + 1;
    const end = lines.findIndex((line, i) => i >= start && line.startsWith("["));
    for (const [key, { description }] of Object.entries(settings) as [string, JsonSchema][]) {
      if (WITHOUT_MEANING[section]?.[key] !== undefined) continue;
      const line = lines
        .slice(start, end < 0 ? undefined : end)
        .find((one) => one.startsWith(`${key} = `) || one.startsWith(`# ${key} = `));
      expect({ section, key, line }).toEqual({ section, key, line: expect.stringMatching(/.# /) });
      expect(line).toEndWith(`# ${String(description)}`);
    }
  }
});

test.each([...SUBJECTS])("warder schema %s prints it", async (subject) => {
  const { code, stdout } = await warder(["schema", subject]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(schemaOf(subject))));
});

test("a schema of something else is a usage error that names what there is", async () => {
  const { code, stderr } = await warder(["schema", "rules"]);
  expect(code).toBe(2);
  expect(stderr).toContain("event, alert, rule, config");
});
