// E74 of the catalogue of evasions: settings or rules that others can change, or replace by a link. Real files of other owners
// and modes, read by both processes.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTrusted, trustedPath, type Writers } from "./trusted.ts";

const STRANGER = 4242;
const ROOT: Writers = { uids: [0], gids: [], anybody: false };
const reason = process.getuid?.() === 0 ? null : "not root: files cannot be given to others";
if (reason !== null) console.error(`skipped: files of other owners (${reason})`);

const BASE = join(import.meta.dir, "..");
const TEXT = 'disable = [{ id = "BUILTIN-FILE-CRON-001" }]\n';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "warder-trusted-"));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true }));

const at = (path: string) => join(folder, path);

/** A file with what is needed above it; of root, and with the usual modes. */
function make(path: string, text = TEXT): string {
  mkdirSync(join(at(path), ".."), { recursive: true });
  writeFileSync(at(path), text, { mode: 0o644 });
  return at(path);
}

function link(path: string, target: string): string {
  symlinkSync(target, at(path));
  return at(path);
}

describe.skipIf(reason !== null)("read is", () => {
  const fine: [name: string, setUp: () => string][] = [
    ["a file of root's", () => make("file")],
    ["a file that only its group may read", () => (chmodSync(make("file"), 0o640), at("file"))],
    [
      "a file of root's in a folder like /tmp",
      () => (make("a/file"), chmodSync(at("a"), 0o1777), at("a/file")),
    ],
    ["what a link of root's leads to", () => (make("a/b/file"), link("link", "a/b/file"))],
    [
      "what links lead to, up and down",
      () => (make("a/file"), make("b/c/x"), link("b/c/l", "../../a"), at("b/c/l/file")),
    ],
    ["an absolute link", () => link("link", make("a/file"))],
  ];
  test.each(fine)("%s", (_name, setUp) => {
    expect(readTrusted(setUp(), 1024, ROOT).toString()).toBe(TEXT);
  });
});

describe.skipIf(reason !== null)("refused is", () => {
  const wrong: [name: string, setUp: () => string, message: () => string][] = [
    [
      "a file of somebody else's",
      () => (chownSync(make("file"), STRANGER, 0), at("file")),
      () => `its owner, uid 4242, can change this file: "chown root ${at("file")}" mends that`,
    ],
    [
      "a file that anybody can write",
      () => (chmodSync(make("file"), 0o646), at("file")),
      () => `anybody can change this file: "chmod go-w ${at("file")}" mends that`,
    ],
    [
      "a file that its group can write",
      () => (chownSync(make("file"), 0, STRANGER), chmodSync(at("file"), 0o664), at("file")),
      () => `group 4242 can change this file: "chmod g-w ${at("file")}" mends that`,
    ],
    [
      "a file in a folder that anybody can write",
      () => (make("a b/file"), chmodSync(at("a b"), 0o777), at("a b/file")),
      () => `anybody can change the folder ${at("a b")}: "chmod go-w '${at("a b")}'" mends that`,
    ],
    [
      "a file far below a folder of somebody else's",
      () => (make("a/b/c/file"), chownSync(at("a"), STRANGER, 0), at("a/b/c/file")),
      () => `its owner, uid 4242, can change the folder ${at("a")}: "chown root ${at("a")}" mends that`,
    ],
    [
      "what somebody else's link in a folder like /tmp leads to",
      () => {
        make("file");
        mkdirSync(at("tmp"));
        chmodSync(at("tmp"), 0o1777);
        lchownSync(link("tmp/link", "../file"), STRANGER, STRANGER);
        return at("tmp/link");
      },
      () =>
        `its owner, uid 4242, can change the symbolic link ${at("tmp/link")}: "chown -h root ${at("tmp/link")}" mends that`,
    ],
    [
      "a file that root's link leads to, and that is somebody else's",
      () => (chownSync(make("a/file"), STRANGER, 0), link("link", "a/file")),
      () => `its owner, uid 4242, can change this file: "chown root ${at("a/file")}" mends that`,
    ],
    [
      "a file that root's link leads to through a folder of somebody else's",
      () => (make("a/b/file"), chownSync(at("a"), STRANGER, 0), link("link", "a/b/file")),
      () => `its owner, uid 4242, can change the folder ${at("a")}: "chown root ${at("a")}" mends that`,
    ],
    [
      "a link in a folder of somebody else's, whatever it leads to",
      () => (make("file"), mkdirSync(at("a")), chownSync(at("a"), STRANGER, 0), link("a/link", "../file")),
      () => `its owner, uid 4242, can change the folder ${at("a")}: "chown root ${at("a")}" mends that`,
    ],
    ["a link to itself", () => link("link", "link"), () => "more than 40 symbolic links"],
    [
      "a pipe, without waiting for its writer",
      () => (Bun.spawnSync(["mkfifo", "-m", "644", at("pipe")]), at("pipe")),
      () => "is no regular file",
    ],
    ["a folder", () => (mkdirSync(at("a")), at("a")), () => "is a folder, and a file is needed"],
    ["what is too large", () => make("file", "x".repeat(1025)), () => "larger than 1024 bytes"],
  ];
  test.each(wrong)("%s", (_name, setUp, message) => {
    const path = setUp();
    expect(() => readTrusted(path, 1024, ROOT)).toThrow(message());
  });

  test("nothing of those who may write", () => {
    chownSync(make("a/file"), STRANGER, STRANGER);
    chmodSync(at("a/file"), 0o666);
    chownSync(at("a"), STRANGER, STRANGER);
    const writers = { uids: [0, STRANGER], gids: [STRANGER], anybody: true };
    expect(readTrusted(at("a/file"), 1024, writers).toString()).toBe(TEXT);
    expect(trustedPath(at("a/../a/file"), writers)).toBe(at("a/file"));
    expect(() => readTrusted(at("a/file"), 1024, { ...writers, anybody: false })).toThrow(
      "anybody can change",
    );
  });
});

