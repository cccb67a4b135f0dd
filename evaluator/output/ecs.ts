// Events, alerts and notices in the fields of the Elastic Common Schema 9 (https://www.elastic.co/docs/reference/ecs). What
// it has no field for is kept under `warder`, by our names.

import { version } from "../../package.json";
import type { Common, Event, EventType, FileEvent, NetworkEvent } from "../event/event.ts";
import { lastOf } from "../event/file.ts";
import { protocolNumber } from "../event/network.ts";
import type { Bytes } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { messageOf, type Notice, type NoticeType } from "./notice.ts";
import { compileTables, type JsonObject, type Line, outcomeOf, type Table } from "./projection.ts";

const ECS_VERSION = "9.4.0";

/** How things are categorised: the category, the types, and the action in the words that detection rules of the field use. */
type Sort = { category: "process" | "file" | "network"; types: string[]; action: string };

const SORTS: Readonly<Record<EventType, Sort>> = {
  process_start: { category: "process", types: ["start"], action: "exec" },
  process_relationship: { category: "process", types: ["start"], action: "fork" },
  process_exit: { category: "process", types: ["end"], action: "end" },
  file_open: { category: "file", types: ["access"], action: "open" },
  file_write: { category: "file", types: ["change"], action: "modification" },
  file_rename: { category: "file", types: ["change"], action: "rename" },
  file_unlink: { category: "file", types: ["deletion"], action: "deletion" },
  network_connect: { category: "network", types: ["connection", "start"], action: "connection_attempted" },
  network_bind: { category: "network", types: ["info"], action: "bind" },
  network_listen: { category: "network", types: ["info"], action: "listen" },
  network_accept: { category: "network", types: ["connection", "start"], action: "connection_accepted" },
};
const CREATION: Sort = { category: "file", types: ["creation"], action: "creation" };

/** What a line about the stream is to a reader of ECS. */
const NOTICE_KINDS: Readonly<Record<NoticeType, string>> = {
  coverage: "state",
  health: "metric",
  loss: "pipeline_error",
  gap: "pipeline_error",
  ledger_mismatch: "pipeline_error",
  sensor_silent: "pipeline_error",
  sensor_heard: "event",
  sensor_gone: "pipeline_error",
  tampered: "alert",
};

/** The numbers that Elastic's own rules give to these words. */
const SEVERITIES: Readonly<Record<string, number>> = { low: 21, medium: 47, high: 73, critical: 99 };

/** Names of capabilities by number (linux/capability.h). */
const CAPABILITIES = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"],
  ...["LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK"],
  ...["IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN"],
  ...["SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE"],
  ...["AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND"],
  ...["AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"],
];
const DIRECTIONS: Readonly<Record<string, string>> = { inbound: "ingress", outbound: "egress" };
const FILE_TYPES: Readonly<Record<number, string>> = {
  0o040000: "dir",
  0o100000: "file",
  0o120000: "symlink",
};

/** What every line says. */
const LINE: Table<Pick<Common, "time" | "host_id" | "boot_id"> & { event_type: string }> = {
  "@timestamp": "time",
  "ecs.version": () => ECS_VERSION,
  "event.code": "event_type",
  "event.module": () => "warder",
  "agent.type": () => "warder",
  "agent.version": () => version,
  "host.id": "host_id",
  "host.boot.id": "boot_id",
  "host.os.type": () => "linux",
};

/** Whose process it was, as events and alerts have it. */
const PROCESS = {
  "process.pid": "pid",
  "process.entity_id": "process_id",
  "process.name": "comm",
  "process.executable": "exe_path",
  "process.thread.id": "tid",
  "process.parent.pid": "ppid",
  "process.real_user.id": [["uid"], ({ uid }) => String(uid)],
  "process.real_group.id": [["gid"], ({ gid }) => String(gid)],
  "user.id": ({ uid }) => String(uid),
  "group.id": ({ gid }) => String(gid),
  "container.id": "container_id",
} as const satisfies Table<Common | Alert>;

