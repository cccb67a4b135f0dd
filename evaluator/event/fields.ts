// The vocabulary of event.ts as data: every key with the shape of its value and what it means, for those who read events
// rather than make them. The compiler holds the two against each other.

import type { Annotation, Common, Event, EventType, FileOpen, Namespaces, NetworkBind } from "./event.ts";
import type { Bytes } from "./text.ts";

type BaseOf<Value> = [Value] extends [Bytes]
  ? "bytes"
  : [Value] extends [bigint]
    ? "integer"
    : [Value] extends [number]
      ? "number"
      : [Value] extends [boolean]
        ? "flag"
        : [Value] extends [Bytes[]]
          ? "bytes list"
          : [Value] extends [string[]]
            ? "text list"
            : [Value] extends [object[]]
              ? "table list"
              : [Value] extends [string]
                ? "text"
                : "table";
type Base =
  | "bytes"
  | "integer"
  | "number"
  | "flag"
  | "bytes list"
  | "text list"
  | "table list"
  | "text"
  | "table";

/** The shape of a value: what it is; then "?" where the key may be left out, and "or null" where the value may be unknown. */
type ShapeOf<Value> =
  `${BaseOf<NonNullable<Value>>}${undefined extends Value ? "?" : ""}${null extends Value ? " or null" : ""}`;
/** What any value of a record can look like. */
export type Shape = `${Base}${"" | "?"}${"" | " or null"}`;
/** Of a text that is one of a few words, these. */
type WordsOf<Value> = string extends Value ? string : Value;

/** A key: the shape of its value, its meaning, and the words that it can be where there are few. */
export type Field = readonly [shape: Shape, meaning: string, words?: readonly string[]];
/** The keys of a record. */
export type Fields<Facts> = {
  [Key in Exclude<keyof Facts, "event_type">]-?: readonly [
    shape: ShapeOf<Facts[Key]>,
    meaning: string,
    words?: readonly WordsOf<NonNullable<Facts[Key]>>[],
  ];
};

/** The event of a type. */
export type EventOf<Type extends EventType> = Extract<Event, { event_type: Type }>;

/** What each type of event is about. */
export const EVENT_MEANINGS: Readonly<Record<EventType, string>> = {
  process_start: "a program was executed",
  process_relationship: "a process was created",
  process_exit: "the last thread of a process ended",
  file_open: "a file was opened",
  file_write: "a process wrote to a file",
  file_rename: "a file got another name",
  file_unlink: "a name of a file was removed",
  network_connect: "a connection was asked for",
  network_bind: "a socket got a local address",
  network_listen: "a socket accepts connections from now on",
  network_accept: "a connection was accepted",
};

/** What every event says. */
export const COMMON_FIELDS = {
  timestamp_ns: ["integer", "when it happened by the boot clock, in nanoseconds"],
  time: ["text", "the same instant by the wall clock: RFC 3339 with nanoseconds, UTC"],
  schema_version: ["number", "changes when a key changes its meaning or goes away, not when one is added"],
  host_id: ["text or null", "tells hosts apart: a keyed hash of the machine id"],
  boot_id: ["text", "tells the boots of a host apart: /proc/sys/kernel/random/boot_id"],
  event_id: ["text", "the same for the same record, live, in every replay, and when it is delivered twice"],
  pid: ["number", "the process (the kernel's tgid); of process_relationship, the one that was created"],
  tid: ["number", "the thread that did it"],
  ppid: ["number", "the parent at that moment"],
  uid: ["number", "real user"],
  gid: ["number", "real group"],
  euid: ["number", "effective user"],
  egid: ["number", "effective group"],
  comm: ["bytes", "the thread's name, of at most 15 bytes; a process can choose it"],
  exe_path: ["bytes or null", "path of the executable, as the kernel resolved it; null when it is not known"],
  process_id: ["text", "identifies the process beyond the reuse of its pid"],
  parent_process_id: ["text or null", "identifies the parent in the same way"],
  parent_comm: ["bytes or null", "the parent's name"],
  parent_exe_path: ["bytes or null", "the parent's executable"],
  ancestors: ["bytes list", "comm(pid) of the processes that created it, nearest first"],
  container_id: ["text?", "the container that its cgroup belongs to"],
  truncated: ["text list?", "the keys whose values were cut because they were too long"],
  redelivered: ["flag?", "an earlier evaluator may have written this event: compare event_id"],
} as const satisfies Fields<Common>;

const ANNOTATION = {
  alert: ["flag", "does a built-in detection match?"],
  detection_type: ["text or null", "the first detection that matches"],
  detections: ["text list?", "all detections that match"],
} as const satisfies Fields<Annotation>;

const FILE = {
  syscall: ["text or null", "the call that did it, or io_uring; null when the kernel did it of itself"],
  inode: ["integer or null", "inode number; null where the hooks see names only"],
  device: ["integer or null", "device of the file system, as the kernel numbers it"],
  nlink: ["number or null", "how many names the file has"],
  mode: ["number or null", "type and permissions, as st_mode"],
  error: ["text or null", "name of the errno when it failed; null when it succeeded"],
  ...ANNOTATION,
} as const satisfies Partial<Fields<FileOpen>>;

