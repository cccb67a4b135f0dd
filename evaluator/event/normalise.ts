// Records become events: one shape and vocabulary for what happened, whatever the kernel called it.

import {
  type DecodedRecord,
  ExecSource,
  RecordFlag,
  RecordKind,
  type Text,
  type TextList,
} from "../../bpf/event.gen.ts";
import { type Common, type Event, SCHEMA_VERSION } from "./event.ts";
import { fileEvent } from "./file.ts";
import { networkEvent } from "./network.ts";
import type { Bytes } from "./text.ts";

/** Where a stream comes from, and how its clock relates to the wall's. */
export type Origin = {
  /** In the usual notation, with dashes. */
  bootId: string;
  hostId: string | null;
  /** Wall time = boot time + offset, ns. */
  wallOffset: bigint;
};

/** The names of a record's process and of its parent, as far as they are known. */
export type ProcessNames = {
  exePath: Bytes | null;
  parentComm: Bytes | null;
  parentExePath: Bytes | null;
};

/** What is known of a record's process from the records before it. */
export type Lineage = ProcessNames & {
  processId: string;
  parentProcessId: string | null;
  ancestors: Bytes[];
  containerId: string | undefined;
};

/** Bit 7 of a wait status: the kernel wrote a core dump. */
export const CORE_DUMPED = 0x80;
/** What the kernel has where there was no login. */
export const UNSET = 0xffff_ffff;

/** Makes the event of a record. That of a snapshot is none. */
export function normalise(
  record: DecodedRecord,
  lineage: Lineage,
  origin: Origin,
  redelivered: boolean,
): Event {
  const { header } = record;
  const common = commonOf(record, lineage, origin, redelivered);
  switch (record.kind) {
    case RecordKind.exec:
      return {
        event_type: "process_start",
        ...common,
        args: argsOf(record.args),
        args_count: record.args.count || null,
        cwd: known(record.cwd),
        root: record.root.fullSize > 0 ? record.root.bytes : undefined,
        filename: record.filename.bytes,
        interpreter: known(record.interpreter),
        source: sourceOf(record.source),
        auid: record.auid === UNSET ? null : record.auid,
        session_id: record.sessionId === UNSET ? null : record.sessionId,
        cap_effective: record.capEffective.toString(16).padStart(16, "0"),
        namespaces: {
          pid: record.pidNamespace,
          mnt: record.mntNamespace,
          net: record.netNamespace,
          user: record.userNamespace,
        },
        cgroup_id: record.cgroupId,
        cgroup: record.cgroup.bytes,
        inode: record.inode,
        device: record.device,
        nlink: record.nlink,
        mode: record.mode,
        owner_uid: record.ownerUid,
        owner_gid: record.ownerGid,
        fileless: record.fileless !== 0,
        env: record.env.fullSize > 0 ? argsOf(record.env) : undefined,
      };
    case RecordKind.fork:
      return {
        event_type: "process_relationship",
        ...common,
        parent_pid: header.parent.tgid,
        child_pid: header.process.tgid,
        child_tid: header.tid,
        child_comm: header.comm,
        creator_pid: record.creator.tgid,
        creator_comm: record.creatorComm,
      };
    case RecordKind.exit: {
      const signal = record.status & 0x7f;
      return {
        event_type: "process_exit",
        ...common,
        exit_code: signal === 0 ? (record.status >> 8) & 0xff : null,
        signal: signal === 0 ? null : signal,
        core_dumped: (record.status & CORE_DUMPED) !== 0,
        duration_ns: header.time - header.process.startTime,
        group_dead: true,
      };
    }
    case RecordKind.snapshot:
      throw new TypeError("a record of a snapshot is no event");
    case RecordKind.fileOpen:
    case RecordKind.fileWrite:
    case RecordKind.fileRename:
    case RecordKind.fileUnlink:
      return fileEvent(record, common);
    default:
      return networkEvent(record, common);
  }
}

