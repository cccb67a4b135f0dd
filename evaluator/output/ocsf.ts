// Events, alerts and notices as classes of the Open Cybersecurity Schema Framework 1.8 (https://schema.ocsf.io). What it has no
// attribute for is kept under `unmapped`, by our names.

import { version } from "../../package.json";
import type { Common, FileEvent, NetworkEvent, ProcessEvent } from "../event/event.ts";
import type { EventOf } from "../event/fields.ts";
import { lastOf } from "../event/file.ts";
import { protocolNumber } from "../event/network.ts";
import type { Bytes } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { messageOf, type Notice } from "./notice.ts";
import { compileTables, type JsonObject, type Line, outcomeOf, type Table } from "./projection.ts";

const OCSF_VERSION = "1.8.0";

/** A class with its category, by number and name. */
type Class = { uid: number; name: string; category: number; categoryName: string };

const BASE_EVENT: Class = { uid: 0, name: "Base Event", category: 0, categoryName: "Uncategorized" };
const FILE_ACTIVITY: Class = {
  uid: 1001,
  name: "File System Activity",
  category: 1,
  categoryName: "System Activity",
};
const PROCESS_ACTIVITY: Class = {
  uid: 1007,
  name: "Process Activity",
  category: 1,
  categoryName: "System Activity",
};
const DETECTION_FINDING: Class = {
  uid: 2004,
  name: "Detection Finding",
  category: 2,
  categoryName: "Findings",
};
const NETWORK_ACTIVITY: Class = {
  uid: 4001,
  name: "Network Activity",
  category: 4,
  categoryName: "Network Activity",
};
const APPLICATION_ERROR: Class = {
  uid: 6008,
  name: "Application Error",
  category: 6,
  categoryName: "Application Activity",
};

/** What a class knows of an activity. */
type Activity = readonly [id: number, name: string];
const OTHER = 99;
const LAUNCH: Activity = [1, "Launch"];
const OPEN: Activity = [1, "Open"];

const SEVERITIES = { informational: 1, low: 2, medium: 3, high: 4, critical: 5 } as const;
type Severity = keyof typeof SEVERITIES;
const STATUSES = { unknown: 0, success: 1, failure: 2 } as const;
const DIRECTIONS: Readonly<Record<string, number>> = { inbound: 1, outbound: 2 };
const IP_VERSIONS: Readonly<Record<string, number>> = { ipv4: 4, ipv6: 6 };
/** Types of files by the format bits of their mode (inode(7)). */
const FILE_TYPES: Readonly<Record<number, number>> = {
  0o100000: 1,
  0o040000: 2,
  0o020000: 3,
  0o060000: 4,
  0o140000: 5,
  0o010000: 6,
  0o120000: 7,
};
const REGULAR_FILE = 1;
const UNKNOWN_FILE = 0;

/** What every line says: where it comes from, and of which class it is. */
function line<Facts extends Pick<Common, "time" | "host_id" | "boot_id"> & { event_type: string }>(
  { uid, name, category, categoryName }: Class,
  activity: Activity | ((facts: Facts) => Activity),
  severity: (facts: Facts) => Severity,
): Table<Facts> {
  const of = typeof activity === "function" ? activity : () => activity;
  return {
    category_uid: () => category,
    category_name: () => categoryName,
    class_uid: () => uid,
    class_name: () => name,
    activity_id: (facts) => of(facts)[0],
    activity_name: (facts) => of(facts)[1],
    type_uid: (facts) => uid * 100 + of(facts)[0],
    type_name: (facts) => `${name}: ${of(facts)[1]}`,
    severity_id: (facts) => SEVERITIES[severity(facts)],
    severity: (facts) => capital(severity(facts)),
    // Milliseconds: the nanoseconds stay below `unmapped`.
    time: ({ time }) => milliseconds(time),
    "metadata.version": () => OCSF_VERSION,
    "metadata.product.name": () => "Warder",
    "metadata.product.vendor_name": () => "Warder",
    "metadata.product.version": () => version,
    "metadata.event_code": "event_type",
    "metadata.profiles": () => ["host"],
    // A device needs a name of some kind: that of a host without a machine id is good for one boot.
    "device.uid": [["host_id"], ({ host_id: host, boot_id: boot }) => host ?? boot],
    "device.boot_uid": "boot_id",
    "device.type_id": () => 0,
    "device.os.name": () => "Linux",
    "device.os.type_id": () => 200,
  };
}

