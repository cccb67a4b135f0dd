// Every setting, with its meaning, bounds and default. The file has the seed project's shape; see config.example.toml.

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { ENV_NAME_SIZE_MAX, ENV_NAMES_MAX } from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, type Family } from "../bpf/kinds.ts";
import { CONFIG_FOLDER, DEFAULT_CONFIG, type Layer, unknownSection } from "../bpf/layers.ts";
import type { Writers } from "../bpf/trusted.ts";
import { FORMATS } from "./output/outputs.ts";
import {
  type Collected,
  checkRuleFile,
  collectRules,
  filesIn,
  readDocument,
  ruleFiles,
} from "./rule/load.ts";
import {
  checkTable,
  type Document,
  isTable,
  type Problem,
  parseDocument,
  placeOf,
  report,
} from "./rule/problem.ts";
import {
  absolutePath,
  type Detection,
  described,
  flag,
  listOf,
  oneOf,
  pattern,
  readDetections,
  text,
  wholeNumber,
} from "./rule/schema.ts";

const RULES_FOLDER = "rules.d";

/** A setting that has a default, with its meaning: the words of config.example.toml. */
const setting = <Schema extends v.GenericSchema, const Default extends v.InferInput<Schema>>(
  schema: Schema,
  fallback: Default,
  meaning: string,
) => v.optional(described(schema, meaning), fallback);
const hooks = (family: Family) => {
  const known = ALL_EVENT_KINDS.filter((kind) => kind.family === family).flatMap(({ words }) => words);
  const usual = known.filter((word) => !word.startsWith("sched_"));
  return setting(listOf(oneOf(known)), usual, "each word switches on its kind of event");
};
const user = v.union([text, wholeNumber(0, 0xffff_fffe)], "expected a user's name or number");
const envName = v.pipe(text, v.maxBytes(ENV_NAME_SIZE_MAX - 1, `longer than ${ENV_NAME_SIZE_MAX - 1} bytes`));
const fill = <Entries extends v.ObjectEntries>(entries: Entries) => entries;

/** Every setting, by section. Those without a meaning are in WITHOUT_MEANING. */
export const SECTIONS = {
  agent: fill({
    id: v.optional(text, "warder"),
    mode: setting(
      oneOf(["monitor", "detect"]),
      "monitor",
      '"monitor" writes events and alerts, "detect" writes alerts only',
    ),
    log_level: v.optional(oneOf(["error", "warn", "info", "debug", "trace"]), "info"),
  }),
  sensor: fill({
    socket: setting(
      absolutePath,
      "/run/warder/sensor.sock",
      "where the sensor serves and the evaluator connects",
    ),
    user: setting(user, "nobody", "who the sensor becomes before it serves; may also connect as evaluator"),
    evaluators: setting(
      listOf(user),
      [],
      "further users that may connect, by name or number; root always may",
    ),
  }),
  ebpf: fill({
    enabled: setting(flag, true, "false: nothing is attached"),
    buffer_size: setting(
      wholeNumber(64, 1024 * 1024),
      65536,
      "KiB of the ring buffer of files and network, the only queue; processes have one a quarter as large",
    ),
  }),
  events: fill({
    process: setting(flag, true, "processes: started, created, ended"),
    file: setting(flag, true, "files: opened, written, renamed, removed"),
    network: setting(flag, true, "network: connected, bound, listening, accepted"),
  }),
  process: fill({
    enabled: setting(flag, true, "like events.process; both must be true"),
    hooks: hooks("process"),
    collect_args: setting(flag, true, "the argument list, up to 32 KiB of it"),
    collect_cwd: setting(flag, true, "the working directory"),
    collect_env: setting(
      flag,
      false,
      "environment entries whose names are in env_names; off, because they can hold secrets",
    ),
    env_names: setting(
      v.pipe(listOf(envName), v.maxLength(ENV_NAMES_MAX, `more than ${ENV_NAMES_MAX} names`)),
      ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"],
      `at most ${ENV_NAMES_MAX} names of at most ${ENV_NAME_SIZE_MAX - 1} bytes`,
    ),
    ancestors_max: setting(wholeNumber(0, 64), 16, "how many ancestors an event lists"),
  }),
  file: fill({
    enabled: setting(flag, true, "like events.file; both must be true"),
    hooks: hooks("file"),
    watch_paths: setting(
      listOf(absolutePath),
      [],
      "only these folders and files, by their real paths; empty: all",
    ),
    watch_patterns: setting(listOf(pattern), [], 'and what matches these, such as "*.service"'),
    exclude_paths: setting(listOf(absolutePath), [], "never these; they win"),
    exclude_comms: setting(
      listOf(text),
      [],
      "never what processes of these names (15 bytes of them) do to files",
    ),
    write_events: setting(
      oneOf(["first", "every"]),
      "first",
      '"first": a process\'s first write to a file stands for the rest; "every": each write',
    ),
    write_window_s: setting(
      wholeNumber(1, 86400),
      60,
      "after this long, the next write is a first one again",
    ),
    include_failed: setting(
      flag,
      false,
      'calls that failed, too, with "error": what a program looked for, or was denied; often very many',
    ),
  }),
  network: fill({
    enabled: setting(flag, true, "like events.network; both must be true"),
    hooks: hooks("network"),
    include_failed: setting(flag, true, "connections that were refused are often the interesting ones"),
    collect_dns: v.optional(flag, false),
    collect_payload: v.optional(flag, false),
  }),
  output: fill({
    type: setting(oneOf(["stdout", "file"]), "stdout", '"stdout" or "file"'),
    format: setting(
      oneOf(FORMATS),
      "json",
      '"json"; "ecs" or "ocsf": JSON in the words of that schema; "compact": for eyes, and the default on a terminal',
    ),
    path: v.optional(
      described(
        absolutePath,
        'for type = "file"; the evaluator opens it as the user it has become; SIGUSR1 opens it anew',
      ),
    ),
    alerts_path: v.optional(
      described(
        absolutePath,
        "beside the rest, what --alerts-only shows: alerts and the lines about the stream",
      ),
    ),
    rotate_size_mb: setting(
      wholeNumber(0, 1024 * 1024),
      0,
      "MiB: a file that would become larger is set aside as events-20260517T120431Z-0001.ndjson; 0: never",
    ),
    rotate_age_s: setting(
      wholeNumber(0, 366 * 86400),
      0,
      "seconds: a file that is as old as this is set aside, too; 0: never",
    ),
    compress: setting(flag, true, "files that were set aside, with zstd, in the background"),
    keep: setting(
      wholeNumber(0, 1_000_000),
      0,
      "how many files that were set aside stay, the newest; 0: all",
    ),
  }),
  health: fill({
    interval_s: setting(wholeNumber(1, 86400), 10, "seconds between two health lines"),
    canary: setting(
      flag,
      true,
      'the sensor opens a file, connects to itself and runs "true" once a second: silent hooks are found out',
    ),
  }),
  metrics: fill({
    port: setting(
      wholeNumber(0, 65535),
      0,
      "of 127.0.0.1, where the evaluator answers Prometheus (/metrics) and /healthz; 0: none",
    ),
  }),
  performance: fill({
    max_events_per_second: setting(
      wholeNumber(0, 1_000_000_000),
      0,
      "of file and network events that are written; 0: no limit. Alerts are always written",
    ),
    drop_when_full: v.optional(flag, false),
    max_process_cache_entries: setting(
      wholeNumber(16, 16_777_216),
      65536,
      "processes that the evaluator remembers, those that have ended included",
    ),
    max_pending_exec_sources: v.optional(wholeNumber(0, 16_777_216), 0),
  }),
};

