import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { assignmentLayer, environmentLayers } from "../bpf/layers.ts";
import { readSettings } from "../sensor/settings.ts";
import { configPlace, load, NOWHERE, placeOfFile } from "./config.ts";
import { renderProblem } from "./rule/problem.ts";

const ROOT = join(import.meta.dir, "..");

const layersOf = (environment: Record<string, string>, words: string[]) => [
  ...environmentLayers(environment),
  ...words.flatMap((word) => assignmentLayer(word) ?? []),
];

async function inFolder<Result>(use: (folder: string) => Result | Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), "warder-config-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The rules of the text that this project was asked to implement. */
const SEED_RULES = `[[rules]]
id = "PROC-001"
name = "Shell spawned by web server"
enabled = true
type = "process"
severity = "high"
action = "alert"
parent_names = ["nginx", "apache2", "httpd"]
process_names = ["sh", "bash", "dash"]

[[rules]]
id = "FILE-001"
name = "Sensitive file touched"
enabled = false
type = "file"
severity = "high"
action = "alert"
paths = ["/etc/passwd", "/etc/shadow", "/etc/sudoers"]
operations = ["file_open", "file_write", "file_unlink", "file_rename"]
patterns = []

[[rules]]
id = "NET-001"
name = "Suspicious outbound port"
enabled = false
type = "network"
severity = "medium"
action = "alert"
direction = "outbound"
ports = [4444, 1337, 31337]
`;

/** A whole file in the shape of that project's. */
const SEED_CONFIG = `[agent]
id = "dev-host-001"
mode = "monitor"
log_level = "info"

[ebpf]
enabled = true
buffer_size = 8192

[events]
process = true
file = true
network = false

[process]
enabled = true
hooks = ["execve", "fork", "exit", "execveat"]
collect_args = false
collect_env = false
collect_cwd = false

[file]
enabled = true
hooks = ["openat", "openat2", "write", "writev", "pwrite64", "rename", "renameat", "renameat2", "unlink", "unlinkat"]
watch_paths = ["/etc", "/usr/bin"]
watch_patterns = ["*.service", "crontab"]
exclude_paths = ["/var/log", "/tmp"]

[network]
enabled = false
hooks = ["connect", "bind", "listen"]
collect_dns = false
collect_payload = false

${SEED_RULES}
[[detections.persistence]]
name = "systemd_service_modified"
paths = ["/etc/systemd/system/", "/usr/lib/systemd/system/", "/run/systemd/system/"]
patterns = ["*.service"]
operations = ["file_open", "file_write", "file_rename", "file_unlink"]

[[detections.network]]
name = "suspicious_outbound_port"
directions = ["outbound"]
ports = [4444, 1337, 31337]
process_names = []

[output]
type = "stdout"
format = "json"

[performance]
max_events_per_second = 5000
drop_when_full = true
max_process_cache_entries = 5000
max_pending_exec_sources = 500
`;

describe("a file of the seed project", () => {
  test("with its rules alone loads without a word", () =>
    inFolder((folder) => {
      writeFileSync(join(folder, "rules.toml"), SEED_RULES);
      const { rules, problems } = load(NOWHERE, [join(folder, "rules.toml")]);
      expect(problems).toEqual([]);
      expect(rules.map(({ id, enabled }) => [id, enabled])).toEqual([
        ["BUILTIN-FILE-SYSTEMD-001", true],
        ["BUILTIN-FILE-CRON-001", true],
        ["BUILTIN-NET-OUTBOUND-001", true],
        ["PROC-001", true],
        ["FILE-001", false],
        ["NET-001", false],
      ]);
    }));

  test("in full loads with one warning, which names what has no meaning here", () =>
    inFolder((folder) => {
      writeFileSync(join(folder, "config.toml"), SEED_CONFIG);
      const { config, problems } = load(placeOfFile(join(folder, "config.toml")), []);
      expect(problems).toHaveLength(1);
      expect(problems[0]).toMatchObject({ severity: "warning" });
      for (const key of [
        "agent.id",
        "agent.log_level",
        "collect_dns",
        "collect_payload",
        "drop_when_full",
        "max_pending_exec_sources",
      ]) {
        expect(problems[0]?.message).toContain(key);
      }
      expect(config.process.collect_args).toBe(false);
      expect(config.ebpf.buffer_size).toBe(8192);
      expect(config.performance.max_process_cache_entries).toBe(5000);
      expect(config.detections.map(({ name }) => name)).toEqual([
        "systemd_service_modified",
        "suspicious_outbound_port",
      ]);
    }));
});

