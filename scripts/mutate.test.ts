import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");

function mutate(...args: string[]): { code: number; stdout: string; stderr: string } {
  const command = [process.execPath, join(ROOT, "scripts/live/mutate.ts"), ...args];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

test("counts are found however they are written, each with the line without it", () => {
  const { code, stdout } = mutate("--list");
  expect(code).toBe(0);
  for (const place of [
    /^bpf\/message\.bpf\.h:\d+ {2}__sync_fetch_and_add\(&own->strangers, 1\); {2}=> {2};$/m,
    /^bpf\/emit\.bpf\.h:\d+ {2}.* {2}=> {2}if \(!refused\) __sync_fetch_and_add\(&counter->submitted, 1\);$/m,
    /^bpf\/emit\.bpf\.h:\d+ {2}count_loser\(header\); {2}=> {2};$/m,
    /^sensor\/ring\.ts:\d+ {2}for .*; count\+\+\) \{ {2}=> {2}for .*; count\) \{$/m,
    /^evaluator\/core\.ts:\d+ {2}totals\.received \+= 1; {2}=> {2}totals\.received \?\?= 1;$/m,
    /^evaluator\/output\/ledger\.ts:\d+ {2}.*this\.restless \+ 1; {2}=> {2}.*this\.restless \?\? 1;$/m,
    /^evaluator\/output\/ledger\.ts:\d+ {2}.* \?\? 0\) - 1; {2}=> {2}.* \?\? 0\) \?\? 1;$/m,
    /^evaluator\/output\/canaries\.ts:\d+ {2}.*\(kind\) \?\? 0\) \+ 1\); {2}=> {2}.* \?\? 1\);$/m,
    /^evaluator\/output\/debts\.ts:\d+ {2}.* {2}=> {2}.*\{ events: .*\.events \?\? events, alerts: .* \+ alerts \};$/m,
    /^evaluator\/output\/debts\.ts:\d+ {2}.* {2}=> {2}.*\{ events: .* \+ events, alerts: .*\.alerts \?\? alerts \};$/m,
    /^sensor\/debts\.ts:\d+ {2}.*=> all \+ .* {2}=> {2}.*=> all \?\? \(one\[ring\] \?\? 0n\), 0n\);$/m,
  ])
    expect(stdout).toMatch(place);
});

test("a line without its count can be read", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  for (const place of mutate("--list", ".ts:").stdout.trimEnd().split("\n")) {
    const [, file = "", line = "", without = ""] = /^(\S+):(\d+) {2}.* {2}=> {2}(.*)$/.exec(place) ?? [];
    const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
    lines[Number(line) - 1] = without;
    expect(() => transpiler.transformSync(lines.join("\n"))).not.toThrow();
  }
});

test("only the places asked for are meant; what is no place and no option is refused", () => {
  const { stdout } = mutate("--list", "sensor/ring.ts", "totals.lines");
  const places = stdout.trimEnd().split("\n");
  expect(places.length).toBeGreaterThanOrEqual(3);
  for (const place of places) expect(place).toMatch(/^sensor\/ring\.ts:|totals\.lines/);
  expect(mutate("--list", places[0] ?? "").stdout).toBe(`${places[0]}\n`);
  expect(mutate("no such place")).toMatchObject({
    code: 2,
    stdout: "",
    stderr: 'mutate: no place contains "no such place"; --list prints all of them\n',
  });
  expect(mutate("--lost").code).toBe(2);
  expect(mutate("--help")).toMatchObject({ code: 0, stderr: "" });
});