type OutputOf<Schema> = Schema extends v.GenericSchema ? v.InferOutput<Schema> : never;
type Sections = {
  [Name in keyof typeof SECTIONS]: {
    [Key in keyof (typeof SECTIONS)[Name]]: OutputOf<(typeof SECTIONS)[Name][Key]>;
  };
};

/** All settings, complete. */
export type Config = Sections & { detections: Detection[] };

/** Keys of the seed project's settings that change nothing here, and why. */
export const WITHOUT_MEANING: Record<string, Record<string, string>> = {
  agent: {
    id: "hosts are told apart by host_id",
    log_level: "messages on stderr are few, and all of them matter",
  },
  network: { collect_dns: "not collected", collect_payload: "payload is never collected" },
  performance: {
    drop_when_full: "the ring buffer is the only queue; what it cannot hold is counted",
    max_pending_exec_sources: "an exec record says itself who asked for it",
  },
};

/** Settings and rules of one start, and everything that is wrong with them. */
export type Loaded = Collected & {
  config: Config;
  /** Where each setting comes from, by "section.key"; those that are not in it have their default. */
  origins: ReadonlyMap<string, string>;
  problems: Problem[];
  files: string[];
};

/** The file that the settings come from, and the folder that holds more; null: there is none. */
export type Place = { path: string | null; folder: string | null };

/** No file: the defaults. */
export const NOWHERE: Place = { path: null, folder: null };

/** A settings file, with what lies beside it. */
export function placeOfFile(path: string): Place {
  return { path, folder: dirname(path) };
}

