// Rule files, put together: folders in name order, ids unique over all of them, overrides only on purpose.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { BUILTIN_RULES } from "./builtin.ts";
import {
  checkTable,
  type Document,
  isTable,
  type Problem,
  parseDocument,
  report,
  suggest,
} from "./problem.ts";
import { type LoadedRule, type Rule, readRule, text } from "./schema.ts";

const FILE_SIZE_MAX = 16 * 1024 * 1024;

/** Reads and parses a TOML file; null when that fails, which is a problem then. */
export function readDocument(file: string, problems: Problem[]): Document | null {
  const fail = (message: string) => {
    problems.push({ severity: "error", file, line: 1, column: 1, message, source: "" });
    return null;
  };
  try {
    if (statSync(file).size > FILE_SIZE_MAX) return fail(`larger than ${FILE_SIZE_MAX} bytes`);
    const decoder = new TextDecoder("utf-8", { fatal: true });
    return parseDocument(file, decoder.decode(readFileSync(file)), problems);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return fail("no such file");
    return fail(error instanceof TypeError ? "not UTF-8, as TOML has to be" : message);
  }
}

/** The `.toml` files that a path names: itself, or those in the folder, in name order. */
export function ruleFiles(path: string, problems: Problem[]): string[] {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => name.endsWith(".toml"));
  if (names.length === 0) {
    problems.push({
      severity: "warning",
      file: path,
      line: 1,
      column: 1,
      message: "no .toml file in this folder",
      source: "",
    });
  }
  return names.toSorted().map((name) => join(path, name));
}

/** Puts the rules of all documents together, the built-in ones first. What is wrong is reported in the documents. */
export function collectRules(documents: readonly Document[]): Rule[] {
  const rules = new Map<string, Rule>(BUILTIN_RULES.map((rule) => [rule.id, rule]));
  const origin = new Map<string, LoadedRule>();
  for (const document of documents) {
    for (const loaded of rulesOf(document)) {
      const { rule, override, path } = loaded;
      const earlier = origin.get(rule.id);
      const where = earlier?.document.file;
      if (earlier && !override) {
        report(
          document,
          [...path, "id"],
          `rule "${rule.id}": this id is taken by ${where}; to replace that rule, say override = true`,
        );
      } else if (!earlier && override) {
        report(
          document,
          [...path, "override"],
          `rule "${rule.id}": nothing to override: no earlier file has this id`,
        );
      } else {
        rules.set(rule.id, rule);
        origin.set(rule.id, loaded);
      }
    }
    for (const { id, index } of disabledOf(document)) {
      const rule = rules.get(id);
      if (rule) rules.set(id, { ...rule, enabled: false });
      else
        report(
          document,
          ["disable", index, "id"],
          `id: no rule has the id "${id}"${suggest(id, [...rules.keys()])}`,
        );
    }
  }
  return [...rules.values()];
}

function rulesOf(document: Document): LoadedRule[] {
  const list = document.value["rules"];
  if (list === undefined) return [];
  if (!Array.isArray(list)) {
    report(document, ["rules"], "rules: expected a list of tables, each headed [[rules]]");
    return [];
  }
  return list.map((value, i) => readRule(document, ["rules", i], value)).filter((rule) => rule !== null);
}

function disabledOf(document: Document): { id: string; index: number }[] {
  const list = document.value["disable"];
  if (list === undefined) return [];
  if (!Array.isArray(list)) {
    report(document, ["disable"], "disable: expected a list of tables, each headed [[disable]]");
    return [];
  }
  return list.flatMap((value, index) => {
    const entry = checkTable(document, ["disable", index], value, { id: text, reason: v.optional(text) });
    return entry ? [{ id: entry.id, index }] : [];
  });
}

/** Checks that a rule file holds nothing but rules. */
export function checkRuleFile(document: Document): void {
  const { rules: _rules, disable: _disable, ...others } = document.value;
  for (const [key, value] of Object.entries(others)) {
    const hint = isTable(value)
      ? `: settings belong into config.toml, not into ${basename(document.file)}`
      : "";
    report(
      document,
      [key],
      `${key}: a rule file holds [[rules]] and [[disable]]${hint || suggest(key, ["rules", "disable"])}`,
      { key: true },
    );
  }
}
