// The command lines of this project's own programs: what they do and take (--help), and what was expected of one that is called
// wrongly.

import { Command, InvalidArgumentError } from "commander";
import { Exit } from "../evaluator/exit.ts";

/** `bun run NAME`, and what it does. What is called wrongly says so, and ends with code 2. */
export function tool(name: string, about: string): Command {
  return new Command(`bun run ${name}`)
    .description(about)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, `${name}: `)) })
    .showHelpAfterError(`see "bun run ${name} --help"`)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? Exit.ok : Exit.usage));
}

/** The value of an option. @throws InvalidArgumentError when it is no whole number, or a negative one */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}
