// Keeps the tree as ARCHITECTURE.md draws it: arrows run one way, nothing lies about unused.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const ROOT = join(import.meta.dir, "..");
const FILE_LINES_MAX = 500;
const SENSOR_LINES_MAX = 4200;

const TOP = [
  ...["bpf", "evaluator", "rules", "scripts", "sensor"],
  ...[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "PERFORMANCE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
  ],
  ...[
    "package.json",
    "package-lock.json",
    "bunfig.toml",
    "tsconfig.json",
    "config.example.toml",
    ".ci",
    ".gitignore",
  ],
];

const tracked = Bun.spawnSync(["git", "ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: ROOT,
})
  .stdout.toString()
  .trim()
  .split("\n");
/** A clone without git, such as a package's source, is walked instead. */
const files =
  tracked.length > 1
    ? tracked
    : readdirSync(ROOT, { recursive: true, encoding: "utf8" }).filter(
        (path) => !path.startsWith("node_modules"),
      );
const sources = files.filter((path) => path.endsWith(".ts"));
const texts = new Map(sources.map((path) => [path, readFileSync(join(ROOT, path), "utf8")]));

/** What a file imports: paths within the project, names of packages. */
function importsOf(path: string): string[] {
  const found = (texts.get(path) ?? "").matchAll(/(?:from|import|require)\s*\(?"([^"]+)"/g);
  return [...found].map(([, target = ""]) =>
    target.startsWith(".") ? normalize(join(dirname(path), target)) : target,
  );
}

const ours = sources.filter((path) => !path.endsWith(".test.ts"));
const inside = (folder: string) => ours.filter((path) => path.startsWith(`${folder}/`));

test("the top level holds what it may hold", () => {
  const top = new Set(files.map((path) => path.split("/")[0] ?? ""));
  expect([...top].filter((name) => !TOP.includes(name))).toEqual([]);
});

describe("arrows run one way", () => {
  test("the sensor and the evaluator share nothing but the contract", () => {
    for (const [folder, other] of [
      ["sensor", "evaluator"],
      ["evaluator", "sensor"],
    ] as const) {
      for (const path of inside(folder)) {
        const foreign = importsOf(path).filter(
          (target) => target.startsWith(`${other}/`) || target.startsWith("scripts/"),
        );
        expect({ path, foreign }).toEqual({ path, foreign: [] });
      }
    }
  });

  test("only two files of the sensor know koffi, only its settings know TOML, and it uses no other package", () => {
    const packages = inside("sensor").flatMap((path) =>
      importsOf(path)
        .filter(
          (target) => !target.includes("/") && !target.startsWith("node:") && !target.startsWith("bun:"),
        )
        .map((target) => `${path}: ${target}`),
    );
    expect(packages.toSorted()).toEqual([
      "sensor/libbpf.ts: koffi",
      "sensor/libc.ts: koffi",
      "sensor/settings.ts: smol-toml",
      "sensor/settings.ts: valibot",
    ]);
  });

  test("the evaluator has no foreign functions", () => {
    for (const path of inside("evaluator")) expect(importsOf(path)).not.toContain("koffi");
  });

  test("within the evaluator: input, event, context, rule, output", () => {
    const order = ["input", "event", "context", "rule", "output"];
    for (const path of inside("evaluator")) {
      const rank = order.indexOf(path.split("/")[1] ?? "");
      if (rank < 0) continue;
      for (const target of importsOf(path).filter((name) => name.startsWith("evaluator/"))) {
        const upwards = order.indexOf(target.split("/")[1] ?? "");
        expect({ path, target, fine: upwards >= 0 && upwards <= rank }).toEqual({ path, target, fine: true });
      }
    }
  });
});

test("no file is unused", () => {
  const imported = new Set(sources.flatMap(importsOf));
  const text = files
    .filter((path) => !path.endsWith(".ts") && !path.endsWith(".zst"))
    .map((path) => readFileSync(join(ROOT, path), "utf8"))
    .join("\n");
  const unused = ours.filter((path) => !imported.has(path) && !text.includes(path));
  expect(unused).toEqual([]);
});

test("no function, constant or class is exported that nobody imports", () => {
  const all = [...texts.values()].join("\n");
  const lonely: string[] = [];
  for (const path of ours.filter((name) => !name.endsWith(".gen.ts"))) {
    for (const [, name = ""] of (texts.get(path) ?? "").matchAll(
      /^export (?:async )?(?:function\*?|const|class) (\w+)/gm,
    )) {
      const uses = [...all.matchAll(new RegExp(`\\b${name}\\b`, "g"))].length;
      const own = [...(texts.get(path) ?? "").matchAll(new RegExp(`\\b${name}\\b`, "g"))].length;
      if (uses === own) lonely.push(`${path}: ${name}`);
    }
  }
  expect(lonely).toEqual([]);
});

test("files have one subject, and the sensor stays small", () => {
  const lines = (path: string) => (texts.get(path) ?? "").split("\n").length;
  expect(sources.filter((path) => !path.endsWith(".gen.ts") && lines(path) > FILE_LINES_MAX)).toEqual([]);
  expect(inside("sensor").reduce((sum, path) => sum + lines(path), 0)).toBeLessThan(SENSOR_LINES_MAX);
});
