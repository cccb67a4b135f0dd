// A small virtual machine with a stock Debian kernel, for tests.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long a script may take on a machine that has much else to do; how often scripts/vm tries. */
const LIMIT_S = 600;
const ATTEMPTS = 3;
export const MACHINE_MS_MAX = ATTEMPTS * LIMIT_S * 1000;

/** For scripts: brings files back. */
export const BRING = `
bring() {
  for part in "$@"; do base64 $part; echo ===; done > /dev/ttyS1
}
`;

/** Why there can be no machine here; null when there can. */
export function noMachine(): string | null {
  if (process.getuid?.() !== 0) return "not root";
  if (process.arch !== "x64") return "not x86-64";
  return Bun.which("apt-get") ? null : "no apt-get";
}

/**
 * Runs a script in a machine that has these programs. Returns what was printed, and the files that it brought back. `options`
 * are those of scripts/vm.
 */
export async function runInMachine(
  script: string,
  programs: string[],
  options: Record<string, string> = {},
): Promise<{ said: string; parts: Buffer[] }> {
  const folder = mkdtempSync(join(tmpdir(), "warder-machine-"));
  try {
    const output = join(folder, "output");
    writeFileSync(join(folder, "script"), BRING + script);
    const machine = Bun.spawn([join(import.meta.dir, "../vm"), join(folder, "script"), output, ...programs], {
      env: { ...process.env, VM_TIMEOUT_S: String(LIMIT_S), ...options },
      stdout: "pipe",
      stderr: "inherit",
    });
    const said = await new Response(machine.stdout).text();
    const parts = readFileSync(output, "utf8").split("===\n");
    return { said, parts: parts.slice(0, -1).map((part) => Buffer.from(part, "base64")) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
