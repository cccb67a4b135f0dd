// What is wrong with a settings or rule file, where, and what was expected. All problems of all files are shown at once.

import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { suggest, whyNotToml } from "../../bpf/words.ts";
import { isControl } from "../event/text.ts";

/** Keys and list indices that lead to a value. */
export type Path = readonly (string | number)[];

/** One thing that is wrong. Lines and columns count from 1; line 0 is the whole file. */
export type Problem = {
  severity: "error" | "warning";
  file: string;
  line: number;
  column: number;
  message: string;
  /** The line itself; empty when the file could not be read. */
  source: string;
};

/** A file's values, and where to send what is wrong with them. */
export type Document = { file: string; text: string; value: Record<string, unknown>; problems: Problem[] };

/** Parses a TOML file's text; null when it is not TOML, which is a problem then. */
export function parseDocument(file: string, text: string, problems: Problem[]): Document | null {
  try {
    return { file, text, value: parse(text), problems };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const { line, column } = error;
    const message = whyNotToml(error, text);
    const source = (text.split("\n")[line - 1] ?? "").trimEnd();
    problems.push({ severity: "error", file, line, column, message, source });
    return null;
  }
}

/** Adds a problem with the value, or with `key` the name, at `path`; where that is absent, with what should hold it. */
export function report(
  document: Document,
  path: Path,
  message: string,
  options: { severity?: Problem["severity"]; key?: boolean } = {},
): void {
  const severity = options.severity ?? "error";
  document.problems.push({ severity, message, ...placeOf(document, path, options.key) });
}

/** Where the value, or with `key` the name, at `path` stands; where that is absent, what should hold it. */
export function placeOf(
  document: Document,
  path: Path,
  key = false,
): Pick<Problem, "file" | "line" | "column" | "source"> {
  const { file } = document;
  const known = placesOf(document);
  if (!known) return { file, line: 0, column: 0, source: "" };
  const { line, column } = locate(known, path, key);
  return { file, line, column, source: (known.lines[line - 1] ?? "").trimEnd() };
}

/** A problem as a person reads it: place, message, the line, a caret. What would steer a terminal is shown as U+FFFD. */
export function renderProblem(problem: Problem): string {
  const { severity, line, column } = problem;
  const file = harmless(problem.file);
  const source = harmless(problem.source);
  const what = `${severity === "warning" ? "warning: " : ""}${harmless(problem.message)}`;
  // What comes from the command line or the environment is one value, and has no lines.
  if (line === 0 || /^(--set |WARDER_)/.test(file)) return `${file}: ${what}`;
  const head = `${file}:${line}:${column}: ${what}`;
  if (source === "") return head;
  const gutter = `${line} | `;
  // Tabs stay tabs, so that the caret stands below the character it means.
  const indent = source.slice(0, column - 1).replaceAll(/[^\t]/g, " ");
  return `${head}\n  ${gutter}${source}\n  ${" ".repeat(gutter.length - 2)}| ${indent}^`;
}

function harmless(text: string): string {
  return text.replaceAll(/[^\t -~]/gu, (character) =>
    isControl(character.codePointAt(0) ?? 0) ? "\ufffd" : character,
  );
}

/**
 * Checks a table against a schema per key; every unknown key and every wrong value is a problem.
 * Returns the values with their defaults, or null when some are wrong.
 */
export function checkTable<Entries extends v.ObjectEntries>(
  document: Document,
  path: Path,
  value: unknown,
  entries: Entries,
  options: { prefix?: string; severity?: Problem["severity"]; unknown?: (key: string) => string | null } = {},
): v.InferOutput<v.ObjectSchema<Entries, undefined>> | null {
  const { prefix = "", severity = "error" } = options;
  const say = (at: Path, message: string, key = false) =>
    report(document, at, prefix + message, { severity, key });
  if (!isTable(value)) {
    say(path, `${path.at(-1) ?? "the file"}: expected a table, found ${describe(value)}`);
    return null;
  }
  const known = Object.keys(entries);
  let right = true;
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    right = false;
    say([...path, key], options.unknown?.(key) ?? `${key}: unknown key${suggest(key, known)}`, true);
  }
  const result = v.safeParse(v.object(entries), value);
  for (const issue of result.issues ?? []) {
    const at = issue.path?.map(({ key }) => key as string | number) ?? [];
    const name = at
      .map((part, i) => (typeof part === "number" ? `[${part}]` : i > 0 ? `.${part}` : part))
      .join("");
    const absent = issue.received === "undefined" && issue.input === undefined;
    say([...path, ...at], `${name}: ${absent ? missing(entries, at) : issue.message}`);
  }
  return right && result.success ? result.output : null;
}

