// `warder run`, `replay` and `record`: what reads a stream of records.

import { type Command, Option } from "commander";
import { boundHeap } from "../heap.ts";
import { type Demands, Judge } from "../judge.ts";
import { SEVERITIES } from "../rule/schema.ts";
import { type RunOptions, record, replay, run } from "../run.ts";
import { writersFor } from "../trust.ts";
import {
  alertsOption,
  colorOption,
  configOption,
  formatOption,
  loadOrFail,
  loadSources,
  oneWordOf,
  rootOption,
  rulesOption,
  type Sources,
  setOption,
  socketOption,
  strictOption,
  userOption,
} from "./options.ts";

/** Adds the subcommands to the program. */
export function addStreamCommands(program: Command): void {
  program
    .command("run")
    .description("read the sensor's socket until stopped")
    .addOption(configOption())
    .addOption(setOption())
    .addOption(rulesOption())
    .addOption(socketOption())
    .option("--record <file>", "save what is evaluated as a capture; a name that ends in .zst is compressed")
    .option("--once", "end when the sensor ends the stream, instead of waiting for the next one")
    .addOption(formatOption())
    .addOption(colorOption())
    .addOption(alertsOption())
    .addOption(strictOption())
    .addOption(userOption())
    .addOption(rootOption())
    .action((options: RunOptions & Sources) => {
      boundHeap();
      // Asked once: the user that this process becomes may not be able to look at the program.
      const writers = writersFor("run");
      return run(
        () => loadOrFail(options, writers),
        options,
        () => loadSources(options, writers),
      );
    });

  program
    .command("replay")
    .description("read captures; - is standard input")
    .argument("<file...>")
    .addOption(configOption())
    .addOption(setOption())
    .addOption(rulesOption())
    .addOption(formatOption())
    .addOption(colorOption())
    .addOption(alertsOption())
    .addOption(strictOption())
    .addOption(
      oneWordOf(
        new Option("--fail-on <severity>", "end with code 1 after an alert of this severity or a higher one"),
        SEVERITIES,
      ),
    )
    .option(
      "--expect <file>",
      "end with code 1 when the alerts are not those of FILE (NDJSON, only the keys that matter)",
    )
    .addOption(userOption())
    .addOption(rootOption())
    .action((files: string[], options: RunOptions & Demands & Sources) => {
      boundHeap();
      return replay(files, loadOrFail(options, writersFor("replay")), options, new Judge(options));
    });

  program
    .command("record")
    .description("save the sensor's stream as a capture, without evaluating it")
    .argument("<file>", "a name that ends in .zst is compressed")
    .addOption(configOption())
    .addOption(setOption())
    .addOption(socketOption())
    .option("--duration <seconds>", "stop after this long")
    .addOption(userOption())
    .addOption(rootOption())
    .action((file: string, options: RunOptions & Sources & { duration?: string }) =>
      record(file, loadOrFail(options, writersFor("record")), options),
    );
}