function commonOf(record: DecodedRecord, lineage: Lineage, origin: Origin, redelivered: boolean): Common {
  const { header } = record;
  return {
    timestamp_ns: header.time,
    time: wallTime(header.time + origin.wallOffset),
    schema_version: SCHEMA_VERSION,
    host_id: origin.hostId,
    boot_id: origin.bootId,
    event_id: eventId(origin.bootId, header),
    pid: header.process.tgid,
    tid: header.tid,
    ppid: header.parent.tgid,
    uid: header.uid,
    gid: header.gid,
    euid: header.euid,
    egid: header.egid,
    comm: header.comm,
    exe_path: lineage.exePath,
    process_id: lineage.processId,
    parent_process_id: lineage.parentProcessId,
    parent_comm: lineage.parentComm,
    parent_exe_path: lineage.parentExePath,
    ancestors: lineage.ancestors,
    container_id: lineage.containerId,
    truncated: truncatedOf(record),
    redelivered: redelivered || undefined,
  };
}

/** The same record has the same id in every reading of it, and no two records of a host's boot share one. */
function eventId(bootId: string, header: DecodedRecord["header"]): string {
  return [
    bootId.slice(0, 8),
    header.time.toString(16),
    header.cpu.toString(16),
    header.sequence.toString(16),
  ].join("-");
}

/** Names of the keys whose values were cut. */
export function truncatedOf(record: DecodedRecord): string[] | undefined {
  const cut: string[] = [];
  const texts = textsOf(record);
  for (const [key, text] of Object.entries(texts)) if (isShort(text)) cut.push(key);
  if (record.kind !== RecordKind.exec) return cut.length > 0 ? cut : undefined;
  if (isCut(record.args) || record.header.flags & RecordFlag.argsUnreadable) cut.push("args");
  if (isCut(record.env) || record.header.flags & RecordFlag.envUnreadable) cut.push("env");
  return cut.length > 0 ? cut : undefined;
}

/** The texts of a record by their keys in the event. */
function textsOf(record: DecodedRecord): Record<string, Text> {
  switch (record.kind) {
    case RecordKind.exec:
    case RecordKind.snapshot:
      return {
        exe_path: record.exePath,
        parent_exe_path: record.parentExePath,
        cwd: record.cwd,
        root: record.root,
        filename: record.filename,
        interpreter: record.interpreter,
        cgroup: record.cgroup,
      };
    case RecordKind.fork:
    case RecordKind.exit:
      return { exe_path: record.exePath };
    case RecordKind.fileRename:
      return { old_filename: record.path, new_filename: record.newPath };
    case RecordKind.fileOpen:
    case RecordKind.fileWrite:
    case RecordKind.fileUnlink:
      return { path: record.path, filename: record.filename };
    default:
      return { path: record.path };
  }
}

function isShort(text: Text): boolean {
  return text.bytes.length < text.fullSize;
}

function isCut(list: TextList): boolean {
  return list.head.length + list.tail.length < list.fullSize;
}

/** The strings of a list; where its middle was cut out, the pieces beside the gap are strings of their own. */
export function argsOf({ head, tail }: Pick<TextList, "head" | "tail">): Bytes[] {
  // What ends where the tail begins is left out: else it would be an empty string.
  const parts = [head, tail.startsWith("\0") ? tail.slice(1) : tail].filter((part) => part.length > 0);
  return parts.flatMap((part) => (part.endsWith("\0") ? part.slice(0, -1) : part).split("\0") as Bytes[]);
}

/** A text's bytes; null when the kernel had none. */
function known(text: Text): Bytes | null {
  return text.fullSize > 0 ? text.bytes : null;
}

/** Who asked for an exec, by the number in its record. */
export function sourceOf(source: number): "execve" | "execveat" | "kernel" {
  if (source === ExecSource.execve) return "execve";
  return source === ExecSource.execveat ? "execveat" : "kernel";
}

const SECOND_NS = 1_000_000_000n;

/** Wall time in ns since 1970 as RFC 3339 with nanoseconds, UTC. Times outside of the years 0 to 9999 are shown as the epoch. */
export function wallTime(ns: bigint): string {
  const second = ns / SECOND_NS - (ns % SECOND_NS < 0n ? 1n : 0n);
  return `${wallSecond(Number(second))}${(ns - second * SECOND_NS).toString().padStart(9, "0")}Z`;
}

let shownSecond = 0;
let shownPrefix = "1970-01-01T00:00:00.";

/** The same as far as the point behind the seconds. */
export function wallSecond(second: number): string {
  if (second !== shownSecond) {
    shownSecond = second;
    const date = new Date(second * 1000);
    const year = date.getUTCFullYear();
    shownPrefix = (year >= 0 && year <= 9999 ? date : new Date(0)).toISOString().slice(0, 20);
  }
  return shownPrefix;
}
