// What can be looked up in an event before any rule is asked: a rule can only match an event that has one of its keys. The
// index of the engine and the filter before it are both made of these.

import type { Bytes } from "../event/text.ts";
import type { Compiled, Name } from "./conditions.ts";

/** One of these must be in an event. */
export type Key =
  | { of: "comm" | "exe" | "parentComm" | "parentExe"; bytes: Bytes }
  | { of: "port"; port: number }
  /** The path itself or a folder above it, without the "/" at its end. */
  | { of: "path"; bytes: Bytes }
  | { of: "ending"; bytes: Bytes }
  /** As many bytes as one of PART_SIZES, somewhere in the path. */
  | { of: "part"; bytes: Bytes }
  | { of: "anyPath" };

/** Fewer bytes than the last of these are in too many paths to be worth a look. */
const PART_SIZES = [8, 4, 3] as const;

/** The keys of a rule's or detection's match part, or of each of the parts that must match together: one will do. */
export function keysOf(match: Compiled): Key[][] {
  switch (match.type) {
    case "network":
      return [match.ports.map((port) => ({ of: "port", port }))];
    case "process":
      return [
        match.parentNames.map((name) => nameKey(name, "parentComm", "parentExe")),
        match.processNames.map((name) => nameKey(name, "comm", "exe")),
      ].filter((keys) => keys.length > 0);
    case "file":
      return [
        match.paths.map((path): Key => ({ of: "path", bytes: withoutSlash(path) })),
        match.patterns.map(patternKey),
      ].filter((keys) => keys.length > 0);
  }
}

function nameKey<Is extends Key["of"]>({ is, bytes }: Name, comm: Is, exe: Is): { of: Is; bytes: Bytes } {
  return { of: is === "comm" ? comm : exe, bytes };
}

function withoutSlash(path: Bytes): Bytes {
  return path.endsWith("/") ? (path.slice(0, -1) as Bytes) : path;
}

/** The ending if there is one, else the folder before the first star, else a part that is long enough. */
function patternKey(pattern: Bytes): Key {
  const parts = pattern.split("*") as Bytes[];
  const [first, last] = [parts[0] as Bytes, parts.at(-1) as Bytes];
  if (parts.length === 1) return { of: "path", bytes: withoutSlash(pattern) };
  if (last !== "") return { of: "ending", bytes: last };
  const folder = first.slice(0, Math.max(first.lastIndexOf("/"), 0)) as Bytes;
  if (folder !== "") return { of: "path", bytes: folder };
  const longest = parts.reduce((best, part) => (part.length > best.length ? part : best));
  const size = PART_SIZES.find((one) => one <= longest.length);
  return size === undefined ? { of: "anyPath" } : { of: "part", bytes: longest.slice(-size) as Bytes };
}
