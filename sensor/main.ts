#!/usr/bin/env bun
// The sensor: attaches the programs, gives up all rights, hands their records to one evaluator.

import { createHmac } from "node:crypto";
import {
  chownSync,
  constants,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { EVENT_ABI, STREAM_MAGIC, STREAM_PREAMBLE, writeStreamPreamble } from "../bpf/event.gen.ts";
import { assignmentLayer, environmentLayers, type Layer } from "../bpf/layers.ts";
import { suggest } from "../bpf/words.ts";
import { attach, closeAll, UnservedError } from "./attach.ts";
import type { CanaryThings } from "./canary.ts";
import { confinementMeans, unconfined } from "./confine.ts";
import { type Coverage, UnsupportedError } from "./hooks.ts";
import { mapId, programInfo } from "./libbpf.ts";
import * as libc from "./libc.ts";
import { becomeServer } from "./privileges.ts";
import { missing } from "./probes.ts";
import { BusyError, type Programs, unloadPrograms } from "./programs.ts";
import type { Handover } from "./serve.ts";
import { findUser, readSettings, type Settings, SettingsError, type User } from "./settings.ts";

const USAGE = `warder-sensor: hands what the kernel sees to an evaluator

  warder-sensor run     attach, give up all rights, serve
  warder-sensor probe   say what this kernel can do
  warder-sensor unload  remove what "run" left pinned in the kernel

  --config FILE   settings (default /etc/warder/config.toml, if there is one)
  --socket PATH   where to serve (default /run/warder/sensor.sock)
  --user USER     who to become (default nobody)
  --profile P     auto, fentry or tracepoint
  --set S.K=V     a setting, stronger than files and WARDER_SECTION__KEY; may be repeated
  --no-pin        keep nothing in the kernel when this process ends
  --json          probe: print JSON
  --help, --version`;

const Exit = { ok: 0, usage: 2, io: 3, unsupported: 5 } as const;
const OBJECT = process.env["WARDER_OBJECT"] ?? join(import.meta.dir, "../build/warder.bpf.o");

/** What stands beside the object tells whether this kernel takes fentry programs. */
const PROBE = join(dirname(OBJECT), "probe.bpf.o");

/** ".new" is added while it is made, and a NUL at the end. */
const SOCKET_LENGTH_MAX = libc.SOCKET_PATH_SIZE_MAX - 5;

type Options = {
  config?: string;
  socket?: string;
  user?: string;
  profile?: string;
  "no-pin"?: boolean;
  json?: boolean;
  set?: string[];
};

/** A word on the command line that means nothing here. Exit code 2. */
class UsageError extends Error {}

async function main(): Promise<number> {
  const { command, options } = readCommandLine();
  return { run, probe, unload }[command](options);
}

/** The settings of environment and command line. */
function layersOf({ set = [] }: Options): Layer[] {
  const assigned = set.map((word) => {
    const layer = assignmentLayer(word);
    if (!layer)
      throw new UsageError(`--set ${word}: expected section.key=value, such as health.canary=false`);
    return layer;
  });
  return [...environmentLayers(process.env), ...assigned];
}

/** The phases, in the order that lets rights only shrink. */
async function run(options: Options): Promise<number> {
  const pin = !options["no-pin"];
  const { settings, warnings } = readSettings(options.config, layersOf(options));
  settings.socket = resolve(options.socket ?? settings.socket);
  const user = findUser(options.user ?? settings.user, options.user ? "--user" : "sensor.user");
  if (user.uid === 0) throw new UsageError("the sensor does not serve as root: name another --user");
  const evaluators = settings.evaluators.map((name) => findUser(name, "sensor.evaluators"));
  if (Buffer.byteLength(settings.socket) > SOCKET_LENGTH_MAX) {
    throw new UsageError(
      `--socket ${settings.socket}: longer than the ${SOCKET_LENGTH_MAX} bytes that a Unix socket can have`,
    );
  }
  const lacking = missing({ pin, object: OBJECT });
  if (lacking[0]) throw new UnsupportedError(lacking[0]);
  if (await answers(settings.socket)) {
    throw new BusyError(`another sensor serves at ${settings.socket}: stop it first`);
  }
  [...warnings, ...unconfined(confinementMeans())].forEach(say);

  makeFolder(dirname(settings.socket), evaluators[0] ?? user);
  const canary = canaryThings(dirname(settings.socket), user);
  const { programs, coverage } = attach({ ...wanted(settings, options), pin, canary, say });
  const listener = listen(settings.socket, user, evaluators[0] ?? user);
  const handover = handoverOf(programs, settings, coverage, [user, ...evaluators]);
  return becomeServer(
    user,
    { ...handover, listener, canary: settings.canary ? canary : null },
    programs.lock,
  );
}

function wanted(settings: Settings, { profile }: Options) {
  return { settings, profile, object: OBJECT, probeObject: PROBE };
}

function handoverOf(
  programs: Programs,
  settings: Settings,
  coverage: Coverage,
  users: User[],
): Omit<Handover, "listener" | "canary"> {
  const { lock: _lock, ...descriptors } = programs;
  return {
    ...descriptors,
    ringSizes: settings.ringSizes,
    socket: settings.socket,
    allowed: [0, ...users.map(({ uid }) => uid)],
    preamble: Buffer.from(preamble(programs)).toString("base64"),
    coverage: JSON.stringify(coverage),
  };
}

function preamble({ rings, hooks, cpus }: Programs): Uint8Array {
  const view = new DataView(new ArrayBuffer(STREAM_PREAMBLE.size));
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").replaceAll("-", "").trim();
  writeStreamPreamble(view, 0, {
    magic: STREAM_MAGIC,
    abi: EVENT_ABI,
    bootId: Buffer.from(bootId, "hex"),
    hostId: hostId(),
    instance: BigInt(mapId(rings[0] ?? -1)),
    attached: programInfo(hooks[0]?.program ?? -1).loadTime,
    cpus,
    checksums: 0,
  });
  return new Uint8Array(view.buffer);
}

/** The machine id must not be shown (machine-id(5)): a keyed hash of it is. Zeros on a host without one. */
function hostId(): Uint8Array {
  try {
    const machineId = readFileSync("/etc/machine-id", "latin1").trim();
    return createHmac("sha256", machineId).update("warder host").digest().subarray(0, 16);
  } catch {
    return new Uint8Array(16);
  }
}

/**
 * A folder that root owns, so that nobody can put something else into the place of what is made there. It gets its name when it
 * can be entered: an evaluator that waits would believe that it never may.
 */
function makeFolder(path: string, evaluator: User): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) return;
  const temporary = `${path}.${process.pid}`;
  try {
    if (there) throw new Error("it is there");
    mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
    mkdirSync(temporary, { mode: 0o750 });
    lchownSync(temporary, 0, evaluator.gid);
    renameSync(temporary, path);
  } catch (error) {
    const reason = there ? "is a file" : `cannot be made (${(error as Error).message})`;
    throw new Error(`${path}: the folder of the socket ${reason}: name another place with --socket`, {
      cause: error,
    });
  }
}

