// The process table: who runs what, and who created whom. Keyed by pid and start time, so that a reused pid is another
// process; bounded, so that no host can fill it. Lineage is stored when it happens: a parent that has gone is still known.

import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import {
  type DecodedRecord,
  type ExecRecord,
  type ExitRecord,
  type ForkRecord,
  type ProcessKey,
  RecordFlag,
  RecordKind,
} from "../../bpf/event.gen.ts";
import { argsOf, known, type Lineage } from "../event/normalise.ts";
import type { Bytes } from "../event/text.ts";

/** Bytes that the table may hold in paths and arguments. */
const TABLE_SIZE_MAX = 64 * 1024 * 1024;
/** What an entry costs beside its texts. */
const ENTRY_SIZE = 256;

/** A program that a process runs: `execId` tells it from the ones before and after. */
type Image = {
  execId: number;
  exePath: Bytes | null;
  args: Bytes[];
  cwd: Bytes | null;
  containerId: string | undefined;
};

type Process = {
  processId: string;
  pid: number;
  comm: Bytes;
  image: Image | null;
  /** Null until it is asked for. */
  ancestors: Bytes[] | null;
  creator: ProcessKey;
};

/** The bounds of the table. */
export type ProcessLimits = { entriesMax: number; ancestorsMax: number };

/** All processes that were seen, as far as the bounds allow. */
export class Processes {
  /** Entries that were given up for newer ones. */
  evicted = 0;
  /** Records whose process has an executable that nobody knows. */
  unattributed = 0;
  private readonly table: LRUCache<string, Process>;

  constructor(
    private readonly bootId: string,
    private readonly limits: ProcessLimits,
  ) {
    this.table = new LRUCache({
      max: limits.entriesMax,
      maxSize: TABLE_SIZE_MAX,
      sizeCalculation: sizeOf,
      dispose: (_process, _key, reason) => {
        if (reason === "evict") this.evicted += 1;
      },
    });
  }

  get size(): number {
    return this.table.size;
  }

  /** Takes in a record of a snapshot. Its lineage is asked for later: a snapshot may name a child before its parent. */
  remember(record: DecodedRecord): void {
    this.update(record);
  }

  /** Takes in what a record says, and tells what is known of its process now. */
  observe(record: DecodedRecord): Lineage {
    const process = this.update(record);
    const { header } = record;
    const parent = this.find(header.parent);
    const image = process.image?.execId === header.execId ? process.image : null;
    const exePath = ("exePath" in record ? known(record.exePath) : null) ?? image?.exePath ?? null;
    if (exePath === null && !(header.flags & RecordFlag.kernelThread)) this.unattributed += 1;
    return {
      processId: process.processId,
      parentProcessId: header.parent.tgid === 0 ? null : (parent?.processId ?? this.identify(header.parent)),
      exePath,
      parentComm: "parentComm" in record ? orNull(record.parentComm) : (parent?.comm ?? null),
      parentExePath:
        record.kind === RecordKind.exec ? known(record.parentExePath) : (parent?.image?.exePath ?? null),
      ancestors: this.ancestorsOf(process),
      containerId: image?.containerId,
    };
  }

  /** Arguments and working directory of a process, for alerts about events that do not carry them. */
  imageOf(key: ProcessKey): { args: Bytes[]; cwd: Bytes | null } | null {
    return this.find(key)?.image ?? null;
  }

  private find(key: ProcessKey): Process | undefined {
    return this.table.get(keyOf(key));
  }

  private update(record: DecodedRecord): Process {
    const { header } = record;
    const key = keyOf(header.process);
    const before = this.table.get(key);
    const process: Process = before ?? {
      processId: this.identify(header.process),
      pid: header.process.tgid,
      comm: header.comm,
      image: null,
      ancestors: null,
      creator: header.parent,
    };
    if (header.tid === header.process.tgid) process.comm = header.comm;
    if (!isProcessRecord(record)) {
      if (!before) this.table.set(key, process);
      return process;
    }
    switch (record.kind) {
      case RecordKind.fork: {
        const creator = this.find(record.creator);
        process.creator = record.creator;
        process.ancestors = [nameOf(record.creatorComm, record.creator.tgid)]
          .concat(creator ? this.ancestorsOf(creator) : [])
          .slice(0, this.limits.ancestorsMax);
        // A child runs its creator's program until it executes its own.
        process.image = creator?.image?.execId === header.execId ? creator.image : process.image;
        break;
      }
      case RecordKind.exec:
      case RecordKind.snapshot:
        process.image = imageOf(record);
        break;
      case RecordKind.exit:
        // Kept for its children's sake; its arguments serve nobody any more. Image objects are shared, hence the copy.
        this.ancestorsOf(process);
        this.table.set(key, {
          ...process,
          image: process.image && { ...process.image, args: [], cwd: null },
        });
        return process;
    }
    this.table.set(key, process);
    return process;
  }

  /** The ancestors of a process, nearest first: its creator at that moment, the creator's creator, and so on. */
  private ancestorsOf(process: Process): Bytes[] {
    if (process.ancestors) return process.ancestors;
    const ancestors: Bytes[] = [];
    // Bounded, so that neither a deep chain nor a circle, which only a forged stream can contain, matters.
    for (let at: Process | undefined = process; ancestors.length < this.limits.ancestorsMax; ) {
      at = this.find(at.creator);
      if (!at) break;
      ancestors.push(nameOf(at.comm, at.pid));
      if (at.ancestors) {
        ancestors.push(...at.ancestors);
        break;
      }
    }
    process.ancestors = ancestors.slice(0, this.limits.ancestorsMax);
    return process.ancestors;
  }

  /** An identity that survives the reuse of pids and is the same for every reader: from boot, pid and start time. */
  private identify({ tgid, startTime }: ProcessKey): string {
    return createHash("sha256").update(`${this.bootId}/${tgid}/${startTime}`).digest("hex").slice(0, 32);
  }
}

/** Is this about the process itself, not about what it did? */
function isProcessRecord(record: DecodedRecord): record is ExecRecord | ForkRecord | ExitRecord {
  return record.kind < RecordKind.fileOpen;
}

function keyOf({ tgid, startTime }: ProcessKey): string {
  return `${tgid}/${startTime}`;
}

function nameOf(comm: Bytes, pid: number): Bytes {
  return `${comm}(${pid})` as Bytes;
}

function orNull(comm: Bytes): Bytes | null {
  return comm === "" ? null : comm;
}

function imageOf(record: ExecRecord): Image {
  return {
    execId: record.header.execId,
    exePath: known(record.exePath),
    args: argsOf(record.args),
    cwd: known(record.cwd),
    containerId: containerOf(record.cgroup.bytes),
  };
}

const CONTAINER_ID_LENGTH = 64;

/** The container that a cgroup's path names: a component of 64 hex digits, bare or as in `docker-<id>.scope`. */
function containerOf(cgroup: Bytes): string | undefined {
  for (const part of cgroup.split("/").toReversed()) {
    const name = part.endsWith(".scope") ? part.slice(part.lastIndexOf("-") + 1, -".scope".length) : part;
    if (name.length === CONTAINER_ID_LENGTH && /^[0-9a-f]+$/.test(name)) return name;
  }
  return undefined;
}

function sizeOf({ image }: Process): number {
  if (!image) return ENTRY_SIZE;
  return image.args.reduce(
    (sum, arg) => sum + arg.length + 16,
    ENTRY_SIZE + (image.exePath?.length ?? 0) + (image.cwd?.length ?? 0),
  );
}