const informational = () => "informational" as const;

/** The file that a key has the path of; `name` and `type_id` are what the schema requires. */
function file<Key extends string>(
  place: string,
  key: Key,
  type = REGULAR_FILE,
): Table<{ [K in Key]: Bytes | null }> {
  return {
    [`${place}.name`]: ({ [key]: path }) => path && (lastOf(path) || path),
    [`${place}.path`]: key,
    [`${place}.type_id`]: ({ [key]: path }) => (path === null ? null : type),
  };
}

/** What the schema has to be told of the attributes of processes that it does not know everywhere. */
const PROFILES: Table<Common | Alert> = {
  "metadata.profiles": ({ container_id: container }) => [
    "host",
    "linux/linux_users",
    ...(container ? ["container"] : []),
  ],
  "metadata.extensions[].name": () => "linux",
  "metadata.extensions[].uid": () => "1",
  "metadata.extensions[].version": () => OCSF_VERSION,
};

/** A process as events and alerts have it. */
function processAt(place: string): Table<Common | Alert> {
  return {
    [`${place}.pid`]: "pid",
    [`${place}.uid`]: "process_id",
    [`${place}.name`]: "comm",
    [`${place}.ptid`]: "tid",
    ...file(`${place}.file`, "exe_path"),
    [`${place}.user.uid`]: [["uid"], ({ uid }) => String(uid)],
    [`${place}.group.uid`]: [["gid"], ({ gid }) => String(gid)],
    [`${place}.container.uid`]: "container_id",
    [`${place}.parent_process.pid`]: "ppid",
    [`${place}.ancestry`]: [["ancestors"], ({ ancestors }) => ancestors.map(entityOf)],
  };
}

/** The same with what only events know. */
function subjectAt(place: string): Table<Common> {
  return {
    ...processAt(place),
    [`${place}.euid`]: "euid",
    [`${place}.egid`]: "egid",
    ...parentAt(`${place}.parent_process`),
  };
}

function parentAt(place: string): Table<Common> {
  return {
    [`${place}.pid`]: "ppid",
    [`${place}.uid`]: "parent_process_id",
    [`${place}.name`]: "parent_comm",
    ...file(`${place}.file`, "parent_exe_path"),
  };
}

const EVENT: Table<Common> = {
  ...PROFILES,
  "metadata.uid": "event_id",
  "metadata.is_truncated": ({ truncated }) => (truncated ? true : null),
};

/** A process is the object. */
function processEvent(activity: Activity): Table<ProcessEvent> {
  return {
    ...line<ProcessEvent>(PROCESS_ACTIVITY, activity, informational),
    ...EVENT,
    ...subjectAt("process"),
    "actor.user.uid": ({ uid }) => String(uid),
  };
}

/** Who called clone: the parent, unless that was forged. */
function creator<Item>(make: (event: EventOf<"process_relationship">) => Item) {
  return (event: EventOf<"process_relationship">) => (event.creator_pid === event.ppid ? make(event) : null);
}

/** Who acts is the process of the event. */
function actor<Facts extends FileEvent | NetworkEvent>(error: (facts: Facts) => string | null): Table<Facts> {
  return {
    ...EVENT,
    ...subjectAt("actor.process"),
    "actor.user.uid": ({ uid }) => String(uid),
    status_id: (facts) => STATUSES[outcomeOf(error(facts))],
    status: (facts) => capital(outcomeOf(error(facts))),
  };
}

function fileEvent<Facts extends FileEvent>(
  activity: Activity | ((facts: Facts) => Activity),
  paths: Table<Facts>,
): Table<Facts> {
  return {
    ...line(FILE_ACTIVITY, activity, informational),
    ...actor<Facts>(({ error }) => error),
    ...paths,
    status_code: "error",
    "file.type_id": fileType,
    "file.uid": [["inode"], ({ inode }) => (inode === null ? null : String(inode))],
  };
}

function fileType({ mode }: FileEvent): number {
  return FILE_TYPES[(mode ?? 0) & 0o170000] ?? UNKNOWN_FILE;
}

