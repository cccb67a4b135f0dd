// The same programs on a stock distribution kernel, in a virtual machine. That kernel takes fentry programs.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MACHINE_MS_MAX, noMachine, runInMachine } from "./machine.ts";
import { asGenerated, compileTools, parseLines, warder } from "./pair.ts";

const reason = noMachine();
if (reason !== null) console.error(`skipped: a stock kernel in a virtual machine (${reason})`);

const RUNS = 100;
const FILES = 5000;
const CONNECTIONS = 1000;

/** Starts the pair; ends it, and waits for the last line. What the evaluator writes is in /tmp/events. */
const START = `
start() {
  rm -f /tmp/events /run/warder/sensor.sock
  bun sensor/main.ts run --no-pin --config /tmp/config.toml --socket /run/warder/sensor.sock &
  sensor=$!
  while kill -0 $sensor && [ ! -S /run/warder/sensor.sock ]; do sleep 0.1; done
  bun evaluator/main.ts run --once --config /tmp/config.toml -o json "$@" > /tmp/events &
  evaluator=$!
  while kill -0 $evaluator && [ ! -s /tmp/events ]; do sleep 0.1; done
}
end() {
  kill $sensor
  wait $sensor $evaluator
}
mkdir -p /tmp/watched
printf '[file]\\nwatch_paths = ["/tmp/watched"]\\nwatch_patterns = ["*.service"]\\nexclude_paths = ["/tmp/excluded"]\\n' > /tmp/config.toml
`;

