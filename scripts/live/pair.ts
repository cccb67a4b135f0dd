// A real sensor and a real evaluator, for tests on the running kernel. Each pair has its own folder, socket and bpffs.

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");
const BUN = process.execPath;
const SENSOR = join(ROOT, "sensor/main.ts");
const EVALUATOR = join(ROOT, "evaluator/main.ts");
const WAIT_MS = 60_000;

/** Why live tests cannot run here; null when they can. */
export function notLive(): string | null {
  if (process.getuid?.() !== 0) return "not root";
  const { exitCode, stdout } = Bun.spawnSync([BUN, SENSOR, "probe", "--no-pin"]);
  return exitCode === 0
    ? null
    : (/^missing: .*$/m.exec(stdout.toString())?.[0] ?? `probe ended with ${exitCode}`);
}

/** Waits until `condition` holds. @throws Error when it does not in time */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await Bun.sleep(20);
  }
}

/** An event, alert or notice as a reader of NDJSON sees it. */
export type Line = Record<string, unknown> & { event_type: string };

/** Parses NDJSON. */
export function parseLines(text: string): Line[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);
}

/** A rule for what is done to a file, or in a folder, as settings hold it. */
export function fileRule(id: string, path: string, operation: "open" | "write"): string {
  return `
[[rules]]
id = "${id}"
name = "Touched"
enabled = true
type = "file"
severity = "low"
action = "alert"
paths = ["${path}"]
operations = ["${operation}"]
`;
}

/** An event of a file or a socket in the words of generate.c: with the inode, the call, or neither. */
export function asGenerated(line: Line, detail?: "inode" | "syscall"): string {
  const remote = line.event_type === "network_connect" || line.event_type === "network_accept";
  const end = remote ? "remote" : "local";
  const names =
    line.event_type === "file_rename"
      ? [line["old_filename"], line["new_filename"]]
      : line.event_type.startsWith("network_")
        ? [line[`${end}_addr`], line[`${end}_port`]]
        : [line["path"]];
  const words = detail === "syscall" ? [line["syscall"], ...names] : names;
  return [line.event_type, ...words, ...(detail === "inode" ? [line["inode"] ?? "-"] : [])].join(" ");
}

/** A program that was started, with what it wrote. */
export class Program {
  private readonly process: Bun.Subprocess;

  constructor(
    command: string[],
    readonly stdoutPath: string,
    readonly stderrPath: string,
    stdout: number | null,
  ) {
    this.process = Bun.spawn(command, {
      cwd: ROOT,
      stdin: "ignore",
      stdout: stdout ?? Bun.file(stdoutPath),
      stderr: Bun.file(stderrPath),
    });
  }

  get pid(): number {
    return this.process.pid;
  }

  get stdout(): string {
    return readFileSync(this.stdoutPath, "utf8");
  }

  get stderr(): string {
    return readFileSync(this.stderrPath, "utf8");
  }

