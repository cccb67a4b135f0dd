// Faults and evasions that a test of their own makes for real. "bun run prove" runs these tests and prints how each ended.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** `id` is that of the catalogue of evasions; `test` is part of the name of the test that shows it. */
type Shown = { id?: string; what: string; file: string; test: string };

const SHOWN: Shown[] = [
  {
    id: "E54",
    what: "newline, ESC and bidi in names",
    file: "evaluator/output/ndjson.test.ts",
    test: "a newline and an escape|a line separator",
  },
  {
    id: "E55",
    what: "names that are not UTF-8, or look alike",
    file: "evaluator/output/ndjson.test.ts",
    test: "different byte strings|an invalid byte|an overlong slash|a surrogate",
  },
  { id: "E56", what: "numbers beyond 2^53", file: "evaluator/limits.test.ts", test: "E56" },
  {
    id: "E67",
    what: "strangers at the socket",
    file: "scripts/live/strangers.test.ts",
    test: "others are kept out",
  },
  { id: "E67", what: "garbage at the socket", file: "scripts/live/strangers.test.ts", test: "garbage ends" },
  {
    id: "E68",
    what: "a hostile stream",
    file: "evaluator/input",
    test: "a stream that|random bytes behind|a frame that|a record's length|coverage of|counters",
  },
  { id: "E68", what: "a hostile peer, and what it costs", file: "evaluator/limits.test.ts", test: "E68" },
  {
    id: "E69",
    what: "a hostile capture",
    file: "evaluator/input/stream.test.ts",
    test: "while compressed|changed bit",
  },
  { id: "E69", what: "a compressed bomb, and what it costs", file: "evaluator/limits.test.ts", test: "E69" },
  { id: "E70", what: "patterns that explode", file: "evaluator/rule/engine.test.ts", test: "E70" },
  {
    id: "E71",
    what: "a million processes, and what they cost",
    file: "evaluator/memory.test.ts",
    test: "E71",
  },
  {
    what: "numbers that pass 2^32, 2^53 and 2^63",
    file: "evaluator/numbers.test.ts",
    test: "",
  },
  {
    id: "E73",
    what: "the clock is set, forward and back, under load",
    file: "scripts/live/host.test.ts",
    test: "has a clock that is set|is seen in every event",
  },
  {
    what: "the host sleeps and wakes, under load",
    file: "scripts/live/host.test.ts",
    test: "sleeps, and is not said|is seen in every event",
  },
  {
    what: "a CPU goes and comes, under load",
    file: "scripts/live/host.test.ts",
    test: "has CPUs that come|is seen in every event",
  },
  {
    id: "E63",
    what: "bpffs is unmounted, under load",
    file: "scripts/live/host.test.ts",
    test: "is seen in every event",
  },
  {
    what: "hooks that the kernel calls no more",
    file: "scripts/live/host.test.ts",
    test: "hooks that are attached and report no more",
  },
  {
    what: "a kernel that preempts calls",
    file: "scripts/live/host.test.ts",
    test: "has a kernel that preempts calls",
  },
  { what: "mutated records, streams, captures, settings", file: "scripts/fuzz.test.ts", test: "" },
  {
    id: "E72",
    what: "a full disk, a quota, a limit, a device that fails",
    file: "evaluator/output/writer.test.ts",
    test: "",
  },
  { id: "E74", what: "settings and rules that others could change", file: "bpf/trusted.test.ts", test: "" },
  {
    what: "the reader of standard output goes",
    file: "scripts/live/output.test.ts",
    test: "a reader that goes",
  },
  { what: "a reader that never reads", file: "scripts/live/output.test.ts", test: "never reads" },
  { what: "a file that is rotated under load", file: "scripts/live/rotation.test.ts", test: "" },
  {
    what: "no BTF, no libbpf, no rights, no bpffs, no programs",
    file: "scripts/live/refusal.test.ts",
    test: "with one line and code 5",
  },
  { what: "a hook that cannot attach", file: "scripts/live/refusal.test.ts", test: "a hook that is missing" },
  { what: "another version's stream", file: "evaluator/input/stream.test.ts", test: "another version" },
  {
    what: "a stream that was cut",
    file: "evaluator/input/stream.test.ts",
    test: "ends within a frame|ends between",
  },
  { what: "what finds no scratch memory", file: "scripts/live/counted.test.ts", test: "discarded" },
  {
    what: "whose records were lost, and who was blind",
    file: "scripts/live/counted.test.ts",
    test: "a loss names",
  },
];

/** How a test ended: how many of its name passed, which did not, and whether that is all there is to say. */
export type Showing = {
  id: string;
  what: string;
  file: string;
  tests: number;
  failed: string[];
  holds: boolean;
};

/** How the tests of a file ended: names of those that passed and of others; `works`: everything that went wrong has a name. */
type Ran = { passed: string[]; failed: string[]; works: boolean };

/** By file, the tests that have begun. */
const begun = new Map<string, Promise<Ran>>();

/**
 * Begins what disturbs no live pair on this host: what a virtual machine runs, which takes minutes, most of them on one CPU; and,
 * one file after the other, what has no pair at all.
 */
export async function beginBeside(): Promise<void> {
  void begin("scripts/live/host.test.ts");
  for (const { file } of SHOWN) if (!file.startsWith("scripts/live/")) await begin(file);
}

/** The tests of one file after the other, and those that have begun already. */
export async function* showAll(): AsyncGenerator<Showing> {
  for (const [file, rows] of Map.groupBy(SHOWN, (row) => row.file)) {
    const { passed, failed, works } = await begin(file);
    for (const { id = "", what, test } of rows) {
      const tests = passed.filter((name) => name.match(test)).length;
      const others = failed.filter((name) => name.match(test));
      yield { id, what, file, tests, failed: others, holds: works && tests > 0 && others.length === 0 };
    }
  }
}

function begin(file: string): Promise<Ran> {
  const names = SHOWN.filter((row) => row.file === file).map(({ test }) => test);
  const running = begun.get(file) ?? runTests(file, names);
  begun.set(file, running);
  return running;
}

async function runTests(file: string, names: string[]): Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), "warder-shown-"));
  try {
    const report = join(folder, "report.xml");
    const chosen = names.includes("") ? [] : ["-t", names.join("|")];
    const output = ["--reporter=junit", `--reporter-outfile=${report}`];
    const exitCode = await Bun.spawn(
      [process.execPath, "test", "--timeout", "120000", ...output, file, ...chosen],
      { cwd: join(import.meta.dir, "../.."), stdout: "ignore", stderr: "ignore" },
    ).exited;
    const text = existsSync(report) ? readFileSync(report, "utf8") : "";
    const tests = [
      ...text.matchAll(/<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs),
    ];
    const ran = tests.filter(([, , , inside]) => !inside?.includes("<skipped"));
    const namesOf = (failing: boolean) =>
      ran
        .filter(([, , , inside]) => (inside?.includes("<failure") ?? false) === failing)
        .map(([, name = "", group = ""]) => `${group} ${name}`);
    const failed = namesOf(true);
    return { passed: namesOf(false), failed, works: exitCode === 0 || failed.length > 0 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