/** What the canary acts with: a folder of `user`, and the smallest program that every host has. */
function canaryThings(beside: string, user: User): CanaryThings {
  const path = join(beside, "canary");
  mkdirSync(path, { recursive: true, mode: 0o700 });
  // Only as a place: root without CAP_DAC_OVERRIDE may not read the folder of another user, and has no need to.
  const folder = openSync(path, libc.O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  chownSync(`/proc/self/fd/${folder}`, user.uid, user.gid);
  return { folder, program: Bun.which("true") };
}

/** A socket at `path` that only root, `user` and the group of `evaluator` reach. Replaces one that nobody serves any more. */
function listen(path: string, user: User, evaluator: User): number {
  const temporary = `${path}.new`;
  try {
    unlinkSync(temporary);
  } catch {
    // There is none, as a rule.
  }
  const mask = process.umask(0o117);
  const listener = libc.listenUnix(temporary);
  process.umask(mask);
  lchownSync(temporary, user.uid, evaluator.gid);
  renameSync(temporary, path);
  return listener;
}

function answers(path: string): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect(path, () => {
      socket.destroy();
      answer(true);
    }).on("error", () => answer(false));
  });
}

/** Does all that "run" does up to serving, and undoes it: what is printed was seen. */
function probe(options: Options): number {
  const { settings } = readSettings(options.config, layersOf(options));
  const lacking = missing({ pin: !options["no-pin"], object: OBJECT });
  const folder = mkdtempSync(join(tmpdir(), "warder-probe-"));
  let coverage: Coverage | null = null;
  try {
    if (lacking.length === 0) {
      const canary = canaryThings(folder, findUser("0", "probe"));
      const attached = attach({ ...wanted(settings, options), pin: false, canary, say });
      closeAll(attached.programs);
      coverage = attached.coverage;
    }
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    lacking.push(...(error instanceof UnservedError ? error.reasons : [error.message]));
    if (error instanceof UnservedError) coverage = error.coverage;
  } finally {
    rmSync(folder, { recursive: true });
  }
  if (options.json) {
    console.log(JSON.stringify({ runs: lacking.length === 0, missing: lacking, ...coverage }, null, 2));
  } else {
    if (coverage) describe(coverage);
    for (const line of lacking) console.log(`missing: ${line}`);
  }
  return lacking.length === 0 ? Exit.ok : Exit.unsupported;
}

