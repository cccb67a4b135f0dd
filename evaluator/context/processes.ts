// The process table: who runs what, and who created whom. Keyed by pid and start time, so that a reused pid is another
// process; bounded, so that no host can fill it. Lineage is stored when it happens: a parent that has gone is still known.
//
// Processes that something happens to are objects. The others, which are most, wait outside of the heap until somebody
// asks for them again.
//
// Records are read where they lie, and what has not changed is not touched: most records are about a process whose name and
// program are known, and for these nothing is made at all.

import {
  EXEC_RECORD,
  EXIT_RECORD,
  FORK_RECORD,
  PROCESS_KEY,
  RECORD_HEADER,
  RecordFlag,
  RecordKind,
  TEXT,
  TEXT_LIST,
} from "../../bpf/event.gen.ts";
import { argsOf, type Lineage, type ProcessNames } from "../event/normalise.ts";
import type { Bytes } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import { Actors, NONE as NOWHERE } from "./actors.ts";
import { ColdStore } from "./cold.ts";
import { COLD_SHAPE, cold, type Image, NONE, Process, warm, weightOf } from "./process.ts";
import { Table } from "./table.ts";

/** Processes that are objects, and bytes that these may hold. */
const HOT_MAX = 4096;
const HOT_SIZE_MAX = 6 * 1024 * 1024;
/** Bytes of memory for each process that waits: most need as much. Some with long arguments must fit into the smallest table. */
const COLD_ENTRY_SIZE = 384;
const COLD_SIZE_MIN = 1024 * 1024;

/** So many texts are shared before that begins anew. */
const SHARED_MAX = 4096;

const HEADER = RECORD_HEADER.at;
const KEY = PROCESS_KEY.at;
const EXEC = EXEC_RECORD.at;
const EXEC_TEXT = EXEC_RECORD.variable;

/** The bounds of the table. `hotMax`: processes that are objects; the others are bytes until something happens to them (4,096). */
export type ProcessLimits = { entriesMax: number; ancestorsMax: number; hotMax?: number };

/** All processes that were seen, as far as the bounds allow. */
export class Processes {
  /** Records whose process has an executable that nobody knows. */
  unattributed = 0;
  readonly actors = new Actors();
  /** The parent of the record that was observed last, if it is known. */
  private parent: Process | undefined;
  /** The names in the record that was observed last, once somebody has asked. */
  private names: ProcessNames | null = null;
  /** Where the thread of that record is among these, once it is known. */
  private actor = NOWHERE;
  private hot: Table<Process>;
  private readonly cold: ColdStore;
  /** Names, executables, working directories: many processes have the same ones. */
  private readonly texts = new Map<Bytes, Bytes>();
  private versions = 0;

  constructor(
    private bootId: string,
    private readonly limits: ProcessLimits,
  ) {
    const coldMax = Math.max(0, limits.entriesMax - (limits.hotMax ?? HOT_MAX));
    this.cold = new ColdStore(coldMax, Math.max(coldMax * COLD_ENTRY_SIZE, COLD_SIZE_MIN), COLD_SHAPE);
    this.hot = this.makeHot();
  }

  get size(): number {
    return this.hot.size + this.cold.size;
  }

  /** Entries that were given up for newer ones. */
  get evicted(): number {
    return this.cold.evicted;
  }

  /** Forgets all processes: from now on they are those of another boot. What was counted stays. */
  restart(bootId: string): void {
    this.bootId = bootId;
    this.parent = undefined;
    this.names = null;
    this.hot = this.makeHot();
    this.cold.clear();
    this.actors.clear();
  }

  private makeHot(): Table<Process> {
    const evicted = (process: Process) => this.cold.put(process, cold(process));
    const { entriesMax, hotMax = HOT_MAX } = this.limits;
    return new Table(Math.min(entriesMax, hotMax), HOT_SIZE_MAX, evicted);
  }

  /** Takes in a record of a snapshot. Its lineage is asked for later: a snapshot may name a child before its parent. */
  remember(record: RecordView): void {
    this.update(record);
  }

  /** Takes in what a record says, and tells what is known of its process now. */
  observe(record: RecordView): Process {
    this.names = null;
    const isOwn = record.u16(HEADER.kind) < RecordKind.fileOpen;
    const recalled = isOwn ? null : this.recall(record);
    if (recalled) {
      if (!this.actors.isAttributed(this.actor)) this.countUnattributed(record);
      return recalled;
    }
    const process = this.update(record);
    this.parent = this.find(record, HEADER.parent);
    if (process.ancestors === null) this.ancestorsOf(process);
    this.actor = isOwn ? NOWHERE : this.addActor(record, process);
    if (!isAttributed(record, process)) this.countUnattributed(record);
    return process;
  }

