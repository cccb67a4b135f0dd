// The rules subcommands, and what a replay judges, through the real command line.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseLines, warder } from "../../scripts/live/pair.ts";

// Each test runs the program several times.
setDefaultTimeout(120_000);

const SAMPLE = "scripts/sample.capture.zst";
const folder = mkdtempSync(join(tmpdir(), "warder-rules-"));
afterAll(() => rmSync(folder, { recursive: true }));

const RULE = `[[rules]]
id = "WEB-1"
name = "Shell under a web server"
enabled = true
type = "process"
severity = "high"
action = "alert"
process_names = ["sh", "/usr/bin/bash"]
parent_names = ["nginx"]
attack = ["T1059.004"]
`;

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("rules list", () => {
  const rules = file("list.toml", `${RULE}\n[[disable]]\nid = "BUILTIN-FILE-CRON-001"\n`);

  test("shows every rule with its state and its place", async () => {
    const { code, stdout } = await warder(["rules", "list", rules]);
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => line.split(/ {2,}/));
    expect(code).toBe(0);
    expect(rows[0]).toEqual(["ID", "TYPE", "SEVERITY", "STATE", "NAME", "FILE"]);
    expect(rows[2]?.slice(0, 4)).toEqual(["BUILTIN-FILE-CRON-001", "file", "medium", "off"]);
    expect(rows.at(-1)).toEqual(["WEB-1", "process", "high", "on", "Shell under a web server", `${rules}:1`]);
  });

  test("is one JSON object a line with --json", async () => {
    const { code, stdout } = await warder(["rules", "list", rules, "--json"]);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    expect(lines).toHaveLength(4);
    expect(lines[3]).toEqual({
      id: "WEB-1",
      type: "process",
      severity: "high",
      name: "Shell under a web server",
      enabled: true,
      file: rules,
      attack: ["T1059.004"],
      description: null,
      references: [],
      false_positives: [],
      tests: 0,
    });
  });
});

describe("rules test", () => {
  const block = (match: boolean, facts: string) =>
    `[[rules.tests]]\nmatch = ${match}\nevent_type = "process_start"\n${facts}\n`;

  test("passes when every test comes out as it says, of rules that are switched off too", async () => {
    const tests = `${block(true, 'comm = "sh"\nparent_comm = "nginx"')}${block(false, 'comm = "sh"\nparent_comm = "cron"')}`;
    const rules = file(
      "good.toml",
      `${RULE.replace("true", "false")}${tests}${RULE.replace("WEB-1", "WEB-2")}`,
    );
    const { code, stdout, stderr } = await warder(["rules", "test", rules]);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: "",
      stderr: "2 rules, 2 tests: 2 passed, 0 failed; without tests: WEB-2\n",
    });
  });

  test("shows for each failure its place, the condition that decided, and what the event has", async () => {
    const rules = file(
      "bad.toml",
      RULE +
        block(true, 'comm = "sh"\nexe_path = "/usr/bin/dash"\nparent_comm = "cron"') +
        block(false, 'comm = "bash"\nexe_path = "/usr/bin/bash"\nparent_comm = "nginx"'),
    );
    const { code, stderr } = await warder(["rules", "test", rules]);
    expect(code).toBe(1);
    expect(
      stderr,
    ).toBe(`${rules}:11:9: rule "WEB-1": tests[0]: expected a match, and parent_names does not hold
  11 | [[rules.tests]]
     |         ^
  holds  event_type     process_start
  holds  process_names  sh (/usr/bin/dash) is sh
  fails  parent_names   cron is not nginx
${rules}:17:9: rule "WEB-1": tests[1]: expected no match, and every condition holds
  17 | [[rules.tests]]
     |         ^
  holds  event_type     process_start
  holds  process_names  bash (/usr/bin/bash) is /usr/bin/bash
  holds  parent_names   nginx
1 rule, 2 tests: 0 passed, 2 failed
`);
  });

  test("without any rule is a usage error, not a success", async () => {
    const { code, stderr } = await warder(["rules", "test"]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("no rules to test") });
  });

  test("does not run tests of rules that are wrong", async () => {
    const { code, stderr } = await warder(["rules", "test", file("wrong.toml", RULE.replace("high", "hgh"))]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('"hgh" is not one of') });
  });
});

