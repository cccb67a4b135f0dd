// The conditions of a rule by look-ups: a list may have 100,000 entries, and costs what one has. That both ways mean the same is
// for tests to hold.

import type { Bytes } from "../event/text.ts";
import { type Compiled, type Name, type NameTest, partsFit, pathFits, type Tests } from "./conditions.ts";
import { type PathKey, pathKeys, patternKeys, rarestKeys } from "./keys.ts";
import { PathTable } from "./lookup.ts";

/** What `plainly` means. */
export function quickly(match: Compiled): Tests {
  switch (match.type) {
    case "process":
      return {
        type: "process",
        isProcess: namesTest(match.processNames),
        isParent: namesTest(match.parentNames),
      };
    case "file": {
      const { operations, paths, patterns } = match;
      const isPath = pathsTest(paths, pathKeys(paths), pathFits);
      const globs = patterns.map((glob) => glob.split("*"));
      const isPattern = pathsTest(globs, patternKeys(patterns), partsFit);
      return { type: "file", operations, isPath: (path) => isPath(path) && isPattern(path) };
    }
    case "network": {
      const ports = new Set(match.ports);
      const { directions } = match;
      return {
        type: "network",
        directions,
        isPort: (port) => ports.has(port),
        isProcess: namesTest(match.processNames),
      };
    }
  }
}

function namesTest(names: readonly Name[]): NameTest {
  if (names.length === 0) return () => true;
  const those = (kind: Name["is"]) =>
    new Set(names.filter(({ is }) => is === kind).map(({ bytes }) => bytes));
  const [comms, exes] = [those("comm"), those("exe")];
  return (comm, exe) => (comm !== null && comms.has(comm)) || (exe !== null && exes.has(exe));
}

/** Does one of the entries, each with its keys, fit? An empty list fits everything. */
function pathsTest<E>(
  entries: readonly E[],
  keys: readonly PathKey[][],
  fits: (entry: E, path: Bytes) => boolean,
): (path: Bytes) => boolean {
  if (entries.length === 0) return () => true;
  const table = new PathTable<E>();
  const rarest = rarestKeys(keys.map((own) => [[own]]));
  for (const [i, entry] of entries.entries()) for (const key of rarest[i] ?? []) table.add(key, entry);
  return (path) => table.in(path).some((entry) => fits(entry, path));
}
