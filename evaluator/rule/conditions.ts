// What a rule's conditions mean for one event, one condition at a time: the meaning of the language, without any index.

import {
  COMM_LENGTH,
  type FileEvent,
  type FileRename,
  type NetworkEvent,
  type ProcessEvent,
} from "../event/event.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import type { Direction, FileMatch, NetworkMatch, ProcessMatch } from "./schema.ts";

type Who = "event_type" | "comm" | "exe_path" | "parent_comm" | "parent_exe_path";
type Path = Exclude<FileEvent, FileRename>;
type ProcessSubject = Pick<ProcessEvent, Who>;
type FileSubject = Pick<Path, Who | "path"> | Pick<FileRename, Who | "old_filename" | "new_filename">;
type NetworkSubject = Pick<
  NetworkEvent,
  Who | "family" | "local_addr" | "local_port" | "remote_addr" | "remote_port"
>;

/** What rules and detections look at in an event. */
export type Subject = ProcessSubject | FileSubject | NetworkSubject;

/** A rule's name as it is compared: a path with the executable, anything else with the first bytes of the comm. */
export type Name = { is: "exe" | "comm"; bytes: Bytes };

/** How a name in a rule is compared. */
export function nameOf(word: string): Name {
  const bytes = fromUtf8(word);
  return word.includes("/")
    ? { is: "exe", bytes }
    : { is: "comm", bytes: bytes.slice(0, COMM_LENGTH) as Bytes };
}

/** Does one of the names fit? An empty list fits everything. */
export function namesFit(names: readonly Name[], comm: Bytes | null, exePath: Bytes | null): boolean {
  return names.length === 0 || names.some(({ is, bytes }) => bytes === (is === "exe" ? exePath : comm));
}

/** Is `path` the entry itself or below it? An entry that ends in "/" means only what is below it. */
export function pathFits(entry: Bytes, path: Bytes): boolean {
  if (!path.startsWith(entry)) return false;
  if (entry.endsWith("/")) return path.length > entry.length;
  return path.length === entry.length || path[entry.length] === "/";
}

/**
 * Does a glob match the whole path? `*` stands for any bytes, "/" included. Linear: each part between stars is looked for
 * once, from where the last one ended, and the first place is as good as any other.
 */
export function patternFits(pattern: Bytes, path: Bytes): boolean {
  return partsFit(pattern.split("*"), path);
}

/** The same for what is between the stars. */
export function partsFit(parts: readonly string[], path: Bytes): boolean {
  const first = parts[0] ?? "";
  const last = parts.at(-1) ?? "";
  if (parts.length === 1) return path === first;
  if (!path.startsWith(first) || !path.endsWith(last) || path.length < first.length + last.length)
    return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = path.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= path.length - last.length;
}

/** The paths that an event is about: a rename has two names. */
export function pathsOf(event: FileSubject): Bytes[] {
  return event.event_type === "file_rename" ? [event.old_filename, event.new_filename] : [event.path];
}

/** Inbound is judged by the local port, outbound by the remote one. */
export function portOf(event: NetworkSubject): {
  direction: Direction;
  port: number | null;
  addr: string | null;
} {
  return event.event_type === "network_connect"
    ? { direction: "outbound", port: event.remote_port, addr: event.remote_addr }
    : { direction: "inbound", port: event.local_port, addr: event.local_addr };
}

/** The two processes that a process rule is about, as they are at this moment; null for other events and for exits. */
export function processesOf(
  event: Subject,
): { name: Bytes; exe: Bytes | null; parentName: Bytes | null; parentExe: Bytes | null } | null {
  if (event.event_type !== "process_start" && event.event_type !== "process_relationship") return null;
  return {
    name: event.comm,
    exe: event.exe_path,
    parentName: event.parent_comm,
    parentExe: event.parent_exe_path,
  };
}

/** A match part with its names and paths as bytes. */
export type Compiled =
  | { type: "process"; processNames: Name[]; parentNames: Name[] }
  | { type: "file"; paths: Bytes[]; patterns: Bytes[]; operations: readonly string[] }
  | { type: "network"; directions: readonly Direction[]; ports: readonly number[]; processNames: Name[] };

