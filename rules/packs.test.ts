// The packaged rules: right, tested, documented, and each about something of its own.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { load, NOWHERE } from "../evaluator/config.ts";
import { compileRules } from "../evaluator/rule/engine.ts";
import { explain } from "../evaluator/rule/explain.ts";
import type { Rule } from "../evaluator/rule/schema.ts";
import { warder } from "../scripts/live/pair.ts";

const FOLDER = import.meta.dir;
const RULES_LEAST = 40;
/** An event that more enabled rules than this match tells the same thing several times. */
const ALERTS_MAX = 2;

/** ATT&CK techniques by tactic, as far as the packs use them. */
const TECHNIQUES: Record<string, string> = {
  "initial-access": "T1190 T1195.002 T1566.001",
  execution: "T1053.002 T1053.003 T1059 T1059.004 T1204.002 T1569 T1609 T1610",
  persistence: `T1037.004 T1053.002 T1053.003 T1053.006 T1098 T1098.004 T1136.001 T1505.003 T1542.003 T1543.002 T1546
    T1546.004 T1546.016 T1546.017 T1546.018 T1547.006 T1547.013 T1554 T1556 T1556.003 T1574.006`,
  "privilege-escalation": `T1053.002 T1053.003 T1055.009 T1068 T1098 T1098.004 T1543.002 T1546 T1546.004 T1547.006 T1547.013
    T1548 T1548.001 T1548.003 T1574.006 T1611`,
  "defense-evasion": `T1014 T1036.004 T1036.005 T1055.009 T1070.002 T1070.003 T1070.004 T1070.006 T1542.003 T1548 T1548.001
    T1548.003 T1553.004 T1556 T1556.003 T1562.001 T1562.004 T1562.006 T1562.012 T1564.001 T1574.006 T1610`,
  "credential-access": `T1003 T1003.007 T1003.008 T1040 T1056.001 T1110.001 T1110.002 T1110.003 T1552.001 T1552.004 T1552.005
    T1555.003 T1556 T1556.003 T1557`,
  discovery: "T1018 T1033 T1040 T1046 T1069.002 T1082 T1083 T1087.001 T1087.002 T1135 T1613",
  "lateral-movement": "T1021.001 T1021.002 T1021.004 T1021.006",
  collection: "T1005 T1056.001 T1074.001 T1557 T1560.001",
  "command-and-control": "T1071 T1071.002 T1071.004 T1090.001 T1090.003 T1095 T1105 T1219 T1571 T1572",
  exfiltration: "T1048.002 T1048.003 T1567 T1567.002",
  impact: "T1485 T1486 T1490 T1496 T1498.001 T1499.002 T1529 T1561.001 T1561.002",
};

/** Each pack: how its rules are named, and the tactics that it is about. */
const PACKS: Record<string, { prefix: string; tactics: string[] }> = {
  web: { prefix: "WEB", tactics: ["initial-access", "execution", "persistence"] },
  "initial-access": { prefix: "INIT", tactics: ["initial-access"] },
  execution: { prefix: "EXEC", tactics: ["execution"] },
  persistence: { prefix: "PERS", tactics: ["persistence"] },
  "privilege-escalation": { prefix: "PRIV", tactics: ["privilege-escalation"] },
  "defense-evasion": { prefix: "EVAS", tactics: ["defense-evasion"] },
  "credential-access": { prefix: "CRED", tactics: ["credential-access"] },
  discovery: { prefix: "DISC", tactics: ["discovery"] },
  "lateral-movement": { prefix: "LATM", tactics: ["lateral-movement"] },
  "command-and-control": { prefix: "C2", tactics: ["command-and-control"] },
  exfiltration: { prefix: "EXFL", tactics: ["collection", "exfiltration"] },
  impact: { prefix: "IMPA", tactics: ["impact"] },
};

const { rules: all, sources } = load(NOWHERE, [FOLDER]);
const packaged = all.filter(({ id }) => sources.has(id));
const packOf = (rule: Rule) => basename(rule.file, ".toml");
const known = (tactics: string[]) =>
  new Set(tactics.flatMap((tactic) => (TECHNIQUES[tactic] ?? "").split(/\s+/)));

test("rules check finds nothing to say, and rules test passes", async () => {
  const check = await warder(["rules", "check", "rules"]);
  expect({ code: check.code, stderr: check.stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(
      /^\d+ files, \d+ rules and 3 built in \(\d+ enabled\): 0 errors, 0 warnings\n$/,
    ),
  });
  const tests = await warder(["rules", "test", "rules"]);
  expect({ code: tests.code, stderr: tests.stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/^\d+ rules, \d+ tests: \d+ passed, 0 failed\n$/),
  });
}, 60_000);

