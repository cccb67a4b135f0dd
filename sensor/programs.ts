// The programs in the kernel: loaded and attached, or adopted from the pins that an earlier sensor left.
// Pins lie in a folder named after the object and the settings that made them, so that only the same ones are adopted.

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import {
  CPU_COUNTERS,
  CPUS_MAX,
  ENV_NAME_SIZE_MAX,
  FILTER_SIZE_MAX,
  KERNEL_SETTINGS,
  KINDS_MAX,
  writeKernelSettings,
} from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS } from "../bpf/kinds.ts";
import { addDebts, type Debts, debtsOf, NO_DEBTS } from "./debts.ts";
import { CALL_PROGRAM, HOOKS, type Hook, isForLineage, UnsupportedError } from "./hooks.ts";
import * as libbpf from "./libbpf.ts";
import { SystemError, lock as tryLock } from "./libc.ts";
import { blocksFor, openMemory } from "./memory.ts";
import { openMessages } from "./message.ts";
import { openOwnProcesses } from "./own.ts";
import { BPFFS } from "./probes.ts";
import type { Settings } from "./settings.ts";
import type { AttachedHook } from "./watch.ts";

/** Another sensor is at work. Exit code 3. */
export class BusyError extends Error {}

/** SCRATCHES_PER_CPU in maps.bpf.h. */
const SCRATCHES_PER_CPU = 2;
const PINS = join(BPFFS, "warder");
/** Behind the name of a set of pins until all of them are there. bpffs allows no dots. */
const INCOMPLETE = "_new";
/** The maps that a sensor holds on to, in the order of enum ring, then the others. */
const RINGS = ["process_ring", "activity_ring"];
const COUNTERS = "counters";
const OWN_PROCESSES = "own_processes";
const LOSERS = "losers";
const MEMORY = "memory";
/** The program that writes for the sensor. */
const MESSAGES = "on_message";
/** What nobody but the programs writes once it is filled: closed to every other hand, root's included. */
const FROZEN = [
  ...[
    COUNTERS,
    LOSERS,
    OWN_PROCESSES,
    MEMORY,
    "scratches",
    "snapshot_scratch",
    "exited",
    "writes",
    "pending",
    "begun",
  ],
  ...["watched_paths", "watched_suffixes", "excluded_paths", "excluded_comms", "env_names"],
];

/** File descriptors of what runs in the kernel. Closing those of the links detaches the programs, unless they are pinned. */
export type Programs = {
  rings: number[];
  counters: number;
  /** The processes whose own writes are no events: the sensor tells who its evaluator is. */
  ownProcesses: number;
  /** What evaluators leave to each other. */
  memory: number;
  /** The program that writes these two. */
  messages: number;
  losers: number;
  snapshot: number;
  hooks: AttachedHook[];
  cpus: number;
  adopted: boolean;
  /** The folder of the pins, and what keeps other sensors away while it is open; null without pins. */
  pins: { fd: number; mount: string } | null;
  lock: number | null;
};

/**
 * Adopts the pinned programs that fit `settings` and `hooks`, or loads and attaches them, and pins them if `pin` says so.
 * Pins of other settings or another version are removed, once the new programs are attached.
 * @throws UnsupportedError when the kernel refuses a program
 */
export function attachPrograms(
  object: string,
  settings: Settings,
  hooks: Hook[],
  pin: boolean,
  say: (line: string) => void,
): Programs {
  const cpus = libbpf.possibleCpus();
  if (cpus > CPUS_MAX)
    throw new UnsupportedError(`this host may have ${cpus} CPUs; at most ${CPUS_MAX} can be counted`);
  const name = pinName(object, settings, hooks);
  if (!pin) {
    const programs = load(object, hooks, settings, cpus);
    begin(programs, cpus, NO_DEBTS);
    return { ...programs, cpus, adopted: false, pins: null, lock: null };
  }
  const lock = lockPins();
  const adopted = adopt(join(PINS, name), hooks);
  const programs = adopted ?? load(object, hooks, settings, cpus);
  const stale = readdirSync(PINS).filter((one) => adopted === null || one !== name);
  // What lies beside programs that are complete was counted by the sensor that has pinned these.
  const debts = adopted ? NO_DEBTS : debtsOfAll(stale, cpus);
  if (!adopted) {
    begin(programs, cpus, debts);
    pinAll(join(PINS, name), programs);
  }
  for (const one of stale) {
    if (one !== name) removePins(join(PINS, one));
    say(`replaced the pinned programs of other settings or another version (${one})`);
  }
  tellUnread(debts, say);
  const pins = { fd: openSync(join(PINS, name), "r"), mount: BPFFS };
  return { ...programs, cpus, adopted: adopted !== null, pins, lock };
}