  private addActor(record: RecordView, process: Process): number {
    // To look for the parent may have cost the process its place in the table.
    if (process.slot === NOWHERE) return NOWHERE;
    return this.actors.add(record, process, this.parent, isAttributed(record, process));
  }

  private countUnattributed(record: RecordView): void {
    const isKernelThread = (record.u32(HEADER.flags) & RecordFlag.kernelThread) !== 0;
    if (!isKernelThread && !hasOwnExe(record)) this.unattributed += 1;
  }

  /** The process of a record, if all that was found out about its thread is still right. */
  private recall(record: RecordView): Process | null {
    const { actors, hot } = this;
    const place = actors.placeOf(record);
    if (place === NOWHERE) return null;
    const process = hot.at(actors.slotOf(place));
    if (process?.version !== actors.versionOf(place)) return null;
    const parentSlot = actors.parentSlotOf(place);
    const parent = parentSlot === NOWHERE ? this.find(record, HEADER.parent) : hot.at(parentSlot);
    if ((parent?.version ?? 0) !== actors.parentVersionOf(place)) return null;
    process.used = true;
    if (parent) parent.used = true;
    this.parent = parent ?? undefined;
    this.actor = place;
    return process;
  }

  /** What the process of the record that was observed last is called, and its parent. */
  namesOf(record: RecordView, process: Process): ProcessNames {
    this.names ??= this.readNames(record, process);
    return this.names;
  }

  private readNames(record: RecordView, process: Process): ProcessNames {
    const usual = this.usualNames(record, process);
    switch (record.u16(HEADER.kind)) {
      case RecordKind.exec:
        return {
          exePath: usual.exePath,
          parentComm: orNull(record.charsLike(EXEC.parentComm, usual.parentComm)),
          parentExePath: known(record, EXEC.parentExePath, EXEC_TEXT.parentExePath, usual.parentExePath),
        };
      case RecordKind.fork:
        return {
          exePath: ownExe(record, usual.exePath) ?? usual.exePath,
          parentComm: orNull(record.charsLike(FORK_RECORD.at.parentComm, usual.parentComm)),
          parentExePath: usual.parentExePath,
        };
      case RecordKind.exit:
        usual.exePath = ownExe(record, usual.exePath) ?? usual.exePath;
        return usual;
      default:
        return usual;
    }
  }

  /** The names that the table has. */
  private usualNames(record: RecordView, process: Process): ProcessNames {
    const { parent } = this;
    return {
      exePath: imageFor(record, process)?.exePath ?? null,
      parentComm: parent?.comm ?? null,
      parentExePath: parent?.image?.exePath ?? null,
    };
  }

  /** All that is known of the process of the record that was observed last. */
  lineageOf(record: RecordView, process: Process): Lineage {
    const { exePath, parentComm, parentExePath } = this.namesOf(record, process);
    return {
      exePath,
      parentComm,
      parentExePath,
      processId: this.identify(process),
      parentProcessId: this.parentIdOf(record),
      ancestors: this.ancestorsOf(process),
      containerId: imageFor(record, process)?.containerId,
    };
  }

  /**
   * The place among the actors of the thread that the record is of that was observed last; NOWHERE when it has none, or when the
   * record has other names than the table.
   */
  actorOf(record: RecordView, process: Process): number {
    if (record.u16(HEADER.kind) >= RecordKind.fileOpen) return this.actor;
    if (!this.agrees(record, process)) return NOWHERE;
    return this.recall(record) === process ? this.actor : this.addActor(record, process);
  }

  /** Are the names that a record of a process brings with it those that the table has? */
  private agrees(record: RecordView, process: Process): boolean {
    const names = this.namesOf(record, process);
    const usual = this.usualNames(record, process);
    return (
      names.exePath === usual.exePath &&
      names.parentComm === usual.parentComm &&
      names.parentExePath === usual.parentExePath
    );
  }

  /** Arguments and working directory of a process, for alerts about events that do not carry them. */
  imageOf(process: Process): { args: Bytes[]; cwd: Bytes | null } | null {
    const { image } = process;
    return image && { args: argsOf({ head: image.argsHead, tail: image.argsTail }), cwd: image.cwd };
  }

  private parentIdOf(record: RecordView): string | null {
    const key = keyAt(record, HEADER.parent);
    if (key.tgid === 0) return null;
    return this.parent ? this.identify(this.parent) : this.identityOf(key);
  }

  private find(record: RecordView, at: number): Process | undefined {
    return this.get(
      record.u32(at + KEY.tgid),
      record.u32(at + KEY.startTime),
      record.u32(at + KEY.startTime + 4),
    );
  }