  private get isRunning(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** What it has written; of a line that it is writing, nothing. */
  lines(): Line[] {
    const { isRunning, stdout } = this;
    return parseLines(isRunning ? stdout.slice(0, stdout.lastIndexOf("\n") + 1) : stdout);
  }

  /** Waits until `condition` holds. @throws Error with what it said, when it does not in time, or has ended */
  async until(what: string, condition: () => boolean): Promise<void> {
    const said = (error: unknown) => new Error(`${String(error)}\n${this.stderr}`);
    await until(what, () => condition() || !this.isRunning).catch((error: unknown) =>
      Promise.reject(said(error)),
    );
    if (!condition()) throw said(`${what} has ended`);
  }

  /** Sends a signal, and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Sends a signal and waits for the end. Returns the exit code. */
  async end(signal: NodeJS.Signals): Promise<number> {
    this.process.kill(signal);
    return this.process.exited;
  }

  get exited(): Promise<number> {
    return this.process.exited;
  }
}

/** One folder with a socket, captures and outputs, and a mount namespace with a bpffs of its own. */
export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), "warder-live-"));
  readonly socket = join(this.folder, "run", "sensor.sock");
  private readonly holder: Bun.Subprocess;
  private readonly programs: Program[] = [];
  private count = 0;

  constructor() {
    chmodSync(this.folder, 0o755);
    const script = "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep 7200";
    this.holder = Bun.spawn(["unshare", "--mount", "sh", "-c", script], { stdout: "pipe" });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts the sensor and waits until it serves. */
  sensor(...args: string[]): Promise<Program> {
    return this.sensorWith({}, ...args);
  }

  /** The same, with more in its environment. */
  async sensorWith(environment: Record<string, string>, ...args: string[]): Promise<Program> {
    const program = await this.startSensor(environment, ...args);
    await program.until("the sensor", () => program.stderr.includes("serving at"));
    return program;
  }

  /** The same, and does not wait. */
  async startSensor(environment: Record<string, string> = {}, ...args: string[]): Promise<Program> {
    await until("the namespace", () => namespaceOf(this.holder.pid) !== namespaceOf(process.pid));
    await until("bpffs", () =>
      readFileSync(`/proc/${this.holder.pid}/mounts`, "utf8").includes(" /sys/fs/bpf bpf "),
    );
    const command = [BUN, SENSOR, "run", "--socket", this.socket, ...args];
    const words = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    return this.launch("sensor", [...this.enter(), "env", ...words, ...command]);
  }

  /**
   * Runs `work` beside a pair with these settings. Returns what was written.
   * @throws Error when either end failed, or something was lost or is not accounted for
   */
  async observe(config: string, work: () => Promise<void>, ...args: string[]): Promise<Line[]> {
    const path = this.path("config.toml");
    writeFileSync(path, config);
    const sensor = await this.sensor("--no-pin", "--config", path);
    const evaluator = await this.evaluator("--once", "--config", path, ...args);
    await work();
    const codes = [await sensor.end("SIGTERM"), await evaluator.exited];
    const lines = evaluator.lines();
    const ledger = lines.findLast((line) => line.event_type === "health")?.["ledger"] as
      | Record<string, unknown>
      | undefined;
    const books = [...codes, ledger?.["lost"], ledger?.["malformed"], ledger?.["unaccounted"]];
    if (books.some((number) => number !== 0) || ledger?.["balanced"] !== true) {
      throw new Error(`the pair ended with ${codes.join(", ")} and ${JSON.stringify(ledger)}`);
    }
    return lines;
  }

  /** Runs the sensor's program to its end, in the same namespace. */
  async sensorCommand(...args: string[]): Promise<{ code: number; stderr: string }> {
    const program = this.start("command", [SENSOR, ...args], true);
    return { code: await program.exited, stderr: program.stderr };
  }

  /** Starts the evaluator and waits until it has the stream. */
  async evaluator(...args: string[]): Promise<Program> {
    const program = this.start("evaluator", [EVALUATOR, "run", "--socket", this.socket, ...args]);
    await program.until(
      "the stream",
      () => program.stdout.includes('"coverage"') || args.includes("--alerts-only"),
    );
    return program;
  }

  /** An evaluator whose lines go through a command of a shell before they reach its standard output. Ends with the sensor. */
  async pipedEvaluator(reader: string, ...args: string[]): Promise<Program> {
    const command = [EVALUATOR, "run", "--once", "--socket", this.socket, ...args];
    const shell = ["bash", "-c", `"$0" "$@" | { ${reader}; }`];
    const program = this.launch("piped", [...shell, BUN, ...command]);
    await until("the connection", () => this.programs.some(({ stderr }) => stderr.includes("connected")));
    return program;
  }

  /** Runs a command in the sensor's mount namespace, and returns its standard output. */
  inside(...command: string[]): string {
    return Bun.spawnSync([
      "nsenter",
      "--target",
      String(this.holder.pid),
      "--mount",
      ...command,
    ]).stdout.toString();
  }

  /** Starts the evaluator with `stdout`, or none that matters, and waits until the sensor has it. */
  evaluatorTo(stdout: number | null, ...args: string[]): Promise<Program> {
    return this.reader([BUN, EVALUATOR, "run", "--socket", this.socket, ...args], stdout);
  }

  /** The same with any program that reads the sensor's stream. */
  async reader(command: string[], stdout?: number | null): Promise<Program> {
    const program = this.launch("evaluator", command, stdout);
    const greeting = `evaluator pid ${program.pid} (`;
    await until("the connection", () => this.programs.some(({ stderr }) => stderr.includes(greeting)));
    return program;
  }

  private enter(): string[] {
    return ["nsenter", "--target", String(this.holder.pid), "--mount", `--wd=${ROOT}`];
  }

  private start(name: string, args: string[], inside = false): Program {
    return this.launch(name, [...(inside ? this.enter() : []), BUN, ...args]);
  }

  private launch(name: string, command: string[], stdout: number | null = null): Program {
    this.count += 1;
    const output = this.path(`${name}-${this.count}`);
    const program = new Program(command, `${output}.out`, `${output}.err`, stdout);
    this.programs.push(program);
    return program;
  }

  /** Ends everything that was started here. */
  async close(): Promise<void> {
    for (const program of this.programs) await program.end("SIGKILL");
    this.holder.kill("SIGKILL");
    await this.holder.exited;
    rmSync(this.folder, { recursive: true });
  }
}

function namespaceOf(pid: number): number {
  return statSync(`/proc/${pid}/ns/mnt`, { throwIfNoEntry: false })?.ino ?? 0;
}

/** The evaluator within a pipeline: a child of its shell. */
export async function evaluatorOf({ pid }: Pick<Program, "pid">): Promise<Pick<Program, "pid">> {
  const children = await Bun.file(`/proc/${pid}/task/${pid}/children`).text();
  for (const child of children.trim().split(" ")) {
    if ((await Bun.file(`/proc/${child}/cmdline`).text()).includes("evaluator/main.ts"))
      return { pid: Number(child) };
  }
  throw new Error("no evaluator in the pipeline");
}

/** Compiles C programs from `sources` (default: beside this file) into `folder`, and returns the path of each by its name. */
export function compileTools<Name extends string>(
  folder: string,
  names: readonly Name[],
  sources: string = import.meta.dir,
): Record<Name, string> {
  const paths = names.map((name) => {
    const path = join(folder, name);
    const source = join(sources, `${name}.c`);
    const flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-Wl,--as-needed", "-lbpf"];
    const command = ["clang-19", "-o", path, source, ...flags];
    const { exitCode, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
    if (exitCode !== 0) throw new Error(`${source} does not compile: ${stderr.toString()}`);
    return [name, path] as const;
  });
  return Object.fromEntries(paths) as Record<Name, string>;
}

/** Runs the evaluator's command line to its end. */
export async function warder(
  args: string[],
  stdin?: Uint8Array | string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const program = Bun.spawn([BUN, EVALUATOR, ...args], {
    cwd: ROOT,
    stdin: stdin === undefined ? "ignore" : Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
    program.exited,
  ]);
  return { code, stdout, stderr };
}
