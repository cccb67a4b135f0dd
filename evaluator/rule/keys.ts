// What can be looked up in an event before any rule is asked: a rule can only match an event that has one of its keys. The
// index of the engine and the filter before it are both made of these.

import type { Bytes } from "../event/text.ts";
import type { Compiled, Name } from "./conditions.ts";

type NameKey = { of: "comm" | "exe" | "parentComm" | "parentExe" | "actorComm" | "actorExe"; bytes: Bytes };

/** One of these must be in a path. */
export type PathKey =
  /** The path itself or a folder above it, without the "/" at its end. */
  | { of: "path"; bytes: Bytes }
  | { of: "ending"; bytes: Bytes }
  /** As many bytes as one of PART_SIZES, somewhere in the path. */
  | { of: "part"; bytes: Bytes }
  | { of: "anyPath" };

/** One of these must be in an event. */
export type Key = NameKey | { of: "port"; port: number } | PathKey;

/** Fewer bytes than the last of these are in too many paths to be worth a look. */
const PART_SIZES = [8, 4, 3] as const;
/** A text of so many bytes is found where it is meant; with each byte less, twice as much is found. */
const LONG = 8;
/** A folder so deep is in few paths. */
const FOLDER_DEPTH_MIN = 3;
/** Parts of one pattern that are keys, at most; of very many patterns in a list, as many as make so many keys in all. */
const PARTS_MAX = 64;
const PARTS_MIN = 4;
const KEYS_MAX = 200_000;

/**
 * The lists of a rule's or detection's match part that must hold together. One entry of a list must fit, and all keys of an
 * entry are in what it fits: any will do.
 */
export function keysOf(match: Compiled): Key[][][] {
  switch (match.type) {
    case "network":
      return listsOf(
        match.ports.map((port) => [{ of: "port", port }]),
        match.processNames.map((name) => [nameKey(name, "actorComm", "actorExe")]),
      );
    case "process":
      return listsOf(
        match.parentNames.map((name) => [nameKey(name, "parentComm", "parentExe")]),
        match.processNames.map((name) => [nameKey(name, "comm", "exe")]),
      );
    case "file":
      return listsOf(pathKeys(match.paths), patternKeys(match.patterns));
  }
}

/** An empty list asks for nothing. */
function listsOf(...lists: Key[][][]): Key[][][] {
  return lists.filter((list) => list.length > 0);
}

function nameKey({ is, bytes }: Name, comm: NameKey["of"], exe: NameKey["of"]): NameKey {
  return { of: is === "comm" ? comm : exe, bytes };
}

/** The keys of each path of a list. */
export function pathKeys(paths: readonly Bytes[]): PathKey[][] {
  return paths.map((path) => [pathKey(path)]);
}

/** The keys of each pattern of a list. */
export function patternKeys(patterns: readonly Bytes[]): PathKey[][] {
  const partsMax = Math.max(PARTS_MIN, Math.min(PARTS_MAX, Math.floor(KEYS_MAX / patterns.length)));
  return patterns.map((pattern) => keysOfPattern(pattern, partsMax));
}

function pathKey(path: Bytes): PathKey {
  return { of: "path", bytes: path.endsWith("/") ? (path.slice(0, -1) as Bytes) : path };
}

/**
 * The keys of a pattern: its ending, parts that are long enough, the folder before the first star, and what stands between the
 * two. Folders near the root are in so many paths that they are keys only where there is no other. At most `partsMax` parts of each.
 */
function keysOfPattern(pattern: Bytes, partsMax: number): PathKey[] {
  const [first = "" as Bytes, ...others] = pattern.split("*") as Bytes[];
  const last = others.at(-1);
  if (last === undefined) return [pathKey(pattern)];
  const end = first.lastIndexOf("/");
  const folder: PathKey[] = end > 0 ? [{ of: "path", bytes: first.slice(0, end) as Bytes }] : [];
  const isDeep = first.split("/").length > FOLDER_DEPTH_MIN + 1;
  const ending: PathKey[] = last === "" ? [] : [{ of: "ending", bytes: last }];
  const keys = [...ending, ...(isDeep ? folder : []), ...partsOf(others, partsMax)];
  if (keys.length > 0) return [...keys, ...partsOf([first.slice(Math.max(end, 0)) as Bytes], partsMax)];
  keys.push(...folder, ...partsOf([first], partsMax));
  return keys.length > 0 ? keys : [{ of: "anyPath" }];
}

/** What of these texts can be looked for in paths: the end of the longest first. */
function partsOf(texts: readonly Bytes[], max: number): PathKey[] {
  const longestFirst = texts.toSorted((a, b) => b.length - a.length);
  const size = PART_SIZES.find((one) => one <= (longestFirst[0]?.length ?? 0));
  if (size === undefined) return [];
  const keys: PathKey[] = [];
  for (const text of longestFirst)
    for (let end = text.length; end >= size && keys.length < max; end--)
      keys.push({ of: "part", bytes: text.slice(end - size, end) as Bytes });
  return keys;
}

/**
 * What each of these is looked up by: of an entry the key, and of the lists that must hold together the one, by which least is
 * found. Many rules are about the same shells or folders, each with something of its own; and what many rules ask for is in many
 * events, as are short texts.
 */
export function rarestKeys<K extends Key>(things: readonly K[][][][]): K[][] {
  const sharers = countSharers(things.flat(3));
  const findings = (key: K) => sharers(key) / 2 ** Math.min(String(textOf(key)).length, LONG);
  return things.map((lists) => {
    let best: { keys: K[]; findings: number } = { keys: [], findings: Number.POSITIVE_INFINITY };
    for (const list of lists) {
      const own = list.map((entry) => ownKey(entry, findings));
      const sum = own.reduce((all, one) => all + one.findings, 0);
      if (best.keys.length === 0 || sum < best.findings)
        best = { keys: own.map(({ key }) => key), findings: sum };
    }
    return best.keys;
  });
}

/** The key that finds least. Of parts that find as little, the one in the middle: at the ends, they have more of what is not their own. */
function ownKey<K extends Key>(
  entry: readonly K[],
  findings: (key: K) => number,
): { key: K; findings: number } {
  const all = entry.map(findings);
  const least = Math.min(...all);
  const first = all.indexOf(least);
  const equal = all.flatMap((count, i) => (count === least && entry[i]?.of === entry[first]?.of ? [i] : []));
  const key = entry[equal[equal.length >>> 1] ?? 0];
  if (!key) throw new TypeError("an entry without a key");
  return { key, findings: least };
}

/** How many of the keys are like one of them; chance may add some. Any path has the key of none. */
function countSharers(keys: readonly Key[]): (key: Key) => number {
  const counts = new Uint32Array(2 ** Math.ceil(Math.log2(8 * keys.length + 1)));
  const placeOf = (key: Key) =>
    Bun.hash.crc32(String(textOf(key)), KINDS.indexOf(key.of)) & (counts.length - 1);
  for (const key of keys) {
    const place = placeOf(key);
    counts[place] = (counts[place] ?? 0) + 1;
  }
  return (key) => (key.of === "anyPath" ? Number.POSITIVE_INFINITY : (counts[placeOf(key)] ?? 0));
}

/** Texts of different kinds are different keys. */
const KINDS: readonly Key["of"][] = [
  ...(["comm", "exe", "parentComm", "parentExe", "actorComm", "actorExe"] as const),
  ...(["port", "path", "ending", "part", "anyPath"] as const),
];

/** What is looked up. */
export function textOf(key: Key): string | number {
  return "bytes" in key ? key.bytes : "port" in key ? key.port : "";
}