  private get(tgid: number, startLow: number, startHigh: number): Process | undefined {
    const process = this.hot.get(tgid, startLow, startHigh);
    if (process || this.cold.size === 0) return process;
    const key = { tgid, startLow, startHigh };
    const entry = this.cold.take(key);
    if (entry === null) return undefined;
    const waited = warm(key, entry);
    this.touch(waited);
    this.hot.add(waited);
    return waited;
  }

  /** Holds a process that is new, or had to make room for those that were asked for in the meantime. */
  private hold(process: Process, isNew: boolean): void {
    if (process.slot !== NOWHERE) return;
    if (!isNew) this.cold.take(process);
    this.hot.add(process);
  }

  private update(record: RecordView): Process {
    const before = this.find(record, HEADER.process);
    const process = before ?? this.newProcess(record);
    if ((!before || record.u32(HEADER.tid) === process.tgid) && !process.hasCommOf(record)) {
      process.rename(record, this.shared(record.chars(HEADER.comm)));
      this.touch(process);
    }
    const kind = record.u16(HEADER.kind);
    if (kind < RecordKind.fileOpen) this.live(record, kind, process);
    this.hold(process, !before);
    if (kind < RecordKind.fileOpen) this.hot.reweigh(process, weightOf(process));
    return process;
  }

  private newProcess(record: RecordView): Process {
    const { tgid, startLow, startHigh } = keyAt(record, HEADER.process);
    const parent = keyAt(record, HEADER.parent);
    const process = new Process(tgid, startLow, startHigh, parent.tgid, parent.startLow, parent.startHigh);
    this.touch(process);
    return process;
  }

  /** Takes in what has happened to the process itself. */
  private live(record: RecordView, kind: number, process: Process): void {
    switch (kind) {
      case RecordKind.fork:
        this.fork(record, process);
        break;
      case RecordKind.exit:
        // Kept for its children's sake; its arguments serve nobody any more. Image objects are shared, hence the copy.
        this.ancestorsOf(process);
        process.image = process.image && withoutArgs(process.image);
        break;
      default:
        // A snapshot without arguments says nothing new of a program that is known.
        if (isBare(record) && process.hasImageOf(record)) break;
        process.image = this.readImage(record);
        this.touch(process);
    }
  }

  private readImage(record: RecordView): Image {
    const args = record.text(EXEC_TEXT.args);
    const headSize = record.u32(EXEC.args + TEXT_LIST.at.size);
    const isCut = headSize < args.length;
    return {
      execId: record.u32(HEADER.execId),
      exePath: this.sharedOrNull(known(record, EXEC.exePath, EXEC_TEXT.exePath)),
      argsHead: isCut ? (args.slice(0, headSize) as Bytes) : args,
      argsTail: isCut ? (args.slice(headSize) as Bytes) : NONE,
      cwd: this.sharedOrNull(known(record, EXEC.cwd, EXEC_TEXT.cwd)),
      containerId: containerOf(record),
    };
  }

  /** The string that others have who have the same. */
  private shared(text: Bytes): Bytes {
    const before = this.texts.get(text);
    if (before !== undefined) return before;
    if (this.texts.size === SHARED_MAX) this.texts.clear();
    this.texts.set(text, text);
    return text;
  }

  private sharedOrNull(text: Bytes | null): Bytes | null {
    return text === null ? null : this.shared(text);
  }

  private fork(record: RecordView, process: Process): void {
    const { creator, creatorComm } = FORK_RECORD.at;
    const creatorProcess = this.find(record, creator);
    const { tgid, startLow, startHigh } = keyAt(record, creator);
    process.creatorTgid = tgid;
    process.creatorLow = startLow;
    process.creatorHigh = startHigh;
    const name = this.shared(nameOf(record.chars(creatorComm), tgid));
    process.ancestors = creatorProcess ? this.childAncestors(creatorProcess, name) : this.bounded([name]);
    // A child runs its creator's program until it executes its own.
    const image = creatorProcess && imageFor(record, creatorProcess);
    if (image) process.image = image;
    this.touch(process);
  }

  /** The ancestors of a child whose creator had this name then: brothers and sisters have the same list. */
  private childAncestors(creator: Process, name: Bytes): Bytes[] {
    const above = this.ancestorsOf(creator);
    const before = creator.children;
    if (before?.above === above && before.ancestors[0] === name) return before.ancestors;
    const ancestors = this.bounded([name, ...above]);
    creator.children = { above, ancestors };
    return ancestors;
  }

  private bounded(ancestors: Bytes[]): Bytes[] {
    return ancestors.slice(0, this.limits.ancestorsMax);
  }

  private touch(process: Process): void {
    this.versions += 1;
    process.version = this.versions;
  }

