// The vocabulary of event.ts as data: every key with the shape of its value, for those who read events rather than make them.
// The compiler holds the two against each other.

import type { Annotation, Common, Event, EventType, FileOpen, NetworkBind } from "./event.ts";
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
            : [Value] extends [string]
              ? "text"
              : "table";

/** The shape of a value: what it is; then "?" where the key may be left out, and "or null" where the value may be unknown. */
type ShapeOf<Value> =
  `${BaseOf<NonNullable<Value>>}${undefined extends Value ? "?" : ""}${null extends Value ? " or null" : ""}`;
/** What any value of a record can look like. */
export type Shape =
  `${"bytes" | "integer" | "number" | "flag" | "bytes list" | "text list" | "text" | "table"}${"" | "?"}${"" | " or null"}`;
/** The keys of a record with their shapes. */
export type Fields<Facts> = { [Key in Exclude<keyof Facts, "event_type">]-?: ShapeOf<Facts[Key]> };

type EventOf<Type extends EventType> = Extract<Event, { event_type: Type }>;

const COMMON = {
  timestamp_ns: "integer",
  time: "text",
  schema_version: "number",
  host_id: "text or null",
  boot_id: "text",
  event_id: "text",
  pid: "number",
  tid: "number",
  ppid: "number",
  uid: "number",
  gid: "number",
  euid: "number",
  egid: "number",
  comm: "bytes",
  exe_path: "bytes or null",
  process_id: "text",
  parent_process_id: "text or null",
  parent_comm: "bytes or null",
  parent_exe_path: "bytes or null",
  ancestors: "bytes list",
  container_id: "text?",
  truncated: "text list?",
  redelivered: "flag?",
} as const satisfies Fields<Common>;

const ANNOTATION = {
  alert: "flag",
  detection_type: "text or null",
  detections: "text list?",
} as const satisfies Fields<Annotation>;

const FILE = {
  syscall: "text or null",
  inode: "integer or null",
  device: "integer or null",
  nlink: "number or null",
  mode: "number or null",
  error: "text or null",
  ...ANNOTATION,
} as const satisfies Partial<Fields<FileOpen>>;

const NETWORK = {
  family: "text",
  protocol: "text",
  direction: "text",
  local_addr: "text or null",
  local_port: "number or null",
  remote_addr: "text or null",
  remote_port: "number or null",
  path: "bytes?",
  socket_fd: "number or null",
  result: "text or null",
  ...ANNOTATION,
} as const satisfies Partial<Fields<NetworkBind>>;

/** The keys of each event type. */
export const EVENT_FIELDS = {
  process_start: {
    ...COMMON,
    args: "bytes list",
    args_count: "number or null",
    cwd: "bytes or null",
    root: "bytes?",
    filename: "bytes",
    interpreter: "bytes or null",
    source: "text",
    auid: "number or null",
    session_id: "number or null",
    cap_effective: "text",
    namespaces: "table",
    cgroup_id: "integer",
    cgroup: "bytes",
    inode: "integer",
    device: "integer",
    nlink: "number",
    mode: "number",
    owner_uid: "number",
    owner_gid: "number",
    fileless: "flag",
    env: "bytes list?",
  },
  process_relationship: {
    ...COMMON,
    parent_pid: "number",
    child_pid: "number",
    child_tid: "number",
    child_comm: "bytes",
    creator_pid: "number",
    creator_comm: "bytes",
  },
  process_exit: {
    ...COMMON,
    exit_code: "number or null",
    signal: "number or null",
    core_dumped: "flag",
    duration_ns: "integer",
    group_dead: "flag",
  },
  file_open: {
    ...COMMON,
    filename: "bytes or null",
    path: "bytes",
    flags: "text list",
    created: "flag",
    ...FILE,
  },
  file_write: {
    ...COMMON,
    path: "bytes",
    resolved_path: "bytes",
    count: "number or null",
    ...FILE,
  },
  file_rename: { ...COMMON, old_filename: "bytes", new_filename: "bytes", ...FILE },
  file_unlink: { ...COMMON, filename: "bytes", path: "bytes", ...FILE },
  network_connect: { ...COMMON, ...NETWORK },
  network_bind: { ...COMMON, ...NETWORK },
  network_listen: { ...COMMON, ...NETWORK, backlog: "number" },
  network_accept: { ...COMMON, ...NETWORK },
} as const satisfies { [Type in EventType]: Fields<EventOf<Type>> };
