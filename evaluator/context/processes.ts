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
import { type Entry, Table } from "./table.ts";

/** Bytes that the table may hold in paths and arguments. */
const TABLE_SIZE_MAX = 64 * 1024 * 1024;
/** What an entry costs beside its texts. */
const ENTRY_SIZE = 256;

const HEADER = RECORD_HEADER.at;
const KEY = PROCESS_KEY.at;
const EXEC = EXEC_RECORD.at;
const EXEC_TEXT = EXEC_RECORD.variable;

/** A program that a process runs: `execId` tells it from the ones before and after. */
type Image = {
  execId: number;
  exePath: Bytes | null;
  /** The argument list as the record had it. */
  args: { head: Bytes; tail: Bytes };
  cwd: Bytes | null;
  containerId: string | undefined;
};

const NO_ARGS: Image["args"] = { head: "" as Bytes, tail: "" as Bytes };

/** What somebody has made of a lineage, and all that it depends on. */
type Rendering = {
  text: Bytes;
  version: number;
  isOfImage: boolean;
  /** The parent's version, or 0 and its key if it is not known. */
  parentVersion: number;
  parentTgid: number;
  parentLow: number;
  parentHigh: number;
};

/** What is known of a process. */
export class Process implements Entry {
  weight = ENTRY_SIZE;
  used = false;
  image: Image | null = null;
  /** Null until it is asked for. */
  ancestors: Bytes[] | null = null;
  /** Another number whenever comm, image or ancestors change; no two processes ever have the same. */
  version = 0;
  /** Null until it is asked for. */
  processId: string | null = null;
  /** The lineage of the last record about a file or the network, as it is written. */
  rendering: Rendering | null = null;
  comm = "" as Bytes;
  /** The bytes of `comm`, and what was behind them, in the record that told it. */
  private word0 = 0;
  private word1 = 0;
  private word2 = 0;
  private word3 = 0;

  constructor(
    readonly tgid: number,
    readonly startLow: number,
    readonly startHigh: number,
    public creatorTgid: number,
    public creatorLow: number,
    public creatorHigh: number,
  ) {}

  /** Takes in the name that a record has for this process. Returns whether it is another. */
  rename(record: RecordView): boolean {
    const at = HEADER.comm;
    const word0 = record.u32(at);
    const word1 = record.u32(at + 4);
    const word2 = record.u32(at + 8);
    const word3 = record.u32(at + 12);
    if (word0 === this.word0 && word1 === this.word1 && word2 === this.word2 && word3 === this.word3)
      return false;
    this.word0 = word0;
    this.word1 = word1;
    this.word2 = word2;
    this.word3 = word3;
    this.comm = record.chars(at);
    return true;
  }
}

/** The bounds of the table. */
export type ProcessLimits = { entriesMax: number; ancestorsMax: number };

/** All processes that were seen, as far as the bounds allow. */
export class Processes {
  /** Records whose process has an executable that nobody knows. */
  unattributed = 0;
  /** The parent of the record that was observed last, if it is known. */
  private parent: Process | undefined;
  private readonly table: Table<Process>;
  private versions = 0;

  constructor(
    private readonly bootId: string,
    private readonly limits: ProcessLimits,
  ) {
    this.table = new Table(limits.entriesMax, TABLE_SIZE_MAX);
  }

  get size(): number {
    return this.table.size;
  }

  /** Entries that were given up for newer ones. */
  get evicted(): number {
    return this.table.evicted;
  }

  /** Takes in a record of a snapshot. Its lineage is asked for later: a snapshot may name a child before its parent. */
  remember(record: RecordView): void {
    this.update(record);
  }

  /** Takes in what a record says, and tells what is known of its process now. */
  observe(record: RecordView): Process {
    const process = this.update(record);
    this.parent = this.find(record, HEADER.parent);
    if (process.ancestors === null) this.ancestorsOf(process);
    if (process.image?.execId !== record.u32(HEADER.execId) || process.image.exePath === null) {
      const isKernelThread = (record.u32(HEADER.flags) & RecordFlag.kernelThread) !== 0;
      if (!isKernelThread && ownExe(record) === null) this.unattributed += 1;
    }
    return process;
  }

