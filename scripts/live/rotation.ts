// Rotates the files of a live evaluator under load in both ways at once: by size, and by somebody who moves a file away and
// sends SIGUSR1. Then compares all pieces, byte by byte, with a replay of the recording of the same stream.
//
// Exit code 1 when a line is missing, torn, or there twice.

import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tool, wholeNumber } from "../tool.ts";
import { Bench, compileTools, fileRule, notLive } from "./pair.ts";

const ROOT = join(import.meta.dir, "../..");
const NOBODY = 65534;
const ROTATE_SIZE_MB = 4;
/** Opens at a time, how often, and how many times at least: some 30,000 events a second. */
const FLOOD = 20_000;
const FLOOD_MS = 500;
const FLOODS_MIN = 6;
const MOVE_MS = 400;
const FILES = ["events", "alerts"];

/** Lines of a file: those about an event by their hashes, the others by their number. */
class Pile {
  readonly lines = new Set<number | bigint>();
  repeated = 0;
  notices = 0;

  /** @throws Error when the text ends within a line */
  add(text: string): void {
    const lines = text.split("\n");
    const rest = lines.pop();
    if (rest !== "") throw new Error(`ends within a line: ${rest?.slice(0, 100)}`);
    for (const line of lines) {
      if (!line.includes('"event_id":')) {
        this.notices += 1;
        continue;
      }
      const hash = Bun.hash(line);
      if (this.lines.has(hash)) this.repeated += 1;
      this.lines.add(hash);
    }
  }
}

/** What a replay writes. */
async function replayed(capture: string, ...args: string[]): Promise<Pile> {
  const command = [
    process.execPath,
    join(ROOT, "evaluator/main.ts"),
    "replay",
    "-o",
    "json",
    ...args,
    capture,
  ];
  const program = Bun.spawn(command, { stdout: "pipe", stderr: "ignore" });
  const pile = new Pile();
  let rest = "";
  for await (const piece of program.stdout) {
    const text = rest + Buffer.from(piece).toString("latin1");
    const end = text.lastIndexOf("\n") + 1;
    pile.add(text.slice(0, end));
    rest = text.slice(end);
  }
  if ((await program.exited) !== 0 || rest !== "") throw new Error("the recording cannot be replayed");
  return pile;
}

/** Opens a file again and again, and does a little of everything else. */
async function load(
  tools: Record<"generate" | "load", string>,
  folder: string,
  seconds: number,
): Promise<void> {
  writeFileSync(join(folder, "flooded"), "");
  const options = { stdout: "ignore", stderr: "inherit" } as const;
  const mix = Bun.spawn([tools.load, "mix", folder, String(seconds), "50"], options);
  for (let floods = 0; mix.exitCode === null || floods < FLOODS_MIN; floods++) {
    await Bun.spawn([tools.generate, "flood", join(folder, "flooded"), String(FLOOD)], options).exited;
    await Bun.sleep(FLOOD_MS);
  }
}

/** Moves both files away, and tells the evaluator, until `goesOn` says no. Returns how often. */
async function move(
  goesOn: () => boolean,
  folder: string,
  evaluator: { signal: (name: NodeJS.Signals) => void },
) {
  let moves = 0;
  for (; goesOn(); moves++) {
    await Bun.sleep(MOVE_MS);
    for (const file of FILES) {
      const path = join(folder, `${file}.ndjson`);
      if (existsSync(path)) renameSync(path, join(folder, `${file}.moved-${moves}`));
    }
    evaluator.signal("SIGUSR1");
  }
  return moves;
}

/** Everything that a file was torn into: what is under its name, what was moved away, what was set aside. */
function piecesOf(folder: string, file: string): { pile: Pile; pieces: number } {
  const names = readdirSync(folder).filter(
    (name) => name.startsWith(`${file}.`) || name.startsWith(`${file}-`),
  );
  const pile = new Pile();
  for (const name of names) {
    const bytes = readFileSync(join(folder, name));
    pile.add(Buffer.from(name.endsWith(".zst") ? Bun.zstdDecompressSync(bytes) : bytes).toString("latin1"));
  }
  return { pile, pieces: names.length };
}

/** Returns whether every line is there, once. */
async function rotate(tools: Record<"generate" | "load", string>, seconds: number): Promise<boolean> {
  const bench = new Bench();
  try {
    const [watched, output] = [join(realpathSync(bench.folder), "watched"), bench.path("output")];
    for (const folder of [watched, output]) mkdirSync(folder);
    chownSync(output, NOBODY, NOBODY);
    const [config, capture] = [bench.path("config.toml"), bench.path("all.capture")];
    const rules = `[file]\nwatch_paths = ["${watched}"]\n${fileRule("ROTATION-001", watched, "write")}`;
    const [events, alerts] = FILES.map((file) => join(output, `${file}.ndjson`));
    const files = `[output]\ntype = "file"\npath = "${events}"\nalerts_path = "${alerts}"\n`;
    writeFileSync(config, `${rules}${files}rotate_size_mb = ${ROTATE_SIZE_MB}\n`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluatorTo(null, "--once", "--config", config, "--record", capture);
    let loading = true;
    const moving = move(() => loading, output, evaluator);
    await load(tools, watched, seconds);
    loading = false;
    const moves = await moving;
    await sensor.end("SIGTERM");
    if ((await evaluator.exited) !== 0) throw new Error(evaluator.stderr);
    console.log(`${seconds} s, ${moves} times SIGUSR1; ${evaluator.stderr.trim().split("\n").at(-1)}`);

    writeFileSync(config, rules);
    let whole = true;
    for (const file of FILES) {
      const options = file === "alerts" ? ["--alerts-only"] : [];
      const expected = await replayed(capture, "--config", config, ...options);
      const { pile, pieces } = piecesOf(output, file);
      const missing = [...expected.lines].filter((line) => !pile.lines.has(line)).length;
      const torn = [...pile.lines].filter((line) => !expected.lines.has(line)).length;
      const notices = expected.notices - pile.notices;
      console.log(
        `${file}: ${expected.lines.size} lines expected in ${pieces} pieces, ${missing} missing, ${torn} torn, ` +
          `${pile.repeated} twice; ${expected.notices} lines about the stream, ${notices} missing`,
      );
      whole &&= expected.lines.size > 0 && missing + torn + pile.repeated + Math.abs(notices) === 0;
    }
    return whole;
  } finally {
    await bench.close();
  }
}

const { seconds } = tool(
  "rotation",
  "Rotates the files of an evaluator under load, and compares the pieces with a replay.",
)
  .option("--seconds <seconds>", "how long", wholeNumber, 60)
  .parse()
  .opts<{ seconds: number }>();
const reason = notLive();
if (reason !== null) {
  console.error(`rotation: cannot run here (${reason})`);
  process.exit(5);
}
const built = mkdtempSync(join(tmpdir(), "warder-tools-"));
chmodSync(built, 0o755);
try {
  const tools = compileTools(built, ["generate", "load"]);
  process.exitCode = (await rotate(tools, seconds)) ? 0 : 1;
} finally {
  rmSync(built, { recursive: true });
}