/** Where the settings come from: an explicit file, `EDR_CONFIG`, or the default place, as far as it is there. */
export function configPlace(
  explicit: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Place {
  const path = explicit ?? environment["EDR_CONFIG"];
  if (path !== undefined) return placeOfFile(path);
  const folder = dirname(DEFAULT_CONFIG);
  return {
    path: existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : null,
    folder: existsSync(folder) ? folder : null,
  };
}

/**
 * Loads the settings at `place`, those of the folder beside it, and `layers`, each stronger than the one before; the rules in
 * them and beside them, and those of `rulePaths`. What others than `writers` could have changed is refused; null: it does not
 * matter.
 */
export function load(
  { path, folder }: Place,
  rulePaths: readonly string[],
  writers: Writers | null = null,
  layers: readonly Layer[] = [],
): Loaded {
  const problems: Problem[] = [];
  const inFolder = (name: string) =>
    folder === null ? [] : (filesIn(join(folder, name), problems, writers) ?? []);
  const configs = [...(path === null ? [] : [path]), ...inFolder(CONFIG_FOLDER)];
  const documents = [
    ...configs.map((file) => readDocument(file, problems, writers)),
    ...layers.map(({ name, text: toml }) => parseDocument(name, toml, problems)),
  ].filter((document) => document !== null);
  const { config: settings, origins } = readConfig(documents);
  const files = [
    ...inFolder(RULES_FOLDER),
    ...rulePaths.flatMap((rulePath) => ruleFiles(rulePath, problems, writers)),
  ].filter(isFirst);
  for (const file of files) {
    const document = readDocument(file, problems, writers);
    if (!document) continue;
    checkRuleFile(document);
    documents.push(document);
  }
  const collected = collectRules(documents);
  const order = [...configs, ...layers.map(({ name }) => name), ...files];
  problems.sort(
    (a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
  const read = documents.map(({ file }) => file).filter((file) => !layers.some(({ name }) => name === file));
  return { ...collected, config: settings, origins, problems, files: read };
}

/** A file that is named twice, perhaps within a folder, is read once. */
function isFirst(file: string, index: number, files: readonly string[]): boolean {
  return files.findIndex((other) => resolve(other) === resolve(file)) === index;
}

/** The settings of all documents, a later one before an earlier one; a section that is wrong in one is left out of it. */
function readConfig(documents: readonly Document[]): { config: Config; origins: Map<string, string> } {
  const config: Record<string, Record<string, unknown>> = {};
  const origins = new Map<string, string>();
  const detections: Detection[] = [];
  for (const [name, entries] of Object.entries(SECTIONS)) config[name] = v.parse(v.object(entries), {});
  for (const document of documents) {
    for (const [name, entries] of Object.entries(SECTIONS)) {
      const value = document.value[name] ?? {};
      const checked = checkTable(document, [name], value, entries, { prefix: `${name}.` });
      for (const key of checked ? Object.keys(value) : []) {
        Object.assign(config[name] ?? {}, { [key]: checked?.[key as keyof typeof checked] });
        origins.set(`${name}.${key}`, originOf(document, [name, key]));
      }
    }
    const found = document.value["detections"];
    if (found !== undefined) detections.push(...readDetections(document, found));
    checkSections(document);
  }
  const result = { ...config, detections } as Config;
  const last = documents.findLast(({ value }) => "output" in value);
  if (last) checkOutput(last, result.output);
  return { config: result, origins };
}

/** A place as people write it. What comes from elsewhere than a file has no lines. */
function originOf(document: Document, path: readonly string[]): string {
  const { file, line } = placeOf(document, path, true);
  return /^(--set|WARDER_)/.test(file) ? file : `${file}:${line}`;
}

function checkSections(document: Document): void {
  for (const key of Object.keys(document.value)) {
    const problem = unknownSection(key);
    if (problem !== null) report(document, [key], problem, { key: true });
  }
  const idle = Object.entries(WITHOUT_MEANING).flatMap(([section, keys]) => {
    const table = document.value[section];
    const present = isTable(table) ? Object.entries(keys).filter(([key]) => key in table) : [];
    return present.map(([key, reason]) => ({ path: [section, key], words: `${section}.${key} (${reason})` }));
  });
  if (idle[0]) {
    const words = idle.map(({ words: word }) => word).join(", ");
    report(document, idle[0].path, `accepted, and without effect here: ${words}`, {
      severity: "warning",
      key: true,
    });
  }
}

/** What the keys of [output] say together. */
function checkOutput(document: Document, output: Config["output"]): void {
  const { type, path, alerts_path: alertsPath, rotate_size_mb: size, rotate_age_s: age } = output;
  const say = (key: string, message: string, severity: Problem["severity"]) =>
    report(document, ["output", key], `output.${key}: ${message}`, { severity, key: true });
  if (type === "file" && path === undefined) say("path", 'missing, and required with type = "file"', "error");
  if (type === "stdout" && path !== undefined)
    say("path", 'without effect but with type = "file"', "warning");
  if (path !== undefined && path === alertsPath) say("alerts_path", "the same file as output.path", "error");
  if (type === "stdout" && alertsPath === undefined && size + age > 0)
    say(size > 0 ? "rotate_size_mb" : "rotate_age_s", "without effect: no line goes to a file", "warning");
  if (output.keep > 0 && size + age === 0)
    say("keep", "without effect: neither rotate_size_mb nor rotate_age_s is set", "warning");
}