  /** What the process of the record that was observed last is called, and its parent. */
  namesOf(record: RecordView, process: Process): ProcessNames {
    const { parent } = this;
    const kind = record.u16(HEADER.kind);
    const isExec = kind === RecordKind.exec;
    return {
      exePath: ownExe(record) ?? imageFor(record, process)?.exePath ?? null,
      parentComm: isExec
        ? orNull(record.chars(EXEC.parentComm))
        : kind === RecordKind.fork
          ? orNull(record.chars(FORK_RECORD.at.parentComm))
          : (parent?.comm ?? null),
      parentExePath: isExec
        ? known(record, EXEC.parentExePath, EXEC_TEXT.parentExePath)
        : (parent?.image?.exePath ?? null),
    };
  }

  /** All that is known of the process of the record that was observed last. */
  lineageOf(record: RecordView, process: Process): Lineage {
    return {
      ...this.namesOf(record, process),
      processId: this.identify(process),
      parentProcessId: this.parentIdOf(record),
      ancestors: this.ancestorsOf(process),
      containerId: imageFor(record, process)?.containerId,
    };
  }

  /** What `keepRendering` was given for the process of the record that was observed last, if it still holds. */
  renderingOf(record: RecordView, process: Process): Bytes | null {
    const { rendering } = process;
    const { parent } = this;
    if (
      rendering === null ||
      rendering.version !== process.version ||
      rendering.parentVersion !== (parent?.version ?? 0) ||
      rendering.isOfImage !== (imageFor(record, process) !== null)
    )
      return null;
    if (parent) return rendering.text;
    const { tgid, startLow, startHigh } = keyAt(record, HEADER.parent);
    return rendering.parentTgid === tgid &&
      rendering.parentLow === startLow &&
      rendering.parentHigh === startHigh
      ? rendering.text
      : null;
  }

  /** Keeps what was made of the lineage of the record that was observed last, one about a file or the network. */
  keepRendering(record: RecordView, process: Process, text: Bytes): void {
    const { tgid, startLow, startHigh } = keyAt(record, HEADER.parent);
    process.rendering = {
      text,
      version: process.version,
      isOfImage: imageFor(record, process) !== null,
      parentVersion: this.parent?.version ?? 0,
      parentTgid: tgid,
      parentLow: startLow,
      parentHigh: startHigh,
    };
    this.table.reweigh(process, weightOf(process));
  }

  /** Arguments and working directory of a process, for alerts about events that do not carry them. */
  imageOf(process: Process): { args: Bytes[]; cwd: Bytes | null } | null {
    const { image } = process;
    return image && { args: argsOf(image.args), cwd: image.cwd };
  }

  private parentIdOf(record: RecordView): string | null {
    const key = keyAt(record, HEADER.parent);
    if (key.tgid === 0) return null;
    return this.parent ? this.identify(this.parent) : this.identityOf(key);
  }

  private find(record: RecordView, at: number): Process | undefined {
    return this.table.get(
      record.u32(at + KEY.tgid),
      record.u32(at + KEY.startTime),
      record.u32(at + KEY.startTime + 4),
    );
  }

  private update(record: RecordView): Process {
    const kind = record.u16(HEADER.kind);
    const before = this.find(record, HEADER.process);
    const process = before ?? newProcess(record);
    if (record.u32(HEADER.tid) === process.tgid || !before) {
      if (process.rename(record)) this.touch(process);
    }
    switch (kind) {
      case RecordKind.fork:
        this.fork(record, process);
        break;
      case RecordKind.exec:
      case RecordKind.snapshot:
        process.image = readImage(record);
        this.touch(process);
        break;
      case RecordKind.exit:
        // Kept for its children's sake; its arguments serve nobody any more. Image objects are shared, hence the copy.
        this.ancestorsOf(process);
        process.image = process.image && { ...process.image, args: NO_ARGS, cwd: null };
        break;
      default:
        if (!before) this.table.add(process);
        return process;
    }
    if (!before) this.table.add(process);
    this.table.reweigh(process, weightOf(process));
    return process;
  }

