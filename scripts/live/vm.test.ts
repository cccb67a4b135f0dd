// The same programs on a stock distribution kernel, in a virtual machine. That kernel takes fentry programs. One machine does
// all of it, because starting programs is what takes longest in an emulation; the tests are about what it brings back.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOOLS } from "./cases.ts";
import { FENTRY_HOOKS, MACHINE_MS_MAX, noMachine, PREPARE, runInMachine } from "./machine.ts";
import { asGenerated, compileTools, type Line, parseLines, warder } from "./pair.ts";
import { rebuilt } from "./rebuilt.ts";

const reason = noMachine();
if (reason !== null) console.error(`skipped: a stock kernel in a virtual machine (${reason})`);

const RUNS = 100;
const FILES = 5000;
const CONNECTIONS = 1000;
/** Opens outside of the watch list. Emulated, a million of them would take minutes. */
const FLOOD = 50_000;

/** Renames and removals that are only counted. */
const NAMES = 50;
/** Processes, every way to open, write, rename, remove and connect, and a name that is left out. The recording is replayed here. */
const ALL_WAYS = `
sensor /tmp/usual
evaluator /tmp/usual /tmp/kept/ways --record /tmp/kept/capture
bash -c 'for i in {1..${RUNS}}; do /usr/bin/true vm-run-$i; done'
bun -e 'new Worker("data:text/javascript,postMessage(1)").onmessage = () => process.exit(7)' vm-threads
generate calls /tmp/watched > /tmp/kept/calls
generate uring /tmp/watched > /tmp/kept/uring
generate fastopen > /tmp/kept/fastopen
cp /usr/bin/generate /tmp/outsider
/tmp/outsider files /tmp/watched ${NAMES} > /tmp/kept/outsider
end
`;

/** Many of each. The reader only records: the events are made here, where it takes seconds. */
const MANY = `
sensor /tmp/usual
bun evaluator/main.ts record --socket /run/warder/sensor.sock /tmp/kept/many.zst &
reader=$!
generate files /tmp/watched ${FILES} > /tmp/kept/files
generate network ${CONNECTIONS} > /tmp/kept/network
: > /tmp/outside
generate flood /tmp/outside ${FLOOD}
kill $sensor
wait $sensor
kill $reader
wait $reader
`;

/** Calls that fail are reported, of files only. */
const FAILING = `
sensor /tmp/failing
evaluator /tmp/failing /tmp/kept/failing
cat /tmp/watched/absent 2> /dev/null
evade_files bad-write /tmp/watched
for act in interrupted polled refused undone; do evade_sockets $act; done > /tmp/kept/ports
end
`;

/** Programs that find no memory to note names in. */
const FORGETFUL = `
export WARDER_OBJECT=/usr/bin/warder.bpf.o
sensor /tmp/usual
evaluator /tmp/usual /tmp/kept/forgetful
generate files /tmp/watched ${NAMES} > /tmp/kept/forgotten
end
unset WARDER_OBJECT
`;

/** In each round one hook of every event is missing; after all of them, each has been missing once. */
const ROUNDS = [0, 1, 2, 3].map((round) =>
  Object.values(FENTRY_HOOKS)
    .map((hooks) => hooks[round % hooks.length])
    .join(","),
);

/** In the first ones, events are made to fall back; "probe" says in each what would serve them. */
const LIVE_ROUNDS = 2;

const WITHOUT = ROUNDS.map((without, round) => {
  const live = `
rm -rf /tmp/watched/*
sensor /tmp/usual
evaluator /tmp/usual /tmp/kept/events-${round}
generate calls /tmp/watched > /tmp/kept/calls-${round}
generate network 1 > /tmp/kept/network-${round}
end
`;
  return `
export WARDER_WITHOUT=${without}
bun sensor/main.ts probe --no-pin --json --config /tmp/usual > /tmp/kept/probe-${round}
${round < LIVE_ROUNDS ? live : ""}
unset WARDER_WITHOUT
`;
}).join("");

const EVASIONS = `
bun scripts/live/evasions.ts --tools /usr/bin > /tmp/kept/evasions
`;

/** The last thing that this kernel does: there is no way back. */
const LOCKED = `
mount -t securityfs none /sys/kernel/security
echo confidentiality > /sys/kernel/security/lockdown
bun sensor/main.ts probe --no-pin > /tmp/kept/locked
`;

/** That a busy machine let the sensor wait is not in its stream. */
const isOfRecords = (line: string) => !/"sensor_heard"|"reason":"no word for /.test(line);

