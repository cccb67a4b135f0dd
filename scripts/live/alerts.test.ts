// Rules, built-in rules and detections on the running kernel: each sees what it is for, once, and not its neighbours.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bench, compileTools, type Line, notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: live tests of alerts (${reason})`);

const NET_001 = `
[[rules]]
id = "NET-001"
name = "Suspicious outbound port"
enabled = true
type = "network"
severity = "medium"
action = "alert"
direction = "outbound"
ports = [4444, 1337, 31337]

[[disable]]
id = "BUILTIN-NET-OUTBOUND-001"
`;
const tools = mkdtempSync(join(tmpdir(), "warder-tools-"));
let generator = "";

describe.skipIf(reason !== null)("alerts", () => {
  let bench: Bench;
  let folder: string;
  beforeAll(() => {
    chmodSync(tools, 0o755);
    generator = compileTools(tools, ["generate"]).generate;
  }, 60_000);
  afterAll(() => rmSync(tools, { recursive: true }));
  beforeEach(() => {
    bench = new Bench();
    folder = join(realpathSync(bench.folder), "watched");
    mkdirSync(folder);
  });
  afterEach(() => bench.close());

  const FILE_001 = () => `
[[rules]]
id = "FILE-001"
name = "Sensitive file touched"
enabled = true
type = "file"
severity = "high"
action = "alert"
paths = ["${folder}/shadow"]
operations = ["file_open", "file_write", "file_unlink", "file_rename"]
`;

  /** The alerts, each of which must follow its event. */
  function alertsOf(lines: Line[]): Line[] {
    const alerts = lines.filter((line) => line.event_type === "alert");
    for (const alert of alerts) expect(lines[lines.indexOf(alert) - 1]?.["event_id"]).toBe(alert["event_id"]);
    return alerts;
  }

  test("rules, built-in rules and detections see files and connections; their neighbours raise nothing", async () => {
    const rules = `
[[rules]]
id = "FILE-001"
name = "Sensitive file touched"
enabled = true
type = "file"
severity = "high"
action = "alert"
paths = ["${folder}/shadow"]
operations = ["file_open", "file_write", "file_unlink", "file_rename"]

[[rules]]
id = "NET-001"
name = "Suspicious outbound port"
enabled = true
type = "network"
severity = "medium"
action = "alert"
direction = "outbound"
ports = [4444, 1337, 31337]

[[disable]]
id = "BUILTIN-NET-OUTBOUND-001"

[[detections.persistence]]
name = "watched_file_modified"
paths = ["${folder}/"]
patterns = ["*shadow"]
operations = ["file_write"]

[[detections.network]]
name = "suspicious_outbound_port"
directions = ["outbound"]
ports = [31337]
`;
    const lines = await bench.observe(`[file]\nwatch_paths = ["${folder}"]\n${rules}`, async () => {
      await Bun.spawn(["sh", "-c", `echo x > ${folder}/shadow`]).exited;
      await Bun.spawn(["sh", "-c", `echo x > ${folder}/shadow-; echo x > ${folder}/shadowed`]).exited;
      for (const port of [4444, 31337, 4443]) {
        await Bun.spawn(["bash", "-c", `exec 3<> /dev/tcp/127.0.0.1/${port}`], { stderr: "ignore" }).exited;
      }
    });
    const alerts = lines.filter((line) => line.event_type === "alert");
    expect(
      alerts.map((alert) => [alert["rule_id"], alert["source_event_type"], alert["path"], alert["port"]]),
    ).toEqual([
      ["FILE-001", "file_open", `${folder}/shadow`, null],
      ["FILE-001", "file_write", `${folder}/shadow`, null],
      ["NET-001", "network_connect", null, 4444],
      ["NET-001", "network_connect", null, 31337],
    ]);
    for (const alert of alerts) expect(lines[lines.indexOf(alert) - 1]?.["event_id"]).toBe(alert["event_id"]);
    const marked = lines.filter((line) => line["alert"] === true);
    expect(marked.map((line) => [line.event_type, line["detection_type"]])).toEqual([
      ["file_write", "watched_file_modified"],
      ["network_connect", "suspicious_outbound_port"],
    ]);
  }, 60_000);

  test("connections to real listeners raise one alert each, in IPv6 clothes too; another port raises none", async () => {
    const lines = await bench.observe(`[events]\nfile = false\n${NET_001}`, async () => {
      const program = Bun.spawn([generator, "ports", "4444", "4443", "1337", "31337"], { stdout: "ignore" });
      expect(await program.exited).toBe(0);
    });
    const calls = lines.filter(
      (line) => line.event_type === "network_connect" && line["exe_path"] === generator,
    );
    expect(calls.length).toBe(8);
    for (const call of calls)
      expect(call).toMatchObject({ result: null, family: "ipv4", remote_addr: "127.0.0.1" });
    const alerts = alertsOf(lines).filter((alert) => alert["exe_path"] === generator);
    expect(alerts.map((alert) => [alert["rule_id"], alert["port"]])).toEqual(
      [4444, 4444, 1337, 1337, 31337, 31337].map((port) => ["NET-001", port]),
    );
  }, 60_000);

  test("a name in other words raises the same alert", async () => {
    const script = `cd ${folder}; mkdir d
      for name in ./shadow ${folder}//shadow d/../shadow ../watched/./shadow; do echo > tmp; mv tmp $name; rm $name; done`;
    const lines = await bench.observe(`[file]\nwatch_paths = ["${folder}"]\n${FILE_001()}`, async () => {
      expect(await Bun.spawn(["sh", "-c", script]).exited).toBe(0);
    });
    expect(alertsOf(lines).map((alert) => [alert["source_event_type"], alert["path"]])).toEqual(
      Array.from({ length: 4 }, () => [
        ["file_rename", `${folder}/shadow`],
        ["file_unlink", `${folder}/shadow`],
      ]).flat(),
    );
  }, 60_000);

  test("unit files and crontabs that change raise the built-in alerts; their neighbours none", async () => {
    // Another /etc, so that this host's stays as it is.
    const script = `mount -t tmpfs none /etc && mkdir -p /etc/systemd/system /etc/cron.d && cd /etc
      echo > systemd/system/a.service; mv systemd/system/a.service systemd/system/b.service; rm ./systemd/system/b.service
      echo > cron.d/job; rm cron.d/job; echo > crontab
      echo > systemd/system.conf; echo > systemd/systemd.service; echo > cron.deny; echo > crontab2; rm cron.deny
      cat crontab cron.d/* systemd/system/* 2> /dev/null; true`;
    const detection = `
[[detections.persistence]]
name = "systemd_service_modified"
paths = ["/etc/systemd/system/"]
patterns = ["*.service"]
operations = ["file_write", "file_rename", "file_unlink"]
`;
    const lines = await bench.observe(`[file]\nwatch_paths = ["/etc"]\n${detection}`, async () => {
      expect(await Bun.spawn(["unshare", "--mount", "sh", "-c", script]).exited).toBe(0);
    });
    const alerts = alertsOf(lines).map((alert) => [
      alert["rule_id"],
      alert["source_event_type"],
      alert["path"],
    ]);
    expect(alerts).toEqual([
      ["BUILTIN-FILE-SYSTEMD-001", "file_write", "/etc/systemd/system/a.service"],
      ["BUILTIN-FILE-SYSTEMD-001", "file_rename", "/etc/systemd/system/a.service"],
      ["BUILTIN-FILE-SYSTEMD-001", "file_unlink", "/etc/systemd/system/b.service"],
      ["BUILTIN-FILE-CRON-001", "file_write", "/etc/cron.d/job"],
      ["BUILTIN-FILE-CRON-001", "file_unlink", "/etc/cron.d/job"],
      ["BUILTIN-FILE-CRON-001", "file_write", "/etc/crontab"],
    ]);
    const marked = lines.filter((line) => line["detection_type"] === "systemd_service_modified");
    expect(marked.map((line) => line.event_type)).toEqual(["file_write", "file_rename", "file_unlink"]);
    for (const line of marked) expect(line["alert"]).toBe(true);
  }, 60_000);

  test("detect mode writes alerts, and counts the events that it keeps", async () => {
    const config = bench.path("config.toml");
    writeFileSync(config, `[agent]\nmode = "detect"\n[file]\nwatch_paths = ["${folder}"]\n${FILE_001()}`);
    const sensor = await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluatorTo(null, "--once", "--config", config, "-o", "json");
    const script = `echo > ${folder}/shadow; echo > ${folder}/other; rm ${folder}/shadow`;
    await Bun.spawn(["sh", "-c", script]).exited;
    expect(await sensor.end("SIGTERM")).toBe(0);
    expect(await evaluator.exited).toBe(0);
    const lines = evaluator.lines();
    expect(lines.filter((line) => /^(process|file|network)_/.test(line.event_type))).toEqual([]);
    const alerts = lines.filter((line) => line.event_type === "alert");
    expect(alerts.map((alert) => alert["source_event_type"])).toEqual([
      "file_open",
      "file_write",
      "file_unlink",
    ]);
    const { ledger } = lines.at(-1) as unknown as { ledger: Record<string, number> };
    expect(ledger).toMatchObject({ lost: 0, unaccounted: 0, balanced: true });
    expect(ledger["withheld"]).toBeGreaterThanOrEqual(5);
  }, 60_000);
});