test("there are packs for all tactics, and enough rules that are on", () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".toml"));
  expect(files.toSorted()).toEqual(
    Object.keys(PACKS)
      .map((pack) => `${pack}.toml`)
      .toSorted(),
  );
  expect(packaged.filter(({ enabled }) => enabled).length).toBeGreaterThanOrEqual(RULES_LEAST);
});

test("every rule says what it is about, when it is wrong, and why if it is off", () => {
  for (const { id, description, falsePositives, references, enabled } of packaged) {
    const schemes = references.map((reference) => new URL(reference).protocol);
    expect({ id, description, wrong: falsePositives.length > 0, schemes }).toEqual({
      id,
      description: expect.stringMatching(enabled ? /^(?!.*Off, because).*\.\)?$/s : /Off, because .*\.$/s),
      wrong: true,
      schemes: schemes.map(() => "https:"),
    });
  }
});

test("every rule has a technique of its pack's tactics, and no unknown one", () => {
  for (const rule of packaged) {
    const own = known(PACKS[packOf(rule)]?.tactics ?? []);
    const listed = known(Object.keys(TECHNIQUES));
    expect({
      id: rule.id,
      fitting: rule.attack.some((technique) => own.has(technique)),
      unknown: rule.attack.filter((technique) => !listed.has(technique)),
    }).toEqual({ id: rule.id, fitting: true, unknown: [] });
  }
});

test("every rule has tests that must match, and tests that must not by one condition alone", () => {
  for (const rule of packaged) {
    const kinds = new Set(rule.tests.map(({ match }) => match));
    expect({ id: rule.id, kinds }).toEqual({ id: rule.id, kinds: new Set([true, false]) });
    for (const { match, event } of rule.tests) {
      const failing = explain({ ...rule, enabled: true }, event)
        .filter(({ holds }) => !holds)
        .map(({ condition }) => condition);
      const type = event.event_type.split("_")[0];
      const few = failing.length === (match ? 0 : 1);
      expect({ id: rule.id, event, failing, few, type }).toMatchObject({ few: true, type: rule.type });
    }
  }
});

test("what a rule tells of its events, few other rules tell", () => {
  for (const rule of packaged) {
    const engine = compileRules(
      all.map((other) => (other.id === rule.id ? { ...other, enabled: true } : other)),
    );
    for (const { event } of rule.tests.filter(({ match }) => match)) {
      const alerts = engine.evaluate(event).map((found) => found.rule.id);
      expect({ id: rule.id, alerts, few: alerts.length <= ALERTS_MAX }).toMatchObject({ few: true });
    }
  }
});

test("ids of a pack are numbered without a gap", () => {
  for (const [pack, { prefix }] of Object.entries(PACKS)) {
    const ids = packaged
      .filter((rule) => packOf(rule) === pack && rule.id !== "PROC-001")
      .map(({ id }) => id);
    expect(ids).toEqual(ids.map((_, i) => `${prefix}-${String(i + 1).padStart(3, "0")}`));
  }
});

test("no two file rules ask for the same place and operation", () => {
  const owners = new Map<string, string>();
  const twice: string[] = [];
  for (const { id, match, enabled } of all) {
    if (match.type !== "file" || !enabled) continue;
    // Of a rule with both lists, one entry alone is not what it asks for.
    const places =
      match.paths.length > 0 && match.patterns.length > 0 ? [] : [...match.paths, ...match.patterns];
    for (const place of places.flatMap((entry) =>
      match.operations.map((operation) => `${operation} ${entry}`),
    )) {
      if (owners.has(place)) twice.push(`${id} and ${owners.get(place)}: ${place}`);
      owners.set(place, id);
    }
  }
  expect(twice).toEqual([]);
});

test("the workflow in the README runs, step by step", () => {
  const readme = readFileSync(join(FOLDER, "../README.md"), "utf8");
  const steps = [...readme.matchAll(/^ +- run: (node_modules\/.*)$/gm)].map(([, step = ""]) => step);
  expect(steps.length).toBeGreaterThan(3);
  for (const step of steps) {
    const { exitCode, stderr } = Bun.spawnSync(["sh", "-c", step], { cwd: join(FOLDER, "..") });
    expect({ step, exitCode, stderr: stderr.toString() }).toMatchObject({ exitCode: 0 });
  }
}, 120_000);

test("the rule that the README explains is the one in its pack", () => {
  const readme = readFileSync(join(FOLDER, "README.md"), "utf8");
  const [, block = ""] = /```toml\n(\[\[rules\]\]\nid = "PERS-005".*?)```/s.exec(readme) ?? [];
  const { rules: explained } = Bun.TOML.parse(block) as { rules: Record<string, unknown>[] };
  const real = packaged.find(({ id }) => id === "PERS-005");
  expect(explained).toMatchObject([
    {
      name: real?.name,
      severity: real?.severity,
      paths: real?.match.type === "file" ? real.match.paths : [],
      attack: real?.attack,
      references: real?.references,
      false_positives: real?.falsePositives,
    },
  ]);
});
