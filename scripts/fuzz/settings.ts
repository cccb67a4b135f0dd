// Texts of settings and rules that a slip of the hand, or somebody who means harm, has changed: whatever they are, what is wrong
// is said with a place in the file, and what is not can be compiled.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "../../evaluator/config.ts";
import { isControl } from "../../evaluator/event/text.ts";
import { decisionOf } from "../../evaluator/reload.ts";
import { renderProblem } from "../../evaluator/rule/problem.ts";
import { law, type Target } from "./law.ts";
import type { Random } from "./random.ts";

const NOWHERE = { path: null, folder: null };
/** What has a meaning in TOML, or in JavaScript, or for a terminal. */
const PIECES = [
  ...[
    '"',
    "'",
    '"""',
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "=",
    "#",
    ".",
    "\n",
    "\\",
    "\r",
    "\t",
    "\0",
  ],
  ...["true", "nan", "-inf", "0x7f", "1e400", "9223372036854775807", "9223372036854775808", "-1", "1.5"],
  ...[
    "1979-05-27T07:32:00Z",
    "[]",
    "{}",
    '""',
    '"\\ud800"',
    '"\\u0000"',
    '"\\U0010ffff"',
    "*",
    "**",
    "/",
    "!",
  ],
  ...[
    "__proto__",
    "constructor",
    "prototype",
    "toString = 1",
    "[__proto__]",
    "rules = 1",
    "[rules]",
    "[[detections]]",
  ],
  ...["\x1b[31m", "\u009b2J", "\u202e", "\u2028", "\ufeff", "é", "日本", "x".repeat(5000)],
  ..."[{.".split("").map((one) => one.repeat(3000)),
  `${"a.".repeat(3000)}b = 1`,
] as const;

/** Text of settings and rules, with changes. */
export function settingsTarget(root: string): Target {
  const blocks = blocksOf(root);
  let text = "";
  return {
    name: "settings",
    input: "a text of some rules and settings, given to parser, checks and compilers",
    last: () => Buffer.from(text),
    run(random) {
      text = Array.from({ length: 1 + random.below(3) }, () => random.pick(blocks)).join("\n");
      for (let count = random.below(4); count > 0; count--) text = changed(random, text);
      text = text.toWellFormed();
      const loaded = load(NOWHERE, [], null, [{ name: "fuzz.toml", text }]);
      const lines = text.split("\n").length;
      for (const problem of loaded.problems) {
        const { line, column } = problem;
        law(line >= 1 && line <= lines && column >= 1, `a problem at ${line}:${column}, which is nowhere`);
        for (const character of renderProblem(problem))
          law(
            character === "\n" || character === "\t" || !isControl(character.codePointAt(0) ?? 0),
            "a control character for eyes",
          );
      }
      const accepted = loaded.problems.every(({ severity }) => severity !== "error");
      if (accepted) decisionOf(loaded, false);
      return { accepted, records: 0, lines: loaded.problems.length, held: text.length };
    },
  };
}

/** The rules of all packs and the sections of the settings, one by one. */
function blocksOf(root: string): string[] {
  const packs = readdirSync(join(root, "rules")).filter((name) => name.endsWith(".toml"));
  const files = [...packs.map((name) => join("rules", name)), "config.example.toml"];
  return files.flatMap((file) =>
    readFileSync(join(root, file), "utf8")
      .split(/^(?=\[\[rules\]\]|\[[a-z]+\]$)/m)
      .filter((block) => block.startsWith("[")),
  );
}

function changed(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const end = Math.min(text.length, at + 1 + random.below(random.once(4) ? 200 : 8));
  switch (random.below(5)) {
    case 0:
      return text.slice(0, at) + text.slice(end);
    case 1:
      return text.slice(0, at) + random.pick(PIECES) + text.slice(at);
    case 2:
      return text.slice(0, at) + random.pick(PIECES) + text.slice(end);
    case 3: {
      const other = random.below(text.length + 1);
      return text.slice(0, other) + text.slice(at, end) + text.slice(other);
    }
    default: {
      // Another value for a key.
      const lines = text.split("\n");
      const line = random.below(lines.length);
      lines[line] = (lines[line] ?? "").replace(/=.*$/, () => `= ${random.pick(PIECES)}`);
      return lines.join("\n");
    }
  }
}
