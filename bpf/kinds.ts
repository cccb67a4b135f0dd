// The kinds of events, by family: the record kind behind each type, and the words that switch it on in the settings (the
// system calls that users know it by, and its own hooks).

import { RecordKind, Ring } from "./event.gen.ts";

const EVENT_KINDS = {
  process: {
    process_start: { kind: RecordKind.exec, words: ["execve", "execveat", "sched_process_exec"] },
    process_relationship: {
      kind: RecordKind.fork,
      words: ["fork", "vfork", "clone", "clone3", "sched_process_fork"],
    },
    process_exit: { kind: RecordKind.exit, words: ["exit", "exit_group", "sched_process_exit"] },
  },
  file: {
    file_open: {
      kind: RecordKind.fileOpen,
      words: ["open", "openat", "openat2", "creat", "open_by_handle_at"],
    },
    file_write: {
      kind: RecordKind.fileWrite,
      words: [
        ...(["write", "writev", "pwrite64", "pwritev", "pwritev2"] as const),
        ...(["sendfile", "splice", "copy_file_range", "mmap", "mprotect", "io_submit"] as const),
      ],
    },
    file_rename: { kind: RecordKind.fileRename, words: ["rename", "renameat", "renameat2"] },
    file_unlink: { kind: RecordKind.fileUnlink, words: ["unlink", "unlinkat", "rmdir"] },
  },
  network: {
    network_connect: { kind: RecordKind.connect, words: ["connect"] },
    network_bind: { kind: RecordKind.bind, words: ["bind"] },
    network_listen: { kind: RecordKind.listen, words: ["listen"] },
    network_accept: { kind: RecordKind.accept, words: ["accept", "accept4"] },
  },
} as const;

/** A section of the settings that switches events on. */
export type Family = keyof typeof EVENT_KINDS;
/** The type of an event, as it is written. */
export type EventType = { [F in Family]: keyof (typeof EVENT_KINDS)[F] }[Family];

/** A type of event with what belongs to it. */
export type EventKind = { family: Family; type: EventType; kind: RecordKind; words: readonly string[] };

/** All of them in one list. */
export const ALL_EVENT_KINDS: readonly EventKind[] = (Object.keys(EVENT_KINDS) as Family[]).flatMap(
  (family) =>
    Object.entries(EVENT_KINDS[family]).map(([type, facts]) => ({
      family,
      type: type as EventType,
      ...facts,
    })),
);

/** Rings by their numbers, as they are called where somebody reads it. */
export const RING_NAMES: Record<number, string> = Object.fromEntries(
  Object.entries(Ring).map(([name, ring]) => [ring, name]),
);

/** The ring that records of a kind are in. */
export function ringOf(kind: number): Ring {
  return kind < RecordKind.fileOpen ? Ring.process : Ring.activity;
}
