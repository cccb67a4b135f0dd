// `warder config`: the settings as they are in force.

import type { Command } from "commander";
import { stringify } from "smol-toml";
import { configOption, loadOrFail, type Sources, setOption } from "./options.ts";

/** Adds the subcommands to the program. */
export function addConfigCommands(program: Command): void {
  program
    .command("config")
    .description("look at settings")
    .command("show")
    .description("print all settings as they are in force, as TOML")
    .option("--origin", "say where each comes from")
    .addOption(configOption())
    .addOption(setOption())
    .action(show);
}

function show({ origin, ...sources }: Sources & { origin?: boolean }): void {
  const { config, origins } = loadOrFail(sources);
  const { detections, ...sections } = config;
  for (const [section, keys] of Object.entries(sections)) {
    console.log(`[${section}]`);
    for (const [key, value] of Object.entries(keys)) {
      if (value === undefined) continue;
      const line = stringify({ [key]: value }).trimEnd();
      console.log(origin ? `${line}  # ${origins.get(`${section}.${key}`) ?? "default"}` : line);
    }
    console.log("");
  }
  for (const { name, match } of detections)
    console.log(`# detection ${JSON.stringify(name)} (${match.type})`);
}