/** Turns texts of people into bytes, once. */
export function compileMatch(match: ProcessMatch | FileMatch | NetworkMatch): Compiled {
  switch (match.type) {
    case "process":
      return {
        type: "process",
        processNames: match.processNames.map(nameOf),
        parentNames: match.parentNames.map(nameOf),
      };
    case "file":
      return {
        type: "file",
        paths: match.paths.map(fromUtf8),
        patterns: match.patterns.map(fromUtf8),
        operations: match.operations,
      };
    case "network":
      return {
        type: "network",
        directions: match.directions,
        ports: match.ports,
        processNames: match.processNames.map(nameOf),
      };
  }
}

/** What of an event has matched, for the alert. */
export type Facts = {
  path: Bytes | null;
  operation: string | null;
  direction: Direction | null;
  port: number | null;
  addr: string | null;
  family: string | null;
  processName: Bytes | null;
  parentName: Bytes | null;
};

const NO_FACTS: Facts = {
  path: null,
  operation: null,
  direction: null,
  port: null,
  addr: null,
  family: null,
  processName: null,
  parentName: null,
};

export type NameTest = (comm: Bytes | null, exe: Bytes | null) => boolean;

/** A match part as questions about single values. */
export type Tests =
  | { type: "process"; isProcess: NameTest; isParent: NameTest }
  | { type: "file"; operations: readonly string[]; isPath: (path: Bytes) => boolean }
  | {
      type: "network";
      directions: readonly Direction[];
      isPort: (port: number) => boolean;
      isProcess: NameTest;
    };

/** The questions as they are meant: asked of one entry after another. */
export function plainly(match: Compiled): Tests {
  switch (match.type) {
    case "process":
      return {
        type: "process",
        isProcess: (comm, exe) => namesFit(match.processNames, comm, exe),
        isParent: (comm, exe) => namesFit(match.parentNames, comm, exe),
      };
    case "file":
      return {
        type: "file",
        operations: match.operations,
        isPath: (path) =>
          (match.paths.length === 0 || match.paths.some((entry) => pathFits(entry, path))) &&
          (match.patterns.length === 0 || match.patterns.some((glob) => patternFits(glob, path))),
      };
    case "network":
      return {
        type: "network",
        directions: match.directions,
        isPort: (port) => match.ports.includes(port),
        isProcess: (comm, exe) => namesFit(match.processNames, comm, exe),
      };
  }
}

/** Checks all conditions. Null when one does not hold. */
export function factsOf(tests: Tests, event: Subject): Facts | null {
  switch (tests.type) {
    case "process": {
      const found = processesOf(event);
      if (!found) return null;
      if (!tests.isProcess(found.name, found.exe)) return null;
      if (!tests.isParent(found.parentName, found.parentExe)) return null;
      return { ...NO_FACTS, processName: found.name, parentName: found.parentName };
    }
    case "file": {
      if (!isFileEvent(event) || !tests.operations.includes(event.event_type)) return null;
      const path = pathsOf(event).find(tests.isPath);
      return path === undefined
        ? null
        : {
            ...NO_FACTS,
            path,
            operation: event.event_type,
            processName: event.comm,
            parentName: event.parent_comm,
          };
    }
    case "network": {
      if (!isNetworkEvent(event)) return null;
      const { direction, port, addr } = portOf(event);
      if (tests.directions.length > 0 && !tests.directions.includes(direction)) return null;
      if (port === null || !tests.isPort(port)) return null;
      if (!tests.isProcess(event.comm, event.exe_path)) return null;
      return {
        ...NO_FACTS,
        direction,
        port,
        addr,
        family: event.family,
        processName: event.comm,
        parentName: event.parent_comm,
      };
    }
  }
}

/** Is this a `file_*` event? */
export function isFileEvent(event: Subject): event is FileSubject {
  return event.event_type.startsWith("file_");
}

/** Is this a `network_*` event? */
export function isNetworkEvent(event: Subject): event is NetworkSubject {
  return event.event_type.startsWith("network_");
}
