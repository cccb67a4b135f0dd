// `warder schema`: JSON Schemas, for editors and for programs that read the output.

import { Argument, type Command } from "commander";
import type { SUBJECTS } from "../schema.ts";
import { oneWordOf } from "./options.ts";

/** Adds the subcommand to the program. */
export function addSchemaCommand(program: Command): void {
  program
    .command("schema")
    .description("print a JSON Schema: of any line of the output, of alerts, of a rule file, of settings")
    .addArgument(
      oneWordOf(new Argument("<subject>"), ["event", "alert", "rule", "config"] satisfies typeof SUBJECTS),
    )
    .action(printSchema);
}

async function printSchema(subject: (typeof SUBJECTS)[number]): Promise<void> {
  // The converter is loaded when it is asked for, and never otherwise.
  const { schemaOf } = await import("../schema.ts");
  console.log(JSON.stringify(schemaOf(subject), null, 2));
}