test("config.example.toml names every setting, with its default", () => {
  const path = join(ROOT, "config.example.toml");
  const defaults = load(NOWHERE, []).config;
  const loaded = load(placeOfFile(path), []);
  expect(loaded.problems).toEqual([]);
  expect(loaded.config).toEqual(defaults);
  const text = readFileSync(path, "utf8");
  const document = parse(text) as Record<string, Record<string, unknown>>;
  for (const [section, keys] of Object.entries(defaults)) {
    if (section === "detections") continue;
    for (const key of Object.keys(keys)) {
      const named = document[section]?.[key] !== undefined || new RegExp(`^# .*\\b${key}\\b`, "m").test(text);
      expect({ section, key, named }).toEqual({ section, key, named: true });
    }
  }
});

test("the sensor knows the same sections and keys, and refuses others", () => {
  const { detections: _none, ...defaults } = load(NOWHERE, []).config;
  const words = Object.entries(defaults).flatMap(([section, keys]) =>
    Object.entries(keys)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${section}.${key}=${JSON.stringify(value)}`),
  );
  const read = (...all: string[]) => readSettings(undefined, layersOf({}, all));
  expect(words.length).toBeGreaterThan(40);
  expect(read(...words).warnings).toEqual([]);
  for (const [word, message] of [
    [
      "file.watch_path=[]",
      '--set file.watch_path: file.watch_path: unknown key (did you mean "watch_paths"?)',
    ],
    ["healt.canary=true", "--set healt.canary: healt: unknown section (did you mean"],
    ['health.canary="maybe"', '--set health.canary: health.canary: expected boolean, found "maybe"'],
    ['file.hooks=["opn"]', '--set file.hooks: file.hooks: "opn" is not one of open,'],
  ] as const)
    expect(() => read(word)).toThrow(message);
});

test("rules.d beside the settings is read in name order, then --rules", () =>
  inFolder((folder) => {
    mkdirSync(join(folder, "rules.d"));
    const rule = (id: string, more = "") => SEED_RULES.split("\n\n")[0]?.replace("PROC-001", id) + more;
    writeFileSync(join(folder, "config.toml"), rule("A"));
    writeFileSync(join(folder, "rules.d", "20.toml"), rule("C"));
    writeFileSync(join(folder, "rules.d", "10.toml"), rule("B"));
    writeFileSync(join(folder, "rules.d", "notes.txt"), "not a rule");
    writeFileSync(
      join(folder, "more.toml"),
      `${rule("A", "\noverride = true\n").replace('"high"', '"low"')}\n[[disable]]\nid = "BUILTIN-NET-OUTBOUND-001"\n`,
    );
    const { rules, problems } = load(placeOfFile(join(folder, "config.toml")), [join(folder, "more.toml")]);
    expect(problems).toEqual([]);
    const own = rules.filter(
      ({ file }) =>
        file !== "built in" || !rules.find(({ id }) => id === "BUILTIN-NET-OUTBOUND-001")?.enabled,
    );
    expect(own.map(({ id }) => id).filter((id) => !id.startsWith("BUILTIN"))).toEqual(["A", "B", "C"]);
    expect(rules.find(({ id }) => id === "A")?.severity).toBe("low");
    expect(rules.find(({ id }) => id === "BUILTIN-NET-OUTBOUND-001")?.enabled).toBe(false);
  }));

test.each([
  ['type = "file"', "output.path: missing, and required"],
  ['path = "/var/log/events"', 'output.path: without effect but with type = "file"'],
  ['type = "file"\npath = "/a"\nalerts_path = "/a"', "output.alerts_path: the same file as output.path"],
  ["rotate_size_mb = 1", "output.rotate_size_mb: without effect: no line goes to a file"],
  ["rotate_age_s = 1", "output.rotate_age_s: without effect: no line goes to a file"],
  ['alerts_path = "/a"\nkeep = 1', "output.keep: without effect: neither"],
  ['type = "file"\npath = "/a"\nalerts_path = "/b"\nrotate_age_s = 1\nkeep = 1', null],
])("[output] %s", (settings, message) =>
  inFolder((folder) => {
    writeFileSync(join(folder, "config.toml"), `[output]\n${settings}\n`);
    const { problems } = load(placeOfFile(join(folder, "config.toml")), []);
    expect(problems.map((problem) => problem.message)).toEqual(
      message === null ? [] : [expect.stringContaining(message)],
    );
  }),
);

test("EDR_CONFIG names the settings when no option does", () => {
  expect(configPlace(undefined, { EDR_CONFIG: "/x/c.toml" })).toEqual({ path: "/x/c.toml", folder: "/x" });
  expect(configPlace("/y/c.toml", { EDR_CONFIG: "/x/c.toml" })).toEqual({ path: "/y/c.toml", folder: "/y" });
});

describe("layers", () => {
  test("each is stronger than the one before, key by key, and says where a setting comes from", () =>
    inFolder((folder) => {
      const path = join(folder, "config.toml");
      mkdirSync(join(folder, "config.d"));
      writeFileSync(path, "[file]\nwrite_window_s = 5\nwatch_paths = ['/a']\n[health]\ninterval_s = 1\n");
      writeFileSync(join(folder, "config.d/10-first.toml"), "[health]\ninterval_s = 2\n");
      writeFileSync(join(folder, "config.d/20-second.toml"), "\n[health]\ninterval_s = 3\n");
      const environment = {
        WARDER_FILE__WATCH_PATHS: '["/b"]',
        WARDER_OUTPUT__FORMAT: "compact",
        WARDER_WITHOUT: "x",
      };
      const layers = layersOf(environment, ["output.format=json", "file.include_failed=true"]);
      const { config, origins, problems } = load(placeOfFile(path), [], null, layers);
      expect(problems).toEqual([]);
      expect(config.file).toMatchObject({ write_window_s: 5, watch_paths: ["/b"], include_failed: true });
      expect(config.health.interval_s).toBe(3);
      expect(config.output.format).toBe("json");
      expect(Object.fromEntries(origins)).toEqual({
        "file.write_window_s": `${path}:2`,
        "file.watch_paths": "WARDER_FILE__WATCH_PATHS",
        "file.include_failed": "--set file.include_failed",
        "health.interval_s": `${join(folder, "config.d/20-second.toml")}:3`,
        "output.format": "--set output.format",
      });
    }));

  test("what is wrong in a layer is said with the layer's name", () => {
    const layers = layersOf({ WARDER_FILE__WATCH_PATHS: "etc" }, [
      "file.writ_events=first",
      "healt.interval_s=1",
    ]);
    const { problems } = load(NOWHERE, [], null, layers);
    expect(problems.map(renderProblem)).toEqual([
      expect.stringMatching(/^WARDER_FILE__WATCH_PATHS: file.watch_paths: expected a list/),
      expect.stringMatching(
        /^--set file.writ_events: file.writ_events: unknown key \(did you mean "write_events"\?\)/,
      ),
      expect.stringMatching(/^--set healt.interval_s: healt: unknown section \(did you mean "health"\?\)/),
    ]);
  });

  test("a value is TOML, or else a text, and never more than one value", () => {
    const value = (word: string) => parse(assignmentLayer(word)?.text ?? "");
    expect(value("a.b=1")).toEqual({ a: { b: 1 } });
    expect(value('a.b=["x"]')).toEqual({ a: { b: ["x"] } });
    expect(value("a.b=/var/log/x")).toEqual({ a: { b: "/var/log/x" } });
    expect(value('a.b=1\nc = "2"')).toEqual({ a: { b: '1\nc = "2"' } });
    expect(value("a.b=")).toEqual({ a: { b: "" } });
    for (const word of ["a.b", "b=1", "A.b=1", "=1"]) expect(assignmentLayer(word)).toBeNull();
  });
});
