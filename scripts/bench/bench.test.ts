// What is wrong with the files of a run is said before anything is measured, and a run that is broken off leaves nothing behind.

import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notLive, until } from "../live/pair.ts";
import { type Results, readResults, writeResults } from "./results.ts";
import { rowOf } from "./row.ts";

const BENCH = join(import.meta.dir, "bench.ts");
const folder = mkdtempSync(join(tmpdir(), "warder-results-"));
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const machine = {
  processor: "P",
  cpus: 2,
  memory_mb: 1,
  kernel: "6.12",
  bun: "1.4.5",
  load: 0,
  other_sensors: 0,
};
const RESULTS: Results = {
  warder: { version: "0.1.0", commit: "abcdef0+", date: "2026-01-02T03:04:05Z" },
  machine,
  ...{ ring_mib: 64, profile: "tracepoint", extent: { runs: 1, pairs: 1, scale: 1 } },
  rows: [
    rowOf("live", "carried", "events/s", [1, 2, 3]),
    { row: "peers", what: "Falco", skipped: "not found" },
    { row: "idle", what: "all rows of this name", failed: "it broke" },
  ],
};

test("what --json writes, --compare reads", () => {
  writeResults(path("good.json"), RESULTS);
  const { warder, rows } = readResults(path("good.json"));
  expect(warder).toEqual(RESULTS.warder);
  expect(rows.map(({ what, value }) => [what, value])).toEqual([
    ["carried", 2],
    ["Falco", undefined],
    ["all rows of this name", undefined],
  ]);
  const { warder: _, ...old } = RESULTS;
  writeFileSync(path("old.json"), JSON.stringify(old));
  expect(readResults(path("old.json")).warder).toBeUndefined();
});

const WRONG: [file: string, content: string, said: string][] = [
  ["cut.json", '{"machine":', "JSON Parse error: Unexpected EOF"],
  ["list.json", "[]", 'not written by --json: machine: expected "machine", found nothing'],
  ["text.json", '"x"', 'not written by --json: all of it: expected Object, found "x"'],
  [
    "machine.json",
    '{"machine":{},"rows":[]}',
    'not written by --json: machine.processor: expected "processor", found nothing',
  ],
  [
    "rows.json",
    JSON.stringify({ machine, rows: {} }),
    "not written by --json: rows: expected Array, found Object",
  ],
  [
    "row.json",
    JSON.stringify({ machine, rows: [1] }),
    "not written by --json: rows.0: expected Object, found 1",
  ],
  [
    "value.json",
    JSON.stringify({ machine, rows: [{ what: "x", value: "1" }] }),
    'not written by --json: rows.0.value: expected number, found "1"',
  ],
];

function run(...args: string[]): { code: number; stdout: string; stderr: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, BENCH, ...args], { stderr: "pipe" });
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

test.each(WRONG)("--compare %s: one line, and nothing is measured", (name, content, said) => {
  writeFileSync(path(name), content);
  expect(run("--compare", path(name))).toEqual({
    ...{ code: 2, stdout: "", stderr: `bench: --compare ${path(name)}: ${said}\n` },
  });
});

test.each([
  ["--compare", "absent/x.json"],
  ["--json", "absent/x.json"],
  ["--json", "."],
  ["--plot", "."],
])("%s %s: no file that can be opened: one line, and nothing is measured", (option, name) => {
  const { code, stdout, stderr } = run("--quick", option, path(name));
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(new RegExp(`^bench: \\${option} .*: E(NOENT|ISDIR): .*\n$`));
});

const reason = notLive();
if (reason !== null) console.error(`skipped: a bench that is broken off (${reason})`);

/** Processes that a run has started know its folder by their environment. */
function left(temporary: string): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      return (
        /^\d+$/.test(name) && readFileSync(`/proc/${name}/environ`, "latin1").includes(`TMPDIR=${temporary}`)
      );
    } catch {
      return false; // it has ended
    }
  });
}

const begun = (temporary: string, pattern: RegExp) =>
  readdirSync(temporary, { recursive: true, encoding: "utf8" }).some((name) => pattern.test(name));

test.skipIf(reason !== null).each([
  ["a replay", "rules", /^warder-bench-\w+\/pipe$/, "SIGINT", 130],
  ["a pair", "latency", /^warder-bench-\w+\/warder-live-\w+\/run\/sensor\.sock$/, "SIGTERM", 143],
] as const)(
  "%s that is broken off leaves no process and no file",
  async (_what, rows, sign, signal, code) => {
    const temporary = path(rows);
    mkdirSync(temporary);
    for (const one of [folder, temporary]) chmodSync(one, 0o755);
    const bench = Bun.spawn([process.execPath, BENCH, "--quick", "--only", rows], {
      ...{ env: { ...process.env, TMPDIR: temporary }, stdout: "ignore", stderr: "pipe" },
    });
    await until("what it begins with", () => begun(temporary, sign) || bench.exitCode !== null);
    bench.kill(signal);
    const said = await new Response(bench.stderr).text();
    expect({ code: await bench.exited, said }).toEqual({ code, said: `bench: ended by ${signal}\n` });
    expect({ files: readdirSync(temporary), processes: left(temporary) }).toEqual({
      files: [],
      processes: [],
    });
  },
);
