// The same programs on a stock distribution kernel, in a virtual machine.

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asGenerated, parseLines } from "./pair.ts";

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
const FILES = 5000;
const CONNECTIONS = 1000;
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

const FENTRY_GUEST = `
mkdir -p /tmp/watched
printf '[file]\\nwatch_paths = ["/tmp/watched"]\\nwatch_patterns = ["*.service"]\\nexclude_paths = ["/tmp/excluded"]\\n' > /tmp/config.toml
bun sensor/main.ts run --no-pin --config /tmp/config.toml --socket /run/warder/sensor.sock &
sensor=$!
while kill -0 $sensor && [ ! -S /run/warder/sensor.sock ]; do sleep 0.1; done
bun evaluator/main.ts run --once -o json > /tmp/events &
evaluator=$!
while kill -0 $evaluator && [ ! -s /tmp/events ]; do sleep 0.1; done
generate files /tmp/watched ${FILES} > /tmp/files
generate calls /tmp/watched > /tmp/calls
generate uring /tmp/watched > /tmp/uring
generate network ${CONNECTIONS} > /tmp/network
generate fastopen > /tmp/fastopen
kill $sensor
wait $evaluator
(for part in files calls uring network fastopen events; do cat /tmp/$part; echo ===; done) > /dev/ttyS1
`;

test.skipIf(reason !== null)(
  "where the kernel takes fentry programs, all files and sockets are seen by them, exactly, io_uring too",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-vm-"));
    try {
      const generator = join(folder, "generate");
      const source = join(import.meta.dir, "generate.c");
      expect(
        Bun.spawnSync(["clang-19", "-pthread", "-o", generator, source], { stderr: "inherit" }).exitCode,
      ).toBe(0);
      writeFileSync(join(folder, "script"), FENTRY_GUEST);
      const command = [
        join(import.meta.dir, "../vm"),
        join(folder, "script"),
        join(folder, "output"),
        generator,
      ];
      const machine = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
      expect(await new Response(machine.stdout).text()).toContain("fexit/do_filp_open");
      const parts = readFileSync(join(folder, "output"), "utf8").split("===\n");
      const [files = [], calls = [], uring = [], network = [], fastopen = []] = parts
        .slice(0, 5)
        .map((part) => part.trim().split("\n"));
      const lines = parseLines(parts[5] ?? "");
      expect(lines[0]).toMatchObject({
        event_type: "coverage",
        profile: "fentry",
        events: { file_rename: { hooks: ["fentry/security_path_rename", "fexit/vfs_rename"], reason: null } },
      });
      expect(files.length).toBe(4 * FILES);
      expect(network.length).toBe(10 * CONNECTIONS);

      const seen = lines.filter((line) => /^(file|network)_/.test(line.event_type));
      const byPid = Map.groupBy(
        seen.filter((line) => line["exe_path"] === "/usr/bin/generate"),
        (line) => line["pid"],
      );
      const shown = [...byPid.values()].map((events, i) =>
        events.map((line) => asGenerated(line, (["inode", "syscall"] as const)[i])),
      );
      expect(shown[0]).toEqual(files);
      expect(shown[1]).toEqual(calls);
      expect(shown[2]).toEqual(uring.map((line) => line.replace(" io_uring ", " ")));
      expect(shown[3]).toEqual(network);
      expect(shown[4]).toEqual(fastopen);
      const requests = [...byPid.values()][2] ?? [];
      for (const line of requests.filter(({ event_type }) => event_type.startsWith("file_"))) {
        expect(line["syscall"]).toBe("io_uring");
      }
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