/** The hooks of the fentry profile. */
const BETTER: Record<string, string[]> = {
  file_open: ["fexit/do_filp_open", "fexit/do_file_open_root"],
  file_write: ["fexit/security_file_permission", "fexit/security_mmap_file"],
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

/** In each round one hook of every event is missing; after all of them, each has been missing once. */
const ROUNDS = [0, 1, 2, 3].map((round) =>
  Object.values(BETTER)
    .map((hooks) => hooks[round % hooks.length])
    .join(","),
);

describe.skipIf(reason !== null)("a stock Debian kernel", () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-vm-"));
  let tools: string[] = [];
  beforeAll(() => {
    tools = Object.values(compileTools(folder, ["generate", "evade"]));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const inMachine = (script: string) => runInMachine(START + script, tools);

  test(
    "gives the same events, each process's end once, and a capture that replays here",
    async () => {
      const { said, parts } = await inMachine(`
start --record /tmp/capture
bash -c 'for i in {1..${RUNS}}; do /usr/bin/true vm-run-$i; done'
bun -e 'new Worker("data:text/javascript,postMessage(1)").onmessage = () => process.exit(7)' vm-threads
end
bring /tmp/events /tmp/capture
`);
      expect(said).toContain("serving at /run/warder/sensor.sock as uid 65534");
      const live = String(parts[0]);
      const lines = parseLines(live);
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

      const capture = join(folder, "capture");
      writeFileSync(capture, parts[1] ?? "");
      const replay = await warder(["replay", "-o", "json", capture]);
      expect(replay.code).toBe(0);
      // A replay does not tell the memory of a process that was another.
      expect(replay.stdout).toBe(live.replaceAll(/"rss_kb":\d+/g, '"rss_kb":null'));
    },
    MACHINE_MS_MAX,
  );

  test(
    "shows all files and sockets exactly through fentry programs, io_uring's too",
    async () => {
      const { said, parts } = await inMachine(`
start
generate files /tmp/watched ${FILES} > /tmp/files
generate calls /tmp/watched > /tmp/calls
generate uring /tmp/watched > /tmp/uring
generate network ${CONNECTIONS} > /tmp/network
generate fastopen > /tmp/fastopen
end
bring /tmp/files /tmp/calls /tmp/uring /tmp/network /tmp/fastopen /tmp/events
`);
      expect(said).toContain("fexit/do_filp_open");
      const [files = [], calls = [], uring = [], network = [], fastopen = []] = parts
        .slice(0, 5)
        .map((part) => String(part).trim().split("\n"));
      const lines = parseLines(String(parts[5]));
      expect(lines[0]).toMatchObject({
        event_type: "coverage",
        profile: "fentry",
        events: { file_rename: { hooks: ["fentry/security_path_rename", "fexit/vfs_rename"], reason: null } },
      });
      expect(files.length).toBe(4 * FILES);
      expect(network.length).toBe(10 * CONNECTIONS);

      const seen = lines.filter(
        (line) => /^(file|network)_/.test(line.event_type) && line["exe_path"] === "/usr/bin/generate",
      );
      const byPid = [...Map.groupBy(seen, (line) => line["pid"]).values()];
      const shown = byPid.map((events, i) =>
        events.map((line) => asGenerated(line, (["inode", "syscall"] as const)[i])),
      );
      expect(shown[0]).toEqual(files);
      expect(shown[1]).toEqual(calls);
      expect(shown[2]).toEqual(uring.map((line) => line.replace(" io_uring ", " ")));
      expect(shown[3]).toEqual(network);
      expect(shown[4]).toEqual(fastopen);
      for (const line of byPid[2]?.filter(({ event_type }) => event_type.startsWith("file_")) ?? []) {
        expect(line["syscall"]).toBe("io_uring");
      }
      expect(lines.at(-1)).toMatchObject({
        event_type: "health",
        ledger: { lost: 0, unaccounted: 0, balanced: true },
      });
    },
    MACHINE_MS_MAX,
  );

  test(
    "falls back for each event whose hook is missing, says so, and no evasion is silent",
    async () => {
      const { said, parts } = await inMachine(`
for without in ${ROUNDS.join(" ")}; do
  export WARDER_WITHOUT=$without
  bun sensor/main.ts probe --no-pin --json --config /tmp/config.toml > /tmp/probe
  start
  generate calls /tmp/watched > /tmp/calls
  generate network 1 > /tmp/network
  end
  rm -rf /tmp/watched/*
  bring /tmp/probe /tmp/events /tmp/calls /tmp/network
done
unset WARDER_WITHOUT
bun scripts/live/evasions.ts --tools /usr/bin
`);
      const usual = new Map<string, string[]>();
      for (const round of ROUNDS.keys()) {
        const [probe, events, calls, network] = parts.slice(4 * round, 4 * round + 4).map(String);
        const without = ROUNDS[round]?.split(",") ?? [];
        const lines = parseLines(events ?? "");
        const coverage = lines[0]?.["events"] as Record<
          string,
          { hooks: string[]; reason: string | null; attached: boolean }
        >;
        expect(JSON.parse(probe ?? "")).toMatchObject({ runs: true, events: coverage });
        for (const [type, { hooks, attached, reason: why }] of Object.entries(coverage)) {
          expect(attached).toBe(true);
          const better = BETTER[type];
          if (better === undefined) continue;
          const missing = better.filter((hook) => without.includes(hook));
          expect(missing.length).toBe(1);
          expect(hooks).toContain("tp_btf/sys_exit");
          expect(why).toBe(`${missing[0]} is left out by WARDER_WITHOUT`);
          usual.set(type, hooks);
        }
        // What is said to be seen is seen.
        const seen = lines.filter((line) => line["exe_path"] === "/usr/bin/generate");
        const file = seen.filter((line) => line.event_type.startsWith("file_"));
        expect(file.map((line) => asGenerated(line, "syscall"))).toEqual((calls ?? "").trim().split("\n"));
        const connections = seen.filter((line) => line.event_type.startsWith("network_"));
        expect(connections.map((line) => asGenerated(line))).toEqual((network ?? "").trim().split("\n"));
      }
      expect([...usual.keys()].toSorted()).toEqual(Object.keys(BETTER).toSorted());

      expect(said).toContain("profile fentry");
      const table = said.slice(said.indexOf("profile fentry")).split("\n");
      const outcomes = table.filter((line) => /^E\d\d /.test(line));
      expect(outcomes.length).toBeGreaterThan(30);
      expect(outcomes.filter((line) => line.includes(" silent"))).toEqual([]);
      const declared = outcomes.filter((line) => / declared /.test(line)).map((line) => line.slice(0, 3));
      expect(declared).toEqual(["E45", "E47", "E49"]);
    },
    MACHINE_MS_MAX,
  );
});
