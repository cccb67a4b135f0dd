// Tries what attackers do to escape a sensor, against a live one, and prints how each case ended: seen (the events tell the
// truth), declared (the coverage record names it as a blind spot), or silent, which no release may have. Ids with an E are
// those of the project's catalogue of evasions; those with an X were found later.
//
// Exit code 1 when a case was silent.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tool } from "../tool.ts";
import { CATALOGUE, type Case, type Facts, TOOLS } from "./cases.ts";
import { FINDINGS } from "./findings.ts";
import { Bench, compileTools } from "./pair.ts";

const CASES = [...CATALOGUE, ...FINDINGS];

/** How a case ended. */
type Outcome = { id: string; attack: string; outcome: "seen" | "declared" | "silent"; why: string };

/** Runs all cases in a temporary folder, against a sensor and an evaluator of their own. */
async function tryAll(tools: string): Promise<{ profile: string; outcomes: Outcome[] }> {
  const bench = new Bench();
  try {
    const folder = realpathSync(bench.folder);
    const config = bench.path("config.toml");
    writeFileSync(config, `[file]\nwatch_paths = [${JSON.stringify(folder)}]\n`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--once", "--config", config);
    const facts: Facts[] = [];
    for (const [i, one] of CASES.entries()) facts.push(await act(one, join(folder, `case-${i}`), tools));
    await sensor.end("SIGTERM");
    await evaluator.exited;
    const text = evaluator.stdout;
    if (/[^\n\x20-\x7e\x80-\uffff]/.test(text)) throw new Error("the output holds a raw control character");
    const lines = evaluator.lines();
    const blind = (lines[0]?.["blind_spots"] ?? []) as string[];
    const outcomes = CASES.map((one, i): Outcome => {
      const { id, attack, declared } = one;
      const what = facts[i];
      if (what && one.seen(lines, what)) return { id, attack, outcome: "seen", why: "" };
      const why = blind.find((words) => declared?.test(words));
      return { id, attack, outcome: why ? "declared" : "silent", why: why ?? "" };
    });
    return { profile: String(lines[0]?.["profile"]), outcomes };
  } finally {
    await bench.close();
  }
}

async function act({ act: what }: Case, folder: string, tools: string): Promise<Facts> {
  mkdirSync(folder);
  const command = "sh" in what ? ["sh", "-c", what.sh] : [join(tools, what.run[0]), ...what.run.slice(1)];
  const program = Bun.spawn(
    command.map((word) => (word === "." ? folder : word)),
    { cwd: folder, stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  const text = await new Response(program.stdout).text();
  if ((await program.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
  const said = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" "));
  return { folder, pid: program.pid, said };
}

const values = tool("evasions", "Tries what attackers do to escape a sensor, and prints how each case ended.")
  .option("--tools <folder>", "holds the programs of the cases, compiled; else they are compiled first")
  .parse()
  .opts<{ tools?: string }>();
const built = mkdtempSync(join(tmpdir(), "warder-tools-"));
try {
  if (!values.tools) compileTools(built, TOOLS);
  const { profile, outcomes } = await tryAll(values.tools ?? built);
  console.log(`profile ${profile}`);
  for (const { id, attack, outcome, why } of outcomes) {
    console.log(`${id}  ${attack.padEnd(52)} ${outcome.padEnd(8)} ${why}`.trimEnd());
  }
  process.exitCode = outcomes.some(({ outcome }) => outcome === "silent") ? 1 : 0;
} finally {
  rmSync(built, { recursive: true });
}
