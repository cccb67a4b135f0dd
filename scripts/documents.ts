// What documents show: commands, and files that people write.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");

export const DOCUMENTS = [
  ...["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "rules/README.md"],
];
/** What commands begin with. */
const COMMAND =
  /^(\.\/scripts\/\w+|scripts\/\w+(?![\w./])|node_modules\/\.bin\/bun|warder|warder-sensor|bun|systemctl|zstdcat)(?= |$)/;

/** A command of a document. `output` is what the document shows behind it; `inline`: it stands within a sentence. */
export type Command = { file: string; text: string; inline: boolean; output: string[] };
/** A file that a document shows, as TOML. */
export type Shown = { file: string; text: string };

type Block = { kind: string; lines: string[] };

/** The commands and the files of a document. */
export function readDocument(file: string): { commands: Command[]; files: Shown[] } {
  const { blocks, prose } = splitBlocks(readFileSync(join(ROOT, file), "utf8"));
  const commands: Command[] = [];
  const files: Shown[] = [];
  for (const { kind, lines } of blocks) {
    const toml = kind === "toml" || lines[0]?.startsWith("[") === true;
    if (toml) files.push({ file, text: `${lines.join("\n")}\n` });
    else if (kind === "yaml")
      for (const [, text = ""] of lines.join("\n").matchAll(/^ *- run: (.+)$/gm))
        commands.push({ file, text, inline: false, output: [] });
    else commands.push(...commandsOf(lines).map((command) => ({ file, inline: false, ...command })));
  }
  for (const [, code = ""] of prose.matchAll(/`([^`]+)`/g)) {
    const text = code.replaceAll(/\s+/g, " ");
    if (COMMAND.test(text) && !isFolder(text)) commands.push({ file, text, inline: true, output: [] });
  }
  return { commands, files };
}

function isFolder(path: string): boolean {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** A command a line, with a comment behind it; or commands behind a `$`, with their output below. */
function commandsOf(lines: readonly string[]): { text: string; output: string[] }[] {
  if (lines[0]?.startsWith("$ ")) {
    const commands: { text: string; output: string[] }[] = [];
    for (const line of lines) {
      if (line.startsWith("$ ")) commands.push({ text: line.slice(2), output: [] });
      else commands.at(-1)?.output.push(line);
    }
    return commands;
  }
  return lines
    .filter((line) => COMMAND.test(line))
    .map((line) => ({ text: line.replace(/ {2,}.*$| +# .*$/, ""), output: [] }));
}

/** Blocks are fenced, or paragraphs that are indented by four. */
function splitBlocks(text: string): { blocks: Block[]; prose: string } {
  const blocks: Block[] = [];
  const rest = text.replaceAll(/^```(\w*)\n([\s\S]*?)^```$/gm, (_, kind: string, body: string) => {
    blocks.push({ kind, lines: body.trimEnd().split("\n") });
    return "";
  });
  const prose = rest.split(/\n{2,}/).filter((paragraph) => {
    const lines = paragraph.split("\n").filter((line) => line !== "");
    if (lines.length === 0 || !lines.every((line) => line.startsWith("    "))) return true;
    blocks.push({ kind: "", lines: lines.map((line) => line.slice(4)) });
    return false;
  });
  return { blocks, prose: prose.join("\n\n") };
}
