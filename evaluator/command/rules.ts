// `warder rules`: work on rules without a stream.

import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { suggest } from "../../bpf/words.ts";
import type { Loaded } from "../config.ts";
import type { Event } from "../event/event.ts";
import { Exit, Failure } from "../exit.ts";
import { explanation } from "../output/explanation.ts";
import { count, readable } from "../output/summary.ts";
import { explain } from "../rule/explain.ts";
import { parseJson, readEvent } from "../rule/given.ts";
import { describe, isTable, placeOf, renderProblem } from "../rule/problem.ts";
import type { Rule } from "../rule/schema.ts";
import { runTests, type TestResult } from "../rule/tests.ts";
import {
  configOption,
  loadOrFail,
  loadSources,
  printProblems,
  rulesOption,
  type Sources,
  setOption,
} from "./options.ts";

const STDIN = 0;
const INPUT = "standard input";
/** So many ids are listed where a number would do. */
const IDS_MAX = 10;

/** Adds the subcommands to the program. */
export function addRulesCommands(program: Command): void {
  const rules = program.command("rules").description("work on rules");
  const paths = (name: string) =>
    rules
      .command(name)
      .argument("[path...]", "files or folders of rules")
      .addOption(configOption())
      .addOption(setOption());

  paths("check").description("show everything that is wrong with settings and rules").action(check);
  paths("list")
    .description("list the rules in the order of their alerts")
    .option("--json", "one JSON object a line")
    .action(list);
  paths("test").description("run the tests that rules carry; code 1 when one fails").action(test);
  rules
    .command("explain")
    .description("say for an event on standard input why a rule matches it, or why not")
    .argument("<id>", "the rule's id")
    .addOption(configOption())
    .addOption(rulesOption())
    .action(explainRule);
}

function check(paths: string[], options: Sources): void {
  const loaded = loadSources({ ...options, rules: paths });
  const errors = printProblems(loaded);
  const warnings = loaded.problems.length - errors;
  const enabled = loaded.rules.filter((rule) => rule.enabled).length;
  const own = loaded.sources.size;
  const { detections } = loaded.config;
  console.error(
    `${count(loaded.files.length, "file")}, ${count(own, "rule")} and ${loaded.rules.length - own} built in ` +
      `(${enabled} enabled)${detections.length > 0 ? `, ${count(detections.length, "detection")}` : ""}: ` +
      `${count(errors, "error")}, ${count(warnings, "warning")}`,
  );
  if (errors > 0) process.exitCode = Exit.usage;
}

