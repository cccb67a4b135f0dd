// The part of config.toml that the kernel side and the socket need. The evaluator checks the whole file; here, what this
// process acts on is checked just as strictly, because it acts as root.

import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { ENV_NAME_SIZE_MAX, ENV_NAMES_MAX, FILTER_SIZE_MAX } from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, type EventType, type Family } from "../bpf/kinds.ts";
import { CONFIG_FOLDER, DEFAULT_CONFIG, type Layer, unknownSection } from "../bpf/layers.ts";
import { readTrusted, type Writers } from "../bpf/trusted.ts";
import { suggest, whyNotRead, whyNotToml } from "../bpf/words.ts";

/** A file that cannot be used, with the reason. Exit code 2. */
export class SettingsError extends Error {}

const KIB = 1024;
/** Bytes of a ring: at most what a 32-bit position in a page can name. A record that is larger than its ring is lost, and counted. */
const RING_SIZE_MIN = 64 * KIB;
const RING_SIZE_MAX = 1024 * 1024 * KIB;
/** What part of the other ring's size that of processes has: a program is not started as fast as files are opened. */
const PROCESS_RING_PART = 4;
const CONFIG_SIZE_MAX = 1024 * KIB;
/** Entries of each filter, as in maps.bpf.h. */
const FILTERS_MAX = 4096;
const COMMS_MAX = 256;
/** Who may write what root acts on. */
const ROOT: Writers = { uids: [0], gids: [], anybody: false };

const name = v.pipe(v.string(), v.nonEmpty());
const userName = v.union([name, v.pipe(v.number(), v.integer(), v.minValue(0))]);

const on = v.optional(v.boolean(), true);
const words = v.optional(v.array(v.string()));
const fits = v.maxBytes(
  FILTER_SIZE_MAX - 2,
  `longer than ${FILTER_SIZE_MAX - 2} bytes, which is what the kernel side compares`,
);
const absolute = v.startsWith("/", 'expected a path that begins with "/"');
const paths = v.optional(v.array(v.pipe(name, absolute, fits)), []);
/** In the kernel, a pattern is a suffix or a whole path. */
const pattern = v.pipe(
  name,
  fits,
  v.check(
    (value) => /^[*/][^*]*$/.test(value),
    'expected the end of a path behind a "*", such as "*.service", or a whole path, such as "/etc/shadow"',
  ),
);

/** What only the evaluator acts on, and checks. */
const theirs = v.optional(v.unknown());
const schema = v.object({
  sensor: v.optional(
    v.strictObject({
      socket: v.optional(v.pipe(name, absolute), "/run/warder/sensor.sock"),
      user: v.optional(userName, "nobody"),
      evaluators: v.optional(v.array(userName), []),
    }),
    {},
  ),
  ebpf: v.optional(
    v.strictObject({
      enabled: v.optional(v.boolean(), true),
      buffer_size: v.optional(
        v.pipe(v.number(), v.integer(), v.minValue(RING_SIZE_MIN / KIB), v.maxValue(RING_SIZE_MAX / KIB)),
        65536,
      ),
    }),
    {},
  ),
  events: v.optional(v.strictObject({ process: on, file: on, network: on }), {}),
  process: v.optional(
    v.strictObject({
      ancestors_max: theirs,
      enabled: on,
      hooks: words,
      collect_args: on,
      collect_cwd: on,
      collect_env: v.optional(v.boolean(), false),
      env_names: v.optional(
        v.pipe(v.array(v.pipe(name, v.maxLength(ENV_NAME_SIZE_MAX - 1))), v.maxLength(ENV_NAMES_MAX)),
        ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"],
      ),
    }),
    {},
  ),
  file: v.optional(
    v.strictObject({
      enabled: on,
      hooks: words,
      watch_paths: paths,
      watch_patterns: v.optional(v.array(pattern), []),
      exclude_paths: paths,
      exclude_comms: v.optional(v.pipe(v.array(name), v.maxLength(COMMS_MAX)), []),
      write_events: v.optional(v.picklist(["first", "every"]), "first"),
      include_failed: v.optional(v.boolean(), false),
      write_window_s: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(86400)), 60),
    }),
    {},
  ),
  network: v.optional(
    v.strictObject({
      enabled: on,
      hooks: words,
      include_failed: on,
      collect_dns: theirs,
      collect_payload: theirs,
    }),
    {},
  ),
  health: v.optional(v.strictObject({ canary: on, interval_s: theirs }), {}),
});

