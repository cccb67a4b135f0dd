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

/**
 * For scripts: starts a sensor (settings, other options than --no-pin) and a reader (settings, output, other options), and ends
 * both, the sensor first.
 */
export const PREPARE = `
mkdir -p /tmp/watched /tmp/kept
sensor() {
  rm -f /run/warder/sensor.sock
  bun sensor/main.ts run --config $1 \${2---no-pin} --socket /run/warder/sensor.sock &
  sensor=$!
  while [ ! -S /run/warder/sensor.sock ]; do kill -0 $sensor || exit 5; sleep 0.1; done
}
evaluator() {
  config=$1 output=$2
  shift 2
  bun evaluator/main.ts run --once --config $config --socket /run/warder/sensor.sock -o json "$@" > $output &
  reader=$!
  while kill -0 $reader && [ ! -s $output ]; do sleep 0.1; done
}
end() {
  kill $sensor
  wait $sensor $reader
}
printf '[file]\\nwatch_paths = ["/tmp/watched"]\\nwatch_patterns = ["*.service"]\\nexclude_paths = ["/tmp/excluded"]\\nexclude_comms = ["outsider"]\\n' > /tmp/usual
printf '[file]\\nwatch_paths = ["/tmp/watched"]\\ninclude_failed = true\\n[network]\\ninclude_failed = false\\n' > /tmp/failing
`;

/** The hooks of the fentry profile, but for the tracepoint that says when a connection of TCP begins: no profile has another. */
export const FENTRY_HOOKS: Record<string, string[]> = {
  file_open: ["fexit/do_filp_open", "fexit/do_file_open_root"],
  file_write: ["fexit/security_file_permission", "fexit/security_mmap_file", "fexit/security_file_mprotect"],
  file_rename: ["fentry/security_path_rename", "fexit/vfs_rename"],
  file_unlink: [
    "fentry/security_path_unlink",
    "fexit/vfs_unlink",
    "fentry/security_path_rmdir",
    "fexit/vfs_rmdir",
  ],
  network_connect: [
    "fexit/__inet_stream_connect",
    "fexit/inet_dgram_connect",
    "fexit/unix_stream_connect",
    "fexit/unix_dgram_connect",
  ],
  network_bind: ["fexit/inet_bind", "fexit/inet6_bind", "fexit/unix_bind"],
  network_listen: ["fexit/inet_listen", "fexit/unix_listen"],
  network_accept: ["fexit/inet_accept", "fexit/unix_accept"],
};

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
