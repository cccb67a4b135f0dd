// `warder completion`: what a shell offers behind a TAB, made from the command line itself.

import { Argument, type Command } from "commander";
import { oneWordOf } from "./options.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

/** What may follow on a command's words. */
type Place = {
  /** The words that lead here, such as `rules check`. */
  path: string;
  commands: { name: string; description: string }[];
  options: { flag: string; description: string; takesValue: boolean; choices: readonly string[] }[];
};

/** Adds the subcommand to the program. */
export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .description("print a completion script for a shell")
    .addArgument(oneWordOf(new Argument("<shell>", "which one"), SHELLS))
    .action((shell: Shell) => {
      process.stdout.write(SCRIPTS[shell](placesOf(program)));
    });
}

function placesOf(command: Command, path: readonly string[] = []): Place[] {
  const commands = command.commands.filter((one) => one.name() !== "help");
  const options = command.options.map(({ long, short, description, required, argChoices }) => ({
    flag: long ?? short ?? "",
    description,
    takesValue: required,
    choices: argChoices ?? [],
  }));
  const help = { flag: "--help", description: "say what there is", takesValue: false, choices: [] };
  const expected = command.registeredArguments.flatMap(({ argChoices = [] }) =>
    argChoices.map((name) => ({ name, description: "" })),
  );
  const here: Place = {
    path: path.join(" "),
    commands: [...commands.map((one) => ({ name: one.name(), description: one.description() })), ...expected],
    options: [...options, help],
  };
  return [here, ...commands.flatMap((one) => placesOf(one, [...path, one.name()]))];
}

const wordsOf = ({ commands, options }: Place) =>
  [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)].join(" ");

/** The words so far that are commands, in a variable `path`; the same lines serve bash and zsh. */
function pathLoop(places: readonly Place[], words: string, count: string): string {
  const known = places.filter(({ path }) => path !== "").map(({ path }) => `"${path}"`);
  return `  path=
  for word in "\${${words}[@]:1:${count}}"; do
    case "\${path:+$path }$word" in ${known.join("|")}) path="\${path:+$path }$word" ;; esac
  done`;
}

function choiceCases(places: readonly Place[], offer: (words: string) => string): string {
  return places
    .flatMap(({ path, options }) =>
      options
        .filter(({ choices }) => choices.length > 0)
        .map(({ flag, choices }) => `    "${path} ${flag}") ${offer(choices.join(" "))}; return ;;`),
    )
    .join("\n");
}

/** Where a command, and no file, has to follow. */
const branches = (places: readonly Place[]) =>
  places.filter(({ commands }) => commands.length > 0).map(({ path }) => `"${path}"`);

const placeCases = (places: readonly Place[]) =>
  places.map((place) => `    "${place.path}") words="${wordsOf(place)}" ;;`).join("\n");

const SCRIPTS: Record<Shell, (places: readonly Place[]) => string> = {
  bash: (places) => `# bash completion for warder
_warder() {
  local word path words now=\${COMP_WORDS[COMP_CWORD]}
${pathLoop(places, "COMP_WORDS", "COMP_CWORD-1")}
  case "$path \${COMP_WORDS[COMP_CWORD-1]}" in
${choiceCases(places, (words) => `COMPREPLY=($(compgen -W "${words}" -- "$now"))`)}
  esac
  case "$path" in
${placeCases(places)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$now"))
  case "$path" in ${branches(places).join("|")}) return ;; esac
  [[ $now == -* ]] || COMPREPLY+=($(compgen -f -- "$now"))
}
complete -o filenames -F _warder warder
`,
  zsh: (places) => `#compdef warder
_warder() {
  local word path list
${pathLoop(places, "words", "CURRENT-2")}
  case "$path \${words[CURRENT-1]}" in
${choiceCases(places, (words) => `compadd -- ${words}`)}
  esac
  case "$path" in
${places.map((place) => `    "${place.path}") list=(${wordsOf(place)}) ;;`).join("\n")}
  esac
  compadd -- $list
  case "$path" in ${branches(places).join("|")}) return ;; esac
  _files
}
_warder "$@"
`,
  fish: (places) => `# fish completion for warder\n${places.flatMap(fishLines).join("\n")}\n`,
};

function fishLines({ path, commands, options }: Place): string[] {
  const words = path.split(" ");
  const condition =
    path === ""
      ? "__fish_use_subcommand"
      : words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
  const start = `complete -c warder -n '${condition}'`;
  const said = (text: string) => ` -d '${text.replaceAll(/['\\]/g, "\\$&")}'`;
  return [
    ...commands.map(({ name, description }) => `${start} -a ${name}${said(description)}`),
    ...options.map(
      ({ flag, description, takesValue, choices }) =>
        `${start} -l ${flag.replace(/^--/, "")}${takesValue ? " -r" : ""}${choices.length > 0 ? ` -xa '${choices.join(" ")}'` : ""}${said(description)}`,
    ),
  ];
}