describe.skipIf(reason !== null)("a stock Debian kernel", () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-vm-"));
  const kept = (name: string) => join(folder, name);
  const text = (name: string) => readFileSync(kept(name), "utf8");
  const said = (name: string) => text(name).trim().split("\n");
  let printed = "";

  beforeAll(async () => {
    const tools = Object.values(compileTools(folder, TOOLS));
    const create = "&pending, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE";
    const objects = rebuilt(kept("project"), "bpf/objects.bpf.h", create, "&pending, task, 0, 0");
    const forgetful = ["warder", "warder-calls", "probe"].map((name) => join(objects, `${name}.bpf.o`));
    const script = [PREPARE, ALL_WAYS, MANY, FAILING, FORGETFUL, WITHOUT, EVASIONS, LOCKED].join("");
    const { said: output, parts } = await runInMachine(
      `${script}\ncd /tmp/kept && tar cz * > /tmp/all\nbring /tmp/all\n`,
      [...tools, ...forgetful],
    );
    printed = output;
    writeFileSync(kept("all"), parts[0] ?? "");
    expect(Bun.spawnSync(["tar", "xzf", "all"], { cwd: folder }).exitCode).toBe(0);
  }, MACHINE_MS_MAX);
  afterAll(() => rmSync(folder, { recursive: true }));

  const ofProcess = (lines: Line[], type: string, process: Line | undefined) =>
    lines.filter((line) => line.event_type === type && line["process_id"] === process?.["process_id"]);

  /** What the tools did to files and sockets, by process, in the order in which these came. */
  const byTools = (lines: Line[]) =>
    [
      ...Map.groupBy(
        lines.filter(
          (line) => /^(file|network)_/.test(line.event_type) && line["exe_path"] === "/usr/bin/generate",
        ),
        (line) => line["pid"],
      ).values(),
    ] as Line[][];

  test("gives the same events, each process's end once, and a capture that replays here", async () => {
    expect(printed).toContain("serving at /run/warder/sensor.sock as uid 65534");
    const live = text("ways");
    const lines = parseLines(live);
    expect(lines.find((line) => line.event_type === "coverage")?.["kernel"]).toMatch(/^6\.\d+\.\d+-.*cloud/);

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
      expect(ofProcess(lines, "process_relationship", start)).toMatchObject([
        { exe_path: "/usr/bin/bash", ppid: start["ppid"] },
      ]);
      expect(ofProcess(lines, "process_exit", start)).toMatchObject([
        { exe_path: "/usr/bin/true", exit_code: 0 },
      ]);
    }
    const threaded = lines.find(
      (line) => line.event_type === "process_start" && (line["args"] as string[]).includes("vm-threads"),
    );
    expect(ofProcess(lines, "process_exit", threaded)).toMatchObject([
      { exit_code: 7, exe_path: "/bin/bun" },
    ]);
    expect(lines.at(-1)).toMatchObject({
      event_type: "health",
      ledger: { lost: 0, unaccounted: 0, balanced: true },
    });

    const replay = await warder(["replay", "-o", "json", kept("capture")]);
    expect(replay.code).toBe(0);
    expect(replay.stdout.split("\n").filter(isOfRecords)).toEqual(
      // A replay does not tell the memory of a process that was another.
      live
        .replaceAll(/"rss_kb":\d+/g, '"rss_kb":null')
        .split("\n")
        .filter(isOfRecords),
    );
  }, 60_000);

  test("sees every way through fentry programs, io_uring's too", () => {
    const lines = parseLines(text("ways"));
    expect(lines[0]).toMatchObject({
      event_type: "coverage",
      profile: "fentry",
      events: { file_rename: { hooks: ["fentry/security_path_rename", "fexit/vfs_rename"], reason: null } },
    });
    const [calls = [], uring = [], fastopen = []] = byTools(lines);
    expect(calls.map((line) => asGenerated(line, "syscall"))).toEqual(said("calls"));
    expect(uring.map((line) => asGenerated(line))).toEqual(
      said("uring").map((line) => line.replace(" io_uring ", " ")),
    );
    for (const line of uring) if ("syscall" in line) expect(line["syscall"]).toBe("io_uring");
    expect(fastopen.map((line) => asGenerated(line))).toEqual(said("fastopen"));
  });

  test(`${FILES} of each file event and ${CONNECTIONS} of each connection are exact, and a flood outside of the watch list is none`, async () => {
    const { code, stdout } = await warder(["replay", "-o", "json", kept("many.zst")]);
    expect(code).toBe(0);
    const lines = parseLines(stdout);
    expect(said("files").length).toBe(4 * FILES);
    expect(said("network").length).toBe(10 * CONNECTIONS);
    const [files = [], network = []] = byTools(lines);
    expect(files.map((line) => asGenerated(line, "inode"))).toEqual(said("files"));
    expect(network.map((line) => asGenerated(line))).toEqual(said("network"));
    const { ledger } = lines.at(-1) as unknown as {
      ledger: { by_kind: Record<string, Record<string, number>> };
    };
    expect(ledger).toMatchObject({ lost: 0, discarded: 0, unaccounted: 0, balanced: true });
    const { attempts = 0, canaries = 0, filtered } = ledger.by_kind["file_open"] ?? {};
    expect(attempts - canaries).toBe(FILES);
    expect(filtered).toBeGreaterThanOrEqual(FLOOD);
  }, 60_000);

  test("calls on files that failed are reported on request; connections that were made are, without", () => {
    const lines = parseLines(text("failing"));
    const files = lines.filter((line) => line.event_type.startsWith("file_") && line["comm"] !== "sh");
    expect(
      files.map((line) => [line.event_type, line["comm"], line["error"], line["path"]].join(" ")),
    ).toEqual([
      "file_open cat ENOENT /tmp/watched/absent",
      "file_open evade_files  /tmp/watched/written",
      "file_write evade_files EFAULT /tmp/watched/written",
      "file_write evade_files  /tmp/watched/written",
    ]);
    const calls = lines.filter((line) => line.event_type === "network_connect" && line["family"] === "ipv4");
    const [interrupted, polled] = said("ports");
    expect(calls.map((line) => `${String(line["remote_port"])} ${String(line["result"])}`)).toEqual([
      `${interrupted} null`,
      `${interrupted} EINTR`,
      `${polled} null`,
      `${polled} EINPROGRESS`,
      "4020 null",
    ]);
    expect(lines.at(-1)).toMatchObject({ ledger: { lost: 0, unaccounted: 0, balanced: true } });
  });

  type Coverage = Record<string, { hooks: string[]; reason: string | null; attached: boolean }>;

  test.each([...ROUNDS.entries()])(
    "round %i: probe says which hook is missing, and that others serve its events",
    (round, without) => {
      const { runs, events } = JSON.parse(text(`probe-${round}`)) as { runs: boolean; events: Coverage };
      expect(runs).toBe(true);
      expect(Object.keys(events)).toEqual(expect.arrayContaining(Object.keys(FENTRY_HOOKS)));
      for (const [type, { hooks, attached, reason: why }] of Object.entries(events)) {
        expect(attached).toBe(true);
        if (FENTRY_HOOKS[type] === undefined) continue;
        const missing = FENTRY_HOOKS[type].filter((hook) => without.split(",").includes(hook));
        expect(missing.length).toBe(1);
        expect(hooks).toContain("tp_btf/sys_exit");
        expect(why).toBe(`${missing[0]} is left out by WARDER_WITHOUT`);
      }
    },
  );

  test.each([...ROUNDS.keys()].slice(0, LIVE_ROUNDS))(
    "round %i: what is said to be seen is seen",
    (round) => {
      const lines = parseLines(text(`events-${round}`));
      expect(JSON.parse(text(`probe-${round}`))).toMatchObject({ events: lines[0]?.["events"] });
      const [calls = [], network = []] = byTools(lines);
      expect(calls.map((line) => asGenerated(line, "syscall"))).toEqual(said(`calls-${round}`));
      expect(network.map((line) => asGenerated(line))).toEqual(said(`network-${round}`));
    },
  );

  test("a kernel that lets nobody read its memory is named as what is in the way", () => {
    expect(text("locked")).toContain(
      'missing: kernel lockdown (/sys/kernel/security/lockdown) is "confidentiality"',
    );
  });

  test("no evasion is silent", () => {
    const outcomes = said("evasions").filter((line) => /^[EX]\d\d /.test(line));
    expect(text("evasions")).toStartWith("profile fentry");
    expect(outcomes.length).toBeGreaterThan(45);
    expect(outcomes.filter((line) => line.includes(" silent"))).toEqual([]);
    const declared = outcomes.filter((line) => / declared /.test(line)).map((line) => line.slice(0, 3));
    expect(declared).toEqual(["E45", "E47", "E49", "X12", "X13", "X18"]);
  });

  test("hooks on names count what is left out, and what there is no memory to note", () => {
    for (const type of ["file_rename", "file_unlink"]) {
      for (const [name, key] of [
        ["ways", "filtered"],
        ["forgetful", "discarded"],
      ] as const) {
        const ledger = parseLines(text(name)).at(-1)?.["ledger"] as {
          balanced: boolean;
          by_kind: Record<string, Record<string, number>>;
        };
        expect(ledger.balanced).toBe(true);
        // Some are the sensor's own acts, or those of others elsewhere.
        expect(ledger.by_kind[type]?.[key]).toBeWithin(NAMES, 2 * NAMES);
        expect(said(name === "ways" ? "outsider" : "forgotten").length).toBe(4 * NAMES);
      }
    }
  });
});
