// What is wrong in settings and rules: each with file, line, column, caret, and what was expected; all of them at once.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load, NOWHERE, placeOfFile } from "../config.ts";
import { renderProblem } from "./problem.ts";

const folder = mkdtempSync(join(tmpdir(), "warder-wrong-"));
afterAll(() => rmSync(folder, { recursive: true }));

const RULE = `[[rules]]
id = "A-1"
name = "a"
enabled = true
type = "process"
severity = "high"
action = "alert"
process_names = ["sh"]
`;
const FILE_RULE = RULE.replace('"process"', '"file"').replace(
  'process_names = ["sh"]',
  'paths = ["/etc/"]\noperations = ["write"]',
);
const PATTERN_RULE = FILE_RULE.replace('paths = ["/etc/"]', 'patterns = ["*x"]');
const NETWORK_RULE = RULE.replace('"process"', '"network"').replace(
  'process_names = ["sh"]',
  'direction = "outbound"\nports = [4444]',
);

function problemsOf(config: string, rules?: string) {
  const configFile = join(folder, "config.toml");
  const rulesFile = join(folder, "rules.toml");
  writeFileSync(configFile, config);
  if (rules !== undefined) writeFileSync(rulesFile, rules);
  return load(placeOfFile(configFile), rules === undefined ? [] : [rulesFile]).problems;
}

