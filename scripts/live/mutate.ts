// Takes away one counter's increment after the other, in C and in TypeScript, and looks whether a test notices. In a copy of
// the project, so that nothing is left behind. `bun run mutate --help` says how.
//
// Exit code 1 when an increment can go unnoticed, 2 when the command line is wrong or a check fails without any change.

import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tool } from "../tool.ts";

const ROOT = join(import.meta.dir, "../..");

/** A place where something is counted, and the line without it; `name` has all of this. */
type Mutation = { name: string; file: string; line: number; without: string };

const COUNTED = test("scripts/live/counted.test.ts");
/** What is tried until something fails, behind the tests beside the file: quick things first. */
const KERNEL_CHECKS = [
  ["scripts/live/prove.ts", "--short", "--only", "rest"],
  ["scripts/live/prove.ts", "--short", "--only", "stopped"],
  COUNTED,
  test("scripts/live/activity.test.ts"),
];
const EVALUATOR_CHECKS = [
  test("evaluator/core.test.ts"),
  test("evaluator"),
  test("scripts/live/metrics.test.ts"),
  test("scripts/live/live.test.ts"),
  ...KERNEL_CHECKS,
];
const CHECKS: Record<string, string[][]> = {
  // Not every kernel takes these programs; that of the virtual machine does.
  "bpf/objects.bpf.h": [test("scripts/live/vm.test.ts")],
  "bpf/message.bpf.h": [["scripts/live/prove.ts", "--short", "--only", "watcher"]],
  "bpf/": KERNEL_CHECKS,
  "sensor/": [
    test("scripts/live/strangers.test.ts"),
    COUNTED,
    ["scripts/live/prove.ts", "--short", "--only", "watcher"],
    test("scripts/live/live.test.ts"),
    ...KERNEL_CHECKS.filter((check) => check !== COUNTED),
    test("scripts/live/host.test.ts"),
  ],
  "evaluator/output/": [test("evaluator/output"), ...EVALUATOR_CHECKS],
  "evaluator/": EVALUATOR_CHECKS,
};

function test(part: string): string[] {
  return ["test", "--bail", "--timeout", "60000", part];
}

function mutations(): Mutation[] {
  return ["bpf", "sensor", "evaluator"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(bpf\.h|ts)$/.test(name) && !/\.(test|gen)\.ts$/.test(name))
      .toSorted()
      .flatMap((name) => mutationsOf(`${folder}/${name}`)),
  );
}

function mutationsOf(file: string): Mutation[] {
  const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
  return lines.flatMap((text, line) => {
    const rests = file.endsWith(".ts") ? withoutSum(text) : withoutAtomic(text);
    return rests.map((without) => {
      const name = `${file}:${line + 1}  ${text.trim()}  =>  ${without.trim()}`;
      return { name, file, line, without };
    });
  });
}

/** A line of C without each of the counts in it. */
function withoutAtomic(text: string): string[] {
  const indent = /^\s*/.exec(text)?.[0] ?? "";
  const atomic = /__sync_fetch_and_add\((.*), 1\)/.exec(text);
  if (atomic) {
    const [call, target = ""] = atomic;
    const either = /^(\w+) \? (\S+) : (\S+)$/.exec(target);
    if (!either) return [text.replace(call, "0").replace(/^(\s*)0;$/, "$1;")];
    const [, condition, yes, no] = either;
    return [
      `${indent}if (!${condition}) __sync_fetch_and_add(${no}, 1);`,
      `${indent}if (${condition}) __sync_fetch_and_add(${yes}, 1);`,
    ];
  }
  return /^\s*count_\w+\(.*\);/.test(text) ? [text.replace(/count_\w+\(.*?\);/, ";")] : [];
}