/** Nobody has taken anything of these programs yet. */
function begin(programs: Descriptors, cpus: number, debts: Debts): void {
  const time = libbpf.programInfo(programs.hooks[0]?.program ?? -1).loadTime;
  const facts = { ...debts, time, missed: Array.from({ length: KINDS_MAX }, () => 0n) };
  const rows = new Uint8Array(cpus * CPU_COUNTERS.size);
  const messages = openMessages(programs);
  const { known } = openOwnProcesses(messages, null);
  openMemory(programs.memory, cpus, { ...messages, strangers: known }).write({ facts, rows });
}

/** A sensor that was killed while it pinned has left a set that has seen what others have, and has taken over what they owe. */
function debtsOfAll(names: string[], cpus: number): Debts {
  const complete = names.filter((name) => !name.endsWith(INCOMPLETE));
  const owing = complete.length > 0 ? complete : names;
  return owing.map((name) => debtsAt(join(PINS, name), cpus)).reduce(addDebts, NO_DEBTS);
}

function debtsAt(folder: string, cpus: number): Debts {
  const open = (name: string) => (existsSync(join(folder, name)) ? libbpf.openPin(join(folder, name)) : null);
  const programs = HOOKS.flatMap((hook) => {
    const program = open(programPin(hook.program));
    return program === null ? [] : [{ program, kinds: kindsOf(hook) }];
  });
  return debtsOf({ programs, rings: RINGS.map(open), counters: open(COUNTERS), memory: open(MEMORY) }, cpus);
}

/** Removes all pins, and with them every program that no sensor holds. Returns how many sets there were. */
export function unloadPrograms(say: (line: string) => void): number {
  if (!existsSync(PINS)) return 0;
  lockPins();
  const names = readdirSync(PINS);
  try {
    tellUnread(debtsOfAll(names, libbpf.possibleCpus()), say);
  } catch {
    // What cannot be read is removed all the same.
  }
  for (const name of names) removePins(join(PINS, name));
  rmdirSync(PINS);
  return names.length;
}

function tellUnread({ unread }: Debts, say: (line: string) => void): void {
  const count = unread.reduce((sum, one) => sum + one, 0n);
  if (count > 0n) say(`${count} records of theirs were not read, and are lost`);
}

type Descriptors = Omit<Programs, "cpus" | "adopted" | "pins" | "lock">;

