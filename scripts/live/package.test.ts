// The Debian package on a clean root that has neither compiler nor npm: installed, run, upgraded, removed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notLive, parseLines, until } from "./pair.ts";

const ROOT = join(import.meta.dir, "../..");
const reason = notLive() ?? (Bun.which("apt-get") ? null : "no apt-get");
if (reason !== null) console.error(`skipped: the package on a clean root (${reason})`);

test("what is no version is refused before anything is built", () => {
  for (const words of [["--help"], ["v1"], ["1/2"], ["1", "2"]]) {
    const { exitCode, stderr } = Bun.spawnSync(["./scripts/package", ...words], { cwd: ROOT });
    expect({ words, exitCode }).toEqual({ words, exitCode: 2 });
    expect(stderr.toString()).toContain("expected nothing, or a version that begins with a digit");
  }
});

describe.skipIf(reason !== null)("the package", () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-package-"));
  const root = join(folder, "root");
  let holder: Bun.Subprocess;
  const packages: string[] = [];

  /** Runs a command to its end; a failure is an error with what it said. */
  function run(...command: string[]): string {
    const { exitCode, stdout, stderr } = Bun.spawnSync(command, {
      cwd: ROOT,
      env: { ...process.env, LC_ALL: "C" },
    });
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stdout.toString()}${stderr.toString()}`);
    return stdout.toString();
  }

  const inside = (...command: string[]) => [
    "nsenter",
    "--target",
    String(holder.pid),
    "--mount",
    "chroot",
    root,
    ...command,
  ];

  beforeAll(async () => {
    if (!Bun.which("mmdebstrap"))
      run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap");
    run(
      "mmdebstrap",
      "--variant=apt",
      "--include=libbpf1",
      "--aptopt=Acquire::Languages none",
      "bookworm",
      root,
    );
    for (const version of ["", "9.9.9"]) {
      const path =
        run("./scripts/package", ...(version ? [version] : []))
          .trim()
          .split("\n")
          .at(-1) ?? "";
      packages.push(path.split("/").at(-1) ?? "");
      run("cp", path, join(root, "tmp"));
      run("rm", path);
    }
    const mounts = [
      "mount -t proc proc proc",
      "mount -t sysfs sys sys",
      "mount -t bpf bpf sys/fs/bpf",
      "mount --rbind /dev dev",
    ];
    const script = `cd ${root} && ${mounts.join(" && ")} && echo ready && exec sleep 900`;
    holder = Bun.spawn(["unshare", "--mount", "sh", "-c", script], { stdout: "pipe" });
    await until("the root", () => existsSync(`/proc/${holder.pid}/root${root}/proc/self`));
  }, 600_000);
  afterAll(async () => {
    holder?.kill("SIGKILL");
    await holder?.exited;
    rmSync(folder, { recursive: true });
  });

  test("installs, attaches as its own user, alerts, upgrades, and leaves nothing behind", async () => {
    run(...inside("dpkg", "-i", `/tmp/${packages[0]}`));
    expect(run(...inside("sh", "-c", "command -v clang cc gcc npm node || true"))).toBe("");
    expect(run(...inside("warder", "--version"))).toMatch(/^warder \d+\.\d+\.\d+, event ABI [0-9a-f]{32}\n$/);
    expect(run(...inside("warder", "rules", "check", "/usr/share/warder/rules"))).toBe("");
    expect(run(...inside("warder", "config", "show", "--origin"))).toContain("/etc/warder/config.toml:");
    expect(run(...inside("warder", "schema", "rule"))).toBe(
      readFileSync(join(root, "usr/share/warder/schemas/rule.json"), "utf8"),
    );

    const sensor = Bun.spawn(inside("warder-sensor", "run"), {
      stdout: "ignore",
      stderr: Bun.file(join(folder, "sensor")),
    });
    const said = () => readFileSync(join(folder, "sensor"), "utf8");
    await until(`the sensor (${said()})`, () => said().includes("serving at") || sensor.exitCode !== null);
    const user = run(...inside("id", "-u", "warder-sensor")).trim();
    expect(said()).toContain(`serving at /run/warder/sensor.sock as uid ${user}`);
    const evaluator = Bun.spawn(
      inside("warder", "run", "--rules", "/usr/share/warder/rules", "--user", "warder"),
      { stdout: "ignore", stderr: Bun.file(join(folder, "evaluator")) },
    );
    const alerts = join(root, "var/log/warder/alerts.ndjson");
    await until("the stream", () => existsSync(alerts) && said().includes("connected"));
    run(...inside("sh", "-c", "cp /bin/bash /usr/sbin/nginx; /usr/sbin/nginx -c 'sh -c true; true'"));
    await until("the alert", () =>
      parseLines(readFileSync(alerts, "utf8")).some((line) => line["rule_id"] === "PROC-001"),
    );

    // The new version replaces the old one's programs in the kernel when it starts; the users and settings stay.
    run(...inside("dpkg", "-i", `/tmp/${packages[1]}`));
    expect(run(...inside("dpkg-query", "-W", "-f", "${Version} ${Status}", "warder"))).toBe(
      "9.9.9 install ok installed",
    );
    for (const program of [evaluator, sensor]) {
      program.kill("SIGTERM");
      expect(await program.exited).toBe(0);
    }
    expect(run(...inside("ls", "/sys/fs/bpf/warder")).trim()).not.toBe("");

    run(...inside("dpkg", "--remove", "warder"));
    expect(
      run(
        ...inside(
          "sh",
          "-c",
          "ls /sys/fs/bpf | grep -v [.]debug; ls -d /usr/lib/warder /usr/bin/warder* 2>/dev/null || true",
        ),
      ),
    ).toBe("");
    expect(existsSync(join(root, "etc/warder/config.toml"))).toBe(true);
    run(...inside("dpkg", "--purge", "warder"));
    expect(existsSync(join(root, "etc/warder/config.toml"))).toBe(false);
  }, 300_000);
});
