// The alert: a rule has matched an event. Its keys and their order are stable, so that a consumer can subscribe to alerts
// without knowing events; what has no meaning for a rule's type is null.

import { createHash } from "node:crypto";
import type { Event } from "../event/event.ts";
import type { Fields } from "../event/fields.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import type { Match } from "../rule/engine.ts";
import type { Severity } from "../rule/schema.ts";

export type Alert = {
  event_type: "alert";
  timestamp_ns: bigint;
  rule_id: Bytes;
  rule_name: Bytes;
  rule_type: string;
  severity: Severity;
  action: string;
  source_event_type: string;
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
};

/** The keys of an alert. */
export const ALERT_FIELDS = {
  timestamp_ns: "integer",
  rule_id: "bytes",
  rule_name: "bytes",
  rule_type: "text",
  severity: "text",
  action: "text",
  source_event_type: "text",
  pid: "number",
  tid: "number",
  ppid: "number",
  uid: "number",
  gid: "number",
  comm: "bytes",
  exe_path: "bytes or null",
  process_name: "bytes or null",
  parent_name: "bytes or null",
  path: "bytes or null",
  operation: "text or null",
  direction: "text or null",
  port: "number or null",
  addr: "text or null",
  family: "text or null",
  time: "text",
  schema_version: "number",
  host_id: "text or null",
  boot_id: "text",
  alert_id: "text",
  event_id: "text",
  process_id: "text",
  args: "bytes list or null",
  cwd: "bytes or null",
  ancestors: "bytes list",
  container_id: "text or null",
  attack: "bytes list or null",
} as const satisfies Fields<Alert>;

/** What is known of the process beside the event. */
export type AlertContext = { args: Bytes[] | null; cwd: Bytes | null };

/** Makes the alert of a match. The same rule and event give the same `alert_id`, now and in every replay. */
export function alertOf({ rule, ...facts }: Match, event: Event, context: AlertContext): Alert {
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
  };
}
