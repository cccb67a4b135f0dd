// File records become events.

import { Call, type FileRecord, RecordKind } from "../../bpf/event.gen.ts";
import type { Common, FileEvent } from "./event.ts";
import { type Bytes, errorName } from "./text.ts";

/** Names of the flags of an open, as in <fcntl.h>; the access mode is one of the first three. */
const ACCESS_MODES = ["O_RDONLY", "O_WRONLY", "O_RDWR"];
const FLAGS: [number, string][] = [
  [0o100, "O_CREAT"],
  [0o200, "O_EXCL"],
  [0o400, "O_NOCTTY"],
  [0o1000, "O_TRUNC"],
  [0o2000, "O_APPEND"],
  [0o4000, "O_NONBLOCK"],
  [0o10000, "O_DSYNC"],
  [0o20000, "O_ASYNC"],
  [0o40000, "O_DIRECT"],
  [0o200000, "O_DIRECTORY"],
  [0o400000, "O_NOFOLLOW"],
  [0o1000000, "O_NOATIME"],
  [0o10000000, "O_PATH"],
  [0o20000000, "O_TMPFILE"],
];

const NOTHING_DETECTED = { alert: false, detection_type: null, detections: undefined };

/** Makes the event of a file record. */
export function fileEvent(record: FileRecord, common: Common): FileEvent {
  const path = record.path.bytes;
  const known = record.inode !== 0n;
  const facts = {
    syscall: record.call === Call.unknown ? null : callName(record.call),
    inode: known ? record.inode : null,
    device: known ? record.device : null,
    nlink: known ? record.nlink : null,
    mode: known ? record.mode : null,
    error: record.error === 0 ? null : errorName(record.error),
    ...NOTHING_DETECTED,
  };
  switch (record.kind) {
    case RecordKind.fileOpen: {
      const filename = record.filename.fullSize > 0 ? record.filename.bytes : null;
      const created = record.created !== 0;
      return {
        event_type: "file_open",
        ...common,
        filename,
        path,
        flags: flagNames(record.flags),
        created,
        ...facts,
      };
    }
    case RecordKind.fileWrite: {
      const count = record.count === 0n ? null : record.count;
      return { event_type: "file_write", ...common, path, resolved_path: path, count, ...facts };
    }
    case RecordKind.fileRename: {
      const names = { old_filename: path, new_filename: record.newPath.bytes };
      return { event_type: "file_rename", ...common, ...names, ...facts };
    }
    case RecordKind.fileUnlink:
      return { event_type: "file_unlink", ...common, filename: lastOf(path), path, ...facts };
  }
}

/** The last name of a path. */
export function lastOf(path: Bytes): Bytes {
  return path.slice(path.lastIndexOf("/") + 1) as Bytes;
}

/** The names of an open's flags. */
export function flagNames(flags: number): string[] {
  const mode = ACCESS_MODES[flags & 3];
  const names = FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  return mode === undefined ? names : [mode, ...names];
}

const CALL_NAMES = new Map<number, string>(
  Object.entries(Call).map(([name, number]) => [
    number,
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ]),
);

/** The name of a call, as in the kernel's tables of them. */
export function callName(call: number): string {
  return CALL_NAMES.get(call) ?? "unknown";
}