function load(path: string, hooks: Hook[], settings: Settings, cpus: number): Descriptors {
  const object = orUnsupported(`${path} is not an object of programs`, () => libbpf.openObject(path));
  for (const { program } of HOOKS) {
    libbpf.setAutoload(
      libbpf.findProgram(object, program),
      hooks.some((hook) => hook.program === program),
    );
  }
  const rings = RINGS.map((name) => libbpf.findMap(object, name));
  const counters = libbpf.findMap(object, COUNTERS);
  const envNames = libbpf.findMap(object, "env_names");
  for (const [i, ring] of rings.entries()) libbpf.setMaxEntries(ring, settings.ringSizes[i] ?? 0);
  libbpf.setMaxEntries(counters, cpus);
  libbpf.setMaxEntries(libbpf.findMap(object, MEMORY), blocksFor(cpus));
  libbpf.setMaxEntries(libbpf.findMap(object, "scratches"), cpus * SCRATCHES_PER_CPU);
  const constants = new DataView(libbpf.initialValue(libbpf.findMap(object, ".rodata.settings")));
  if (constants.byteLength !== KERNEL_SETTINGS.size) {
    throw new UnsupportedError(`${path} is of another version than this program: run ./scripts/build`);
  }
  writeKernelSettings(constants, 0, {
    collectArgs: Number(settings.collectArgs),
    collectCwd: Number(settings.collectCwd),
    collectEnv: Number(settings.envNames.length > 0),
    callKinds: kindBits(hooks),
    watchedPaths: settings.watchPaths.length,
    watchedSuffixes: settings.watchSuffixes.length,
    excludedPaths: settings.excludePaths.length,
    excludedComms: settings.excludeComms.length,
    everyWrite: Number(settings.everyWrite),
    failedNetwork: Number(settings.failedNetwork),
    failedFiles: Number(settings.failedFiles),
    lineageKinds: bitsOf(lineageKinds(settings)),
    reserved: 0,
    writeWindow: BigInt(settings.writeWindowS) * 1_000_000_000n,
  });
  orUnsupported(
    "the kernel refused the programs (WARDER_LIBBPF_LOG=1 shows why; --profile tracepoint may do)",
    () => libbpf.loadObject(object),
  );
  const fill = (map: string, texts: string[], encode: (text: string) => Uint8Array) => {
    for (const text of texts)
      libbpf.setElement(libbpf.mapFd(libbpf.findMap(object, map)), encode(text), PRESENT);
  };
  fill("watched_paths", settings.watchPaths, prefixKey);
  fill("excluded_paths", settings.excludePaths, prefixKey);
  fill("watched_suffixes", settings.watchSuffixes, (suffix) => filterKey(Buffer.from(suffix).toReversed()));
  fill("excluded_comms", settings.excludeComms, (comm) => {
    const key = Buffer.alloc(COMM_SIZE);
    key.write(comm, 0, COMM_SIZE - 1);
    return key;
  });
  for (const name of settings.envNames) {
    const key = Buffer.alloc(ENV_NAME_SIZE_MAX);
    key.write(name);
    libbpf.setElement(libbpf.mapFd(envNames), key, PRESENT);
  }
  for (const map of FROZEN) libbpf.freeze(libbpf.mapFd(libbpf.findMap(object, map)));
  const attach = ({ program, hook }: Hook) =>
    orUnsupported(`cannot attach to ${hook}`, () => libbpf.attach(libbpf.findProgram(object, program)));
  const openProgram = (program: string) => libbpf.programFd(libbpf.findProgram(object, program));
  const openMap = (name: string) => libbpf.mapFd(libbpf.findMap(object, name));
  return describe(hooks, attach, openProgram, openMap);
}

/** The descriptors that a sensor holds, from where its links, programs and maps are had. */
function describe(
  hooks: Hook[],
  openLink: (hook: Hook) => number,
  openProgram: (name: string) => number,
  openMap: (name: string) => number,
): Descriptors {
  const attached = hooks.map((hook) => attachedHook(hook, openLink(hook), openProgram(hook.program)));
  const snapshot = attached[hooks.findIndex(({ serves }) => serves.includes("process_snapshot"))];
  if (!snapshot) throw new Error("the snapshot is always wanted");
  return {
    rings: RINGS.map(openMap),
    ownProcesses: openMap(OWN_PROCESSES),
    memory: openMap(MEMORY),
    messages: openProgram(MESSAGES),
    counters: openMap(COUNTERS),
    losers: openMap(LOSERS),
    hooks: attached,
    snapshot: snapshot.link,
  };
}

function attachedHook(hook: Hook, link: number, program: number): AttachedHook {
  return { name: hook.program, hook: hook.hook, link, program, kinds: kindsOf(hook) };
}

function kindsOf({ serves }: Hook): number[] {
  return ALL_EVENT_KINDS.filter(({ type }) => serves.includes(type)).map(({ kind }) => kind);
}

function orUnsupported<Result>(what: string, step: () => Result): Result {
  try {
    return step();
  } catch (error) {
    throw new UnsupportedError(`${what}: ${(error as Error).message}`);
  }
}

