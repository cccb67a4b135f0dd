// One line per event for eyes. Nothing that a name contains reaches the terminal raw.

import { isatty } from "node:tty";
import type { Event } from "../event/event.ts";
import { type Bytes, isControl } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { codePointAt, jsonText } from "./text.ts";

const LABELS: Record<Event["event_type"], string> = {
  process_start: "exec",
  process_relationship: "fork",
  process_exit: "exit",
  file_open: "open",
  file_write: "write",
  file_rename: "rename",
  file_unlink: "unlink",
  network_connect: "connect",
  network_bind: "bind",
  network_listen: "listen",
  network_accept: "accept",
};
const COLORS: Record<string, string> = { low: "36", medium: "33", high: "31", critical: "1;31" };

/** How lines look: with escape sequences for colours or without. */
export type Style = { color: boolean };

/** Whether to use colours at all; "auto": on a terminal, unless NO_COLOR is set (no-color.org). */
export type Coloring = "auto" | "always" | "never";

/** Does what is written to a descriptor get colours? */
export function colored(coloring: Coloring, fd: number): boolean {
  if (coloring !== "auto") return coloring === "always";
  return isatty(fd) && !process.env["NO_COLOR"];
}

/** An event or alert as one line (an alert as two), as UTF-8 bytes; the time is UTC. */
export function compact(record: Event | Alert, style: Style): Bytes {
  const time = record.time.slice(11, 23);
  if (record.event_type === "alert") return alertLines(record, time, style);
  const who = `${shown(record.comm)}(${record.pid})`;
  return `${time} ${LABELS[record.event_type].padEnd(8)} ${who.padEnd(24)} ${subject(record)}\n` as Bytes;
}

function alertLines(alert: Alert, time: string, { color }: Style): Bytes {
  const severity = alert.severity.toUpperCase().padEnd(8);
  const badge = color ? `\x1b[${COLORS[alert.severity] ?? "0"}m! ${severity}\x1b[0m` : `! ${severity}`;
  const attack = alert.attack ? `   ${alert.attack.map(shown).join(" ")}` : "";
  const lineage = alert.ancestors.toReversed().concat(`${alert.comm}(${alert.pid})` as Bytes);
  return (`${time} ${badge} ${shown(alert.rule_id)} ${shown(alert.rule_name)}${attack}\n` +
    `${" ".repeat(13)}${lineage.map(shown).join(" > ")}   ${alertSubject(alert)}\n`) as Bytes;
}

/** What the rule was asked about: the command of a process, or what was done to which file or port. */
function alertSubject(alert: Alert): string {
  const labels: Readonly<Record<string, string>> = LABELS; // a line that is shown again may lack keys
  const act = labels[alert.source_event_type] ?? "?";
  if (alert.path !== null) return `${act} ${quoted(alert.path)}`;
  if (alert.port !== null) return `${act} ${alert.addr ?? "?"}:${alert.port}`;
  return alert.args?.length ? alert.args.map(quoted).join(" ") : shown(alert.exe_path ?? ("" as Bytes));
}

function subject(event: Event): string {
  switch (event.event_type) {
    case "process_start":
      return [shown(event.exe_path ?? event.filename), ...event.args.slice(1).map(quoted)].join(" ");
    case "process_relationship":
      return `by ${shown(event.creator_comm)}(${event.creator_pid})`;
    case "process_exit":
      return event.signal === null
        ? `code ${event.exit_code}`
        : `signal ${event.signal}${event.core_dumped ? ", core dumped" : ""}`;
    case "file_rename":
      return `${quoted(event.old_filename)} -> ${quoted(event.new_filename)}`;
    case "file_open":
    case "file_write":
    case "file_unlink":
      return quoted(event.path);
    default: {
      if (event.path !== undefined) return `${event.protocol} ${unixName(event.path)}`;
      const local = `${event.local_addr ?? "?"}:${event.local_port ?? "?"}`;
      const remote = event.remote_addr === null ? "" : ` -> ${event.remote_addr}:${event.remote_port ?? "?"}`;
      return `${event.protocol} ${local}${remote}`;
    }
  }
}

/** An abstract name as ss(8) and systemd write it, and a socket without any as unix(7) calls it. */
function unixName(path: Bytes): string {
  return path === "" ? "(unnamed)" : quoted(path.replace(/^\0/, "@") as Bytes);
}

/** Plain in a shell, or within single quotes. */
export function quoted(bytes: Bytes): string {
  return /^[\w@%+=:,./-]+$/.test(bytes) ? bytes : `'${shown(bytes)}'`;
}

/** The bytes as a terminal may have them: as in NDJSON, but for quotes and backslashes that stand alone. */
export function shown(bytes: Bytes): string {
  if (/^[ -~]*$/.test(bytes)) return bytes;
  for (let at = 0; at < bytes.length; ) {
    const { size, codePoint } = codePointAt(bytes, at);
    if (size === 0 || isControl(codePoint)) return jsonText(bytes).body;
    at += size;
  }
  return bytes;
}