const NETWORK = {
  family: ["text", "address family", ["ipv4", "ipv6", "unix"]],
  protocol: ["text", "such as tcp or udp; of a Unix socket its type, such as stream"],
  direction: ["text", "outbound: connects; inbound: binds, listens, accepts", ["inbound", "outbound"]],
  local_addr: ["text or null", "this side's address; null for a Unix socket"],
  local_port: ["number or null", "this side's port"],
  remote_addr: ["text or null", "the other side's address"],
  remote_port: ["number or null", "the other side's port"],
  path: ["bytes?", "name of a Unix socket; an abstract one begins with a NUL"],
  socket_fd: ["number or null", "the socket's descriptor; null where the hooks do not know it"],
  result: ["text or null", "name of the errno when it failed; null when it succeeded"],
  ...ANNOTATION,
} as const satisfies Partial<Fields<NetworkBind>>;

/** The keys of `namespaces`. */
export const NAMESPACE_FIELDS = {
  pid: ["number", "of process ids"],
  mnt: ["number", "of mounts"],
  net: ["number", "of the network"],
  user: ["number", "of users"],
} as const satisfies Fields<Namespaces>;

/** The keys of each event type. */
export const EVENT_FIELDS = {
  process_start: {
    ...COMMON_FIELDS,
    args: ["bytes list", "argument list; of a long one the beginning and the end"],
    args_count: ["number or null", "how many arguments there were, the cut ones included"],
    cwd: ["bytes or null", "working directory"],
    root: ["bytes?", "root directory, when it is not the host's"],
    filename: ["bytes", "the path as it was asked for: perhaps relative, perhaps a script"],
    interpreter: ["bytes or null", "the program that runs a script"],
    source: ["text", "the call that asked for it", ["execve", "execveat", "kernel"]],
    auid: ["number or null", "the user who logged in, whatever became of the rights since"],
    session_id: ["number or null", "audit session"],
    cap_effective: ["text", "effective capabilities: 16 hex digits, as CapEff in /proc/PID/status"],
    namespaces: ["table", "inode numbers of the process's namespaces"],
    cgroup_id: ["integer", "inode number of the cgroup"],
    cgroup: ["bytes", "path of the cgroup"],
    inode: ["integer", "inode number of the executable"],
    device: ["integer", "device of the executable's file system"],
    nlink: ["number", "how many names the executable has"],
    mode: ["number", "type and permissions of the executable, as st_mode"],
    owner_uid: ["number", "owner of the executable"],
    owner_gid: ["number", "group of the executable"],
    fileless: ["flag", "was it executed from memory or from a file without a name?"],
    env: ["bytes list?", "NAME=value of the variables that settings ask for"],
  },
  process_relationship: {
    ...COMMON_FIELDS,
    parent_pid: ["number", "the same as ppid"],
    child_pid: ["number", "the same as pid"],
    child_tid: ["number", "the same as tid"],
    child_comm: ["bytes", "the same as comm"],
    creator_pid: ["number", "who called clone; not the parent when that was forged with CLONE_PARENT"],
    creator_comm: ["bytes", "the creator's name"],
  },
  process_exit: {
    ...COMMON_FIELDS,
    exit_code: ["number or null", "what it returned; null when a signal ended it"],
    signal: ["number or null", "the signal that ended it"],
    core_dumped: ["flag", "did the kernel write a core dump?"],
    duration_ns: ["integer", "how long it lived, in nanoseconds"],
    group_dead: ["flag", "always true: the last thread has ended"],
  },
  file_open: {
    ...COMMON_FIELDS,
    filename: ["bytes or null", "the path as it was asked for"],
    path: ["bytes", "the file's path, as the kernel resolved it"],
    flags: ["text list", "names of the open flags, as in fcntl.h"],
    created: ["flag", "did the open create the file?"],
    ...FILE,
  },
  file_write: {
    ...COMMON_FIELDS,
    path: ["bytes", "the file's path"],
    resolved_path: ["bytes", "the same as path"],
    count: ["integer or null", "bytes of the write; null where the hook runs before it"],
    ...FILE,
  },
  file_rename: {
    ...COMMON_FIELDS,
    old_filename: ["bytes", "path before"],
    new_filename: ["bytes", "path after"],
    ...FILE,
  },
  file_unlink: {
    ...COMMON_FIELDS,
    filename: ["bytes", "last name of the path"],
    path: ["bytes", "path of the name that was removed"],
    ...FILE,
  },
  network_connect: { ...COMMON_FIELDS, ...NETWORK },
  network_bind: { ...COMMON_FIELDS, ...NETWORK },
  network_listen: {
    ...COMMON_FIELDS,
    ...NETWORK,
    backlog: ["number", "how many connections may wait to be accepted"],
  },
  network_accept: { ...COMMON_FIELDS, ...NETWORK },
} as const satisfies { [Type in EventType]: Fields<EventOf<Type>> };
