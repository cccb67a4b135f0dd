// The alert: a rule has matched an event. Its keys and their order are stable, so that a consumer can subscribe to alerts
// without knowing events; what has no meaning for a rule's type is null.

import { createHash } from "node:crypto";
import type { Circumstances } from "../context/processes.ts";
import type { Event, EventType } from "../event/event.ts";
import { COMMON_FIELDS, EVENT_FIELDS, type Fields } from "../event/fields.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import type { Match } from "../rule/engine.ts";
import {
  ACTIONS,
  DIRECTIONS,
  FILE_OPERATIONS,
  RULE_TYPES,
  SEVERITIES,
  type Severity,
} from "../rule/schema.ts";

export type Alert = {
  event_type: "alert";
  timestamp_ns: bigint;
  rule_id: Bytes;
  rule_name: Bytes;
  rule_type: string;
  severity: Severity;
  action: string;
  source_event_type: EventType;
  pid: number;
  tid: number;
  ppid: number;
  uid: number;
  gid: number;
  comm: Bytes;
  exe_path: Bytes | null;
  process_name: Bytes | null;
  parent_name: Bytes | null;
  path: Bytes | null;
  operation: string | null;
  direction: string | null;
  port: number | null;
  addr: string | null;
  family: string | null;
  time: string;
  schema_version: number;
  host_id: string | null;
  boot_id: string;
  alert_id: string;
  event_id: string;
  process_id: string;
  args: Bytes[] | null;
  cwd: Bytes | null;
  ancestors: Bytes[];
  container_id: string | null;
  attack: Bytes[] | null;
  truncated: string[] | undefined;
};

/** The keys of an alert. */
export const ALERT_FIELDS = {
  timestamp_ns: COMMON_FIELDS.timestamp_ns,
  rule_id: ["bytes", "the rule that matched"],
  rule_name: ["bytes", "the rule's name"],
  rule_type: ["text", "what the rule looks at", RULE_TYPES],
  severity: ["text", "how bad it is, as the rule says", SEVERITIES],
  action: ["text", "what the rule asks for", ACTIONS],
  source_event_type: ["text", "the type of the event that matched", Object.keys(EVENT_FIELDS) as EventType[]],
  pid: COMMON_FIELDS.pid,
  tid: COMMON_FIELDS.tid,
  ppid: COMMON_FIELDS.ppid,
  uid: COMMON_FIELDS.uid,
  gid: COMMON_FIELDS.gid,
  comm: COMMON_FIELDS.comm,
  exe_path: COMMON_FIELDS.exe_path,
  process_name: ["bytes or null", "the same as comm"],
  parent_name: ["bytes or null", "the parent's name"],
  path: ["bytes or null", "of a file rule: the path that matched"],
  operation: ["text or null", "of a file rule: what was done", FILE_OPERATIONS],
  direction: ["text or null", "of a network rule: the direction", DIRECTIONS],
  port: [
    "number or null",
    "of a network rule: the port that matched, the remote one of an outbound connection",
  ],
  addr: ["text or null", "of a network rule: the address of the same side"],
  family: ["text or null", "of a network rule: the address family", ["ipv4", "ipv6", "unix"]],
  time: COMMON_FIELDS.time,
  schema_version: COMMON_FIELDS.schema_version,
  host_id: COMMON_FIELDS.host_id,
  boot_id: COMMON_FIELDS.boot_id,
  alert_id: ["text", "the same for the same rule and event, live and in every replay"],
  event_id: ["text", "the event that matched: the line before this one, unless settings leave it out"],
  process_id: COMMON_FIELDS.process_id,
  args: [
    "bytes list or null",
    "argument list of the process; null when it is not known; where the event is no start, and there are more than 4 KiB, without their middle",
  ],
  cwd: ["bytes or null", "working directory of the process when it was executed"],
  ancestors: COMMON_FIELDS.ancestors,
  container_id: ["text or null", "the container that its cgroup belongs to"],
  attack: ["bytes list or null", "ATT&CK techniques of the rule"],
  truncated: COMMON_FIELDS.truncated,
} as const satisfies Fields<Alert>;

/**
 * Bytes of arguments in an alert about anything but a program's start, which has all that came: anybody may raise such an alert as
 * often as he likes, and each would have 32 KiB.
 */
export const ALERT_ARGS_SIZE_MAX = 4096;

/** From the event itself, if it is a start; else from what is known of its process. */
export function contextOf(event: Event, known: () => Circumstances): Circumstances {
  if (event.event_type !== "process_start") return known();
  return { args: event.args, cwd: event.cwd, cut: event.truncated ?? [] };
}

/** The keys of an alert of which something is missing. */
function truncatedOf(path: Bytes | null, event: Event, context: Circumstances): string[] | undefined {
  const cut = new Set(context.cut);
  const name =
    event.event_type !== "file_rename"
      ? "path"
      : path === event.old_filename
        ? "old_filename"
        : "new_filename";
  if (path !== null && event.truncated?.includes(name)) cut.add("path");
  if (event.truncated?.includes("exe_path")) cut.add("exe_path");
  if (cut.size === 0) return undefined;
  const keys = Object.keys(ALERT_FIELDS).filter((key) => cut.has(key));
  return keys.length > 0 ? keys : undefined;
}

/** Makes the alert of a match. The same rule and event give the same `alert_id`, now and in every replay. */
export function alertOf({ rule, ...facts }: Match, event: Event, context: Circumstances): Alert {
  return {
    event_type: "alert",
    timestamp_ns: event.timestamp_ns,
    rule_id: fromUtf8(rule.id),
    rule_name: fromUtf8(rule.name),
    rule_type: rule.type,
    severity: rule.severity,
    action: rule.action,
    source_event_type: event.event_type,
    pid: event.pid,
    tid: event.tid,
    ppid: event.ppid,
    uid: event.uid,
    gid: event.gid,
    comm: event.comm,
    exe_path: event.exe_path,
    process_name: facts.processName,
    parent_name: facts.parentName,
    path: facts.path,
    operation: facts.operation,
    direction: facts.direction,
    port: facts.port,
    addr: facts.addr,
    family: facts.family,
    time: event.time,
    schema_version: event.schema_version,
    host_id: event.host_id,
    boot_id: event.boot_id,
    alert_id: createHash("sha256")
      .update(`${rule.id}\0${rule.hash}\0${event.event_id}`)
      .digest("hex")
      .slice(0, 32),
    event_id: event.event_id,
    process_id: event.process_id,
    args: context.args,
    cwd: context.cwd,
    ancestors: event.ancestors,
    container_id: event.container_id ?? null,
    attack: rule.attack.length > 0 ? rule.attack.map(fromUtf8) : null,
    truncated: truncatedOf(facts.path, event, context),
  };
}
