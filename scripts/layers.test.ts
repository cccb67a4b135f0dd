// Layers of settings, by what both real programs make of them: the file, the folder beside it, the environment, --set, options.
// What /etc/warder/config.toml holds when nothing is named is in package.test.ts.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const folder = mkdtempSync(join(tmpdir(), "warder-layers-"));
const config = join(folder, "config.toml");
const [first, second] = [join(folder, "config.d/10.toml"), join(folder, "config.d/20.toml")];
mkdirSync(join(folder, "config.d"));
writeFileSync(join(folder, "empty.toml"), "");
afterAll(() => rmSync(folder, { recursive: true }));

async function run(
  program: "evaluator" | "sensor",
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, join(ROOT, program, "main.ts"), ...args], {
    env: { PATH: process.env["PATH"], ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

const user = (name: string) => `[sensor]\nuser = "${name}"\n`;
/** From the weakest: where a layer says that it is from, the file that is written for it, and the user that it names. */
type Layer = { place: string; named: string; file?: string; env?: Record<string, string>; args?: string[] };
const LAYERS: Layer[] = [
  { place: "default", named: "nobody", args: ["--config", join(folder, "empty.toml")] },
  { place: `${config}:2`, named: "x-file", file: config },
  { place: `${first}:2`, named: "x-folder", file: first },
  { place: `${second}:2`, named: "x-later", file: second },
  { place: "WARDER_SENSOR__USER", named: "x-environment", env: { WARDER_SENSOR__USER: "x-environment" } },
  {
    place: "--set sensor.user",
    named: "x-set",
    env: { WARDER_SENSOR__USER: "x-environment" },
    args: ["--config", config, "--set", "sensor.user=x-set"],
  },
];

describe("each layer is stronger than those before it, for the evaluator and the sensor:", () => {
  test.each(LAYERS)("$named", async ({ place, named, file, env = {}, args = ["--config", config] }) => {
    if (file) writeFileSync(file, user(named));
    const { code, stdout } = await run("evaluator", ["config", "show", "--origin", ...args], env);
    expect(code).toBe(0);
    expect(stdout).toContain(`user = "${named}"  # ${place}\n`);
    if (named === "nobody") return;
    expect(await run("sensor", ["run", "--no-pin", ...args], env)).toMatchObject({
      code: 2,
      stderr: `warder-sensor: sensor.user: no user "${named}" on this host\n`,
    });
  });

  test("options", async () => {
    const more = ["--config", config, "--set", "sensor.user=x-set", "--set", "sensor.socket=/x/set.sock"];
    const sensor = await run("sensor", ["run", "--user", "x-option", "--no-pin", ...more]);
    expect(sensor.stderr).toBe('warder-sensor: --user: no user "x-option" on this host\n');
    const evaluator = await run("evaluator", [
      "record",
      join(folder, "c"),
      "--socket",
      "/x/option.sock",
      ...more,
    ]);
    expect(evaluator.stderr).toContain("no sensor serves at /x/option.sock");
    const sample = join(ROOT, "scripts/sample.capture.zst");
    const set = ["--set", "output.format=ecs", "--set", "agent.mode=monitor"];
    const { stdout } = await run("evaluator", ["replay", "-o", "json", "--alerts-only", ...set, sample]);
    const types = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { event_type: string }).event_type);
    expect([...new Set(types)].toSorted()).toEqual(["alert", "coverage", "health"]);
  });
});

test("EDR_CONFIG names the file when no option does", async () => {
  writeFileSync(config, user("nobody"));
  rmSync(join(folder, "config.d"), { recursive: true });
  const show = (env: Record<string, string>, ...args: string[]) =>
    run("evaluator", ["config", "show", "--origin", ...args], env);
  expect((await show({ EDR_CONFIG: config })).stdout).toContain(`user = "nobody"  # ${config}:2\n`);
  const other = join(folder, "other.toml");
  writeFileSync(other, user("daemon"));
  expect((await show({ EDR_CONFIG: config }, "--config", other)).stdout).toContain(
    `user = "daemon"  # ${other}:2\n`,
  );
});
