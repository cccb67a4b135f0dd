#!/usr/bin/env bun
// The evaluator's command line.

import { Command, CommanderError, Option } from "commander";
import { EVENT_ABI } from "../bpf/event.gen.ts";
import { version } from "../package.json";
import { configPath, type Loaded, load } from "./config.ts";
import { Exit, Failure } from "./exit.ts";
import { renderProblem } from "./rule/problem.ts";
import { type RunOptions, record, replay, run } from "./run.ts";
import { writersFor } from "./trust.ts";

const DEFAULT_USER = "nobody";

/** Settings and rules; what is wrong is printed, all of it. Ends with code 2 when there are errors. */
function loadOrFail(
  command: Parameters<typeof writersFor>[0],
  options: { config?: string; rules?: string[] },
): Loaded {
  const loaded = load(configPath(options.config, process.env), options.rules ?? [], writersFor(command));
  const errors = printProblems(loaded);
  if (errors > 0)
    throw new Failure(Exit.usage, `${errors} ${errors === 1 ? "error" : "errors"} in settings and rules`);
  return loaded;
}

function printProblems({ problems }: Loaded): number {
  for (const problem of problems) console.error(renderProblem(problem));
  return problems.filter(({ severity }) => severity === "error").length;
}

function checkRules(paths: string[], options: { config?: string }): void {
  const loaded = load(configPath(options.config, process.env), paths);
  const errors = printProblems(loaded);
  const warnings = loaded.problems.length - errors;
  const enabled = loaded.rules.filter((rule) => rule.enabled).length;
  console.error(
    `${loaded.files.length} files, ${loaded.rules.length} rules (${enabled} enabled), ` +
      `${loaded.config.detections.length} detections: ${errors} errors, ${warnings} warnings`,
  );
  if (errors > 0) process.exitCode = Exit.usage;
}

const collect = (value: string, previous: string[] = []) => [...previous, value];
const configOption = () =>
  new Option("--config <file>", "settings (default /etc/warder/config.toml, if there is one)");
const rulesOption = () =>
  new Option("--rules <path>", "a file or folder of rules; may be repeated").argParser(collect);
const formatOption = () =>
  new Option("-o, --output <format>", "default: compact on a terminal, else json").choices([
    "json",
    "compact",
  ]);
const alertsOption = () => new Option("--alerts-only", "write alerts, not events");
const socketOption = () =>
  new Option("--socket <path>", "where the sensor serves (default /run/warder/sensor.sock)");
const strictOption = () =>
  new Option("--strict", "end with code 4 when something was lost or does not add up");
const userOption = () =>
  new Option("--user <user>", "who to become when started as root").default(DEFAULT_USER);
const rootOption = () => new Option("--allow-root", "stay root");

const program = new Command("warder")
  .description("Decides what the sensor's records mean, and writes events and alerts as NDJSON.")
  .version(`warder ${version}, event ABI ${EVENT_ABI}`)
  .showHelpAfterError('see "warder --help"')
  .exitOverride();

program
  .command("run")
  .description("read the sensor's socket until stopped")
  .addOption(configOption())
  .addOption(rulesOption())
  .addOption(socketOption())
  .option("--record <file>", "save what is evaluated as a capture; a name that ends in .zst is compressed")
  .option("--once", "end when the sensor ends the stream, instead of waiting for the next one")
  .addOption(formatOption())
  .addOption(alertsOption())
  .addOption(strictOption())
  .addOption(userOption())
  .addOption(rootOption())
  .action((options: RunOptions & { config?: string; rules?: string[] }) =>
    run(loadOrFail("run", options), options),
  );

program
  .command("replay")
  .description("read captures; - is standard input")
  .argument("<file...>")
  .addOption(configOption())
  .addOption(rulesOption())
  .addOption(formatOption())
  .addOption(alertsOption())
  .addOption(strictOption())
  .addOption(userOption())
  .addOption(rootOption())
  .action((files: string[], options: RunOptions & { config?: string; rules?: string[] }) =>
    replay(files, loadOrFail("replay", options), options),
  );

program
  .command("record")
  .description("save the sensor's stream as a capture, without evaluating it")
  .argument("<file>", "a name that ends in .zst is compressed")
  .addOption(configOption())
  .addOption(socketOption())
  .option("--duration <seconds>", "stop after this long")
  .addOption(userOption())
  .addOption(rootOption())
  .action((file: string, options: RunOptions & { config?: string; duration?: string }) =>
    record(file, loadOrFail("record", options), options),
  );

program
  .command("rules")
  .description("work on rules")
  .command("check")
  .description("check settings and rules, and show everything that is wrong")
  .argument("[path...]", "files or folders of rules")
  .addOption(configOption())
  .action(checkRules);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? Exit.ok : Exit.usage;
  else if (error instanceof Failure) {
    console.error(`warder: ${error.message}`);
    process.exitCode = error.exitCode;
  } else throw error;
}
// Standard input may still be open, and a socket's pool may linger.
process.exit();
