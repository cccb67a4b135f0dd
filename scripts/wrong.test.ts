// Runs every line of wrong.txt: what both real programs say of wrong command lines and wrong files, word by word.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const SAMPLE = join(ROOT, "scripts/sample.capture.zst");
const PROGRAMS = { warder: "evaluator/main.ts", "warder-sensor": "sensor/main.ts" };
const folder = mkdtempSync(join(tmpdir(), "warder-words-"));

const RULE = `[[rules]]
id = "R-1"
name = "a shell"
enabled = true
type = "process"
severity = "high"
action = "alert"
process_names = ["sh"]
`;
const FILES: Record<string, string | Uint8Array> = {
  "good.toml": RULE,
  "empty.toml": "",
  "syntax.toml": "[[rules]\n",
  "quote.toml": '[[rules]]\nid = "R-1\n',
  "little.toml": '[[rules]]\nid = "R-1"\ntype = "process"\nprocess_names = ["sh"]\n',
  "three.toml": RULE.replace('"high"', '"hgh"')
    .replace("process_names", "proces_names")
    .replace("true", '"yes"'),
  "twice.toml": RULE + RULE,
  "settings.toml": "[health]\ninterval_s = 0\n[outputt]\n[file]\nwatch_path = []\n",
  "bytes.toml": Uint8Array.of(0xff, 0xfe, 0, 1, 2, 3),
  "events.ndjson": '{"event_type":"process_start","comm":"sh"}\n',
  "expected.ndjson": '{"rule":"R-1"}\n{"severity":"hgh"}\n',
  "text.capture": "This is a text, and no capture at all.\n",
  "empty.capture": "",
  "cut.capture.zst": readFileSync(SAMPLE).subarray(0, 20_000),
};

beforeAll(() => {
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "nothing"));
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(folder, name), content);
  writeFileSync(join(folder, "sample.capture.zst"), readFileSync(SAMPLE));
});
afterAll(() => rmSync(folder, { recursive: true }));

const root = process.getuid?.() === 0;
if (!root) console.error("skipped: wrong users to become (not root)");

/** The transcript: command lines, what each says on standard error, its exit code. */
const cases = readFileSync(join(ROOT, "scripts/wrong.txt"), "utf8")
  .split(/^\$ /m)
  .slice(1)
  .map((part) => {
    const [, line = "", said = "", code] = /^(.*)\n((?:.*\n)*?)\[(\d+)\]\n/.exec(part) ?? [];
    return { line, said, code: Number(code) };
  })
  .filter(({ line }) => root || !line.startsWith("warder replay --user"));

test("there are at least fifty", () => expect(cases.length).toBeGreaterThan(50));

test.each(cases)("$line", async ({ line, code, said }) => {
  const [name = "", ...words] = line.replaceAll("F/", `${folder}/`).split(" ");
  const program = Bun.spawn(
    [process.execPath, join(ROOT, PROGRAMS[name as keyof typeof PROGRAMS]), ...words],
    {
      cwd: folder,
      env: { PATH: process.env["PATH"] },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [stdout, stderr] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
  ]);
  expect({ code: await program.exited, said: stderr.replaceAll(folder, "F") }).toEqual({ code, said });
  expect(stdout).toBe("");
});

test("a capture that is cut says where, and that what came before is in the output", async () => {
  const program = Bun.spawn(
    [process.execPath, join(ROOT, PROGRAMS.warder), "replay", "-o", "json", join(folder, "cut.capture.zst")],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const [stdout, stderr] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
  ]);
  expect(await program.exited).toBe(3);
  expect(stdout).toContain('"event_type":"process_start"');
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(
    /cut\.capture\.zst: offset \d+: the stream was cut: .+; what came before is in the output$/,
  );
});