/** Where the caller is the client. The name of a Unix socket is that of the server. */
const CLIENT: Table<NetworkEvent> = {
  "src_endpoint.ip": "local_addr",
  "src_endpoint.port": "local_port",
  "dst_endpoint.ip": "remote_addr",
  "dst_endpoint.port": "remote_port",
  "dst_endpoint.name": "path",
};
/** Where the caller is the server, or is about to be. */
const SERVER: Table<NetworkEvent> = {
  "src_endpoint.ip": "remote_addr",
  "src_endpoint.port": "remote_port",
  "dst_endpoint.ip": "local_addr",
  "dst_endpoint.port": "local_port",
  "dst_endpoint.name": "path",
};

function networkEvent(
  activity: Activity | ((event: NetworkEvent) => Activity),
  ends: Table<NetworkEvent>,
): Table<NetworkEvent> {
  return {
    ...line<NetworkEvent>(NETWORK_ACTIVITY, activity, informational),
    ...actor<NetworkEvent>(({ result }) => result),
    status_code: "result",
    "connection_info.direction_id": ({ direction }) => DIRECTIONS[direction],
    "connection_info.direction": [["direction"], ({ direction }) => capital(direction)],
    "connection_info.protocol_name": ({ family, protocol }) => (family === "unix" ? null : protocol),
    "connection_info.protocol_num": ({ protocol }) => protocolNumber(protocol),
    "connection_info.protocol_ver_id": ({ family }) => IP_VERSIONS[family],
    ...ends,
  };
}

function connected({ result }: NetworkEvent): Activity {
  if (outcomeOf(result) !== "failure") return OPEN;
  return result === "ECONNREFUSED" ? [5, "Refuse"] : [4, "Fail"];
}

const ALERT: Table<Alert> = {
  ...line<Alert>(DETECTION_FINDING, [1, "Create"], ({ severity }) => severity),
  ...PROFILES,
  "metadata.uid": ({ alert_id: id }) => id,
  "metadata.is_truncated": ({ truncated }) => (truncated ? true : null),
  severity: [["severity"], ({ severity }) => capital(severity)],
  is_alert: () => true,
  status_id: () => 1,
  status: () => "New",
  message: ({ rule_name: name }) => name,
  "finding_info.uid": "alert_id",
  "finding_info.title": "rule_name",
  "finding_info.analytic.uid": "rule_id",
  "finding_info.analytic.name": ({ rule_name: name }) => name,
  "finding_info.analytic.category": "rule_type",
  "finding_info.analytic.type_id": () => 1,
  "finding_info.analytic.type": () => "Rule",
  "finding_info.attacks": [["attack"], ({ attack }) => attack?.map(attackOf)],
  "finding_info.related_events[].uid": "event_id",
  "finding_info.related_events[].type": "source_event_type",
  ...processAt("evidences[].actor.process"),
  "evidences[].actor.process.name": [["comm", "process_name"], ({ comm }) => comm],
  "evidences[].actor.process.parent_process.name": "parent_name",
  "evidences[].actor.process.cmd_line": ({ args }) => commandLine(args),
  "evidences[].actor.process.working_directory": "cwd",
  ...file("evidences[].file", "path", UNKNOWN_FILE),
  "evidences[].connection_info.direction_id": ({ direction }) => DIRECTIONS[direction ?? ""],
  "evidences[].connection_info.direction": [
    ["direction"],
    ({ direction }) => direction && capital(direction),
  ],
  "evidences[].connection_info.protocol_ver_id": ({ family }) => IP_VERSIONS[family ?? ""],
  // Rules compare the port of the side that serves, and so is the address.
  "evidences[].dst_endpoint.ip": "addr",
  "evidences[].dst_endpoint.port": "port",
};

function notice<Facts extends Notice>(of: Class, activity: Activity, severity: Severity): Table<Facts> {
  return { ...line<Facts>(of, activity, () => severity), message: messageOf };
}

/** What the classes of the schema have no activity for. */
function other<Facts extends Notice>(name: string): Table<Facts> {
  return notice(BASE_EVENT, [OTHER, name], "informational");
}

function trouble<Facts extends Notice>(severity: Severity): Table<Facts> {
  return notice(APPLICATION_ERROR, [1, "General Error"], severity);
}

const SPAN: Table<{ from: string; to: string }> = {
  start_time: ({ from }) => milliseconds(from),
  end_time: ({ to }) => milliseconds(to),
};