async function command(prefix: string[], ...args: string[]): Promise<{ code: number; stderr: string }> {
  const program = Bun.spawn([...prefix, process.execPath, ...args], {
    cwd: BASE,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const stderr = await new Response(program.stderr).text();
  return { code: await program.exited, stderr };
}

describe.skipIf(reason !== null)("settings and rules that others can change", () => {
  /** Somebody without rights, but for reading this project, wherever it lies. */
  const unprivileged = [
    ...["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups"],
    ...["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"],
  ];
  /** Settings and rules were taken: what is not there is the capture. */
  const past = { code: 3, stderr: expect.stringMatching(/absent: no such file\n$/) };
  const nowhere = () => at("absent.sock");

  test("are refused by the sensor", async () => {
    chownSync(make("config.toml"), STRANGER, 0);
    const link1 = link("link.toml", "config.toml");
    const { code, stderr } = await command([], "sensor/main.ts", "run", "--config", link1);
    expect(stderr).toBe(
      `warder-sensor: ${link1}: its owner, uid 4242, can change this file: "chown root ${at("config.toml")}" mends that\n`,
    );
    expect(code).toBe(2);
    make("etc/config.toml", "");
    chmodSync(make("etc/config.d/more.toml", ""), 0o666);
    const beside = await command([], "sensor/main.ts", "run", "--config", at("etc/config.toml"));
    const more = at("etc/config.d/more.toml");
    expect(beside).toEqual({
      code: 2,
      stderr: `warder-sensor: ${more}: anybody can change this file: "chmod go-w ${more}" mends that\n`,
    });
  });

  test("are refused by the evaluator that root starts, each with its place", async () => {
    make("etc/config.toml", "");
    make("etc/rules.d/a.toml");
    chownSync(make("rules/b.toml"), STRANGER, 0);
    mkdirSync(at("empty"));
    chmodSync(at("empty"), 0o777);
    const args = ["--config", at("etc/config.toml"), "--rules", at("rules"), "--rules", at("empty")];
    for (const words of [
      ["run", "--socket", nowhere()],
      ["replay", at("absent")],
    ]) {
      const { code, stderr } = await command([], "evaluator/main.ts", ...words, ...args);
      expect(stderr.split("\n")).toEqual([
        `${at("empty")}: anybody can change the folder ${at("empty")}: "chmod go-w ${at("empty")}" mends that`,
        `${at("rules/b.toml")}: its owner, uid 4242, can change this file: "chown root ${at("rules/b.toml")}" mends that`,
        "warder: 2 errors in settings and rules",
        "",
      ]);
      expect(code).toBe(2);
    }
    chownSync(at("rules/b.toml"), 0, 0);
    chmodSync(at("empty"), 0o755);
    expect(await command([], "evaluator/main.ts", "replay", at("absent"), ...args)).toEqual(past);
    chmodSync(at("etc/rules.d"), 0o777);
    const beside = await command([], "evaluator/main.ts", "replay", at("absent"), ...args);
    expect(beside.stderr).toContain(`anybody can change the folder ${at("etc/rules.d")}`);
    chmodSync(at("etc/rules.d"), 0o755);
    chmodSync(at("etc/config.toml"), 0o666);
    const settings = await command([], "evaluator/main.ts", "record", at("capture"), ...args.slice(0, 2));
    expect(settings.stderr).toContain(`${at("etc/config.toml")}: anybody can change this file`);
  }, 30_000);

  test("are refused by an unprivileged evaluator that watches a host, not by one that replays", async () => {
    make("config.toml", "");
    const args = ["--config", at("config.toml"), "--rules", make("rules.toml")];
    const listener = createServer().listen(at("sensor.sock"));
    chmodSync(at("sensor.sock"), 0o600);
    const run = () =>
      command(unprivileged, "evaluator/main.ts", "run", "--socket", at("sensor.sock"), ...args);
    expect(await run()).toEqual({
      code: 3,
      stderr: expect.stringContaining("may not reach the sensor's socket"),
    });
    chmodSync(at("rules.toml"), 0o666);
    expect(await run()).toEqual({ code: 2, stderr: expect.stringContaining("anybody can change this file") });
    const replay = ["evaluator/main.ts", "replay", at("absent")];
    expect(await command(unprivileged, ...replay, ...args)).toEqual(past);
    expect(await command([], "evaluator/main.ts", "rules", "check", at("rules.toml"))).toMatchObject({
      code: 0,
    });
    listener.close();
  }, 30_000);
});
