// SIGHUP: rules and settings take effect in one step, and what is wrong changes nothing.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Bench, fileRule, notLive, Program, ROOT, until } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: a reload beside a live sensor (${reason})`);

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const rule = (id: string, path: string) => fileRule(id, path, "open");

test.skipIf(reason !== null)(
  "a reload exchanges rules and limits at once, keeps the old ones when the new are wrong, and says what has to wait",
  async () => {
    const folder = join(realpathSync(bench.folder), "watched");
    mkdirSync(folder);
    const settings = `[file]\nwatch_paths = ["${folder}"]\n`;
    const config = bench.path("config.toml");
    writeFileSync(config, settings + rule("OLD-001", join(folder, "old")));
    await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluator("--config", config);
    const alerts = () =>
      evaluator.lines().flatMap((line) => (line.event_type === "alert" ? [String(line["rule_id"])] : []));
    const touch = async (name: string) => {
      await Bun.spawn(["touch", join(folder, name)]).exited;
      await until(`the event of ${name}`, () => evaluator.stdout.includes(`"path":"${join(folder, name)}"`));
      await Bun.sleep(300);
    };
    const reload = async (text: string, word: string) => {
      writeFileSync(config, text);
      evaluator.signal("SIGHUP");
      await until(word, () => evaluator.stderr.includes(word));
    };

    await touch("old");
    await touch("new");
    expect(alerts()).toEqual(["OLD-001"]);

    await reload(
      settings + rule("NEW-001", join(folder, "new")).replace("low", "lowly"),
      "those before stay in force",
    );
    expect(evaluator.stderr).toContain('"lowly" is not one of low, medium, high, critical');
    await touch("old");
    expect(alerts()).toEqual(["OLD-001", "OLD-001"]);

    const next = `${settings}[agent]\nmode = "detect"\n[output]\nformat = "compact"\n`;
    await reload(next + rule("NEW-001", join(folder, "new")), "reloaded: 4 rules, 0 detections");
    expect(evaluator.stderr).toContain("takes effect at the next start: output.format");
    const before = evaluator.stdout.length;
    await Bun.spawn(["touch", join(folder, "old"), join(folder, "new")]).exited;
    await until("the new rule's alert", () => alerts().includes("NEW-001"));
    expect(alerts()).toEqual(["OLD-001", "OLD-001", "NEW-001"]);
    expect(evaluator.stdout.slice(before)).not.toContain('"event_type":"file_open"');

    await evaluator.end("SIGTERM");
    const health = evaluator.lines().findLast((line) => line.event_type === "health");
    expect(health?.["ledger"]).toMatchObject({ balanced: true, unaccounted: 0 });
  },
  120_000,
);

test.skipIf(reason !== null)(
  "a program in a folder that only root enters reloads as the user it has become, and says what is wrong",
  async () => {
    const home = bench.path("home");
    mkdirSync(home, { mode: 0o700 });
    for (const part of ["evaluator", "bpf", "package.json"])
      cpSync(join(ROOT, part), join(home, part), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(home, "node_modules"));
    const rules = bench.path("rules.toml");
    writeFileSync(rules, rule("OLD-001", "/old"));
    const [outer, inner] = [bench.path("outer"), bench.path("outer/inner")];
    mkdirSync(inner, { recursive: true });
    writeFileSync(join(inner, "more.toml"), rule("MORE-001", "/more"));
    const sensor = await bench.sensor("--no-pin");
    const words = ["run", "--alerts-only", "--socket", bench.socket, "--rules", rules, "--rules", inner];
    const command = [process.execPath, join(home, "evaluator/main.ts"), ...words];
    const evaluator = new Program(command, bench.path("home.out"), bench.path("home.err"), null);
    try {
      await until("the stream", () => evaluator.stdout.includes('"coverage"'));
      for (const [text, said] of [
        [
          rule("OLD-001", "/old").replace("low", "lowly"),
          `${rules}: rule "OLD-001": severity: "lowly" is not one`,
        ],
        [rule("NEW-001", "/new"), "reloaded: 5 rules"],
      ] as const) {
        writeFileSync(rules, text);
        evaluator.signal("SIGHUP");
        await until(said, () => evaluator.stderr.includes(said));
      }
      for (const path of [inner, outer, rules]) {
        chmodSync(path, 0o600);
        evaluator.signal("SIGHUP");
        const name = path === outer ? inner : path;
        const refusal = new RegExp(`${name}: user [1-9]\\d* may not read it`, "g");
        const count = path === outer ? 2 : 1;
        await until(`the refusal of ${path}`, () => evaluator.stderr.match(refusal)?.length === count);
        chmodSync(path, 0o755);
      }
    } finally {
      expect(await evaluator.end("SIGTERM")).toBe(0);
    }
    expect(evaluator.stderr).not.toContain("    at ");
    expect(await sensor.end("SIGTERM")).toBe(0);
  },
  120_000,
);