/** The kernel's TASK_COMM_LEN. */
const COMM_SIZE = 16;
const PRESENT = new Uint8Array([1]);

/** A path with the "/" at its end that keeps /etc from being a prefix of /etcetera. */
function prefixKey(path: string): Uint8Array {
  return filterKey(Buffer.from(path.endsWith("/") ? path : `${path}/`));
}

/** The key of a trie: how many bits count, then the bytes. */
function filterKey(bytes: Uint8Array): Uint8Array {
  const key = Buffer.alloc(4 + FILTER_SIZE_MAX);
  key.writeUInt32LE(bytes.length * 8);
  key.set(bytes, 4);
  return key;
}

/** The kinds that are not wanted, but attached for the lineage of others. */
function lineageKinds({ events }: Settings): number[] {
  return ALL_EVENT_KINDS.filter(({ type }) => isForLineage(type) && !events.has(type)).map(
    ({ kind }) => kind,
  );
}

function bitsOf(kinds: number[]): number {
  return kinds.reduce((bits, kind) => bits | (1 << kind), 0) >>> 0;
}

/** One bit for each record kind that the program at the end of calls has to serve. */
function kindBits(hooks: Hook[]): number[] {
  const atEnd = hooks.find(({ program }) => program === CALL_PROGRAM);
  const words = [0, 0, 0, 0];
  for (const kind of atEnd ? kindsOf(atEnd) : []) {
    words[kind >>> 5] = ((words[kind >>> 5] ?? 0) | (1 << (kind & 31))) >>> 0;
  }
  return words;
}

function adopt(folder: string, hooks: Hook[]): Descriptors | null {
  try {
    const open = (name: string) => libbpf.openPin(join(folder, name));
    return describe(
      hooks,
      ({ program }) => open(program),
      (program) => open(programPin(program)),
      open,
    );
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

/** Beside the link's pin, which has the program's name. Without one, opening a link's program would take CAP_SYS_ADMIN. */
function programPin(program: string): string {
  return `${program}_program`;
}

/** Pins under a temporary name first: a set of pins is complete or does not exist. */
function pinAll(folder: string, programs: Descriptors): void {
  const temporary = folder + INCOMPLETE;
  removePins(temporary);
  mkdirSync(temporary, { mode: 0o700 });
  RINGS.forEach((name, i) => libbpf.pin(programs.rings[i] ?? -1, join(temporary, name)));
  libbpf.pin(programs.ownProcesses, join(temporary, OWN_PROCESSES));
  libbpf.pin(programs.counters, join(temporary, COUNTERS));
  libbpf.pin(programs.losers, join(temporary, LOSERS));
  libbpf.pin(programs.memory, join(temporary, MEMORY));
  libbpf.pin(programs.messages, join(temporary, programPin(MESSAGES)));
  for (const { name, link, program } of programs.hooks) {
    libbpf.pin(link, join(temporary, name));
    libbpf.pin(program, join(temporary, programPin(name)));
  }
  removePins(folder);
  renameSync(temporary, folder);
}

/** One sensor at a time: two readers of one ring would each miss what the other took. Held until this process ends. */
function lockPins(): number {
  mkdirSync(PINS, { recursive: true, mode: 0o700 });
  const fd = openSync(PINS, "r");
  if (!tryLock(fd)) throw new BusyError(`another sensor holds ${PINS}: stop it first`);
  return fd;
}

function removePins(folder: string): void {
  try {
    for (const name of readdirSync(folder)) unlinkSync(join(folder, name));
    rmdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function pinName(object: string, settings: Settings, hooks: Hook[]): string {
  const {
    socket: _socket,
    user: _user,
    evaluators: _evaluators,
    events: _events,
    canary: _canary,
    ...kernel
  } = settings;
  return createHash("sha256")
    .update(readFileSync(object))
    .update(JSON.stringify([hooks, kernel, lineageKinds(settings)]))
    .digest("hex")
    .slice(0, 16);
}
