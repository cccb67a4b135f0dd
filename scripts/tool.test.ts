// Whoever asks a program of this project what it does, or calls it wrongly, gets an answer, and nothing is begun.

import { expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");

function run(...args: string[]): { code: number; stdout: string; stderr: string } {
  const command = [process.execPath, "run", "--silent", ...args];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: ROOT, stderr: "pipe" });
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

test.each(["bench", "evasions", "fuzz", "mutate", "prove", "rotation"])("%s", (name) => {
  const help = run(name, "--help");
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(help.stdout).toStartWith(`Usage: bun run ${name} `);
  const wrong = run(name, "--nonsense");
  expect(wrong).toEqual({
    code: 2,
    stdout: "",
    stderr: `${name}: unknown option '--nonsense'\nsee "bun run ${name} --help"\n`,
  });
});

test.each([
  ["prove --only rests", "option '--only <row>' argument 'rests' is invalid. Allowed choices are rest, "],
  ["prove --soak 1h", "option '--soak <seconds>' argument '1h' is invalid. Expected a whole number."],
  ["prove --step-clock", "--step-clock: expected --soak, too"],
  ["bench --only hooks", "option '--only <rows>' argument 'hooks' is invalid. Allowed choices are hook, "],
  ["fuzz --count -1", "option '--count <inputs>' argument '-1' is invalid. Expected a whole number."],
  ["rotation 60", "too many arguments. Expected 0 arguments but got 1."],
])("%s: says what was expected", (line, said) => {
  const { code, stdout, stderr } = run(...line.split(" "));
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toStartWith(`${line.split(" ")[0]}: ${said}`);
});
