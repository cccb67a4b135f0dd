// What the serving half of the sensor can still do, once it is confined. Everything is tried for real, and beside it what the
// same user can do without a confinement: a refusal that nobody needs proves nothing.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unconfined } from "../../sensor/confine.ts";
import { landlockAbi } from "../../sensor/libc.ts";
import { knownCalls } from "../../sensor/seccomp.ts";
import { Bench, notLive, until } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: tests of the sensor's confinement (${reason})`);
const landlock = landlockAbi();
if (landlock === 0) console.error("not tried: what Landlock refuses (this kernel has none)");

const HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

test("system calls have the kernel's numbers", () => {
  const header = readFileSync(HEADER, "utf8");
  const numbers = new Map(
    [...header.matchAll(/__NR_(\w+) (\d+)/g)].map(([, name, nr]) => [name, Number(nr)]),
  );
  const known = knownCalls();
  expect(Object.fromEntries(Object.keys(known).map((name) => [name, numbers.get(name)]))).toEqual(known);
});

test("what a kernel cannot confine is one line", () => {
  expect(unconfined({ seccomp: true, landlock: 7 })).toEqual([]);
  expect(unconfined({ seccomp: true, landlock: 2 })).toEqual([
    expect.stringMatching(/^abstract sockets .+ABI 6/),
  ]);
  expect(unconfined({ seccomp: false, landlock: 0 })).toEqual([
    expect.stringMatching(/^system calls are not confined: .+seccomp/),
    expect.stringMatching(/^files are not confined: .+Landlock/),
  ]);
});

type Outcomes = Record<string, string>;

/** A descriptor that the starter of the sensor forgot to close. */
const LEFT_OPEN = 200;

