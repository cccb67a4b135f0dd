// Every command that a document or --help shows is run here, in a copy of the project, or is named below with the test that
// runs it. What is only mentioned has to exist, with its options; settings and rules that are shown have to load.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { type Command, DOCUMENTS, readDocument } from "./documents.ts";
import { Bench, notLive, type Program, until } from "./live/pair.ts";

setDefaultTimeout(120_000);

const ROOT = join(import.meta.dir, "..");
const PROGRAMS = { warder: "evaluator/main.ts", "warder-sensor": "sensor/main.ts" };
type Name = keyof typeof PROGRAMS;

/** Commands that another test runs, or does the same as: how they begin, the file, words that have to be in it. */
const ELSEWHERE: [command: string, file: string, words: string][] = [
  ["./scripts/test", ".ci/run", "scripts/test"],
  ["bun test ", "scripts/test", "test --timeout"],
  ["scripts/package", "scripts/live/package.test.ts", "./scripts/package"],
  [
    "systemctl enable --now warder-sensor warder",
    "scripts/live/units.test.ts",
    "warder-sensor.service warder.service",
  ],
  [
    "systemctl enable --now warder-metrics.socket",
    "scripts/live/units.test.ts",
    "Wants=warder-metrics.socket",
  ],
  ["systemctl reload warder", "scripts/live/reload.test.ts", "SIGHUP"],
  ["bun run fuzz", "scripts/fuzz.test.ts", 'from "./fuzz.ts"'],
  ["bun run abi", "scripts/test", "scripts/abi.ts --check"],
  ["bun run evasions", "scripts/live/evasions.test.ts", "evasions.ts"],
  ["bun run prove", "scripts/live/prove.test.ts", "prove.ts"],
  ["bun run mutate", "scripts/mutate.test.ts", "mutate.ts"],
  ["bun run fuzz", "evaluator/input/hostile.test.ts", "fuzz/"],
  ["bun run rotation", "scripts/live/rotation.test.ts", "rotation.ts"],
];
/** Commands of which something is left to the reader, and those that say only what there is. */
const PLACEHOLDER = /\b(FILE|ID|PATH)\b|…|\[|[a-z]\|[a-z]/;
const BARE = /^(warder|warder-sensor)( [a-z]+){0,2}$/;
/** Commands that run until they are stopped. */
const ENDLESS = /^(\.\/scripts\/run|warder run|warder record)( |$)(?!--help)/;
/** Those that find something, as they should. */
const FINDS = /--fail-on high/;

const helps = new Map<string, string>();
const isMention = ({ file, text, inline }: Command) =>
  PLACEHOLDER.test(text) || (inline && (BARE.test(text) || file === "CHANGELOG.md"));
const documents = DOCUMENTS.map(readDocument);
const commands = [...documents.flatMap((document) => document.commands), ...examples()].filter(
  ({ text }) => !ELSEWHERE.some(([command]) => `${text} `.startsWith(command)),
);
const shown = commands.filter((command) => !isMention(command));

/** What the help of each command gives as examples. */
function examples(): Command[] {
  return pathsOf("warder").flatMap((path) => {
    const lines = (helpOf("warder", path).split("\nExamples:\n")[1] ?? "").split("\n").filter(Boolean);
    return lines.map((line) => ({
      file: `warder ${path} --help`,
      text: line.trim(),
      inline: false,
      output: [],
    }));
  });
}

/** The help of a command; empty when there is none. */
function helpOf(program: Name, path: string): string {
  const words = path === "" || program === "warder-sensor" ? [] : path.split(" ");
  const command = [process.execPath, join(ROOT, PROGRAMS[program]), ...words, "--help"];
  const key = command.join(" ");
  const help = helps.get(key) ?? Bun.spawnSync(command).stdout.toString();
  helps.set(key, help);
  return help;
}

/** The commands of a program, by the words that lead to them. */
function pathsOf(program: Name, above = ""): string[] {
  const help = helpOf(program, above);
  const list = program === "warder" ? (help.split("\nCommands:\n")[1] ?? "") : help;
  const names = [...list.matchAll(/^ {2}(?:warder-sensor )?([a-z]+) /gm)].map(([, name = ""]) => name);
  const paths = names.filter((name) => name !== "help").map((name) => `${above} ${name}`.trim());
  return [...paths, ...(program === "warder" ? paths.flatMap((path) => pathsOf(program, path)) : [])];
}

const live = notLive();
if (live !== null) console.error(`skipped: commands of documents that need a sensor (${live})`);
const zstdcat = Bun.which("zstdcat");
if (!zstdcat) console.error("skipped: commands of documents with zstdcat (not installed)");

const folder = mkdtempSync(join(tmpdir(), "warder-documents-"));
const tree = join(folder, "tree");
const sample = join(tree, "scripts/sample.capture.zst");
const env = { ...process.env, PATH: `${folder}/bin:${ROOT}/node_modules/.bin:${process.env["PATH"]}` };
let bench: Bench | null = null;
let sensor: Program | null = null;

/** A copy of the project, and what its commands speak of. */
beforeAll(async () => {
  chmodSync(folder, 0o755);
  const filter = (path: string) => !/\/(node_modules|build|\.git)$/.test(path);
  cpSync(ROOT, tree, { recursive: true, filter });
  symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
  for (const place of ["bin", "etc/rules.d", "log"]) mkdirSync(join(folder, place), { recursive: true });
  for (const [name, program] of Object.entries(PROGRAMS)) {
    const script = `#!/bin/sh\nexec ${process.execPath} ${join(ROOT, program)} "$@"\n`;
    writeFileSync(join(folder, "bin", name), script, { mode: 0o755 });
  }
  cpSync(join(tree, "scripts/sample.alerts.ndjson"), join(tree, "expected.ndjson"));
  const mine = documents.flatMap(({ files }) => files).find(({ text }) => text.includes('"MINE-001"'));
  writeFileSync(join(folder, "mine.toml"), mine?.text ?? "");
  writeFileSync(join(tree, "event.json"), '{"event_type":"file_write","path":"/etc/ld.so.preload"}');
  for (const name of ["more.toml", "rules.d/10.toml"])
    cpSync(join(tree, "rules/web.toml"), join(folder, "etc", name));
  const { stdout } = Bun.spawnSync(["warder", "replay", "-o", "json", sample], { env });
  writeFileSync(join(folder, "log/events.ndjson"), stdout);
  writeFileSync(join(folder, "log/events-20260517T120431Z-0001.ndjson.zst"), Bun.zstdCompressSync(stdout));
  if (live !== null) return;
  bench = new Bench();
  sensor = await bench.sensor("--no-pin");
  Object.assign(env, { WARDER_SENSOR__SOCKET: bench.socket });
});
afterAll(async () => {
  await bench?.close();
  rmSync(folder, { recursive: true });
});

/** Where a command is given: what sets the repository up, or looks at what was built, in the repository: the copy has none of it. */
function placeOf(text: string): string {
  if (text.startsWith("./scripts/") || text.includes(" build/")) return ROOT;
  return text.startsWith("zstdcat events") ? join(folder, "log") : tree;
}

/** Runs a command; one that is endless is interrupted when it has begun. */
async function run(text: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = [join(folder, "stdout"), join(folder, "stderr")];
  const here = text
    .replaceAll("/etc/warder", `${folder}/etc`)
    .replaceAll("/var/log/warder", `${folder}/log`)
    .replaceAll(/\bmine\.toml\b/g, `${folder}/mine.toml`);
  for (const path of [stdout, stderr]) writeFileSync(path, "");
  for (const name of ["capture.zst", "today.capture.zst"]) cpSync(sample, join(tree, name));
  const connected = () => sensor?.stderr.split(") connected").length ?? 0;
  const before = connected();
  const program = Bun.spawn(["bash", "-c", `set -o pipefail; ${here}`], {
    cwd: placeOf(text),
    env,
    detached: true, // a group of its own, as a terminal would make
    stdin: "ignore",
    stdout: Bun.file(stdout),
    stderr: Bun.file(stderr),
  });
  if (ENDLESS.test(text)) {
    try {
      await until(
        `the start of ${text}`,
        () => connected() > before || readFileSync(stdout).includes("coverage"),
      );
      await Bun.sleep(500);
    } finally {
      process.kill(-program.pid, "SIGINT");
    }
  }
  const code = await program.exited;
  return { code, stdout: readFileSync(stdout, "utf8"), stderr: readFileSync(stderr, "utf8") };
}

test("commands that run elsewhere do", () => {
  expect(shown.length).toBeGreaterThan(20);
  for (const [command, file, words] of ELSEWHERE) {
    const found = readFileSync(join(ROOT, file), "utf8").includes(words);
    expect({ command, file, found }).toEqual({ command, file, found: true });
  }
});

for (const { file, text, output } of shown) {
  const cannot = (ENDLESS.test(text) && live !== null) || (text.startsWith("zstdcat") && !zstdcat);
  test.skipIf(cannot)(`${file}: ${text}`, async () => {
    const { code, stdout, stderr } = await run(text);
    const expected = FINDS.test(text) ? 1 : 0;
    expect({ text, code, stderr: code === expected ? "" : stderr }).toEqual({
      text,
      code: expected,
      stderr: "",
    });
    // A document may show the beginning.
    expect(stdout).toStartWith(output.map((line) => `${line}\n`).join(""));
  });
}

test("what is mentioned exists, with its options", () => {
  for (const { file, text } of commands.filter(isMention)) {
    const words = text.replace(/^node_modules\/\.bin\/bun (\w+)\/main\.ts/, (_, side) =>
      side === "sensor" ? "warder-sensor" : "warder",
    );
    const [program = "", ...others] = words.split(" ");
    expect({ file, text, known: program in PROGRAMS }).toEqual({ file, text, known: true });
    const path = others.filter((word) => /^[a-z|]+$/.test(word)).slice(0, 2);
    const known = pathsOf(program as Name);
    const [first = "", second = ""] = path;
    for (const one of first.split("|").filter(Boolean)) {
      expect({ file, text, one, known: known.includes(one) }).toEqual({ file, text, one, known: true });
      const below = known.some((other) => other.startsWith(`${one} `));
      for (const two of below ? second.split("|").filter(Boolean) : [])
        expect({ file, text, two, known: known.includes(`${one} ${two}`) }).toEqual({
          file,
          text,
          two,
          known: true,
        });
      const help = helpOf(program as Name, below && second ? `${one} ${second.split("|")[0]}` : one);
      for (const [option] of text.matchAll(/--[a-z-]+/g))
        expect({ file, text, option, known: help.includes(option) }).toEqual({
          file,
          text,
          option,
          known: true,
        });
    }
  }
});

test("what is shown as TOML loads", async () => {
  for (const { file, text } of documents.flatMap((document) => document.files)) {
    const path = join(folder, "shown.toml");
    writeFileSync(path, text);
    if (Object.keys(parse(text)).length === 0) continue; // a comment for editors
    // What is overridden has to be there before.
    const base = text.includes("override") ? "rules " : "";
    const line = `warder rules check ${text.startsWith("[[") ? base : "--config "}${path}`;
    const { code, stderr } = await run(line);
    expect({ file, text, code, stderr }).toEqual({
      file,
      text,
      code: 0,
      stderr: expect.stringContaining("0 errors, 0 warnings"),
    });
  }
});

test("README lists every command", () => {
  const text = readFileSync(join(ROOT, "README.md"), "utf8");
  const listed = [...text.matchAll(/^ {4}warder (?:(config|rules) )?([a-z|]+)/gm)].flatMap(
    ([, above = "", names = ""]) => names.split("|").map((name) => `${above} ${name}`.trim()),
  );
  const paths = pathsOf("warder");
  const leaves = paths.filter((path) => !paths.some((other) => other.startsWith(`${path} `)));
  expect(listed.toSorted()).toEqual(leaves.toSorted());
});

test.each([
  ["warder", "scripts/debian/warder.1"],
  ["warder-sensor", "scripts/debian/warder-sensor.8"],
] as const)("the manual of %s names every command and option, and no other", (program, file) => {
  const manual = readFileSync(join(ROOT, file), "utf8").replaceAll("\\-", "-");
  const paths = pathsOf(program);
  const options = (text: string) =>
    new Set([...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => option));
  const known = options(paths.map((path) => helpOf(program, path)).join("\n"));
  known.add("--now"); // of systemctl
  expect([...options(manual)].filter((option) => !known.has(option))).toEqual([]);
  expect(
    [...known].filter(
      (option) => !options(manual).has(option) && !["--help", "--version", "--now"].includes(option),
    ),
  ).toEqual([]);
  expect(paths.filter((path) => !new RegExp(`\\b${path.split(" ").at(-1)}\\b`).test(manual))).toEqual([]);
});
