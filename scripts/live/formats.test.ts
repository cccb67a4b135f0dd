// What a live pair writes, in each format: every line fits the schema that describes it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EVENT_FIELDS } from "../../evaluator/event/fields.ts";
import type { JsonObject } from "../../evaluator/output/projection.ts";
import { schemaOf } from "../../evaluator/schema.ts";
import { wrongWithEcs } from "../standards/ecs.ts";
import { wrongWithOcsf } from "../standards/ocsf.ts";
import { undescribed, validatorOf } from "../validator.ts";
import { Bench, compileTools, notLive, warder } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: live tests of formats (${reason})`);

const ROUNDS = "8";
/** Names that are no UTF-8, an argument list that is cut, a signal, a script, a variable that is collected, a failure. */
const SCRIPT = String.raw`
cd "$0" && touch $'\xff\\' && mv $'\xff\\' $'ä\n\x1b[31m' && rm $'ä\n\x1b[31m'
LD_PRELOAD=none.so /bin/true $'\xfe' "$(head -c 40000 /dev/zero | tr '\0' x)"
printf '#!/bin/sh\nkill -9 $$\n' > script && chmod +x script
./script; cat nothing; true
`;

describe.skipIf(reason !== null)("on a live host", () => {
  const tools = mkdtempSync(join(tmpdir(), "warder-tools-"));
  const bench = new Bench();
  const capture = bench.path("capture.zst");
  let lines: (JsonObject & { event_type: string })[] = [];

  beforeAll(async () => {
    chmodSync(tools, 0o755);
    const { generate } = compileTools(tools, ["generate"]);
    const folder = bench.path("work");
    mkdirSync(folder);
    const config = bench.path("config.toml");
    writeFileSync(
      config,
      `[process]\ncollect_env = true\n[file]\nwatch_paths = [${JSON.stringify(folder)}]\ninclude_failed = true\n`,
    );
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator(
      "--once",
      "--config",
      config,
      "--rules",
      "rules",
      "--record",
      capture,
    );
    for (const args of [
      ["files", ROUNDS, folder],
      ["network", ROUNDS],
    ])
      expect(await Bun.spawn([generate, ...args], { stdout: "ignore" }).exited).toBe(0);
    expect(await Bun.spawn(["bash", "-c", SCRIPT, folder], { stderr: "ignore" }).exited).toBe(0);
    await sensor.end("SIGTERM");
    await evaluator.exited;
    lines = evaluator.lines() as typeof lines;
  });
  afterAll(async () => {
    await bench.close();
    rmSync(tools, { recursive: true });
  });

  /** What the recording is in another format. */
  async function replayed(format: string): Promise<JsonObject[]> {
    const { code, stdout } = await warder(["replay", "--rules", "rules", "-o", format, capture]);
    expect(code).toBe(0);
    return stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as JsonObject);
  }

  test("every line of JSON fits its schema, and all of its keys are described", () => {
    const schema = schemaOf("event");
    const isLine = validatorOf(schema);
    for (const line of lines) {
      expect({ line, wrong: isLine(line) }).toEqual({ line, wrong: [] });
      expect(undescribed(line, schema)).toEqual([]);
    }
    const types = new Set(lines.map((line) => line.event_type));
    expect(Object.keys(EVENT_FIELDS).filter((type) => !types.has(type))).toEqual([]);
    const keys = new Set(lines.flatMap((line) => Object.keys(line).filter((key) => line[key] !== null)));
    for (const key of ["path_b64", "args_b64", "env", "truncated", "interpreter", "error", "signal"])
      expect([...keys]).toContain(key);
  });

  test("so does every line in ECS, and none is missing", async () => {
    const events = await replayed("ecs");
    for (const event of events) expect(wrongWithEcs(event)).toEqual([]);
    const codes = events.map(({ event }) => (event as { code: string }).code);
    expect(codes).toEqual(lines.map((line) => line.event_type));
  });

  test("and every line in OCSF", async () => {
    const events = await replayed("ocsf");
    for (const event of events) expect(wrongWithOcsf(event)).toEqual([]);
    const codes = events.map(({ metadata }) => (metadata as { event_code: string }).event_code);
    expect(codes).toEqual(lines.map((line) => line.event_type));
  });
});