/** Runs attempts.ts, confined or not, with somebody else's abstract socket to connect to. */
async function outcomes(confined: boolean): Promise<Outcomes> {
  const folder = mkdtempSync(join(tmpdir(), "warder-confine-"));
  chmodSync(folder, 0o755);
  if (!confined) {
    mkdirSync(join(folder, "canary"));
    chmodSync(join(folder, "canary"), 0o777);
  }
  const stranger = createServer().listen(`\0${folder}`);
  try {
    const script = join(import.meta.dir, confined ? "confined.ts" : "attempts.ts");
    // The starter leaves a file open.
    const leak = ["bash", "-c", `exec ${LEFT_OPEN}<"$0" && exec "$@"`, script];
    const program = Bun.spawn([...leak, process.execPath, script, folder], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [text, said] = await Promise.all([
      new Response(program.stdout).text(),
      new Response(program.stderr).text(),
    ]);
    expect({ said, code: await program.exited }).toEqual({ said: "", code: 0 });
    return JSON.parse(text.trim().split("\n").at(-1) ?? "") as Outcomes;
  } finally {
    stranger.close();
    rmSync(folder, { recursive: true });
  }
}

/** The outcomes of these attempts. */
function those(all: Outcomes, names: string[]): Outcomes {
  return Object.fromEntries(names.map((name) => [name, all[name] ?? "not tried"]));
}

const each = (names: string[], outcome: string) => Object.fromEntries(names.map((name) => [name, outcome]));

describe.skipIf(reason !== null)("confined, the serving half", () => {
  let confined: Outcomes;
  let free: Outcomes;

  test("is tried beside the same user without a confinement", async () => {
    confined = await outcomes(true);
    free = await outcomes(false);
  }, 60_000);

  test("still does what it needs to", () => {
    const needed = [
      ...["socket unix", "bind own abstract", "listen", "connect to own abstract", "accept"],
      ...["write canary", "truncate canary", "rename canary", "unlink canary"],
      ...[
        "bpf map lookup",
        "bpf iterator",
        "bpf program run",
        "mmap",
        "mprotect read-only",
        "signal to itself",
        "collect garbage",
      ],
    ];
    expect(those(confined, needed)).toEqual(each(needed, "ok"));
    expect(confined["spawn /bin/true"]).toBe("status 0");
  });

  test("has no network", () => {
    const families = ["inet", "inet6", "netlink", "packet", "vsock"].map((name) => `socket ${name}`);
    const names = [...families, "socketpair inet"];
    expect(those(confined, names)).toEqual(each(names, "EPERM"));
    expect(confined["socket inet on another thread"]).toBe("refused");
    const open = ["socket inet", "socket inet6", "socket netlink", "socket inet on another thread"];
    expect(those(free, open)).toEqual(each(open, "ok"));
  });

  test.skipIf(landlock < 6)("reaches no abstract socket of others", () => {
    expect(confined["connect to a stranger's abstract socket"]).toBe("EPERM");
    expect(free["connect to a stranger's abstract socket"]).toBe("ok");
  });

  test.skipIf(landlock === 0)("reads and writes no file, and executes no program but the canary's", () => {
    const names = ["read /etc/passwd", "read /etc/shadow", "list /", "write /tmp", "write beside the socket"];
    names.push("bind own path", "spawn /bin/ls");
    expect(those(confined, names)).toEqual(each(names, "EACCES"));
    const open = ["read /etc/passwd", "list /", "write /tmp", "bind own path"];
    expect(those(free, open)).toEqual(each(open, "ok"));
    expect(free["spawn /bin/ls"]).toBe("status 0");
  });

  test("has nothing of what its starter left open", () => {
    expect(confined["use what was left open"]).toBe("EBADF");
    expect(free["use what was left open"]).toBe("ok");
  });

  test("makes no code", () => {
    const names = ["mmap writable and executable", "mprotect executable"];
    expect(those(confined, names)).toEqual(each(names, "EPERM"));
    expect(those(free, names)).toEqual(each(names, "ok"));
  });

  test("has five commands of bpf(2), and conditions on other calls", () => {
    const commands = Object.keys(confined).filter(
      (name) => name.startsWith("bpf ") && confined[name] !== "ok",
    );
    expect(commands.length).toBe(15);
    const names = [...commands, "clone into a new user namespace", "signal to init", "limits of init"];
    names.push("prctl PR_SET_MM", "input into a terminal");
    expect(those(confined, names)).toEqual(each(names, "EPERM"));
  });

  test("has no other system call", () => {
    const names = Object.keys(confined);
    const absent = names.slice(names.indexOf("ptrace"), names.indexOf("a_call_of_the_future") + 1);
    expect(absent.length).toBe(51);
    expect(those(confined, absent)).toEqual(each(absent, "ENOSYS"));
    // Modules and kexec may be missing from a kernel. The rest is there for everybody.
    const there = absent.filter((name) => !/module|kexec|future/.test(name));
    expect(there.filter((name) => free[name] === "ENOSYS")).toEqual([]);
  });
});

/** Runs a program for which landlock_create_ruleset(2) does not exist: four of struct sock_filter. */
const WITHOUT_LANDLOCK = `
  const { execute, installSeccompFilter, setNoNewPrivileges } = require(${JSON.stringify(join(import.meta.dir, "../../sensor/libc.ts"))});
  setNoNewPrivileges();
  installSeccompFilter(Buffer.from("2000000000000000" + "15000001bc010000" + "0600000026000500" + "060000000000ff7f", "hex"));
  execute(process.execPath, [process.execPath, ...process.argv.slice(1)], process.env);
`;

describe.skipIf(reason !== null)("the running sensor", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  test("filters the calls of every thread, and has no memory that is writable and executable", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator();
    await Bun.spawn(["bash", "-c", "for i in $(seq 300); do /bin/true; done"]).exited;
    await until("events", () => evaluator.stdout.includes("/usr/bin/true"));
    const threads = readdirSync(`/proc/${sensor.pid}/task`);
    expect(threads.length).toBeGreaterThan(1);
    for (const thread of threads) {
      const status = readFileSync(`/proc/${sensor.pid}/task/${thread}/status`, "utf8");
      expect(status).toMatch(/^Seccomp:\t2$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    }
    const maps = readFileSync(`/proc/${sensor.pid}/maps`, "utf8");
    expect(maps.match(/^\S+ .wx. .*$/gm)).toBe(null);
    const environment = readFileSync(`/proc/${sensor.pid}/environ`, "latin1");
    const names = environment.split("\0").map((entry) => entry.split("=")[0] ?? "");
    expect(names.filter((name) => name !== "" && !name.startsWith("WARDER_"))).toEqual([
      "BUN_JSC_useJIT",
      "BUN_GC_TIMER_DISABLE",
    ]);
    expect(await sensor.end("SIGTERM")).toBe(0);
  }, 60_000);

  test("needs six capabilities of root's, each of them and no other", async () => {
    const needed = ["bpf", "perfmon", "setuid", "setgid", "setpcap", "chown"];
    const start = (capabilities: string[]) => {
      const set = ["-all", ...capabilities.map((name) => `+${name}`)].join(",");
      const sensor = [process.execPath, join(import.meta.dir, "../../sensor/main.ts"), "run", "--no-pin"];
      const limits = ["setpriv", "--bounding-set", set, "--inh-caps", "-all"];
      return Bun.spawn([...limits, ...sensor, "--socket", bench.path("six/sensor.sock")], { stderr: "pipe" });
    };
    for (const name of needed) {
      const without = start(needed.filter((other) => other !== name));
      const said = await new Response(without.stderr).text();
      expect(said).toContain(`no rights (root without CAP_${name.toUpperCase()}): `);
      expect(await without.exited).toBe(5);
    }
    // The second time, the canary's folder belongs to another user.
    for (const count of [1, 2]) {
      const sensor = start(needed);
      let said = "";
      for await (const piece of sensor.stderr) {
        said += new TextDecoder().decode(piece);
        if (said.includes("serving at")) sensor.kill("SIGTERM");
      }
      expect({ count, code: await sensor.exited, said }).toMatchObject({ count, code: 0 });
    }
  }, 60_000);

  test("serves without Landlock, too, and says what is missing", async () => {
    const folder = bench.path("without");
    const said = bench.path("without.err");
    const sensor = Bun.spawn(
      [
        ...[process.execPath, "-e", WITHOUT_LANDLOCK, join(import.meta.dir, "../../sensor/main.ts"), "run"],
        ...["--no-pin", "--socket", join(folder, "sensor.sock")],
      ],
      { stderr: Bun.file(said), stdout: "ignore" },
    );
    await until("the sensor", () => readFileSync(said, "utf8").includes("serving at"));
    const [first] = readFileSync(said, "utf8").split("\n");
    expect(first).toMatch(/^warder-sensor: files are not confined: this kernel has no Landlock/);
    expect(readFileSync(`/proc/${sensor.pid}/status`, "utf8")).toMatch(/^Seccomp:\t2$/m);
    sensor.kill("SIGTERM");
    expect(await sensor.exited).toBe(0);
  }, 60_000);

  test("holds what was handed over, and nothing else", async () => {
    const sensor = await bench.sensor("--no-pin");
    const open = () => descriptorsOf(sensor.pid);
    const links = /attached (.*)$/m.exec(sensor.stderr)?.[1]?.split(", ").length ?? 0;
    const expected = {
      "/dev/null": 1,
      [sensor.stdoutPath]: 1,
      [sensor.stderrPath]: 2, // and the runtime's own copy
      "anon_inode:[eventpoll]": 1, // the runtime's, with an eventfd
      "anon_inode:[eventfd]": 1,
      "anon_inode:[signalfd]": 1,
      "anon_inode:bpf-map": 6,
      "anon_inode:bpf_link": links,
      "anon_inode:bpf-prog": links + 1, // the one that writes for the sensor
      [bench.path("run/canary")]: 1,
      socket: 1,
    };
    expect(open()).toEqual(expected);
    // A connection is one descriptor more, for as long as it lasts, and so is the snapshot's iterator.
    const evaluator = await bench.evaluator();
    await until("the end of the snapshot", () => open()["anon_inode:bpf_iter"] === undefined);
    expect(open()).toEqual({ ...expected, socket: 2 });
    await evaluator.end("SIGTERM");
    await until("the end of the connection", () => open()["socket"] === 1);
    expect(open()).toEqual(expected);
  }, 60_000);

  test("waits in its first thread: once the processes are listed, nothing that it does wakes another of its own", async () => {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator();
    await until("the stream", () => evaluator.stdout.includes('"event_type":"coverage"'));
    await Bun.sleep(LISTED_MS);
    const before = threadsOf(sensor.pid);
    await Bun.sleep(THREE_COUNTERS_MS);
    const after = threadsOf(sensor.pid);
    // Beside it there are those that collect garbage, which have their own reasons, and those that have read the list.
    const own = [...before].filter(([, { name }]) => !["mi-scavenger", "HeapHelper"].includes(name));
    const woken = own.filter(([id, { switches }]) => after.get(id)?.switches !== switches);
    expect(woken.map(([, { name }]) => name)).toEqual(["warder-sensor"]);
    expect(own.map(([, { name }]) => name).filter((name) => !name.startsWith("Bun Pool"))).toEqual([
      "warder-sensor",
    ]);
    await evaluator.end("SIGTERM");
  }, 60_000);
});

/** The list of processes is made by then. */
const LISTED_MS = 1000;
const THREE_COUNTERS_MS = 3500;

/** The threads of a process, and how often each has gone to sleep. */
function threadsOf(pid: number): Map<string, { name: string; switches: number }> {
  const facts = readdirSync(`/proc/${pid}/task`).map((id) => {
    const status = readFileSync(`/proc/${pid}/task/${id}/status`, "latin1");
    const name = /^Name:\s+(.*)$/m.exec(status)?.[1] ?? "";
    return [id, { name, switches: Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]) }] as const;
  });
  return new Map(facts);
}

/** How many descriptors a process has of each file. */
function descriptorsOf(pid: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const file = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, "");
    counts[file] = (counts[file] ?? 0) + 1;
  }
  return counts;
}