function describe({ kernel, profile, events, blind_spots: blindSpots }: Coverage): void {
  console.log(`kernel ${kernel}, profile ${profile}`);
  for (const [event, { hooks, attached, reason }] of Object.entries(events)) {
    console.log(`  ${event.padEnd(22)} ${attached ? hooks.join(", ") : `- (${reason})`}`);
  }
  const second = Object.entries(events).filter(([, { attached, reason }]) => attached && reason !== null);
  for (const [reason, those] of Map.groupBy(second, ([, facts]) => facts.reason)) {
    console.log(`  not the best hooks: ${reason} (${those.map(([event]) => event).join(", ")})`);
  }
  for (const line of blindSpots) console.log(`  blind: ${line}`);
}

function unload(): number {
  if (process.getuid?.() !== 0) throw new UnsupportedError("no rights: only root can remove pinned programs");
  const count = unloadPrograms(say);
  say(count === 0 ? "nothing was pinned" : "removed the pinned programs");
  return Exit.ok;
}

/** By command, what may stand behind it; each also takes --help and --version. */
const COMMANDS = {
  run: ["config", "set", "socket", "user", "profile", "no-pin"],
  probe: ["config", "set", "profile", "no-pin", "json"],
  unload: [] as string[],
};
type Command = keyof typeof COMMANDS;
const FLAGS = ["no-pin", "json", "help", "version"];
const PROFILES = ["auto", "fentry", "tracepoint"];

function readCommandLine(): { command: Command; options: Options } {
  const known = [...new Set([...Object.values(COMMANDS).flat(), ...FLAGS])];
  const { positionals, tokens } = parseArgs({
    allowPositionals: true,
    strict: false,
    tokens: true,
    options: {
      ...Object.fromEntries(
        known.map((name) => [name, { type: FLAGS.includes(name) ? "boolean" : "string" }]),
      ),
      help: { type: "boolean", short: "h" },
    },
  });
  const [word, extra] = positionals;
  const options: Record<string, string | boolean | string[]> = {};
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    if (!known.includes(name)) {
      const names = known.map((one) => `--${one}`);
      throw new UsageError(`unknown option ${JSON.stringify(rawName)}${suggest(rawName, names)}`);
    }
    if (FLAGS.includes(name) && value !== undefined) throw new UsageError(`${rawName} takes no value`);
    const isOther = !inlineValue && value?.startsWith("-");
    if (!FLAGS.includes(name) && (!value || isOther)) throw new UsageError(`${rawName}: a value is missing`);
    options[name] = name === "set" ? [...((options[name] ?? []) as string[]), value ?? ""] : (value ?? true);
  }
  if (options["help"]) finish(USAGE);
  if (options["version"]) finish(`warder-sensor ${packageVersion()}, event ABI ${EVENT_ABI}`);
  const commands = Object.keys(COMMANDS) as Command[];
  const command = commands.find((one) => one === word);
  if (word === undefined) throw new UsageError(`a command is missing: ${commands.join(", ")}`);
  if (!command) throw new UsageError(`unknown command ${JSON.stringify(word)}${suggest(word, commands)}`);
  if (extra !== undefined) throw new UsageError(`${command}: unexpected ${JSON.stringify(extra)}`);
  const foreign = Object.keys(options).find((name) => !COMMANDS[command].includes(name));
  if (foreign !== undefined) throw new UsageError(`${command} does not take --${foreign}`);
  const { profile } = options;
  if (typeof profile === "string" && !PROFILES.includes(profile))
    throw new UsageError(
      `--profile ${profile}: expected ${PROFILES.join(", ")}${suggest(profile, PROFILES)}`,
    );
  return { command, options };
}

function packageVersion(): string {
  return JSON.parse(readFileSync(join(import.meta.dir, "../package.json"), "utf8")).version;
}

function finish(text: string): never {
  console.log(text);
  process.exit(Exit.ok);
}

function say(line: string): void {
  process.stderr.write(`warder-sensor: ${line}\n`);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof SettingsError) return Exit.usage;
  if (error instanceof UnsupportedError) return Exit.unsupported;
  return Exit.io;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  if (error instanceof UsageError) process.stderr.write('see "warder-sensor --help"\n');
  process.exitCode = exitCodeOf(error);
}
process.exit();