describe("rules explain", () => {
  const rules = file("explain.toml", RULE);
  const explain = (event: string, id = "WEB-1") =>
    warder(["rules", "explain", id, "--rules", rules], Buffer.from(event));

  test("gives each condition with the event's value, and agrees with the replay on its own events", async () => {
    const replayed = await warder(["replay", "--rules", rules, "-o", "json", SAMPLE]);
    const lines = parseLines(replayed.stdout);
    const alerted = new Set(
      lines.filter((line) => line["rule_id"] === "WEB-1").map((line) => line["event_id"]),
    );
    const events = replayed.stdout
      .split("\n")
      .filter((line) => line.includes('"event_type":"process_start"'));
    const { code, stdout } = await explain(events.join("\n"));
    expect(code).toBe(0);
    const verdicts = [...stdout.matchAll(/^WEB-1 .*\): (match|no match)/gm)].map(([, verdict]) => verdict);
    expect(verdicts).toEqual(
      events.map((line) => (alerted.has(JSON.parse(line).event_id) ? "match" : "no match")),
    );
    expect(alerted.size).toBe(1);
  });

  test("takes an event laid out over lines, and says of a key that it does not know it", async () => {
    const event = JSON.stringify({ event_type: "process_start", comm: "x", parent_com: "nginx" }, null, 2);
    const { code, stdout, stderr } = await explain(event);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'standard input: warning: parent_com: unknown key (did you mean "parent_comm"?)\n',
    });
    expect(
      stdout,
    ).toBe(`WEB-1 Shell under a web server (${rules}:1): no match: process_names and parent_names do not hold
  holds  enabled        true
  holds  event_type     process_start
  fails  process_names  x is not any of sh, /usr/bin/bash
  fails  parent_names   (unknown) is not nginx
`);
  });

  test.each([
    ["nothing", "", /expected an event as JSON, such as .*, found nothing/],
    ["no JSON", "{}\n{no\n", /standard input:1: event_type: missing|standard input:2: not JSON/],
    ["a list", "[]", /expected an event, found a list/],
    ["an alert", '{"event_type":"alert"}', /this is an alert; its source event is the line before it/],
    ["an unknown type", '{"event_type":"file_opn"}', /did you mean "file_open"/],
    ["a wrong value", '{"event_type":"file_open","path":7}', /path: expected a text, found the number 7/],
  ])("of %s says what was expected", async (_name, input, message) => {
    const { code, stdout, stderr } = await explain(input);
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: "", stderr: expect.stringMatching(message) });
  });

  test("of a rule that is not there names one that is", async () => {
    const { code, stderr } = await explain("{}", "WEB-2");
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('did you mean "WEB-1"?') });
  });
});

describe("a replay that is judged", () => {
  const rules = file("judge.toml", RULE);
  const replay = (...args: string[]) => warder(["replay", "--rules", rules, "-o", "json", ...args, SAMPLE]);

  test("says on stderr what there was: time, alerts by rule, and rules that never matched", async () => {
    const { code, stderr } = await replay("--alerts-only");
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^warder: \S+Z to \S+Z \(\d+\.\ds\); 0 malformed, 0 truncated\nwarder: {3}high +1 {2}WEB-1 /m,
    );
    expect(stderr).toContain("1 of 4 enabled rules never matched: BUILTIN-FILE-CRON-001\n");
    expect(stderr).toMatch(/\d+ events \([\d,]+\/s\), 4 alerts \(1 high, 3 medium\), 0 lost, /);
  });

  test("ends with code 1 after an alert of the severity or a higher one, and writes all lines before", async () => {
    const plain = await replay();
    for (const [severity, code] of [
      ["low", 1],
      ["medium", 1],
      ["high", 1],
      ["critical", 0],
    ] as const) {
      const judged = await replay("--fail-on", severity);
      expect({ severity, code: judged.code }).toEqual({ severity, code });
      expect(judged.stdout).toBe(plain.stdout);
    }
    expect((await replay("--fail-on", "high")).stderr).toContain("--fail-on high: 1 of that severity");
  });

  test("takes its own output as what is expected", async () => {
    for (const args of [["--alerts-only"], []]) {
      const expected = file("own.ndjson", (await replay(...args)).stdout);
      expect((await replay("--expect", expected)).code).toBe(0);
    }
  });

  test("shows which alerts are missing and which are not expected, and ends with code 1", async () => {
    const expected = file(
      "some.ndjson",
      '{"rule_id":"WEB-1","parent_name":"apache2"}\n{"rule_id":"BUILTIN-FILE-SYSTEMD-001"}\n{"rule_id":"BUILTIN-FILE-SYSTEMD-001","comm":"mv"}\n{"port":4444}\n',
    );
    const { code, stderr } = await replay("--expect", expected, "--alerts-only");
    expect(code).toBe(1);
    expect(stderr).toContain(`- ${expected}:1: {"rule_id":"WEB-1","parent_name":"apache2"}
    nearest: an alert with {"parent_name":"nginx"}
+ {"rule_id":"WEB-1","severity":"high","source_event_type":"process_start","comm":"sh","parent_name":"nginx"}
warder: --expect ${expected}: 1 alert missing, 1 not expected
`);
  });

  test("refuses a file of expected alerts that is wrong before it reads the capture", async () => {
    const { code, stdout, stderr } = await replay("--expect", file("typo.ndjson", '{"rule":"X"}\n'));
    expect({ code, stdout, stderr }).toEqual({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("typo.ndjson:1:2: rule: unknown key"),
    });
    expect((await replay("--expect", join(folder, "absent"))).code).toBe(2);
  });

  test("a capture that is read again says nothing new", async () => {
    const once = await replay();
    const twice = await warder(["replay", "--rules", rules, "-o", "json", SAMPLE, SAMPLE]);
    const told = ({ stdout }: { stdout: string }) =>
      parseLines(stdout).filter(({ event_type: type }) => !["health", "coverage"].includes(type));
    expect(told(twice)).toEqual(told(once));
    expect(twice).toMatchObject({ code: 0, stderr: expect.not.stringContaining("silent") });
  });

  test("a severity that is none is a usage error", async () => {
    expect((await replay("--fail-on", "hgh")).code).toBe(2);
  });
});