/** What is said of an absent key; of one with few possible values, these. */
function missing(entries: v.ObjectEntries, [key]: Path): string {
  const entry = entries[String(key)];
  const words = entry && "options" in entry && Array.isArray(entry.options) ? entry.options : [];
  const [first, ...others] = words;
  if (first === undefined) return "missing, and required";
  return `missing, and required: ${others.length > 0 ? "one of " : ""}${words.join(", ")}`;
}

/** Is this a TOML table? */
export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** What a value is, in the words of a person who writes TOML. */
export function describe(value: unknown): string {
  if (typeof value === "string") return `the text ${JSON.stringify(value)}`;
  if (typeof value === "number") return `the number ${value}`;
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (value instanceof Date) return "a date";
  return Array.isArray(value) ? "a list" : "a table";
}

function keysOf({ key }: { key: import("toml-eslint-parser").AST.TOMLKey }): string[] {
  return key.keys.map((part) => (part.type === "TOMLBare" ? part.name : part.value));
}

type TopNode = import("toml-eslint-parser").AST.TOMLTopLevelTable["body"][number];
/** A document's tables and keys by the beginnings of their paths, as JSON (see `startsOf`), and its lines. */
type Places = { nodes: ReadonlyMap<string, TopNode[]>; lines: readonly string[] };

const places = new WeakMap<Document, Places>();

/**
 * smol-toml knows the place of syntax errors only: a second parser finds values, and is loaded when it is needed. Null when it
 * cannot be loaded: the user that this process has become may not reach the folder that the program lies in.
 */
function placesOf(document: Document): Places | null {
  const known = places.get(document);
  if (known) return known;
  const parseTOML = secondParser();
  if (!parseTOML) return null;
  const nodes = new Map<string, TopNode[]>();
  for (const node of parseTOML(document.text).body[0].body) {
    for (const start of startsOf(pathOf(node))) {
      const list = nodes.get(start);
      if (list) list.push(node);
      else nodes.set(start, [node]);
    }
  }
  const found = { nodes, lines: document.text.split("\n") };
  places.set(document, found);
  return found;
}

function secondParser(): typeof import("toml-eslint-parser").parseTOML | null {
  try {
    return (require("toml-eslint-parser") as typeof import("toml-eslint-parser")).parseTOML;
  } catch {
    return null;
  }
}

/** What a table or key is found by: all of its first names, or its first two, so that one rule among thousands is near. */
function startsOf([first, ...others]: Path): string[] {
  if (others.length === 0) return [JSON.stringify([first]), JSON.stringify([first, null])];
  return [JSON.stringify([first, others[0]]), JSON.stringify([first, null])];
}

/** The nodes that lie on the way to a path, or below it. */
function nodesOn({ nodes }: Places, path: Path): TopNode[] {
  const [first, second] = path;
  const starts = second === undefined ? [[first, null]] : [[first], [first, second]];
  return starts.flatMap((start) => nodes.get(JSON.stringify(start)) ?? []);
}

function pathOf(node: TopNode): Path {
  return node.type === "TOMLTable" ? node.resolvedKey : keysOf(node);
}

function locate(known: Places, path: Path, key: boolean): { line: number; column: number } {
  let best = { depth: -1, line: 1, column: 1 };
  const offer = (depth: number, start: { line: number; column: number }) => {
    if (depth > best.depth) best = { depth, line: start.line, column: start.column + 1 };
  };
  type Node = import("toml-eslint-parser").AST.TOMLNode;
  /** Offers `node`, which is at `at`, if it lies on the way; `name` is where its key is written. */
  const visit = (node: Node, at: Path, name: { line: number; column: number }): void => {
    if (!at.every((part, i) => part === path[i])) return;
    const named = node.type === "TOMLTable" || (key && at.length === path.length);
    offer(at.length, named ? name : node.loc.start);
    if (node.type === "TOMLTable" || node.type === "TOMLInlineTable") {
      for (const entry of node.body) visit(entry.value, [...at, ...keysOf(entry)], entry.key.loc.start);
    } else if (node.type === "TOMLArray") {
      node.elements.forEach((element, i) => visit(element, [...at, i], element.loc.start));
    }
  };
  for (const node of nodesOn(known, path)) {
    if (node.type === "TOMLTable") {
      // A header names several keys: the one that is meant is that at the path's end.
      const names = node.resolvedKey.filter((part) => typeof part === "string");
      const meant = path.filter((part) => typeof part === "string").length - 1;
      const below = path.every((part, i) => part === node.resolvedKey[i]);
      if (below) offer(path.length, (node.key.keys[Math.min(meant, names.length - 1)] ?? node.key).loc.start);
      visit(node, node.resolvedKey, (node.key.keys.at(-1) ?? node.key).loc.start);
    } else visit(node.value, keysOf(node), node.key.loc.start);
  }
  return best;
}