/** What the sensor acts on. */
export type Settings = {
  socket: string;
  user: string;
  /** Users beside `user` and root that may connect. */
  evaluators: string[];
  /** Bytes of each ring, in the order of enum ring: powers of two. */
  ringSizes: number[];
  events: Set<EventType>;
  collectArgs: boolean;
  collectCwd: boolean;
  /** Names in the environment to report; empty when it is not collected. */
  envNames: string[];
  watchPaths: string[];
  /** What paths end with. */
  watchSuffixes: string[];
  excludePaths: string[];
  excludeComms: string[];
  everyWrite: boolean;
  writeWindowS: number;
  failedFiles: boolean;
  failedNetwork: boolean;
  /** Acts once a second, so that a hook that reports no more is found out. */
  canary: boolean;
};

/**
 * Reads the settings from `path`, or from the default place if there is a file, and those of the folder beside it; `layers`
 * are stronger. What none of them says has its default.
 * @throws SettingsError with file and reason
 */
export function readSettings(
  path: string | undefined,
  layers: readonly Layer[],
): { settings: Settings; warnings: string[] } {
  const file = path ?? DEFAULT_CONFIG;
  const document: Record<string, unknown> = {};
  const origins = new Map<string, string>();
  /** Where a setting comes from, for messages. */
  const placeOf = (key: string) => `${origins.get(key) ?? file}: ${key}`;
  for (const { name: from, text } of [...fileLayers(file, path === undefined), ...layers]) {
    const sections = parseLayer(from, text);
    for (const [section, value] of Object.entries(sections)) {
      for (const key of isTable(value) ? Object.keys(value) : []) origins.set(`${section}.${key}`, from);
      const before = document[section];
      const tables = isTable(before) && isTable(value);
      document[section] = tables ? { ...before, ...value } : value;
    }
    // Each on its own, so that the message names the one that is wrong.
    check(from, document, sections);
  }
  const {
    sensor,
    ebpf,
    events,
    process: processes,
    file: files,
    network,
    health,
  } = check(file, document, {});
  const warnings: string[] = [];
  const ringSize = 2 ** Math.ceil(Math.log2(ebpf.buffer_size * KIB));
  if (ringSize !== ebpf.buffer_size * KIB) {
    warnings.push(
      `${placeOf("ebpf.buffer_size")}: ${ebpf.buffer_size} KiB is not a power of two: ${ringSize / KIB} KiB are used`,
    );
  }
  const wanted = new Set<EventType>();
  for (const [family, section] of [
    ["process", processes],
    ["file", files],
    ["network", network],
  ] as const) {
    if (!ebpf.enabled || !events[family] || !section.enabled) continue;
    for (const type of wantedTypes(placeOf(`${family}.hooks`), family, section.hooks)) wanted.add(type);
  }
  const watchedFiles = files.watch_patterns.filter((word) => word.startsWith("/"));
  const watchPaths = [...files.watch_paths, ...watchedFiles];
  const suffixes = files.watch_patterns.filter((word) => word.startsWith("*")).map((word) => word.slice(1));
  const [watched, patterns, excluded] = [
    placeOf("file.watch_paths"),
    placeOf("file.watch_patterns"),
    placeOf("file.exclude_paths"),
  ];
  checkRoom(`${watched} and the watch_patterns without *`, watchPaths);
  checkRoom(`${patterns} with *`, suffixes);
  checkRoom(excluded, files.exclude_paths);
  warnings.push(
    ...files.watch_paths.flatMap((entry) => notReal(watched, entry)),
    ...watchedFiles.flatMap((entry) => notReal(patterns, entry)),
    ...files.exclude_paths.flatMap((entry) => notReal(excluded, entry)),
  );
  return {
    warnings,
    settings: {
      socket: sensor.socket,
      user: String(sensor.user),
      evaluators: sensor.evaluators.map(String),
      ringSizes: [Math.max(RING_SIZE_MIN, ringSize / PROCESS_RING_PART), ringSize],
      events: wanted,
      collectArgs: processes.collect_args,
      collectCwd: processes.collect_cwd,
      envNames: processes.collect_env ? processes.env_names : [],
      watchPaths,
      watchSuffixes: suffixes,
      excludePaths: files.exclude_paths,
      excludeComms: files.exclude_comms,
      everyWrite: files.write_events === "every",
      writeWindowS: files.write_window_s,
      failedFiles: files.include_failed,
      failedNetwork: network.include_failed,
      canary: health.canary,
    },
  };
}

