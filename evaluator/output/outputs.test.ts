// Outputs of the real program, and what goes wrong with them.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const EVALUATOR = join(ROOT, "evaluator/main.ts");
const SAMPLE = join(ROOT, "scripts/sample.capture.zst");
const NOBODY = 65534;
const root = process.getuid?.() === 0;

/** A folder that the evaluator may write to, whoever it becomes. */
async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "warder-outputs-"));
  chmodSync(folder, 0o755);
  if (root) chownSync(folder, NOBODY, NOBODY);
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
    rmSync(`${folder}.toml`, { force: true });
  }
}

/** The command line of a replay of the sample with this section [output]. */
function replayWith(folder: string, output: string): string[] {
  const config = `${folder}.toml`; // beside it: root takes no settings from a folder of nobody's
  writeFileSync(config, `[output]\n${output}\n`);
  return [process.execPath, EVALUATOR, "replay", SAMPLE, "--config", config, "--rules", join(ROOT, "rules")];
}

async function run(command: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const program = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
    program.exited,
  ]);
  return { code, stdout, stderr };
}

/** Lines but for those whose counts depend on the output. */
function withoutHealth(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith('{"event_type":"health"'));
}

const plain = [process.execPath, EVALUATOR, "replay", SAMPLE, "--rules", join(ROOT, "rules"), "-o", "json"];
const whole = await run(plain);
const alertsOnly = await run([...plain, "--alerts-only"]);

test("the format of the settings is that of all files, and -o is that of the main output", () =>
  inFolder(async (folder) => {
    const [path, alerts] = [join(folder, "events.ndjson"), join(folder, "alerts.ndjson")];
    const settings = `type = "file"\npath = "${path}"\nalerts_path = "${alerts}"\nformat = "ecs"`;
    for (const option of [[], ["-o", "ocsf"]]) {
      const { code } = await run([...replayWith(folder, settings), ...option]);
      expect(code).toBe(0);
    }
    const read = (file: string) =>
      readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { event?: { code: string }; metadata?: { event_code: string } });
    const types = (lines: string) =>
      lines
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { event_type: string }).event_type);
    const events = read(path);
    const half = events.length / 2;
    expect(events.slice(0, half).map(({ event }) => event?.code)).toEqual(types(whole.stdout));
    expect(events.slice(half).map(({ metadata }) => metadata?.event_code)).toEqual(types(whole.stdout));
    const both = [...types(alertsOnly.stdout), ...types(alertsOnly.stdout)];
    expect(read(alerts).map(({ event }) => event?.code)).toEqual(both);
  }));

