// The same programs on a stock distribution kernel, in a virtual machine.

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseLines } from "./pair.ts";

const reason =
  process.getuid?.() !== 0
    ? "not root"
    : process.arch !== "x64"
      ? "not x86-64"
      : Bun.which("apt-get")
        ? null
        : "no apt-get";
if (reason !== null) console.error(`skipped: a stock kernel in a virtual machine (${reason})`);

const RUNS = 100;
const GUEST = `
bun sensor/main.ts run --no-pin --socket /run/warder/sensor.sock &
sensor=$!
while kill -0 $sensor && [ ! -S /run/warder/sensor.sock ]; do sleep 0.1; done
bun evaluator/main.ts run --once -o json > /tmp/events &
evaluator=$!
while kill -0 $evaluator && [ ! -s /tmp/events ]; do sleep 0.1; done
bash -c 'for i in {1..${RUNS}}; do /usr/bin/true vm-run-$i; done'
bun -e 'new Worker("data:text/javascript,postMessage(1)").onmessage = () => process.exit(7)' vm-threads
kill $sensor
wait $evaluator
cat /tmp/events > /dev/ttyS1
`;

test.skipIf(reason !== null)(
  "a stock Debian kernel gives the same events, each process's end once",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-vm-"));
    try {
      writeFileSync(join(folder, "script"), GUEST);
      const machine = Bun.spawn(
        [join(import.meta.dir, "../vm"), join(folder, "script"), join(folder, "events")],
        { stdout: "pipe", stderr: "inherit" },
      );
      const said = await new Response(machine.stdout).text();
      expect(said).toContain("serving at /run/warder/sensor.sock as uid 65534");
      const lines = parseLines(readFileSync(join(folder, "events"), "utf8"));
      const kernel = lines.find((line) => line.event_type === "coverage")?.["kernel"];
      expect(kernel).toMatch(/^6\.\d+\.\d+-.*cloud/);

      const starts = lines.filter(
        (line) =>
          line.event_type === "process_start" && String((line["args"] as string[])[1]).startsWith("vm-run-"),
      );
      expect(new Set(starts.map((line) => (line["args"] as string[])[1])).size).toBe(RUNS);
      expect(starts.length).toBe(RUNS);
      for (const start of starts) {
        expect(start).toMatchObject({
          exe_path: "/usr/bin/true",
          comm: "true",
          parent_comm: "bash",
          parent_exe_path: "/usr/bin/bash",
        });
        const of = (type: string) =>
          lines.filter((line) => line.event_type === type && line["process_id"] === start["process_id"]);
        expect(of("process_relationship")).toMatchObject([
          { exe_path: "/usr/bin/bash", ppid: start["ppid"] },
        ]);
        expect(of("process_exit")).toMatchObject([{ exe_path: "/usr/bin/true", exit_code: 0 }]);
      }
      const threaded = lines.find(
        (line) => line.event_type === "process_start" && (line["args"] as string[]).includes("vm-threads"),
      );
      const ends = lines.filter(
        (line) => line.event_type === "process_exit" && line["process_id"] === threaded?.["process_id"],
      );
      expect(ends).toMatchObject([{ exit_code: 7, exe_path: "/bin/bun" }]);
      expect(lines.at(-1)).toMatchObject({
        event_type: "health",
        ledger: { lost: 0, unaccounted: 0, balanced: true },
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  400_000,
);
