import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";
import { configPath, load } from "./config.ts";

const ROOT = join(import.meta.dir, "..");

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
      const { rules, problems } = load(null, [join(folder, "rules.toml")]);
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
      const { config, problems } = load(join(folder, "config.toml"), []);
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
  const defaults = load(null, []).config;
  const loaded = load(path, []);
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
    const { rules, problems } = load(join(folder, "config.toml"), [join(folder, "more.toml")]);
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
    const { problems } = load(join(folder, "config.toml"), []);
    expect(problems.map((problem) => problem.message)).toEqual(
      message === null ? [] : [expect.stringContaining(message)],
    );
  }),
);

test("EDR_CONFIG names the settings when no option does", () => {
  expect(configPath(undefined, { EDR_CONFIG: "/x.toml" })).toBe("/x.toml");
  expect(configPath("/y.toml", { EDR_CONFIG: "/x.toml" })).toBe("/y.toml");
});
