// Takes away one counter's increment after the other, in C and in TypeScript, and looks whether a test notices. In a copy of
// the project, so that nothing is left behind.
//
//   bun run mutate [PART...]   only the places whose text or file contains one of these
//
// Exit code 1 when an increment can go unnoticed, or when a check fails without any change.

import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

/** A place where something is counted, and the line without it. */
type Mutation = { file: string; line: number; text: string; without: string };

/** What is tried until something fails: quick things first. */
const KERNEL_CHECKS = [
  ["scripts/live/prove.ts", "--short", "--only", "rest"],
  ["scripts/live/prove.ts", "--short", "--only", "stopped"],
  test("scripts/live/counted.test.ts"),
  test("scripts/live/activity.test.ts"),
];
const CHECKS: Record<string, string[][]> = {
  // Not every kernel takes these programs; that of the virtual machine does.
  "bpf/objects.bpf.h": [test("scripts/live/vm.test.ts")],
  "bpf/message.bpf.h": [["scripts/live/prove.ts", "--short", "--only", "watcher"]],
  "bpf/": KERNEL_CHECKS,
  "sensor/": [
    test("scripts/live/strangers.test.ts"),
    test("scripts/live/counted.test.ts"),
    ["scripts/live/prove.ts", "--short", "--only", "watcher"],
    test("scripts/live/live.test.ts"),
    ...KERNEL_CHECKS,
    test("scripts/live/host.test.ts"),
  ],
  "evaluator/": [
    test("evaluator"),
    test("scripts/live/metrics.test.ts"),
    test("scripts/live/live.test.ts"),
    ...KERNEL_CHECKS,
  ],
};

function test(part: string): string[] {
  return ["test", "--bail", "--timeout", "60000", part];
}

const FOLDERS = ["bpf", "sensor", "evaluator", "evaluator/context", "evaluator/input", "evaluator/output"];

function mutations(): Mutation[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => /\.(bpf\.h|ts)$/.test(name) && !/\.(test|gen)\.ts$/.test(name))
      .flatMap((name) => mutationsOf(`${folder}/${name}`)),
  );
}

function mutationsOf(file: string): Mutation[] {
  const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
  return lines.flatMap((text, line) => withoutCount(text).map((without) => ({ file, line, text, without })));
}

/** Places in texts and memory, numbers of tries, and what a rate is held against: nothing that happened. */
const NO_COUNT = /\b(?:end|wall|number|errors|frames|refusals|versions|limited\.count|back|links) \+=/;

/** A line without each of the counts in it. */
function withoutCount(text: string): string[] {
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
  if (/^\s*count_\w+\(.*\);/.test(text)) return [text.replace(/count_\w+\(.*?\);/, ";")];
  const entry = /(?<=\?\? 0n?\)) \+ (?:1n?|count|\S+\.misses)(?=[;)])/.exec(text);
  if (entry) return [text.replace(entry[0], "")];
  if (/totals\.\w+ -= 1;$/.test(text)) return [text.replace("-= 1;", "-= 0;")];
  const sum = /\+= (?:1n?|(?:span\.)?count|matches\.length);$/.test(text);
  if (!sum || NO_COUNT.test(text)) return [];
  return [text.replace(/\+= (\S+);$/, (_, by: string) => (by.endsWith("1n") ? "+= 0n;" : "+= 0;"))];
}

/** How a check ended; null when it had to be ended. */
function run(folder: string, command: string[], limitMs?: number): { passed: boolean | null; ms: number } {
  const begun = performance.now();
  const { exitCode, exitedDueToTimeout } = Bun.spawnSync([process.execPath, ...command], {
    cwd: folder,
    stdout: "ignore",
    stderr: "ignore",
    ...(limitMs === undefined ? {} : { timeout: limitMs }),
  });
  return { passed: exitedDueToTimeout ? null : exitCode === 0, ms: performance.now() - begun };
}

function checksFor(file: string): string[][] {
  return Object.entries(CHECKS).find(([prefix]) => file.startsWith(prefix))?.[1] ?? [];
}

/** What each check takes without a change, ms, as far as it was needed. */
const usual = new Map<string, number>();

/** @throws Error when the check fails */
function usualMs(folder: string, command: string[]): number {
  const name = command.join(" ");
  const known = usual.get(name);
  if (known !== undefined) return known;
  const { passed, ms } = run(folder, command);
  if (!passed) throw new Error(`${name}: fails without any change`);
  usual.set(name, ms);
  return ms;
}

/** A check may take so many times what it takes without a change. */
const PATIENCE = 4;

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
      const { passed } = run(folder, command, Math.ceil(PATIENCE * usualMs(folder, command)));
      if (passed !== true) return passed === null ? `${name} (without an end)` : name;
    }
    return null;
  } finally {
    put(original);
  }
}

const parts = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "warder-mutate-"));
chmodSync(folder, 0o755); // strangers are started in it
try {
  for (const name of readdirSync(ROOT)) {
    if (name === "node_modules") symlinkSync(join(ROOT, name), join(folder, name));
    else if (name !== ".git") cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  Bun.spawnSync(["./scripts/build"], { cwd: folder });
  const isChosen = ({ file, text }: Mutation) =>
    parts.length === 0 || parts.some((part) => `${file} ${text}`.includes(part));
  let unnoticed = 0;
  for (const mutation of mutations().filter(isChosen)) {
    const by = noticedBy(folder, mutation);
    console.log(
      `${by === null ? "UNNOTICED" : "noticed  "}  ${mutation.file}:${mutation.line + 1}  ${mutation.without.trim()}  ${by ?? ""}`,
    );
    unnoticed += by === null ? 1 : 0;
  }
  process.exitCode = unnoticed > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true });
}