  private fork(record: RecordView, process: Process): void {
    const { creator, creatorComm } = FORK_RECORD.at;
    const creatorProcess = this.find(record, creator);
    const { tgid, startLow, startHigh } = keyAt(record, creator);
    process.creatorTgid = tgid;
    process.creatorLow = startLow;
    process.creatorHigh = startHigh;
    process.ancestors = [nameOf(record.chars(creatorComm), tgid)]
      .concat(creatorProcess ? this.ancestorsOf(creatorProcess) : [])
      .slice(0, this.limits.ancestorsMax);
    // A child runs its creator's program until it executes its own.
    const image = creatorProcess && imageFor(record, creatorProcess);
    if (image) process.image = image;
    this.touch(process);
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
      at = this.table.get(at.creatorTgid, at.creatorLow, at.creatorHigh);
      if (!at) break;
      ancestors.push(nameOf(at.comm, at.tgid));
      if (at.ancestors) {
        ancestors.push(...at.ancestors);
        break;
      }
    }
    process.ancestors = ancestors.slice(0, this.limits.ancestorsMax);
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
    const startTime = (BigInt(startHigh) << 32n) | BigInt(startLow);
    return Bun.SHA256.hash(`${this.bootId}/${tgid}/${startTime}`, "hex").slice(0, 32);
  }
}

function newProcess(record: RecordView): Process {
  const { tgid, startLow, startHigh } = keyAt(record, HEADER.process);
  const parent = keyAt(record, HEADER.parent);
  return new Process(tgid, startLow, startHigh, parent.tgid, parent.startLow, parent.startHigh);
}

function keyAt(record: RecordView, at: number): { tgid: number; startLow: number; startHigh: number } {
  return {
    tgid: record.u32(at + KEY.tgid),
    startLow: record.u32(at + KEY.startTime),
    startHigh: record.u32(at + KEY.startTime + 4),
  };
}

/** The program that a process runs, if it is still the one that the record is about. */
function imageFor(record: RecordView, { image }: Process): Image | null {
  return image?.execId === record.u32(HEADER.execId) ? image : null;
}

/** The executable that the record itself names. */
function ownExe(record: RecordView): Bytes | null {
  switch (record.u16(HEADER.kind)) {
    case RecordKind.exec:
    case RecordKind.snapshot:
      return known(record, EXEC.exePath, EXEC_TEXT.exePath);
    case RecordKind.fork:
      return known(record, FORK_RECORD.at.exePath, FORK_RECORD.variable.exePath);
    case RecordKind.exit:
      return known(record, EXIT_RECORD.at.exePath, EXIT_RECORD.variable.exePath);
    default:
      return null;
  }
}

/** A text; null when the kernel had none. */
function known(record: RecordView, at: number, text: number): Bytes | null {
  return record.u32(at + TEXT.at.fullSize) > 0 ? record.text(text) : null;
}

function nameOf(comm: Bytes, pid: number): Bytes {
  return `${comm}(${pid})` as Bytes;
}

function orNull(comm: Bytes): Bytes | null {
  return comm === "" ? null : comm;
}

function readImage(record: RecordView): Image {
  const args = record.text(EXEC_TEXT.args);
  const headSize = record.u32(EXEC.args + TEXT_LIST.at.size);
  const isCut = headSize < args.length;
  return {
    execId: record.u32(HEADER.execId),
    exePath: known(record, EXEC.exePath, EXEC_TEXT.exePath),
    args: isCut
      ? { head: args.slice(0, headSize) as Bytes, tail: args.slice(headSize) as Bytes }
      : { head: args, tail: NO_ARGS.tail },
    cwd: known(record, EXEC.cwd, EXEC_TEXT.cwd),
    containerId: containerOf(record),
  };
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

function weightOf({ image, rendering }: Process): number {
  const weight = ENTRY_SIZE + (rendering?.text.length ?? 0);
  if (!image) return weight;
  const { args, exePath, cwd } = image;
  return weight + args.head.length + args.tail.length + (exePath?.length ?? 0) + (cwd?.length ?? 0);
}
