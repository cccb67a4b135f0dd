// Rule files, put together: folders in name order, ids unique over all of them, overrides only on purpose.

import { readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { readTrusted, trustedPath, type Writers } from "../../bpf/trusted.ts";
import { suggest, whyNotRead } from "../../bpf/words.ts";
import { BUILTIN_RULES } from "./builtin.ts";
import { checkTable, type Document, isTable, type Problem, parseDocument, report } from "./problem.ts";
import { described, type LoadedRule, type Rule, readRule, text } from "./schema.ts";

/** The keys of `[[disable]]`. */
export const DISABLE_ENTRIES = {
  id: described(text, "the rule that is switched off"),
  reason: v.optional(described(text, "why")),
};
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
  try {
    if (!isFolder(path)) return [path];
  } catch {
    return [path]; // to read it says why
  }
  const files = filesIn(path, problems, writers);
  if (files?.length === 0) problems.push(aboutFile("warning", path, "no .toml file in this folder"));
  return files ?? [];
}

/** The `.toml` files in a folder, in name order, if there is such a folder; null when it is of no use, which is a problem then. */
export function filesIn(folder: string, problems: Problem[], writers: Writers | null): string[] | null {
  try {
    if (!isFolder(folder)) return [];
    if (writers) trustedPath(folder, writers);
    const names = readdirSync(folder).filter((name) => name.endsWith(".toml"));
    return names.toSorted().map((name) => join(folder, name));
  } catch (error) {
    problems.push(unusable(folder, error));
    return null;
  }
}

/** @throws the system's error when one may not even look */
function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function unusable(file: string, error: unknown): Problem {
  const reason =
    error instanceof TypeError ? "not UTF-8: expected TOML" : whyNotRead(error as NodeJS.ErrnoException);
  return aboutFile("error", file, reason);
}

function aboutFile(severity: Problem["severity"], file: string, message: string): Problem {
  return { severity, file, line: 0, column: 0, message, source: "" };
}

/** The rules of all files, in the order of their alerts, and where each of them stands (none for those that are built in). */
export type Collected = { rules: Rule[]; sources: ReadonlyMap<string, LoadedRule> };

/** Puts the rules of all documents together, the built-in ones first. What is wrong is reported in the documents. */
export function collectRules(documents: readonly Document[]): Collected {
  const rules = new Map<string, Rule>(BUILTIN_RULES.map((rule) => [rule.id, rule]));
  const sources = new Map<string, LoadedRule>();
  /** The file of each id that was met, of rules with errors too: what is wrong with them is said already. */
  const taken = new Map<string, Document>();
  for (const document of documents) {
    for (const loaded of rulesOf(document)) {
      const problem = conflictOf(loaded, taken.get(loaded.rule.id));
      if (problem) {
        const [key, message] = problem;
        const severity = loaded.rule.enabled ? "error" : "warning";
        report(document, [...loaded.path, key], `rule "${loaded.rule.id}": ${message}`, { severity });
        continue;
      }
      taken.set(loaded.rule.id, document);
      rules.set(loaded.rule.id, loaded.rule);
      sources.set(loaded.rule.id, loaded);
    }
    for (const id of idsOf(document)) if (!taken.has(id)) taken.set(id, document);
    for (const { id, index } of disabledOf(document)) {
      const rule = rules.get(id);
      if (rule) rules.set(id, { ...rule, enabled: false });
      else if (!taken.has(id))
        report(document, ["disable", index, "id"], `id: ${absent(id, rules, documents)}`);
    }
  }
  return { rules: [...rules.values()], sources };
}

/** Why a rule cannot join those before it: the key to point at, and the reason. */
function conflictOf(
  { override, document }: LoadedRule,
  earlier: Document | undefined,
): [string, string] | null {
  if (earlier === document) return ["id", `this id is taken by another rule of this file`];
  if (earlier && !override)
    return ["id", `this id is taken by ${earlier.file}; to replace that rule, say override = true`];
  return override && !earlier ? ["override", "nothing to override: no earlier file has this id"] : null;
}

/** Why there is no rule to switch off. */
function absent(id: string, rules: ReadonlyMap<string, Rule>, documents: readonly Document[]): string {
  const later = documents.find((document) => idsOf(document).includes(id));
  return later
    ? `"${id}" is a rule of ${later.file}, which is read later; only rules of earlier files can be switched off`
    : `no rule has the id "${id}"${suggest(id, [...rules.keys()])}`;
}

/** The ids in a document, whatever else is wrong with their rules. */
function idsOf(document: Document): string[] {
  const list = document.value["rules"];
  return Array.isArray(list)
    ? list.map((value) => (isTable(value) ? value["id"] : null)).filter((id) => typeof id === "string")
    : [];
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
    const entry = checkTable(document, ["disable", index], value, DISABLE_ENTRIES);
    return entry ? [{ id: entry.id, index }] : [];
  });
}

/** Checks that a rule file holds nothing but rules. */
export function checkRuleFile(document: Document): void {
  const { rules: _rules, disable: _disable, ...others } = document.value;
  if (Object.keys(document.value).length === 0)
    document.problems.push(
      aboutFile("warning", document.file, "no rule in this file: expected [[rules]] or [[disable]]"),
    );
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
