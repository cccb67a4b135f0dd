// What every command of the line says when it is asked, or called wrongly.

import type { Command } from "commander";

/** By command: ways to call it. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  run: [
    "warder run",
    "warder run --rules /etc/warder/more.toml --alerts-only -o compact",
    "warder run --record today.capture.zst --set output.format=ecs",
  ],
  replay: [
    "warder replay today.capture.zst",
    "warder replay --rules rules --alerts-only --fail-on high today.capture.zst",
    "warder replay --rules rules --alerts-only --expect expected.ndjson today.capture.zst",
  ],
  record: ["warder record today.capture.zst --duration 60"],
  show: ["warder show /var/log/warder/events.ndjson", "zstdcat /var/log/warder/events-*.zst | warder show"],
  "rules check": ["warder rules check rules", "warder rules check /etc/warder/rules.d"],
  "rules list": ["warder rules list rules", "warder rules list rules --json"],
  "rules test": ["warder rules test rules"],
  "rules explain": ["warder rules explain PROC-001 --rules rules < event.json"],
  "config show": ["warder config show --origin", "warder config show --set file.write_events=every"],
  schema: ["warder schema rule > rule.json"],
  completion: ["source <(warder completion bash)"],
};

/** Adds examples to the help of every command, and to every error what was expected. */
export function addHelp(command: Command, path: readonly string[] = []): void {
  const examples = EXAMPLES[path.join(" ")];
  if (examples)
    command.addHelpText("after", ["", "Examples:", ...examples.map((line) => `  ${line}`)].join("\n"));
  const name = ["warder", ...path].join(" ");
  const next = command.commands.map((one) => one.name()).join("|") || command.usage();
  command.showHelpAfterError(`expected: ${name} ${next}\nsee "${name} --help"`);
  for (const one of command.commands) addHelp(one, [...path, one.name()]);
}

/** What the library says of an unknown command; of one that is only known elsewhere, such as `warder check`, with its whole path. */
export function withPath(program: Command, text: string): string {
  const [said, name] = /^error: unknown command '(.*)'/.exec(text) ?? [];
  const path = pathsTo(program).find((words) => words.at(-1) === name);
  return said && path ? `${said}\n(Did you mean ${path.join(" ")}?)\n` : text;
}

/** The words of every command below this one, its own first. */
function pathsTo(command: Command): string[][] {
  return command.commands.flatMap((one) =>
    [[one.name()], ...pathsTo(one)].map((words) => [command.name(), ...words]),
  );
}