const EVENT: Table<Event> = {
  ...LINE,
  ...PROCESS,
  "event.kind": () => "event",
  "event.dataset": () => "warder.event",
  "event.id": "event_id",
  "event.category": (event) => [sortOf(event).category],
  "event.type": (event) => sortOf(event).types,
  "event.action": (event) => sortOf(event).action,
  "process.parent.entity_id": "parent_process_id",
  "process.parent.name": "parent_comm",
  "process.parent.executable": "parent_exe_path",
  "process.user.id": [["euid"], ({ euid }) => String(euid)],
  "process.group.id": [["egid"], ({ egid }) => String(egid)],
  // Only where it differs, as the schema has it.
  "user.effective.id": ({ uid, euid }) => (euid === uid ? null : String(euid)),
};

function sortOf(event: Event): Sort {
  return event.event_type === "file_open" && event.created ? CREATION : SORTS[event.event_type];
}

const FILE: Table<FileEvent> = {
  ...EVENT,
  "event.outcome": ({ error }) => outcomeOf(error),
  "error.code": "error",
  "file.inode": [["inode"], ({ inode }) => (inode === null ? null : String(inode))],
  "file.mode": ({ mode }) => (mode === null ? null : (mode & 0o7777).toString(8).padStart(4, "0")),
  "file.type": ({ mode }) => (mode === null ? null : FILE_TYPES[mode & 0o170000]),
};

/** The file that a key has the path of. */
function file<Key extends string>(key: Key): Table<{ [K in Key]: Bytes | null }> {
  const part = (of: (path: Bytes) => string | null) => (facts: { [K in Key]: Bytes | null }) => {
    const path = facts[key];
    return path === null ? null : of(path);
  };
  return {
    "file.path": key,
    "file.name": part(lastOf),
    "file.extension": part((path) => /[^./]\.([^./]+)$/.exec(path)?.[1] ?? null),
    "file.directory": part(folderOf),
  };
}

const NETWORK: Table<NetworkEvent> = {
  ...EVENT,
  "event.outcome": ({ result }) => outcomeOf(result),
  "error.code": "result",
  "network.direction": [["direction"], ({ direction }) => DIRECTIONS[direction]],
  "network.type": ({ family }) => (family === "unix" ? null : family),
  "network.transport": ({ family, protocol }) => (family === "unix" ? null : transportOf(protocol)),
  "network.iana_number": ({ family, protocol }) => (family === "unix" ? null : numberOf(protocol)),
  "related.ip": ({ local_addr: local, remote_addr: remote }) => known(local, remote),
};
/** Where the caller is the client. The name of a Unix socket is that of the other side. */
const CLIENT: Table<NetworkEvent> = {
  ...NETWORK,
  "source.address": "local_addr",
  "source.ip": "local_addr",
  "source.port": "local_port",
  "destination.address": [["remote_addr", "path"], ({ remote_addr: addr, path }) => addr ?? path],
  "destination.ip": "remote_addr",
  "destination.port": "remote_port",
};
/** Where the caller is the server, or is about to be. */
const SERVER: Table<NetworkEvent> = {
  ...NETWORK,
  "source.address": "remote_addr",
  "source.ip": "remote_addr",
  "source.port": "remote_port",
  "destination.address": [["local_addr", "path"], ({ local_addr: addr, path }) => addr ?? path],
  "destination.ip": "local_addr",
  "destination.port": "local_port",
};

const ALERT: Table<Alert> = {
  ...LINE,
  ...PROCESS,
  "process.name": [["comm", "process_name"], ({ comm }) => comm],
  "event.kind": () => "alert",
  "event.dataset": () => "warder.alert",
  "event.id": "alert_id",
  "event.category": ({ rule_type: type }) => ["intrusion_detection", type],
  "event.type": () => ["info"],
  "event.action": ({ source_event_type: type }) => SORTS[type].action,
  "event.severity": ({ severity }) => SEVERITIES[severity],
  message: ({ rule_name: name }) => name,
  "rule.id": "rule_id",
  "rule.name": "rule_name",
  "rule.category": "rule_type",
  "threat.framework": ({ attack }) => (attack === null ? null : "MITRE ATT&CK"),
  "threat.technique.id": [["attack"], ({ attack }) => unique(attack?.map((id) => id.slice(0, 5)))],
  "threat.technique.subtechnique.id": ({ attack }) => unique(attack?.filter((id) => id.includes("."))),
  "process.parent.name": "parent_name",
  "process.args": "args",
  "process.command_line": ({ args }) => (args?.length ? args.join(" ") : null),
  "process.working_directory": "cwd",
  ...file("path"),
  "network.direction": [["direction"], ({ direction }) => DIRECTIONS[direction ?? ""]],
  "network.type": ({ family }) => family,
  // Rules compare the port of the side that serves, and so is the address.
  "destination.address": "addr",
  "destination.ip": "addr",
  "destination.port": "port",
  "related.ip": ({ addr }) => known(addr),
};