function list(paths: string[], { json, ...options }: Sources & { json?: boolean }): void {
  const loaded = loadOrFail({ ...options, rules: paths });
  if (json) {
    for (const rule of loaded.rules) console.log(JSON.stringify(factsOf(rule)));
    return;
  }
  const rows = loaded.rules.map((rule) =>
    [rule.id, rule.type, rule.severity, rule.enabled ? "on" : "off", rule.name, fileOf(loaded, rule)].map(
      readable,
    ),
  );
  const table = [["ID", "TYPE", "SEVERITY", "STATE", "NAME", "FILE"], ...rows];
  const widths = table[0]?.map((_title, column) =>
    Math.max(...table.map((row) => (row[column] ?? "").length)),
  );
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

/** What is listed of a rule, in the words of rule files. */
function factsOf({ id, type, severity, name, enabled, file, attack, description, ...rule }: Rule): object {
  const { references, falsePositives, tests } = rule;
  const more = { references, false_positives: falsePositives, tests: tests.length };
  return { id, type, severity, name, enabled, file, attack, description, ...more };
}

/** The file and line of a rule. */
function fileOf({ sources }: Loaded, { id, file }: Rule): string {
  const source = sources.get(id);
  return source ? `${file}:${placeOf(source.document, source.path).line}` : file;
}

function test(paths: string[], options: Sources): void {
  const loaded = loadOrFail({ ...options, rules: paths });
  if (loaded.sources.size === 0)
    throw new Failure(Exit.usage, 'no rules to test: name files or folders, as in "warder rules test rules"');
  const results = loaded.rules.flatMap(runTests);
  const failures = results.filter(({ test: { match }, matched }) => match !== matched);
  for (const failure of failures) printFailure(loaded, failure);
  const untested = loaded.rules.filter(({ id, tests }) => loaded.sources.has(id) && tests.length === 0);
  console.error(
    `${count(loaded.sources.size, "rule")}, ${count(results.length, "test")}: ` +
      `${results.length - failures.length} passed, ${failures.length} failed${without(untested)}`,
  );
  if (failures.length > 0) process.exitCode = Exit.findings;
}

function without(untested: Rule[]): string {
  if (untested.length === 0) return "";
  const ids = untested.slice(0, IDS_MAX).map(({ id }) => id);
  const rest = untested.length - ids.length;
  return `; without tests: ${ids.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function printFailure({ sources }: Loaded, { rule, index, matched, verdicts }: TestResult): void {
  const source = sources.get(rule.id);
  const found = matched
    ? "expected no match, and every condition holds"
    : `expected a match, and ${decider(verdicts)}`;
  const message = `rule "${rule.id}": tests[${index}]: ${found}`;
  if (source) {
    const place = placeOf(source.document, [...source.path, "tests", index]);
    console.error(renderProblem({ severity: "error", message, ...place }));
  }
  process.stderr.write(Buffer.from(explanation(verdicts), "latin1"));
}

function decider(verdicts: TestResult["verdicts"]): string {
  const failing = verdicts.filter(({ holds }) => !holds).map(({ condition }) => condition);
  return `${failing.join(" and ")} ${failing.length === 1 ? "does" : "do"} not hold`;
}

function explainRule(id: string, sources: Sources): void {
  const loaded = loadOrFail(sources);
  const rule = loaded.rules.find((known) => known.id === id);
  if (!rule) {
    const ids = loaded.rules.map((known) => known.id);
    const next =
      loaded.sources.size === 0
        ? "name its file or folder with --rules"
        : '"warder rules list PATH" shows the rules of a file or folder';
    throw new Failure(Exit.usage, `no rule has the id "${id}"${suggest(id, ids)}; ${next}`);
  }
  if (process.stdin.isTTY) console.error("warder: reading an event, as JSON, from standard input");
  for (const event of readEvents(readFileSync(STDIN, "utf8"))) {
    const verdicts = explain(rule, event);
    const matches = verdicts.every(({ holds }) => holds);
    console.log(
      `${readable(`${rule.id} ${rule.name} (${fileOf(loaded, rule)})`)}: ${matches ? "match" : `no match: ${decider(verdicts)}`}`,
    );
    process.stdout.write(Buffer.from(explanation(verdicts), "latin1"));
  }
}

/** The events of a text: one JSON value, however it is laid out, or one a line. @throws Failure when one is wrong */
function readEvents(text: string): Event[] {
  if (text.trim() === "")
    throw new Failure(
      Exit.usage,
      `${INPUT}: expected an event as JSON, such as a line of "warder replay -o json", found nothing`,
    );
  try {
    return [eventOf(parseJson(text), INPUT)];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return text
    .split("\n")
    .flatMap((line, i) => (line.trim() === "" ? [] : [lineOf(line, `${INPUT}:${i + 1}`)]));
}

function lineOf(line: string, place: string): Event {
  try {
    return eventOf(parseJson(line), place);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Failure(Exit.usage, `${place}: not JSON: ${error.message}`);
  }
}

/** A key that is not known may be that of a newer version: it is said, and does not matter. */
function eventOf(value: unknown, place: string): Event {
  if (!isTable(value)) throw new Failure(Exit.usage, `${place}: expected an event, found ${describe(value)}`);
  let errors = 0;
  const event = readEvent(value, (_key, message, about) => {
    console.error(`${place}: ${about === "name" ? "warning: " : ""}${message}`);
    if (about === "value") errors += 1;
  });
  if (!event || errors > 0) throw new Failure(Exit.usage, `${place}: not an event`);
  return event;
}