  /** The ancestors of a process, nearest first: its creator at that moment, the creator's creator, and so on. */
  private ancestorsOf(process: Process): Bytes[] {
    if (process.ancestors) return process.ancestors;
    const ancestors: Bytes[] = [];
    // Bounded, so that neither a deep chain nor a circle, which only a forged stream can contain, matters.
    for (let at: Process | undefined = process; ancestors.length < this.limits.ancestorsMax; ) {
      at = this.get(at.creatorTgid, at.creatorLow, at.creatorHigh);
      if (!at) break;
      ancestors.push(this.shared(nameOf(at.comm, at.tgid)));
      if (at.ancestors) {
        ancestors.push(...at.ancestors);
        break;
      }
    }
    process.ancestors = this.bounded(ancestors);
    this.touch(process);
    return process.ancestors;
  }

  private identify(process: Process): string {
    process.processId ??= this.identityOf(process);
    return process.processId;
  }

  /** An identity that survives the reuse of pids and is the same for every reader: from boot, pid and start time. */
  private identityOf({
    tgid,
    startLow,
    startHigh,
  }: Pick<Process, "tgid" | "startLow" | "startHigh">): string {
    // Exact in a double for the first hundred days of a boot; a bigint costs 300 ns more.
    const startTime =
      startHigh < EXACT_HIGH ? startHigh * U32 + startLow : (BigInt(startHigh) << 32n) | BigInt(startLow);
    Bun.SHA256.hash(`${this.bootId}/${tgid}/${startTime}`, DIGEST);
    return DIGEST.toString("hex", 0, IDENTITY_SIZE);
  }
}

/** A SHA-256, of which the first bytes are enough. */
const DIGEST = Buffer.alloc(32);
const IDENTITY_SIZE = 16;
const U32 = 2 ** 32;
/** Numbers of 64 bits whose upper half is below this are exact in a double. */
const EXACT_HIGH = 2 ** 21;

function keyAt(record: RecordView, at: number): { tgid: number; startLow: number; startHigh: number } {
  return {
    tgid: record.u32(at + KEY.tgid),
    startLow: record.u32(at + KEY.startTime),
    startHigh: record.u32(at + KEY.startTime + 4),
  };
}

/** The program that a process runs, if it is still the one that the record is about. */
function imageFor(record: RecordView, process: Process): Image | null {
  return process.hasImageOf(record) ? process.image : null;
}

/** Is it known what the process runs? */
function isAttributed(record: RecordView, process: Process): boolean {
  const image = imageFor(record, process);
  return image !== null && image.exePath !== null;
}

/** The executable that the record of a fork or exit itself names: maybe the one that is expected. */
function ownExe(record: RecordView, expected: Bytes | null): Bytes | null {
  return record.u16(HEADER.kind) === RecordKind.fork
    ? known(record, FORK_RECORD.at.exePath, FORK_RECORD.variable.exePath, expected)
    : known(record, EXIT_RECORD.at.exePath, EXIT_RECORD.variable.exePath, expected);
}

function hasOwnExe(record: RecordView): boolean {
  const kind = record.u16(HEADER.kind);
  return (kind === RecordKind.fork || kind === RecordKind.exit) && ownExe(record, null) !== null;
}

/** A text, maybe the one that is expected; null when the kernel had none. */
function known(record: RecordView, at: number, text: number, expected: Bytes | null = null): Bytes | null {
  return record.u32(at + TEXT.at.fullSize) > 0 ? record.textLike(text, expected) : null;
}

/** Is it a snapshot whose arguments could not be read? */
function isBare(record: RecordView): boolean {
  const isSnapshot = record.u16(HEADER.kind) === RecordKind.snapshot;
  return isSnapshot && (record.u32(HEADER.flags) & RecordFlag.argsUnreadable) !== 0;
}

function withoutArgs({ execId, exePath, containerId }: Image): Image {
  return { execId, exePath, argsHead: NONE, argsTail: NONE, cwd: null, containerId };
}

function nameOf(comm: Bytes, pid: number): Bytes {
  return `${comm}(${pid})` as Bytes;
}

function orNull(comm: Bytes): Bytes | null {
  return comm === "" ? null : comm;
}

const CONTAINER_ID_LENGTH = 64;

/** The container that a cgroup's path names: a component of 64 hex digits, bare or as in `docker-<id>.scope`. */
function containerOf(record: RecordView): string | undefined {
  if (record.textSize(EXEC_TEXT.cgroup) < CONTAINER_ID_LENGTH) return undefined;
  for (const part of record.text(EXEC_TEXT.cgroup).split("/").toReversed()) {
    const name = part.endsWith(".scope") ? part.slice(part.lastIndexOf("-") + 1, -".scope".length) : part;
    if (name.length === CONTAINER_ID_LENGTH && /^[0-9a-f]+$/.test(name)) return name;
  }
  return undefined;
}
