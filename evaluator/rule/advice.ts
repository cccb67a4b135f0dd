// What a rule may say, and what then never matches or means something else: a warning each.

import { COMM_LENGTH } from "../event/event.ts";
import type { Path } from "./problem.ts";
import type { Rule } from "./schema.ts";

/** Warns of the entries of a match part that surprise. */
export function advise(match: Rule["match"], say: (at: Path, message: string) => void): void {
  const each = (list: string, entries: readonly string[], adviceOn: (entry: string) => string | null) =>
    entries.forEach((entry, i) => {
      const advice = adviceOn(entry);
      if (advice !== null) say([list, i], `${list}[${i}]: ${advice}`);
    });
  if (match.type === "file") {
    each("paths", match.paths, onPath);
    each("patterns", match.patterns, onPattern);
  } else {
    each("process_names", match.processNames, onName);
    if (match.type === "process") each("parent_names", match.parentNames, onName);
  }
}

function onName(name: string): string | null {
  if (name.includes("*")) return 'names are compared as they are: "*" stands for itself';
  if (name.includes("/"))
    return name.startsWith("/")
      ? unresolved(name)
      : 'a name with "/" is compared with the executable\'s path, which begins with "/"';
  if (Buffer.byteLength(name) <= COMM_LENGTH) return null;
  const kept = Buffer.from(name).subarray(0, COMM_LENGTH).toString();
  return `the kernel keeps ${COMM_LENGTH} bytes of a name: compared as ${JSON.stringify(kept)}`;
}

function onPath(path: string): string | null {
  return path.includes("*") ? 'paths are compared as they are: "*" belongs into patterns' : unresolved(path);
}

function onPattern(pattern: string): string | null {
  return /^[*/]/.test(pattern) ? null : `matches no path, because paths begin with "/": "*${pattern}" would`;
}

function unresolved(path: string): string | null {
  return /\/(\.{0,2})\//.test(path) || /\/\.{1,2}$/.test(path)
    ? 'matches no path: in events "." and ".." are resolved, and slashes stand alone'
    : null;
}
