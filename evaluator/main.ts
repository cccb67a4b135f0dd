#!/usr/bin/env bun
// The evaluator's command line.

import { Command, CommanderError } from "commander";
import { EVENT_ABI } from "../bpf/event.gen.ts";
import { version } from "../package.json";
import { addCompletionCommand } from "./command/completion.ts";
import { addConfigCommands } from "./command/config.ts";
import { addHelp, withPath } from "./command/help.ts";
import { addRulesCommands } from "./command/rules.ts";
import { addSchemaCommand } from "./command/schema.ts";
import { addShowCommand } from "./command/show.ts";
import { addStreamCommands } from "./command/stream.ts";
import { Exit, Failure } from "./exit.ts";
import { say } from "./talk.ts";

/** What the library says of a wrong command line, like everything else that is said. */
const inOurWords = (text: string) =>
  withPath(program, text)
    .replace(/^error: /, "warder: ")
    .replace(/\n\(Did you mean (.*)\?\)/, ' (did you mean "$1"?)');
const program = new Command("warder")
  .description("Decides what the sensor's records mean, and writes events and alerts as NDJSON.")
  .version(`warder ${version}, event ABI ${EVENT_ABI}`)
  .configureOutput({ outputError: (text, write) => write(inOurWords(text)) })
  .exitOverride();
addStreamCommands(program);
addRulesCommands(program);
addShowCommand(program);
addConfigCommands(program);
addSchemaCommand(program);
addCompletionCommand(program);
addHelp(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? Exit.ok : Exit.usage;
  else if (error instanceof Failure) {
    say(error.message);
    process.exitCode = error.exitCode;
  } else throw error;
}
// Standard input may still be open, and a socket's pool may linger.
process.exit();