const NOTICE: Table<Notice> = {
  ...LINE,
  "event.kind": ({ event_type: type }) => NOTICE_KINDS[type],
  "event.dataset": () => "warder.notice",
  "event.category": ({ event_type: type }) => [type === "tampered" ? "intrusion_detection" : "host"],
  "event.type": () => ["info"],
  message: messageOf,
};
const SPAN: Table<{ from: string; to: string }> = { "event.start": "from", "event.end": "to" };

/** A record in the words of ECS. Rules have seen the record itself; nothing is decided on what this makes of it. */
export const ecs: (record: Line) => JsonObject = compileTables<Line>("warder", {
  process_start: {
    ...EVENT,
    "event.outcome": () => "success",
    "process.args": "args",
    "process.args_count": "args_count",
    "process.command_line": ({ args }) => (args.length > 0 ? args.join(" ") : null),
    "process.working_directory": "cwd",
    "process.env_vars": "env",
    "process.thread.capabilities.effective": [["cap_effective"], ({ cap_effective: set }) => namesIn(set)],
  },
  process_relationship: {
    ...EVENT,
    "event.outcome": () => "success",
    "process.pid": [["pid", "child_pid"], ({ pid }) => pid],
    "process.name": [["comm", "child_comm"], ({ comm }) => comm],
    "process.thread.id": [["tid", "child_tid"], ({ tid }) => tid],
    "process.parent.pid": [["ppid", "parent_pid"], ({ ppid }) => ppid],
    "process.start": ({ time }) => time,
  },
  process_exit: { ...EVENT, "process.exit_code": "exit_code", "process.end": ({ time }) => time },
  file_open: { ...FILE, ...file("path") },
  file_write: {
    ...FILE,
    ...file("path"),
    "file.path": [["path", "resolved_path"], ({ path }) => path],
  },
  file_rename: { ...FILE, ...file("new_filename") },
  file_unlink: { ...FILE, ...file("path"), "file.name": "filename" },
  network_connect: CLIENT,
  network_bind: SERVER,
  network_listen: SERVER,
  network_accept: SERVER,
  alert: ALERT,
  coverage: { ...NOTICE, "host.os.kernel": "kernel" },
  health: NOTICE,
  loss: { ...NOTICE, ...SPAN },
  gap: { ...NOTICE, ...SPAN, "event.duration": "duration_ns" },
  ledger_mismatch: NOTICE,
  sensor_silent: { ...NOTICE, "event.start": "since", "event.reason": "reason" },
  sensor_heard: NOTICE,
  sensor_gone: NOTICE,
  tampered: NOTICE,
});

/** The names of the capabilities in a set (capabilities(7)); of those without a name, the number. */
function namesIn(set: string): string[] | null {
  const bits = BigInt(`0x${set}`);
  const numbers = Array.from({ length: 64 }, (_, i) => i).filter((i) => (bits >> BigInt(i)) & 1n);
  return someOf(numbers.map((i) => (CAPABILITIES[i] ? `CAP_${CAPABILITIES[i]}` : String(i))));
}

function transportOf(protocol: string): string | null {
  if (protocol === "icmpv6") return "ipv6-icmp";
  return /^\d+$/.test(protocol) ? null : protocol;
}

function numberOf(protocol: string): string | null {
  return protocolNumber(protocol)?.toString() ?? null;
}

function unique(items: string[] | undefined): string[] | null {
  return items ? someOf([...new Set(items)]) : null;
}

/** Addresses that say which host it was. */
function known(...addresses: (string | null)[]): string[] | null {
  return someOf(addresses.filter((addr) => addr !== "0.0.0.0" && addr !== "::"));
}

/** What is known of a list; null when nothing is. */
function someOf<Item>(items: (Item | null)[]): Item[] | null {
  const some = items.filter((item) => item !== null);
  return some.length > 0 ? some : null;
}

/** Null for what is in no folder, such as a pipe. */
function folderOf(path: Bytes): string | null {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? null : path.slice(0, slash) || "/";
}
