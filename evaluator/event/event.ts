// The public vocabulary: what rules see and what NDJSON prints. Keys and their order are those of the output, so there is
// no second list of names anywhere. A key that is `undefined` is left out of the output; `null` is printed.

import type { Bytes } from "./text.ts";

/** Bumped when a key changes its meaning or goes away; adding one does not count. */
export const SCHEMA_VERSION = 1;
/** The kernel's TASK_COMM_LEN without its NUL: no comm has more bytes. */
export const COMM_LENGTH = 15;

/** What every event says: where and when, which process, and where that process comes from. */
export type Common = {
  /** Boot clock, nanoseconds. */
  timestamp_ns: bigint;
  /** The same instant by the wall clock: RFC 3339 with nanoseconds, UTC. */
  time: string;
  schema_version: typeof SCHEMA_VERSION;
  host_id: string | null;
  boot_id: string;
  event_id: string;
  pid: number;
  tid: number;
  ppid: number;
  uid: number;
  gid: number;
  euid: number;
  egid: number;
  comm: Bytes;
  exe_path: Bytes | null;
  process_id: string;
  parent_process_id: string | null;
  parent_comm: Bytes | null;
  parent_exe_path: Bytes | null;
  /** `comm(pid)` of the creators, nearest first. */
  ancestors: Bytes[];
  container_id: string | undefined;
  /** Names of the keys whose values were cut. */
  truncated: string[] | undefined;
  /** The record may have reached an earlier evaluator: compare event_id. */
  redelivered: true | undefined;
};

export type Namespaces = { pid: number; mnt: number; net: number; user: number };

/** A program was executed. */
export type ProcessStart = { event_type: "process_start" } & Common & {
    args: Bytes[];
    args_count: number | null;
    cwd: Bytes | null;
    root: Bytes | undefined;
    filename: Bytes;
    interpreter: Bytes | null;
    source: "execve" | "execveat" | "kernel";
    auid: number | null;
    session_id: number | null;
    /** 16 hex digits, as CapEff in /proc/PID/status. */
    cap_effective: string;
    namespaces: Namespaces;
    cgroup_id: bigint;
    cgroup: Bytes;
    inode: bigint;
    device: bigint;
    nlink: number;
    mode: number;
    owner_uid: number;
    owner_gid: number;
    fileless: boolean;
    env: Bytes[] | undefined;
  };

/** A process was created. `pid` is the child. */
export type ProcessRelationship = { event_type: "process_relationship" } & Common & {
    parent_pid: number;
    child_pid: number;
    child_tid: number;
    child_comm: Bytes;
    /** Who called clone; differs from the parent when that was forged with CLONE_PARENT. */
    creator_pid: number;
    creator_comm: Bytes;
  };

/** The last thread of a process ended. */
export type ProcessExit = { event_type: "process_exit" } & Common & {
    exit_code: number | null;
    signal: number | null;
    core_dumped: boolean;
    duration_ns: bigint;
    group_dead: true;
  };

/** What built-in detections say of a file or network event. */
export type Annotation = { alert: boolean; detection_type: string | null; detections: string[] | undefined };

type FileFacts = {
  /** The call that did it, or `io_uring`; null when the kernel did it of itself, as it dumps a core. */
  syscall: string | null;
  /** Of the file itself; these four are null where this host's hooks see only names. */
  inode: bigint | null;
  device: bigint | null;
  nlink: number | null;
  mode: number | null;
  /** Null when it succeeded, else the errno's name; only with `file.include_failed`. */
  error: string | null;
};

export type FileOpen = { event_type: "file_open" } & Common & {
    filename: Bytes | null;
    path: Bytes;
    flags: string[];
    created: boolean;
  } & FileFacts &
  Annotation;

export type FileWrite = { event_type: "file_write" } & Common & {
    path: Bytes;
    resolved_path: Bytes;
    /** Bytes of the write; null where the hook runs before it. */
    count: bigint | null;
  } & FileFacts &
  Annotation;

export type FileRename = { event_type: "file_rename" } & Common & {
    old_filename: Bytes;
    new_filename: Bytes;
  } & FileFacts &
  Annotation;

export type FileUnlink = { event_type: "file_unlink" } & Common & {
    filename: Bytes;
    path: Bytes;
  } & FileFacts &
  Annotation;

type NetworkFacts = {
  family: "ipv4" | "ipv6" | "unix";
  protocol: string;
  direction: "inbound" | "outbound";
  local_addr: string | null;
  local_port: number | null;
  remote_addr: string | null;
  remote_port: number | null;
  /** Of a Unix socket: its name; an abstract one begins with a NUL. */
  path: Bytes | undefined;
  /** Null where this host's hooks do not know it. */
  socket_fd: number | null;
  /** Null when it succeeded, else the errno's name. */
  result: string | null;
} & Annotation;

export type NetworkConnect = { event_type: "network_connect" } & Common & NetworkFacts;
export type NetworkBind = { event_type: "network_bind" } & Common & NetworkFacts;
export type NetworkListen = { event_type: "network_listen" } & Common & NetworkFacts & { backlog: number };
export type NetworkAccept = { event_type: "network_accept" } & Common & NetworkFacts;

export type ProcessEvent = ProcessStart | ProcessRelationship | ProcessExit;
export type FileEvent = FileOpen | FileWrite | FileRename | FileUnlink;
export type NetworkEvent = NetworkConnect | NetworkBind | NetworkListen | NetworkAccept;
export type Event = ProcessEvent | FileEvent | NetworkEvent;
export type EventType = Event["event_type"];