/** A record as an OCSF event. Rules have seen the record itself; nothing is decided on what this makes of it. */
export const ocsf: (record: Line) => JsonObject = compileTables<Line>("unmapped", {
  process_start: {
    ...processEvent(LAUNCH),
    // The process replaces itself: who asked for that is seen best in its parent.
    ...parentAt("actor.process"),
    launch_type_id: () => 3,
    launch_type: () => "Exec",
    "process.cmd_line": ({ args }) => commandLine(args),
    "process.working_directory": "cwd",
    "process.environment_variables": [["env"], ({ env }) => env?.map(variableOf)],
  },
  process_relationship: {
    ...processEvent(LAUNCH),
    launch_type_id: () => 2,
    launch_type: () => "Fork",
    "process.pid": [["pid", "child_pid"], ({ pid }) => pid],
    "process.ptid": [["tid", "child_tid"], ({ tid }) => tid],
    "process.name": [["comm", "child_comm"], ({ comm }) => comm],
    "process.created_time": ({ time }) => milliseconds(time),
    "process.parent_process.pid": [["ppid", "parent_pid"], ({ ppid }) => ppid],
    "actor.process.pid": "creator_pid",
    "actor.process.name": "creator_comm",
    "actor.process.uid": creator(({ parent_process_id: id }) => id),
    "actor.process.file.name": creator(({ parent_exe_path: path }) => path && lastOf(path)),
    "actor.process.file.path": creator(({ parent_exe_path: path }) => path),
    "actor.process.file.type_id": creator(({ parent_exe_path: path }) =>
      path === null ? null : REGULAR_FILE,
    ),
  },
  process_exit: {
    ...processEvent([2, "Terminate"]),
    "actor.process.pid": "pid",
    "actor.process.uid": "process_id",
    "actor.process.name": "comm",
    "process.terminated_time": ({ time }) => milliseconds(time),
    exit_code: "exit_code",
  },
  file_open: fileEvent<EventOf<"file_open">>(
    ({ created }) => (created ? [1, "Create"] : [14, "Open"]),
    file("file", "path"),
  ),
  file_write: fileEvent([3, "Update"], {
    ...file("file", "path"),
    "file.path": [["path", "resolved_path"], ({ path }) => path],
  }),
  file_rename: fileEvent([5, "Rename"], {
    ...file("file", "old_filename"),
    ...file("file_result", "new_filename"),
    "file_result.type_id": fileType,
  }),
  file_unlink: fileEvent([4, "Delete"], { ...file("file", "path"), "file.name": "filename" }),
  network_connect: networkEvent(connected, CLIENT),
  network_bind: networkEvent([OTHER, "Bind"], SERVER),
  network_listen: networkEvent([7, "Listen"], SERVER),
  network_accept: networkEvent(connected, SERVER),
  alert: ALERT,
  coverage: { ...other("coverage"), "device.os.kernel_release": "kernel" },
  health: other("health"),
  loss: { ...trouble("medium"), ...SPAN, count: "count" },
  gap: { ...trouble("medium"), ...SPAN },
  ledger_mismatch: trouble("high"),
  sensor_silent: { ...trouble("high"), start_time: ({ since }) => milliseconds(since) },
  sensor_heard: other("sensor_heard"),
  sensor_gone: trouble("high"),
  tampered: {
    ...notice(DETECTION_FINDING, [1, "Create"], "high"),
    is_alert: () => true,
    "finding_info.uid": ({ boot_id: boot, timestamp_ns: time, what }) => `${boot}-${time}-${what}`,
    "finding_info.title": "what",
  },
});

/** Milliseconds since 1970 of an RFC 3339 time; what is finer is cut off. */
function milliseconds(time: string): number {
  return Date.parse(`${time.slice(0, 23)}Z`);
}

function commandLine(args: Bytes[] | null): string | null {
  return args && args.length > 0 ? args.join(" ") : null;
}

function variableOf(entry: Bytes): JsonObject {
  const end = entry.indexOf("=");
  return end < 0 ? { name: entry, value: "" } : { name: entry.slice(0, end), value: entry.slice(end + 1) };
}

/** `comm(pid)` as an entity. */
function entityOf(ancestor: Bytes): JsonObject {
  const bracket = ancestor.lastIndexOf("(");
  return { name: ancestor.slice(0, bracket), pid: Number(ancestor.slice(bracket + 1, -1)) };
}

function attackOf(technique: Bytes): JsonObject {
  const parent = { uid: technique.slice(0, 5) };
  return technique.includes(".")
    ? { technique: parent, sub_technique: { uid: technique } }
    : { technique: parent };
}

function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}