describe("standard output", () => {
  test("whose reader has gone ends the program with code 0", async () => {
    const { stdout, code } = await run([
      "bash",
      "-c",
      '"$@" 2> /dev/null | head -n 1; exit ${PIPESTATUS[0]}',
      "bash",
      ...plain,
    ]);
    expect(stdout).toBe(`${withoutHealth(whole.stdout)[0]}\n`);
    expect(code).toBe(0);
  });

  test("that is closed from the start is no other file that was opened since", async () => {
    const { code, stderr } = await run(["bash", "-c", '"$@" >&-', "bash", ...plain]);
    expect(code).toBe(0);
    expect(stderr).toContain("0 lost");
  });

  test("on a full device counts every line", async () => {
    const { code, stderr } = await run(["bash", "-c", '"$@" > /dev/full', "bash", ...plain]);
    const count = whole.stdout.trimEnd().split("\n").length;
    expect(stderr).toMatch(/^warder: standard output: output fails \(ENOSPC/m);
    expect(stderr).toContain(`${count} lines not written to standard output`);
    expect(stderr).not.toContain("does not balance");
    expect(code).toBe(0);
    const strict = await run(["bash", "-c", '"$@" --strict > /dev/full', "bash", ...plain]);
    expect(strict.code).toBe(4);
  });
});

describe("a file", () => {
  test("gets what standard output would get, and another one what --alerts-only shows", () =>
    inFolder(async (folder) => {
      const [events, alerts] = [join(folder, "events.ndjson"), join(folder, "alerts.ndjson")];
      const { code, stdout } = await run(
        replayWith(folder, `type = "file"\npath = "${events}"\nalerts_path = "${alerts}"`),
      );
      expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
      expect(withoutHealth(readFileSync(events, "utf8"))).toEqual(withoutHealth(whole.stdout));
      expect(withoutHealth(readFileSync(alerts, "utf8"))).toEqual(withoutHealth(alertsOnly.stdout));
      const beside = await run(replayWith(folder, `alerts_path = "${alerts}"`));
      expect(withoutHealth(beside.stdout)).toEqual(withoutHealth(whole.stdout));
    }));

  test("that lacks lines says how many, for each file", () =>
    inFolder(async (folder) => {
      const events = join(folder, "events.ndjson");
      const command = replayWith(folder, `type = "file"\npath = "${events}"\nalerts_path = "/dev/full"`);
      const { code, stderr } = await run(command);
      expect(code).toBe(0);
      expect(withoutHealth(readFileSync(events, "utf8"))).toEqual(withoutHealth(whole.stdout));
      const count = alertsOnly.stdout.trimEnd().split("\n").length;
      expect(stderr).toContain(`${count} lines not written to /dev/full`);
      expect(stderr).not.toContain(events);
      const health = JSON.parse(readFileSync(events, "utf8").trimEnd().split("\n").at(-1) ?? "");
      expect(health.outputs).toEqual([
        { path: events, failed: 0 },
        { path: "/dev/full", failed: count - 1 },
      ]);
      expect(health.userspace_output_failures).toBe(count - 1);
      expect(health.ledger).toMatchObject({ write_failed: 0, alert_write_failed: 0, balanced: true });
      expect((await run([...command, "--strict"])).code).toBe(4);
    }));

  for (const how of ["the program's own", "standard output"]) {
    test(`beyond a limit of its size lacks what the program says it lacks, and has no half line (${how})`, () =>
      inFolder(async (folder) => {
        const path = join(folder, "events.ndjson");
        const own = how !== "standard output";
        const command = own ? replayWith(folder, `type = "file"\npath = "${path}"`) : plain;
        const script = `ulimit -f 200 && exec "$@" ${own ? "" : `> ${path}`}`;
        const { code, stderr } = await run(["sh", "-c", script, "sh", ...command]);
        expect(code).toBe(0);
        const written = readFileSync(path, "utf8");
        const expected = whole.stdout.trimEnd().split("\n");
        const missing = expected.length - (written.split("\n").length - 1);
        expect(written).toEndWith("\n");
        expect(stderr).toContain(`${missing} lines not written to ${own ? path : "standard output"}`);
        expect(stderr).not.toContain("does not balance");
        for (const line of withoutHealth(written)) expect(expected).toContain(line);
      }));
  }

  test("that is a FIFO waits for readers, and they get every line between them", () =>
    inFolder(async (folder) => {
      const fifo = join(folder, "events.fifo");
      Bun.spawnSync(["mkfifo", "-m", "666", fifo]);
      const program = run(replayWith(folder, `type = "file"\npath = "${fifo}"`));
      const reader = (script: string) =>
        run(["bash", "-c", `exec < ${fifo}; ${script}`]).then(({ stdout }) => stdout);
      const first = await reader('for i in $(seq 50); do read -r line; printf "%s\\n" "$line"; done');
      await Bun.sleep(200);
      const second = await reader("cat");
      const { code, stderr } = await program;
      expect(code).toBe(0);
      const said = (words: string) => stderr.split(`warder: ${fifo}: ${words}`).length - 1;
      expect(said("nobody reads it: waiting for a reader")).toBeGreaterThan(0);
      expect(said("output works again (EPIPE is over)")).toBe(said("nobody reads it"));
      expect(withoutHealth(first + second)).toEqual(withoutHealth(whole.stdout));
    }));
});

describe("an output that cannot be used ends the start with code 3 and what to do:", () => {
  test.each([
    ["a folder", (folder: string) => `path = "${folder}"`, /: is a folder, and a file is needed$/m],
    [
      "a folder that is not there",
      (folder: string) => `path = "${folder}/a/b"`,
      /: there is no folder .*\/a$/m,
    ],
    [
      "the alerts' folder",
      (folder: string) => `path = "${folder}/a"\nalerts_path = "${folder}"`,
      /is a folder/,
    ],
  ])("%s", (_name, settings, message) =>
    inFolder(async (folder) => {
      const { code, stdout, stderr } = await run(replayWith(folder, `type = "file"\n${settings(folder)}`));
      expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr.split("\n").length).toBe(2);
    }),
  );

  if (!root) console.error("skipped: files of other users (not root)");
  test.skipIf(!root)("a folder where the user that it becomes may not write, or not rename", () =>
    inFolder(async (folder) => {
      const inner = join(folder, "inner");
      mkdirSync(inner);
      const path = join(inner, "events.ndjson");
      const closed = await run(replayWith(folder, `type = "file"\npath = "${path}"`));
      expect(closed.code).toBe(3);
      expect(closed.stderr).toContain(
        `${path}: user ${NOBODY} may not write there: "chown ${NOBODY}" the file`,
      );
      expect(existsSync(path)).toBe(false);
      closeSync(openSync(path, "w"));
      chownSync(path, NOBODY, NOBODY);
      const fixed = await run(replayWith(folder, `type = "file"\npath = "${path}"\nrotate_size_mb = 1`));
      expect(fixed.code).toBe(3);
      expect(fixed.stderr).toContain(
        `${path}: rotation renames and creates files, and user ${NOBODY} may not`,
      );
      expect(fixed.stderr).toContain(`"chown ${NOBODY} ${inner}"`);
      expect(readdirSync(inner)).toEqual(["events.ndjson"]);
      const stays = await run([...replayWith(folder, `type = "file"\npath = "${path}"`), "--allow-root"]);
      expect(stays.code).toBe(0);
    }),
  );
});
