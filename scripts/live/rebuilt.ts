// The kernel side with a change, so that what never happens by itself can be seen.

import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./pair.ts";

/**
 * Builds the programs in `folder`, which is made, with `from` replaced in a file of the project. Returns the folder of objects.
 * @throws Error when the file has no such text, or it does not compile
 */
export function rebuilt(folder: string, file: string, from: string, to: string): string {
  mkdirSync(folder);
  for (const name of ["bpf", "scripts"]) cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  const text = readFileSync(join(folder, file), "utf8");
  if (!text.includes(from)) throw new Error(`${file}: there is no ${from}`);
  writeFileSync(join(folder, file), text.replace(from, to));
  const { exitCode, stderr } = Bun.spawnSync([join(folder, "scripts/build")], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${file} with ${to}: ${stderr.toString()}`);
  return join(folder, "build");
}
