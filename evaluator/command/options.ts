// What the subcommands share: options, and the loading of settings and rules.

import { type Argument, InvalidArgumentError, Option } from "commander";
import { assignmentLayer, environmentLayers, type Layer } from "../../bpf/layers.ts";
import type { Writers } from "../../bpf/trusted.ts";
import { suggest } from "../../bpf/words.ts";
import { configPlace, type Loaded, load } from "../config.ts";
import { Exit, Failure } from "../exit.ts";
import type { Coloring } from "../output/compact.ts";
import { FORMATS } from "../output/outputs.ts";
import { count } from "../output/summary.ts";
import { renderProblem } from "../rule/problem.ts";

const DEFAULT_USER = "nobody";

/** Where settings and rules come from. */
export type Sources = { config?: string; set?: Layer[]; rules?: string[] };

/** Settings and rules, and what is wrong with them. Nobody but `writers` may be able to change them (null: anybody). */
export function loadSources(
  { config, set = [], rules = [] }: Sources,
  writers: Writers | null = null,
): Loaded {
  const layers = [...environmentLayers(process.env), ...set];
  return load(configPlace(config, process.env), rules, writers, layers);
}

/** The same, and what is wrong is printed, all of it. @throws Failure when there are errors */
export function loadOrFail(sources: Sources, writers: Writers | null = null): Loaded {
  const loaded = loadSources(sources, writers);
  const errors = printProblems(loaded);
  if (errors > 0) throw new Failure(Exit.usage, `${count(errors, "error")} in settings and rules`);
  return loaded;
}

/** Prints what is wrong. Returns the number of errors. */
export function printProblems({ problems }: Loaded): number {
  for (const problem of problems) console.error(renderProblem(problem));
  return problems.filter(({ severity }) => severity === "error").length;
}

export const configOption = () =>
  new Option("--config <file>", "settings (default /etc/warder/config.toml, if there is one)");
export const setOption = () =>
  new Option(
    "--set <section.key=value>",
    "a setting, stronger than files and environment; may be repeated",
  ).argParser((word: string, previous: Layer[] | undefined) => {
    const layer = assignmentLayer(word);
    if (!layer) throw new InvalidArgumentError("Expected section.key=value, such as health.interval_s=5.");
    return [...(previous ?? []), layer];
  });
export const rulesOption = () =>
  new Option("--rules <path>", "a file or folder of rules; may be repeated").argParser(
    (value: string, previous: string[] | undefined) => [...(previous ?? []), value],
  );
/** Lets an option or argument take one of these words; what is close to one is told of. */
export function oneWordOf<Taker extends Option | Argument>(taker: Taker, words: readonly string[]): Taker {
  // The choices are for help and completion.
  return taker.choices(words).argParser((word: string) => {
    if (words.includes(word)) return word;
    throw new InvalidArgumentError(`Expected ${words.join(", ")}${suggest(word, words)}.`);
  }) as Taker;
}
export const formatOption = () =>
  oneWordOf(
    new Option(
      "-o, --output <format>",
      "json; ecs or ocsf: JSON in the words of that schema; compact: for eyes, and the default on a terminal",
    ),
    FORMATS,
  );
export const colorOption = () =>
  oneWordOf(new Option("--color <when>", "colours: auto is on a terminal, unless NO_COLOR is set"), [
    "auto",
    "always",
    "never",
  ] satisfies Coloring[]).default("auto");
export const alertsOption = () => new Option("--alerts-only", "write alerts, not events");
export const socketOption = () =>
  new Option("--socket <path>", "where the sensor serves (default /run/warder/sensor.sock)");
export const strictOption = () =>
  new Option("--strict", "end with code 4 when something was lost or does not add up");
export const userOption = () =>
  new Option("--user <user>", "who to become when started as root").default(DEFAULT_USER);
export const rootOption = () => new Option("--allow-root", "stay root").conflicts("user");
