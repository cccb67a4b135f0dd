// The process table: who runs what, and who created whom. Keyed by pid and start time, so that a reused pid is another
// process; bounded, so that no host can fill it. Lineage is stored when it happens: a parent that has gone is still known.
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
import { type Image, Lack, NONE, Process, weightOf } from "./process.ts";
import { ProcessStore } from "./store.ts";

/** So many texts are shared before that begins anew. */
const SHARED_MAX = 4096;

const HEADER = RECORD_HEADER.at;
const KEY = PROCESS_KEY.at;
const EXEC = EXEC_RECORD.at;
const EXEC_TEXT = EXEC_RECORD.variable;

/** The bounds of the table. `hotMax`: processes that are objects; the others are bytes until something happens to them (4,096). */
export type ProcessLimits = { entriesMax: number; ancestorsMax: number; hotMax?: number };

/** With which arguments a program was executed, and where; null where it is not known. `cut`: the keys of which something is missing. */
export type Circumstances = { args: Bytes[] | null; cwd: Bytes | null; cut: string[] };

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
  private readonly store: ProcessStore;
  /** When the last process began that a snapshot had, ns of boot clock, as near as a double comes to it. */
  private listedUntil = -1;
  /** Names, executables, working directories: many processes have the same ones. */
  private readonly texts = new Map<Bytes, Bytes>();

  constructor(
    private bootId: string,
    private readonly limits: ProcessLimits,
  ) {
    this.store = new ProcessStore(limits.entriesMax, limits.hotMax);
  }

  get size(): number {
    return this.store.size;
  }

  /** Entries that were given up for newer ones. */
  get evicted(): number {
    return this.store.evicted;
  }

  /** Forgets all processes: from now on they are those of another boot. What was counted stays. */
  restart(bootId: string): void {
    this.bootId = bootId;
    this.parent = undefined;
    this.names = null;
    this.listedUntil = -1;
    this.store.clear();
    this.actors.clear();
  }

  /** Takes in a record of a snapshot. Its lineage is asked for later: a snapshot may name a child before its parent. */
  remember(record: RecordView): void {
    this.listedUntil = Math.max(this.listedUntil, startOf(this.update(record)));
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
    // The parent is looked for last: it must not have to make room for one of the ancestors.
    if (!process.hasAncestors) this.ancestorsOf(process);
    this.parent = this.find(record, HEADER.parent);
    this.actor = isOwn ? NOWHERE : this.addActor(record, process);
    if (!process.hasExeOf(record)) this.countUnattributed(record);
    return process;
  }

  private addActor(record: RecordView, process: Process): number {
    return this.actors.add(record, process, this.parent, process.hasExeOf(record));
  }

  private countUnattributed(record: RecordView): void {
    const isKernelThread = (record.u32(HEADER.flags) & RecordFlag.kernelThread) !== 0;
    if (!isKernelThread && !hasOwnExe(record)) this.unattributed += 1;
  }

  /** The process of a record, if all that was found out about its thread is still right. */
  private recall(record: RecordView): Process | null {
    const { actors, store } = this;
    const place = actors.placeOf(record);
    if (place === NOWHERE) return null;
    const process = store.at(actors.slotOf(place));
    if (process?.version !== actors.versionOf(place)) return null;
    const parentSlot = actors.parentSlotOf(place);
    const parent = parentSlot === NOWHERE ? this.find(record, HEADER.parent) : store.at(parentSlot);
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
          parentExePath: textOf(record, EXEC.parentExePath, EXEC_TEXT.parentExePath, usual.parentExePath),
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
    const parent = this.parent && this.store.knownOf(this.parent);
    return {
      exePath: this.imageFor(record, process)?.exePath ?? null,
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
      containerId: this.imageFor(record, process)?.containerId,
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

  /**
   * Of the process of a record that does not carry them, for alerts. Of more than `argsSize` bytes of arguments, the middle is left
   * out.
   */
  imageOf(record: RecordView, process: Process, argsSize: number): Circumstances {
    const image = this.imageFor(record, process);
    if (!image) return { args: null, cwd: null, cut: [] };
    const { argsHead, argsTail, cwd, lacks } = image;
    const isLong = argsHead.length + argsTail.length > argsSize;
    const cut: string[] = [];
    if (isLong || (lacks & Lack.argsCut) !== 0) cut.push("args");
    if ((lacks & Lack.cwdCut) !== 0) cut.push("cwd");
    if ((lacks & Lack.exeCut) !== 0) cut.push("exe_path");
    if ((lacks & Lack.argsUnknown) !== 0) return { args: null, cwd, cut };
    const head = isLong ? (argsHead.slice(0, argsSize / 2) as Bytes) : argsHead;
    const tail = isLong ? ((argsTail || argsHead).slice(-argsSize / 2) as Bytes) : argsTail;
    return { args: argsOf({ head, tail }), cwd, cut };
  }

  /** The program that a process runs, if it is still the one that the record is about. */
  private imageFor(record: RecordView, process: Process): Image | null {
    return process.hasImageOf(record) ? this.store.knownOf(process).image : null;
  }

  private parentIdOf(record: RecordView): string | null {
    const key = keyAt(record, HEADER.parent);
    if (key.tgid === 0) return null;
    return this.parent ? this.identify(this.parent) : this.identityOf(key);
  }

  private find(record: RecordView, at: number): Process | undefined {
    return this.store.get(
      record.u32(at + KEY.tgid),
      record.u32(at + KEY.startTime),
      record.u32(at + KEY.startTime + 4),
    );
  }

  private update(record: RecordView): Process {
    const before = this.find(record, HEADER.process);
    const process = before ?? this.newProcess(record);
    this.store.keep(before ?? null);
    if ((!before || record.u32(HEADER.tid) === process.tgid) && !process.hasCommOf(record)) {
      process.rename(record, this.store.ownOf(process), this.shared(record.chars(HEADER.comm)));
      this.store.touch(process);
    }
    const kind = record.u16(HEADER.kind);
    if (kind < RecordKind.fileOpen) this.live(record, kind, process);
    if (!before) this.store.add(process);
    this.store.keep(process);
    if (kind < RecordKind.fileOpen) this.store.reweigh(process, weightOf(this.store.knownOf(process)));
    return process;
  }

  private newProcess(record: RecordView): Process {
    const { tgid, startLow, startHigh } = keyAt(record, HEADER.process);
    const parent = keyAt(record, HEADER.parent);
    const process = new Process(tgid, startLow, startHigh, parent.tgid, parent.startLow, parent.startHigh);
    process.known = { comm: NONE, ancestors: null, image: null };
    this.store.touch(process);
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
        this.end(process);
        break;
      default:
        // A snapshot without arguments says nothing new of a program that is known.
        if (isBare(record) && process.hasImageOf(record)) break;
        process.run(this.store.ownOf(process), this.readImage(record));
        this.store.touch(process);
    }
  }

  private end(process: Process): void {
    const known = this.store.ownOf(process);
    if (known.image) process.run(known, withoutArgs(known.image));
    // Of those that ran when a snapshot came, some may be the creators of others whose lineage nobody has asked for yet.
    process.isSpare = startOf(process) > this.listedUntil;
  }

  private readImage(record: RecordView): Image {
    const args = record.text(EXEC_TEXT.args);
    const headSize = record.u32(EXEC.args + TEXT_LIST.at.size);
    const isInTwo = headSize < args.length;
    const isUnread = (record.u32(HEADER.flags) & RecordFlag.argsUnreadable) !== 0;
    const areSome = isUnread || args.length < record.u32(EXEC.args + TEXT_LIST.at.fullSize);
    const lackOfArgs = areSome ? (args.length === 0 ? Lack.argsUnknown : Lack.argsCut) : 0;
    const isCut = (text: number, at: number) => record.textSize(text) < record.u32(at + TEXT.at.fullSize);
    return {
      execId: record.u32(HEADER.execId),
      exePath: this.sharedOrNull(textOf(record, EXEC.exePath, EXEC_TEXT.exePath)),
      argsHead: isInTwo ? (args.slice(0, headSize) as Bytes) : args,
      argsTail: isInTwo ? (args.slice(headSize) as Bytes) : NONE,
      cwd: this.sharedOrNull(textOf(record, EXEC.cwd, EXEC_TEXT.cwd)),
      lacks:
        lackOfArgs |
        (isCut(EXEC_TEXT.cwd, EXEC.cwd) ? Lack.cwdCut : 0) |
        (isCut(EXEC_TEXT.exePath, EXEC.exePath) ? Lack.exeCut : 0),
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
    const known = this.store.ownOf(process);
    process.isSpare = false;
    // A child runs its creator's program until it executes its own.
    const image = creatorProcess && this.imageFor(record, creatorProcess);
    if (image) process.run(known, image);
    const name = this.shared(nameOf(record.chars(creatorComm), tgid));
    process.descend(known, creatorProcess ? this.childAncestors(creatorProcess, name) : this.bounded([name]));
    this.store.touch(process);
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

  /** The ancestors of a process, nearest first: its creator at that moment, the creator's creator, and so on. */
  private ancestorsOf(process: Process): Bytes[] {
    return this.store.knownOf(process).ancestors ?? this.findAncestors(process);
  }

  private findAncestors(process: Process): Bytes[] {
    const ancestors: Bytes[] = [];
    // Bounded, so that neither a deep chain nor a circle, which only a forged stream can contain, matters.
    for (let at: Process | undefined = process; ancestors.length < this.limits.ancestorsMax; ) {
      at = this.store.get(at.creatorTgid, at.creatorLow, at.creatorHigh);
      if (!at) break;
      const { comm, ancestors: above } = this.store.knownOf(at);
      ancestors.push(this.shared(nameOf(comm, at.tgid)));
      if (above) {
        ancestors.push(...above);
        break;
      }
    }
    const bounded = this.bounded(ancestors);
    process.descend(this.store.ownOf(process), bounded);
    this.store.touch(process);
    return bounded;
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

function startOf({ startLow, startHigh }: Pick<Process, "startLow" | "startHigh">): number {
  return startHigh * U32 + startLow;
}

function keyAt(record: RecordView, at: number): { tgid: number; startLow: number; startHigh: number } {
  return {
    tgid: record.u32(at + KEY.tgid),
    startLow: record.u32(at + KEY.startTime),
    startHigh: record.u32(at + KEY.startTime + 4),
  };
}

/** The executable that the record of a fork or exit itself names: maybe the one that is expected. */
function ownExe(record: RecordView, expected: Bytes | null): Bytes | null {
  return record.u16(HEADER.kind) === RecordKind.fork
    ? textOf(record, FORK_RECORD.at.exePath, FORK_RECORD.variable.exePath, expected)
    : textOf(record, EXIT_RECORD.at.exePath, EXIT_RECORD.variable.exePath, expected);
}

function hasOwnExe(record: RecordView): boolean {
  const kind = record.u16(HEADER.kind);
  return (kind === RecordKind.fork || kind === RecordKind.exit) && ownExe(record, null) !== null;
}

/** A text, maybe the one that is expected; null when the kernel had none. */
function textOf(record: RecordView, at: number, text: number, expected: Bytes | null = null): Bytes | null {
  return record.u32(at + TEXT.at.fullSize) > 0 ? record.textLike(text, expected) : null;
}

/** Is it a snapshot whose arguments could not be read? */
function isBare(record: RecordView): boolean {
  const isSnapshot = record.u16(HEADER.kind) === RecordKind.snapshot;
  return isSnapshot && (record.u32(HEADER.flags) & RecordFlag.argsUnreadable) !== 0;
}

function withoutArgs({ execId, exePath, containerId }: Image): Image {
  return { execId, exePath, argsHead: NONE, argsTail: NONE, cwd: null, lacks: Lack.argsUnknown, containerId };
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
