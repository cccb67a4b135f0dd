// The part of config.toml that the kernel side and the socket need. The evaluator checks the whole file; here, what this
// process acts on is checked just as strictly, because it acts as root.

import { readFileSync, statSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { ENV_NAME_SIZE_MAX, ENV_NAMES_MAX } from "../bpf/event.gen.ts";

/** A file that cannot be used, with the reason. Exit code 2. */
export class SettingsError extends Error {}

const KIB = 1024;
/** Bytes of a ring: at least room for a few of the largest records, at most what a 32-bit position in a page can name. */
const RING_SIZE_MIN = 256 * KIB;
const RING_SIZE_MAX = 1024 * 1024 * KIB;
const CONFIG_SIZE_MAX = 1024 * KIB;
const DEFAULT_CONFIG = "/etc/warder/config.toml";

const name = v.pipe(v.string(), v.nonEmpty());
const userName = v.union([name, v.pipe(v.number(), v.integer(), v.minValue(0))]);

const schema = v.object({
  sensor: v.optional(
    v.strictObject({
      socket: v.optional(v.pipe(name, v.startsWith("/")), "/run/warder/sensor.sock"),
      user: v.optional(userName, "nobody"),
      evaluators: v.optional(v.array(userName), []),
    }),
    {},
  ),
  ebpf: v.optional(
    v.object({
      enabled: v.optional(v.boolean(), true),
      buffer_size: v.optional(
        v.pipe(v.number(), v.integer(), v.minValue(RING_SIZE_MIN / KIB), v.maxValue(RING_SIZE_MAX / KIB)),
        65536,
      ),
    }),
    {},
  ),
  events: v.optional(v.object({ process: v.optional(v.boolean(), true) }), {}),
  process: v.optional(
    v.object({
      enabled: v.optional(v.boolean(), true),
      hooks: v.optional(v.array(v.string())),
      collect_args: v.optional(v.boolean(), true),
      collect_cwd: v.optional(v.boolean(), true),
      collect_env: v.optional(v.boolean(), false),
      env_names: v.optional(
        v.pipe(v.array(v.pipe(name, v.maxLength(ENV_NAME_SIZE_MAX - 1))), v.maxLength(ENV_NAMES_MAX)),
        ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"],
      ),
    }),
    {},
  ),
});

/** What the sensor acts on. */
export type Settings = {
  socket: string;
  user: string;
  /** Users beside `user` and root that may connect. */
  evaluators: string[];
  /** Bytes, a power of two. */
  ringSize: number;
  /** Which programs are wanted, by event type. */
  events: { process_start: boolean; process_relationship: boolean; process_exit: boolean };
  collectArgs: boolean;
  collectCwd: boolean;
  /** Names in the environment to report; empty when it is not collected. */
  envNames: string[];
};

/** The system calls that users of the seed's settings know a process event by. */
const HOOK_WORDS: Record<string, keyof Settings["events"]> = {
  execve: "process_start",
  execveat: "process_start",
  sched_process_exec: "process_start",
  fork: "process_relationship",
  vfork: "process_relationship",
  clone: "process_relationship",
  clone3: "process_relationship",
  sched_process_fork: "process_relationship",
  exit: "process_exit",
  exit_group: "process_exit",
  sched_process_exit: "process_exit",
};

/**
 * Reads the settings from `path`, or from the default place if there is a file, or takes the defaults.
 * @throws SettingsError with file and reason
 */
export function readSettings(path: string | undefined): { settings: Settings; warnings: string[] } {
  const file = path ?? DEFAULT_CONFIG;
  const text = readTrusted(file, path === undefined);
  let document: unknown;
  try {
    document = text === null ? {} : parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new SettingsError(`${file}:${error.line}:${error.column}: ${error.message.split("\n")[0]}`);
  }
  const result = v.safeParse(schema, document);
  if (!result.success) {
    const issues = result.issues.map(
      (issue) => `${file}: ${v.getDotPath(issue) ?? "top level"}: ${issue.message}`,
    );
    throw new SettingsError(issues.join("\n"));
  }
  const { sensor, ebpf, events, process: section } = result.output;
  const warnings: string[] = [];
  const ringSize = 2 ** Math.ceil(Math.log2(ebpf.buffer_size * KIB));
  if (ringSize !== ebpf.buffer_size * KIB) {
    warnings.push(
      `${file}: ebpf.buffer_size: ${ebpf.buffer_size} KiB is not a power of two: ${ringSize / KIB} KiB are used`,
    );
  }
  const wanted = new Set<string>(Object.values(HOOK_WORDS));
  if (section.hooks) {
    wanted.clear();
    for (const word of section.hooks) {
      const type = HOOK_WORDS[word];
      if (!type) {
        const known = Object.keys(HOOK_WORDS).join(", ");
        throw new SettingsError(
          `${file}: process.hooks: ${JSON.stringify(word)} is not known here; known are ${known}`,
        );
      }
      wanted.add(type);
    }
  }
  const on = ebpf.enabled && events.process && section.enabled;
  return {
    warnings,
    settings: {
      socket: sensor.socket,
      user: String(sensor.user),
      evaluators: sensor.evaluators.map(String),
      ringSize,
      events: {
        process_start: on && wanted.has("process_start"),
        process_relationship: on && wanted.has("process_relationship"),
        process_exit: on && wanted.has("process_exit"),
      },
      collectArgs: section.collect_args,
      collectCwd: section.collect_cwd,
      envNames: section.collect_env ? section.env_names : [],
    },
  };
}

/** The file's text; null when it is absent and may be. Root acts on it, so nobody else may be able to write it. */
function readTrusted(file: string, optional: boolean): string | null {
  try {
    const { uid, mode, size } = statSync(file);
    if (process.getuid?.() === 0 && (uid !== 0 || (mode & 0o022) !== 0)) {
      throw new SettingsError(
        `${file}: must be owned by root and writable by nobody else (chown root, chmod go-w)`,
      );
    }
    if (size > CONFIG_SIZE_MAX) throw new SettingsError(`${file}: larger than ${CONFIG_SIZE_MAX} bytes`);
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (optional && code === "ENOENT") return null;
    throw new SettingsError(`${file}: ${code === "ENOENT" ? "no such file" : message}`);
  }
}
