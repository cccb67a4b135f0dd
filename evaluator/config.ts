// Every setting, with its meaning, bounds and default. The file has the seed project's shape; see config.example.toml.

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { ENV_NAME_SIZE_MAX, ENV_NAMES_MAX } from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS, type Family } from "../bpf/kinds.ts";
import type { Writers } from "../bpf/trusted.ts";
import {
  type Collected,
  checkRuleFile,
  collectRules,
  filesIn,
  readDocument,
  ruleFiles,
} from "./rule/load.ts";
import { checkTable, type Document, isTable, type Problem, report, suggest } from "./rule/problem.ts";
import {
  absolutePath,
  type Detection,
  flag,
  listOf,
  oneOf,
  pattern,
  readDetections,
  text,
  wholeNumber,
} from "./rule/schema.ts";

const DEFAULT_CONFIG = "/etc/warder/config.toml";
const RULES_FOLDER = "rules.d";

const hooks = (family: Family) => {
  const known = ALL_EVENT_KINDS.filter((kind) => kind.family === family).flatMap(({ words }) => words);
  return v.optional(
    listOf(oneOf(known)),
    known.filter((word) => !word.startsWith("sched_")),
  );
};
const user = v.union([text, wholeNumber(0, 0xffff_fffe)], "expected a user's name or number");
const fill = <Entries extends v.ObjectEntries>(entries: Entries) => entries;

const SECTIONS = {
  agent: fill({
    id: v.optional(text, "warder"),
    mode: v.optional(oneOf(["monitor", "detect"]), "monitor"),
    log_level: v.optional(oneOf(["error", "warn", "info", "debug", "trace"]), "info"),
  }),
  sensor: fill({
    socket: v.optional(absolutePath, "/run/warder/sensor.sock"),
    user: v.optional(user, "nobody"),
    evaluators: v.optional(listOf(user), []),
  }),
  ebpf: fill({
    enabled: v.optional(flag, true),
    buffer_size: v.optional(wholeNumber(64, 1024 * 1024), 65536),
  }),
  events: fill({
    process: v.optional(flag, true),
    file: v.optional(flag, true),
    network: v.optional(flag, true),
  }),
  process: fill({
    enabled: v.optional(flag, true),
    hooks: hooks("process"),
    collect_args: v.optional(flag, true),
    collect_cwd: v.optional(flag, true),
    collect_env: v.optional(flag, false),
    env_names: v.optional(
      v.pipe(
        listOf(v.pipe(text, v.maxBytes(ENV_NAME_SIZE_MAX - 1, `longer than ${ENV_NAME_SIZE_MAX - 1} bytes`))),
        v.maxLength(ENV_NAMES_MAX, `more than ${ENV_NAMES_MAX} names`),
      ),
      ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"],
    ),
    ancestors_max: v.optional(wholeNumber(0, 64), 16),
  }),
  file: fill({
    enabled: v.optional(flag, true),
    hooks: hooks("file"),
    watch_paths: v.optional(listOf(absolutePath), []),
    watch_patterns: v.optional(listOf(pattern), []),
    exclude_paths: v.optional(listOf(absolutePath), []),
    exclude_comms: v.optional(listOf(text), []),
    write_events: v.optional(oneOf(["first", "every"]), "first"),
    write_window_s: v.optional(wholeNumber(1, 86400), 60),
    include_failed: v.optional(flag, false),
  }),
  network: fill({
    enabled: v.optional(flag, true),
    hooks: hooks("network"),
    include_failed: v.optional(flag, true),
    collect_dns: v.optional(flag, false),
    collect_payload: v.optional(flag, false),
  }),
  output: fill({
    type: v.optional(oneOf(["stdout", "file"]), "stdout"),
    format: v.optional(oneOf(["json", "compact"]), "json"),
    path: v.optional(absolutePath),
    alerts_path: v.optional(absolutePath),
    rotate_size_mb: v.optional(wholeNumber(0, 1024 * 1024), 0),
    rotate_age_s: v.optional(wholeNumber(0, 366 * 86400), 0),
    compress: v.optional(flag, true),
    keep: v.optional(wholeNumber(0, 1_000_000), 0),
  }),
  health: fill({ interval_s: v.optional(wholeNumber(1, 86400), 10), canary: v.optional(flag, true) }),
  performance: fill({
    max_events_per_second: v.optional(wholeNumber(0, 1_000_000_000), 0),
    drop_when_full: v.optional(flag, false),
    max_process_cache_entries: v.optional(wholeNumber(16, 16_777_216), 65536),
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
const WITHOUT_MEANING: Record<string, Record<string, string>> = {
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
export type Loaded = Collected & { config: Config; problems: Problem[]; files: string[] };

/** Where the settings come from: an explicit file, `EDR_CONFIG`, or the default place if there is a file. */
export function configPath(
  explicit: string | undefined,
  environment: Record<string, string | undefined>,
): string | null {
  const path = explicit ?? environment["EDR_CONFIG"];
  if (path !== undefined) return path;
  return existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : null;
}

/**
 * Loads the settings of `path` (null: defaults), the rules in them and beside them, and those of `rulePaths`. What others than
 * `writers` could have changed is refused; null: it does not matter.
 */
export function load(
  path: string | null,
  rulePaths: readonly string[],
  writers: Writers | null = null,
): Loaded {
  const problems: Problem[] = [];
  const documents: Document[] = [];
  const config = path === null ? null : readDocument(path, problems, writers);
  if (config) documents.push(config);
  const settings = readConfig(config);
  const folder = path === null ? null : join(dirname(path), RULES_FOLDER);
  const files = [
    ...(folder === null ? [] : (filesIn(folder, problems, writers) ?? [])),
    ...rulePaths.flatMap((rulePath) => ruleFiles(rulePath, problems, writers)),
  ].filter(isFirst);
  for (const file of files) {
    const document = readDocument(file, problems, writers);
    if (!document) continue;
    checkRuleFile(document);
    documents.push(document);
  }
  const collected = collectRules(documents);
  const order = [...(path === null ? [] : [path]), ...files];
  problems.sort(
    (a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
  return { ...collected, config: settings, problems, files: documents.map(({ file }) => file) };
}

/** A file that is named twice, perhaps within a folder, is read once. */
function isFirst(file: string, index: number, files: readonly string[]): boolean {
  return files.findIndex((other) => resolve(other) === resolve(file)) === index;
}

/** The settings of a document; of a section that is wrong, the defaults. */
function readConfig(document: Document | null): Config {
  const config: Record<string, unknown> = {};
  for (const [name, entries] of Object.entries(SECTIONS)) {
    const value = document?.value[name] ?? {};
    const checked = document && checkTable(document, [name], value, entries, { prefix: `${name}.` });
    config[name] = checked ?? v.parse(v.object(entries), {});
  }
  const detections = document?.value["detections"];
  config["detections"] = document && detections !== undefined ? readDetections(document, detections) : [];
  const result = config as Config;
  if (document) checkWhole(document, result);
  return result;
}

function checkWhole(document: Document, config: Config): void {
  const known = [...Object.keys(SECTIONS), "rules", "detections", "disable"];
  for (const key of Object.keys(document.value)) {
    if (!known.includes(key))
      report(
        document,
        [key],
        `${key}: unknown section${suggest(key, known)}; known are ${known.join(", ")}`,
        { key: true },
      );
  }
  checkOutput(document, config.output);
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
