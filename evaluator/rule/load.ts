// Rule files, put together: folders in name order, ids unique over all of them, overrides only on purpose.

import { readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { readTrusted, trustedPath, type Writers } from "../../bpf/trusted.ts";
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

/** Reads and parses a TOML file that only `writers` could have changed (null: whoever); null when that fails, which is a problem then. */
export function readDocument(file: string, problems: Problem[], writers: Writers | null): Document | null {
  try {
    const bytes = readTrusted(file, FILE_SIZE_MAX, writers);
    return parseDocument(file, new TextDecoder("utf-8", { fatal: true }).decode(bytes), problems);
  } catch (error) {
    problems.push(unusable(file, error));
    return null;
  }
}

/** The `.toml` files that a path names: itself, or those in the folder, in name order. */
export function ruleFiles(path: string, problems: Problem[], writers: Writers | null): string[] {
  if (!isFolder(path)) return [path];
  const files = filesIn(path, problems, writers);
  if (files?.length === 0) problems.push(aboutFile("warning", path, "no .toml file in this folder"));
  return files ?? [];
}

/** The `.toml` files in a folder, in name order, if there is such a folder; null when others could have changed it. */
export function filesIn(folder: string, problems: Problem[], writers: Writers | null): string[] | null {
  if (!isFolder(folder)) return [];
  try {
    if (writers) trustedPath(folder, writers);
  } catch (error) {
    problems.push(unusable(folder, error));
    return null;
  }
  const names = readdirSync(folder).filter((name) => name.endsWith(".toml"));
  return names.toSorted().map((name) => join(folder, name));
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function unusable(file: string, error: unknown): Problem {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return aboutFile("error", file, "no such file");
  return aboutFile("error", file, error instanceof TypeError ? "not UTF-8, as TOML has to be" : message);
}

function aboutFile(severity: Problem["severity"], file: string, message: string): Problem {
  return { severity, file, line: 1, column: 1, message, source: "" };
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