/** The text, line and column of the marked place: where the caret must stand. */
function marked(text: string): { text: string; line: number; column: number } {
  const at = text.indexOf("»");
  const before = text.slice(0, at).split("\n");
  return { text: text.replace("»", ""), line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

const rule = (from: string, to: string, base = RULE) => base.replace(from, to);
const wrong: [string, string, RegExp][] = [
  ["broken TOML", `[agent»\nmode = "monitor"\n`, /not TOML/],
  ["an unknown section", `[»agnet]\nmode = "monitor"\n`, /unknown section \(did you mean "agent"\?\)/],
  [
    "an unknown setting",
    `[process]\n»colect_args = true\n`,
    /colect_args: unknown key \(did you mean "collect_args"\?\)/,
  ],
  [
    "a setting of the wrong type",
    `[process]\ncollect_args = »"yes"\n`,
    /expected true or false, found the text "yes"/,
  ],
  [
    "a word that is not known",
    `[agent]\nmode = »"detct"\n`,
    /"detct" is not one of monitor, detect \(did you mean "detect"\?\)/,
  ],
  [
    "a number out of range",
    `[ebpf]\nbuffer_size = »0\n`,
    /expected a whole number from 64 to 1048576, found the number 0/,
  ],
  ["a number with a fraction", `[health]\ninterval_s = »1.5\n`, /expected a whole number/],
  [
    "an unknown hook",
    `[process]\nhooks = ["execve", »"exceve"]\n`,
    /"exceve" is not one of execve, .* \(did you mean "execve"\?\)/,
  ],
  ["a relative path", `[file]\nwatch_paths = [»"etc"]\n`, /"etc" is not absolute/],
  ["a file output without path", `[»output]\ntype = "file"\n`, /output\.path: missing/],
  ["a section that is no table", `output = »1\n`, /expected a table, found the number 1/],
  ["a detection without ports", `[[detections.»network]]\nname = "x"\n`, /needs ports/],
  ["an unknown kind of detection", `[[detections.»persistance]]\nname = "x"\n`, /did you mean "persistence"/],
  [
    "a wrong severity",
    rule('"high"', '»"hgh"'),
    /rule "A-1": severity: "hgh" is not one of low, medium, high, critical \(did you mean "high"\?\)/,
  ],
  [
    "a missing key",
    rule("[[rules]]", "[[»rules]]").replace('name = "a"\n', ""),
    /rule "A-1": name: missing, and required/,
  ],
  ["an unknown key", rule("process_names", "»proces_names"), /proces_names: unknown key/],
  [
    "a match field of another type",
    `${RULE}»ports = [80]\n`,
    /ports: a match field of network rules; this is a process rule/,
  ],
  [
    "a port out of range",
    rule("[4444]", "[80, »70000]", NETWORK_RULE),
    /ports\[1\]: expected a whole number from 1 to 65535/,
  ],
  ["an empty text", rule('"sh"', '»""'), /must not be empty/],
  ["a list that is none", rule('["sh"]', '»"sh"'), /process_names: expected a list, found the text "sh"/],
  [
    "no match field",
    rule("[[rules]]", "[[»rules]]").replace('process_names = ["sh"]\n', ""),
    /needs process_names or parent_names/,
  ],
  [
    "a file rule without operations",
    rule("[[rules]]", "[[»rules]]", FILE_RULE).replace('operations = ["write"]\n', ""),
    /needs operations/,
  ],
  [
    "a file rule without paths",
    rule("[[rules]]", "[[»rules]]", FILE_RULE).replace('paths = ["/etc/"]\n', ""),
    /needs paths or patterns/,
  ],
  [
    "an unknown operation",
    rule('"write"', '»"wirte"', FILE_RULE),
    /"wirte" is not one of .*\(did you mean "write"\?\)/,
  ],
  ["a negated pattern", `${FILE_RULE}patterns = [»"!*.conf"]\n`, /cannot be negated/],
  ["a pattern with other wildcards", `${FILE_RULE}patterns = [»"/etc/[ab]"]\n`, /only "\*" is special/],
  [
    "a wrong direction",
    rule('"outbound"', '»"outgoing"', NETWORK_RULE),
    /"outgoing" is not one of inbound, outbound/,
  ],
  ["a reserved id", rule('"A-1"', '»"BUILTIN-X"'), /"BUILTIN-" is reserved/],
  ["an id twice", `${RULE}${rule('"A-1"', '»"A-1"')}`, /this id is taken by another rule of this file/],
  ["an override of nothing", `${RULE}override = »true\n`, /nothing to override/],
  ["a technique that is none", `${RULE}attack = [»"1059"]\n`, /"1059" is not an ATT&CK technique/],
  [
    "a disabled id that is not there",
    `[[disable]]\nid = »"BUILTIN-NET-OUTBOUND-002"\n`,
    /no rule has the id .*did you mean "BUILTIN-NET-OUTBOUND-001"/,
  ],
  [
    "a rule's test without event_type",
    `${RULE}[[rules.»tests]]\nmatch = true\ncomm = "sh"\n`,
    /rule "A-1": tests\[0\]\.event_type: missing, and required: one of process_start, /,
  ],
  [
    "a rule's test without match",
    `${RULE}[[rules.»tests]]\nevent_type = "process_start"\n`,
    /tests\[0\]\.match: missing/,
  ],
  [
    "an unknown event type",
    `${RULE}tests = [{ match = true, event_type = »"process_strat" }]\n`,
    /"process_strat" is not one of .*\(did you mean "process_start"\?\)/,
  ],
  [
    "an unknown key of an event",
    `${RULE}[[rules.tests]]\nmatch = true\nevent_type = "process_start"\n»parent_com = "x"\n`,
    /tests\[0\]\.parent_com: unknown key \(did you mean "parent_comm"\?\)/,
  ],
  [
    "a key of another event",
    `${RULE}[[rules.tests]]\nmatch = true\nevent_type = "process_start"\n»remote_port = 80\n`,
    /tests\[0\]\.remote_port: unknown key/,
  ],
  [
    "a value that the event never has",
    `${RULE}[[rules.tests]]\nmatch = false\nevent_type = "process_start"\ncomm = »"systemd-timesyncd"\n`,
    /tests\[0\]\.comm: expected at most 15 bytes/,
  ],
  [
    "a port of an event that is none",
    `${RULE}[[rules.tests]]\nmatch = false\nevent_type = "network_bind"\nlocal_port = »70000\n`,
    /local_port: expected a port from 0 to 65535/,
  ],
  [
    "a direction that does not belong to the event",
    `${RULE}[[rules.tests]]\nmatch = false\nevent_type = "network_bind"\ndirection = »"outbound"\n`,
    /direction: a network_bind event is always inbound/,
  ],
  ["rules that are no list", `[»rules]\nid = "x"\n`, /expected a list of tables/],
];

describe("wrong", () => {
  test.each(wrong)("%s", (_name, source, message) => {
    const { text, line, column } = marked(source);
    const errors = problemsOf(text).filter(({ severity }) => severity === "error");
    expect(errors.map((error) => error.message)).toEqual([expect.stringMatching(message)]);
    const [error] = errors;
    if (!error) throw new Error("no error");
    expect({ line: error.line, column: error.column }).toEqual({ line, column });
    const shown = renderProblem(error).split("\n");
    expect(shown[0]).toStartWith(`${join(folder, "config.toml")}:${line}:${column}: `);
    expect(shown[1]).toEndWith(text.split("\n")[line - 1] ?? "?");
    expect(shown[2]?.indexOf("^")).toBe(
      (shown[1]?.length ?? 0) - (text.split("\n")[line - 1]?.length ?? 0) + column - 1,
    );
  });

  test("all errors of all files are shown in one run", () => {
    const problems = problemsOf(
      `[agnet]\n[health]\ninterval_s = "x"\n`,
      `${rule('"high"', '"hgh"')}${rule('"A-1"', '"A-2"').replace("true", "1")}[process]\n`,
    );
    expect(problems.map(({ file, line }) => `${file.slice(folder.length + 1)}:${line}`)).toEqual([
      "config.toml:1",
      "config.toml:3",
      "rules.toml:6",
      "rules.toml:12",
      "rules.toml:17",
    ]);
  });

  test("what is wrong with a disabled rule is a warning", () => {
    const problems = problemsOf(rule('"high"', '"hgh"').replace("enabled = true", "enabled = false"));
    expect(problems.map(({ severity }) => severity)).toEqual(["warning"]);
  });

  test.each([
    ["a name that the kernel cuts", RULE, '"systemd-timesyncd"', 'compared as "systemd-timesyn"'],
    ["a name with a star", RULE, '"/tmp/*"', '"*" stands for itself'],
    ["a relative executable", RULE, '"./sh"', 'begins with "/"'],
    ["an executable by way of ..", RULE, '"/usr/../bin/sh"', "are resolved"],
    ["a path with a star", FILE_RULE, '"/etc/*.d/"', "belongs into patterns"],
    ["a path with two slashes", FILE_RULE, '"/etc//x"', "slashes stand alone"],
    ["a pattern that is no whole path", PATTERN_RULE, '"shadow"', '"*shadow" would'],
  ])("%s is a warning that says what becomes of it", (_name, base, word, message) => {
    const problems = problemsOf(base.replace(/"(sh|\/etc\/|\*x)"/, word));
    expect(problems).toMatchObject([{ severity: "warning", message: expect.stringContaining(message) }]);
  });

  test("an override replaces a rule of an earlier file, and takes its place", () => {
    const [config, rules] = [join(folder, "config.toml"), join(folder, "rules.toml")];
    writeFileSync(config, `${RULE}${rule('"A-1"', '"A-2"')}`);
    writeFileSync(rules, `${rule('"high"', '"low"')}override = true\n`);
    const { rules: all, problems } = load(placeOfFile(config), [rules]);
    expect(problems).toEqual([]);
    expect(all.slice(-2).map(({ id, severity, file }) => [id, severity, file])).toEqual([
      ["A-1", "low", rules],
      ["A-2", "high", config],
    ]);
  });

  test("an id that an earlier file has is an error without override, and a warning in a disabled rule", () => {
    const [error, ...others] = problemsOf(RULE, RULE);
    expect(others).toEqual([]);
    expect(error).toMatchObject({ severity: "error", file: join(folder, "rules.toml"), line: 2, column: 6 });
    expect(error?.message).toMatch(/taken by .*config\.toml; to replace that rule, say override = true/);
    expect(problemsOf(RULE, rule("true", "false"))).toMatchObject([{ severity: "warning" }]);
  });

  test("a rule of a later file cannot be switched off, and the message says so", () => {
    const problems = problemsOf(`[[disable]]\nid = "A-1"\n`, RULE);
    expect(problems).toMatchObject([{ line: 2, message: expect.stringContaining("is read later") }]);
    expect(problemsOf(RULE, `[[disable]]\nid = "A-1"\nreason = "noise"\n`)).toEqual([]);
  });

  test("a rule with an error is not missed where it is switched off or replaced", () => {
    const broken = rule('"high"', '"hgh"');
    expect(problemsOf(broken, `[[disable]]\nid = "A-1"\n`)).toHaveLength(1);
    expect(problemsOf(broken, `${RULE}override = true\n`)).toHaveLength(1);
  });

  test("a file that is named twice is read once", () => {
    writeFileSync(join(folder, "rules.toml"), RULE);
    mkdirSync(join(folder, "pack"), { recursive: true });
    writeFileSync(join(folder, "pack", "a.toml"), RULE);
    expect(load(NOWHERE, [join(folder, "pack"), join(folder, "pack/../pack/a.toml")]).problems).toEqual([]);
  });

  test("files that cannot be read are errors of their own", () => {
    writeFileSync(join(folder, "bytes.toml"), Buffer.from([0x61, 0xff]));
    mkdirSync(join(folder, "empty"), { recursive: true });
    const { problems } = load(NOWHERE, [
      join(folder, "absent.toml"),
      join(folder, "bytes.toml"),
      join(folder, "empty"),
    ]);
    expect(problems.map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
      "warning: no .toml file in this folder",
      "error: no such file",
      "error: not UTF-8: expected TOML",
    ]);
  });
});

test("the command line shows them all and ends with code 2", async () => {
  const config = join(folder, "cli.toml");
  writeFileSync(config, `[agnet]\n\n${rule('"high"', '"hgh"')}`);
  for (const args of [
    ["rules", "check", "--config", config],
    ["replay", "--config", config, "-"],
  ]) {
    const program = Bun.spawn([process.execPath, join(import.meta.dir, "../main.ts"), ...args], {
      stderr: "pipe",
      stdin: "ignore",
    });
    const stderr = await new Response(program.stderr).text();
    expect(await program.exited).toBe(2);
    expect(stderr).toContain(`${config}:1:2: agnet: unknown section`);
    expect(stderr).toContain(`${config}:8:12: rule "A-1": severity: "hgh"`);
  }
});