/** How TypeScript counts, up to the operator that adds. */
const SUMS = [
  /\bcount(\+\+)/g,
  /\S ([+-]=)(?=.*;)/g, // sum += by
  /(?<!\S)(\S+) = (?:.* : )?(?:\1|\(\1 \?\? 0n?\)) ([+-])/g, // sums[i] = (sums[i] ?? 0) + by
  /([\w.]+)\.set\(([\w.]+), \(\1\.get\(\2\) \?\? 0\) (\+)/g, // sums.set(key, (sums.get(key) ?? 0) + by)
  /(\w+): [\w.]+\.\1 (\+)/g, // { sum: before.sum + by }
  /\((\w+), .*\) => [^{]*?\b\1 (\+)/g, // reduce((sum, by) => sum + by, 0)
];
/** What leaves the sum as it is: its left side is never null. */
const WITHOUT: Record<string, string> = { "++": "", "+=": "??=", "-=": "??=", "+": "??", "-": "??" };

/** Places in texts, memory and time, sizes, numbers of tries, and what a rate is held against: nothing that happened. */
const NO_COUNT = [
  /\b(?:at|back|body|end|high|low|number|spent|taken|text|used|weight|word|\w*(?:[oO]ffset|[sS]tart|[wW]all\w*)) [+-]=/,
  /\b(?:errors|frames|limited\.count|links|refusals|versions) \+=/,
  /[sS]ize [+-]= (?!1;)|\+= size|\b(?:address|column|length|position): /,
  /sum \+ (?:ancestor\.length|ring\.consumerPosition|\(sharers|size|some)\b/,
];

/** A line of TypeScript without each of the counts in it. */
function withoutSum(text: string): string[] {
  if (NO_COUNT.some((one) => one.test(text))) return [];
  return SUMS.flatMap((sum) =>
    [...text.matchAll(sum)].map((match) => {
      const operator = match.at(-1) ?? "";
      const end = match.index + match[0].length;
      return text.slice(0, end - operator.length) + WITHOUT[operator] + text.slice(end);
    }),
  );
}

/** What failed in a check, without numbers; null when nothing did. */
type End = { failure: string | null; ms: number };

/** Runs a check until it passes or fails twice in the same place: on a busy machine, anything fails by chance. */
function run(folder: string, command: string[], limitMs?: number): End {
  const failures = new Set<string>();
  for (let tries = 1; ; tries++) {
    const { failure, ms } = runOnce(folder, command, limitMs);
    if (failure === null || failures.has(failure)) return { failure, ms };
    if (tries === TRIES_MAX) return { failure: null, ms };
    failures.add(failure);
  }
}

function runOnce(folder: string, command: string[], limitMs?: number): End {
  const begun = performance.now();
  const path = join(folder, "check.out");
  const output = openSync(path, "w"); // a pipe would be waited for as long as anybody holds it
  const { exitCode, exitedDueToTimeout } = Bun.spawnSync([process.execPath, ...command], {
    cwd: folder,
    stdout: output,
    stderr: output,
    ...(limitMs === undefined ? {} : { timeout: limitMs }),
  });
  closeSync(output);
  const ms = performance.now() - begun;
  if (exitedDueToTimeout) return { failure: "no end", ms };
  if (exitCode === 0) return { failure: null, ms };
  const [line = `exit code ${exitCode}`] = /^.*(?:\(fail\)|BROKEN).*/m.exec(readFileSync(path, "utf8")) ?? [];
  return { failure: line.replace(/ \[[\d.]+m?s\]$/, "").replaceAll(/\d[\d.,]*/g, "#"), ms };
}

function checksFor(file: string): string[][] {
  const beside = file.replace("sensor/", "scripts/").replace(/\.ts$/, ".test.ts");
  const checks = Object.entries(CHECKS).find(([prefix]) => file.startsWith(prefix))?.[1] ?? [];
  return beside !== file && existsSync(join(ROOT, beside)) ? [test(beside), ...checks] : checks;
}

/** What each check takes without a change, ms, as far as it was needed. */
const usual = new Map<string, number>();

/** @throws Error when the check fails */
function usualMs(folder: string, command: string[]): number {
  const name = command.join(" ");
  const known = usual.get(name);
  if (known !== undefined) return known;
  const { failure, ms } = run(folder, command);
  if (failure !== null) throw new Error(`${name}: fails without any change: ${failure}`);
  usual.set(name, ms);
  return ms;
}

/** A check may take so many times what it takes without a change, and so long at least; it is run so often. */
const PATIENCE = 4;
const LIMIT_MIN_MS = 20_000;
const TRIES_MAX = 3;

/** What notices that the line is gone, in words; null when nothing does. */
function noticedBy(folder: string, { file, line, without }: Mutation): string | null {
  const path = join(folder, file);
  const original = readFileSync(path, "utf8");
  const lines = original.split("\n");
  lines[line] = without;
  const changed = lines.join("\n");
  const put = (text: string) => {
    writeFileSync(path, text);
    if (!file.startsWith("bpf/")) return true;
    const { exitCode } = Bun.spawnSync(["./scripts/build"], {
      cwd: folder,
      stdout: "ignore",
      stderr: "ignore",
    });
    return exitCode === 0;
  };
  try {
    if (!put(changed)) return "the compiler";
    for (const command of checksFor(file)) {
      const name = command.join(" ");
      if (!usual.has(name)) {
        put(original);
        usualMs(folder, command);
        put(changed);
      }
      const limitMs = Math.ceil(Math.max(LIMIT_MIN_MS, PATIENCE * usualMs(folder, command)));
      const { failure } = run(folder, command, limitMs);
      if (failure !== null) return `${name}: ${failure}`;
    }
    return null;
  } finally {
    put(original);
  }
}

/** Tries these, and says of each what notices it. Returns whether everything is noticed. */
function tryAll(chosen: Mutation[]): boolean {
  const folder = mkdtempSync(join(tmpdir(), "warder-mutate-"));
  chmodSync(folder, 0o755); // strangers are started in it
  try {
    for (const name of readdirSync(ROOT)) {
      if (name === "node_modules") symlinkSync(join(ROOT, name), join(folder, name));
      else if (name !== ".git") cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    }
    Bun.spawnSync(["./scripts/build"], { cwd: folder });
    let unnoticed = 0;
    for (const mutation of chosen) {
      const by = noticedBy(folder, mutation);
      console.log(`${by === null ? "UNNOTICED" : "noticed  "}  ${mutation.name}  ${by ?? ""}`);
      unnoticed += by === null ? 1 : 0;
    }
    return unnoticed === 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function main(): number {
  const about =
    "Takes away one counter's increment after the other, and says which check notices. All of them take about a day.";
  const command = tool("mutate", about)
    .argument(
      "[part...]",
      'only places that contain it: "evaluator/output/", "totals.lines", a line of --list',
    )
    .option("--list", "print the places, and run nothing")
    .parse();
  const { list } = command.opts<{ list?: true }>();
  const parts = command.args;
  const all = mutations();
  const strange = parts.find((part) => !all.some(({ name }) => name.includes(part)));
  if (strange !== undefined)
    throw new Error(`no place contains ${JSON.stringify(strange)}; --list prints all of them`);
  const chosen = all.filter(({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)));
  if (!list) return tryAll(chosen) ? 0 : 1;
  for (const { name } of chosen) console.log(name);
  return 0;
}

try {
  process.exitCode = main();
} catch (error) {
  console.error(`mutate: ${(error as Error).message}`);
  process.exitCode = 2;
}