function checkRoom(what: string, entries: string[]): void {
  if (entries.length <= FILTERS_MAX) return;
  throw new SettingsError(
    `${what}: ${entries.length} entries, and at most ${FILTERS_MAX} have room in the kernel`,
  );
}

/** A warning, if files are never called by this path: the kernel side compares the paths that they really have. */
function notReal(place: string, path: string): string[] {
  const real = realPath(path);
  if (real === path || `${real}/` === path) return [];
  return [
    `${place}: ${JSON.stringify(path)} leads to ${JSON.stringify(real)}; files go by their real paths: write that one`,
  ];
}

/** Where a path leads, as far as it exists. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(realPath(above), basename(path));
  }
}

function wantedTypes(place: string, family: Family, hooks: string[] | undefined): EventType[] {
  const kinds = ALL_EVENT_KINDS.filter((kind) => kind.family === family);
  const known = kinds.flatMap(({ words: list }) => list);
  for (const word of hooks ?? []) {
    if (known.includes(word)) continue;
    throw new SettingsError(
      `${place}: ${JSON.stringify(word)} is not one of ${known.join(", ")}${suggest(word, known)}`,
    );
  }
  return kinds
    .filter(({ words: list }) => !hooks || list.some((word) => hooks.includes(word)))
    .map(({ type }) => type);
}

/** Checks the settings so far, and the names of the sections that were added last. */
function check(from: string, document: unknown, added: object): v.InferOutput<typeof schema> {
  const result = v.safeParse(schema, document);
  const unknown = Object.keys(added).map(unknownSection);
  const problems = [...unknown.filter((problem) => problem !== null), ...(result.issues ?? []).map(wordsOf)];
  if (result.success && problems.length === 0) return result.output;
  throw new SettingsError(problems.map((problem) => `${from}: ${problem}`).join("\n"));
}

/** What is wrong with a setting, and what was expected. */
function wordsOf(issue: v.BaseIssue<unknown>): string {
  const place = v.getDotPath(issue) ?? "top level";
  if (issue.type === "strict_object" && issue.expected === "never") {
    const key = place.split(".").at(-1) ?? "";
    const known = schema.entries[place.split(".")[0] as keyof typeof schema.entries];
    return `${place}: unknown key${suggest(key, Object.keys(known.wrapped.entries))}`;
  }
  if (!issue.message.startsWith("Invalid ")) return `${place}: ${issue.message}`;
  return `${place}: expected ${issue.expected}, found ${issue.received}`;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The file, and those of the folder beside it in the order of their names. */
function fileLayers(file: string, optional: boolean): Layer[] {
  const folder = join(dirname(file), CONFIG_FOLDER);
  const more = existsSync(folder) ? readdirSync(folder).filter((entry) => entry.endsWith(".toml")) : [];
  const others = more.toSorted().map((entry) => join(folder, entry));
  return [file, ...others].flatMap((path, i) => {
    const text = readText(path, optional && i === 0);
    return text === null ? [] : [{ name: path, text }];
  });
}

function parseLayer(from: string, text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new SettingsError(`${from}:${error.line}:${error.column}: ${whyNotToml(error, text)}`);
  }
}

/** The file's text; null when it is absent and may be. Root acts on it, so nobody else may be able to change it. */
function readText(file: string, optional: boolean): string | null {
  try {
    return readTrusted(file, CONFIG_SIZE_MAX, process.getuid?.() === 0 ? ROOT : null).toString("utf8");
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new SettingsError(`${file}: ${whyNotRead(error as NodeJS.ErrnoException)}`);
  }
}

/** A user of this host. */
export type User = { name: string; uid: number; gid: number };

/**
 * Finds a user by name or number in /etc/passwd; `place` says who asks for them.
 * @throws SettingsError when there is none
 */
export function findUser(wanted: string, place: string): User {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const [entry, , uid, gid] = line.split(":");
    if (entry === undefined || uid === undefined) continue;
    if (entry === wanted || uid === wanted) return { name: entry, uid: Number(uid), gid: Number(gid) };
  }
  throw new SettingsError(`${place}: no user ${JSON.stringify(wanted)} on this host`);
}
