// What the tests of the packaged rules describe is done on the running kernel: each rule sees it, or rightly does not.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load, NOWHERE } from "../../evaluator/config.ts";
import type { Event } from "../../evaluator/event/event.ts";
import { compileRules, type Match } from "../../evaluator/rule/engine.ts";
import type { Rule } from "../../evaluator/rule/schema.ts";
import { Bench, type Line, notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: live tests of the packs (${reason})`);

const PACKS = join(import.meta.dir, "../../rules");
const tools = mkdtempSync(join(tmpdir(), "warder-tools-"));
const actor = join(tools, "act");

/** An event as lines for act.c; null for what nobody can do on purpose, such as a fork under another name. */
function actsOf(event: Event): string[][] | null {
  switch (event.event_type) {
    case "file_open":
    case "file_write":
    case "file_unlink":
      return [[event.event_type.slice("file_".length), event.path]];
    case "file_rename":
      return [["rename", event.old_filename, event.new_filename]];
    case "process_start": {
      const { acts, name } = program(event);
      const parent = event.parent_exe_path ?? `/bin/${event.parent_comm ?? "somebody"}`;
      return [...acts, ["program", parent], ["run", parent, name]];
    }
    case "network_connect": {
      const { acts, name } = program(event);
      return [...acts, ["connect", name, String(event.remote_port)]];
    }
    case "network_listen": {
      const { acts, name } = program(event);
      return [...acts, ["listen", name, String(event.local_port)]];
    }
    default:
      return null;
  }
}

/** Puts a program where its executable is, under the name that it is called by. */
function program({ comm, exe_path: exe }: Event): { acts: string[][]; name: string } {
  const path = exe ?? `/bin/${comm}`;
  if (path.endsWith(`/${comm}`)) return { acts: [["program", path]], name: path };
  const name = `/names/${comm}`;
  return {
    acts: [
      ["program", path],
      ["link", path, name],
    ],
    name,
  };
}

/** What tells an alert from others of the same rule. */
const subjectOf = (facts: Pick<Match, "path" | "port" | "processName">) =>
  String(facts.path ?? facts.port ?? facts.processName);
const subjectOfLine = (line: Line) => String(line["path"] ?? line["port"] ?? line["process_name"]);

describe.skipIf(reason !== null)("the packs", () => {
  let bench: Bench;
  beforeAll(() => {
    chmodSync(tools, 0o755);
    const built = Bun.spawnSync(
      ["clang-19", "-Wall", "-Wextra", "-Werror", "-static", "-o", actor, join(import.meta.dir, "act.c")],
      { stderr: "inherit" },
    );
    expect(built.exitCode).toBe(0);
  });
  afterAll(() => rmSync(tools, { recursive: true }));
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  /** Does all this in a root of its own. Returns the process's id. */
  async function act(acts: string[][]): Promise<number> {
    const folder = bench.path(`root-${Bun.randomUUIDv7()}`);
    mkdirSync(folder);
    const text = acts.map((words) => `${words.join("\t")}\n`).join("");
    const done = Bun.spawn([actor, folder], { stdin: Buffer.from(text, "latin1"), stderr: "inherit" });
    expect(await done.exited).toBe(0);
    return done.pid;
  }

  test("see on this kernel what their tests must match, and nothing in what they must not match", async () => {
    // Those that are off are tried as well.
    const folder = bench.path("rules");
    mkdirSync(folder);
    for (const name of readdirSync(PACKS).filter((file) => file.endsWith(".toml"))) {
      const text = readFileSync(join(PACKS, name), "utf8");
      writeFileSync(join(folder, name), text.replaceAll("enabled = false", "enabled = true"));
    }
    const { rules } = load(NOWHERE, [folder]);
    const tests = rules.flatMap((rule) => rule.tests.map(({ match, event }) => ({ rule, match, event })));
    const tried = (expected: boolean) =>
      tests.filter(({ match, event }) => match === expected && actsOf(event) !== null);

    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator("--once", "--rules", folder, "--alerts-only");
    const right = await act(tried(true).flatMap(({ event }) => actsOf(event) ?? []));
    const wrong: { rule: Rule; pid: number }[] = [];
    for (const { rule, event } of tried(false)) wrong.push({ rule, pid: await act(actsOf(event) ?? []) });
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);

    const alerts = evaluator.lines().filter((line) => line.event_type === "alert");
    const of = (pid: number) =>
      alerts.filter(
        (line) =>
          line["pid"] === pid || (line["ancestors"] as string[]).some((name) => name === `act(${pid})`),
      );
    const seen = new Set(of(right).map((line) => `${String(line["rule_id"])} ${subjectOfLine(line)}`));
    const expected = tried(true).map(({ rule, event }) => {
      const [match] = compileRules([rule]).evaluate(event);
      if (!match) throw new Error(`${rule.id}: no match`);
      return `${rule.id} ${subjectOf(match)}`;
    });
    expect(expected.filter((alert) => !seen.has(alert))).toEqual([]);
    expect(new Set(tried(true).map(({ rule }) => rule.id)).size).toBe(
      rules.filter(({ tests: own }) => own.length > 0).length,
    );
    const raised = wrong.flatMap(({ rule, pid }) => of(pid).filter((line) => line["rule_id"] === rule.id));
    expect(raised).toEqual([]);
  }, 120_000);
});
