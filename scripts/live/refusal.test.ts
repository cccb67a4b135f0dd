// What cannot work is said in one line, with its own exit code. Each cause is made for real.

import { describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: tests of what the sensor refuses (${reason})`);

const SENSOR = [process.execPath, join(import.meta.dir, "../../sensor/main.ts")];

async function sensor(
  prefix: string[],
  args: string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const program = Bun.spawn([...prefix, ...SENSOR, ...args], {
    env: { ...process.env, ...environment },
    stdout: "pipe",
    stderr: "pipe",
    timeout: 20_000,
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
    program.exited,
  ]);
  return { code, stdout, stderr };
}

/** Runs the rest in a mount namespace in which `script` was done first. */
function mounted(script: string): string[] {
  return ["unshare", "--mount", "sh", "-c", `${script} && exec "$@"`, "sh"];
}

const RUN = ["run", "--socket", "/nonexistent-warder/sensor.sock"];

describe.skipIf(reason !== null)("the sensor refuses, with one line and code 5,", () => {
  const cases: {
    name: string;
    prefix: string[];
    args: string[];
    environment?: Record<string, string>;
    line: RegExp;
  }[] = [
    {
      name: "a kernel without BTF",
      prefix: mounted("mount -t tmpfs none /sys/kernel/btf"),
      args: [...RUN, "--no-pin"],
      line: /^warder-sensor: no kernel BTF \(\/sys\/kernel\/btf\/vmlinux\): .+CONFIG_DEBUG_INFO_BTF.+\n$/,
    },
    {
      name: "a host without libbpf",
      prefix: [],
      args: [...RUN, "--no-pin"],
      environment: { WARDER_LIBBPF: "libbpf-absent.so.1" },
      line: /^warder-sensor: no libbpf \(libbpf-absent\.so\.1: .+\): install it.+\n$/,
    },
    {
      name: "a user without rights",
      prefix: ["setpriv", "--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin"],
      args: [...RUN, "--no-pin"],
      line: /^warder-sensor: no rights \(root without .*CAP_BPF.*\): .+\n$/,
    },
    {
      name: "a host without bpffs, when it has to pin",
      prefix: mounted("mount -t tmpfs none /sys/fs/bpf"),
      args: RUN,
      line: /^warder-sensor: no bpffs at \/sys\/fs\/bpf: run "mount -t bpf .+--no-pin.+\n$/,
    },
    {
      name: "a namespace of process ids",
      prefix: ["unshare", "--pid", "--fork", "--mount-proc"],
      args: [...RUN, "--no-pin"],
      line: /^warder-sensor: in a namespace of process ids .+--pid=host.+\n$/,
    },
    {
      name: "a missing object",
      prefix: [],
      args: [...RUN, "--no-pin"],
      environment: { WARDER_OBJECT: "/nonexistent/warder.bpf.o" },
      line: /^warder-sensor: no compiled programs at \/nonexistent\/warder\.bpf\.o: .+\n$/,
    },
  ];
  for (const { name, prefix, args, environment, line } of cases) {
    test(name, async () => {
      const { code, stderr } = await sensor(prefix, args, environment);
      expect(stderr).toMatch(line);
      expect(code).toBe(5);
    }, 30_000);
  }

  test("a hook that is missing where no other serves its events, and probe says the same", async () => {
    type Probe = { runs: boolean; missing: string[]; events: Record<string, Served> };
    type Served = { hooks: string[]; attached: boolean };
    const probe = async (without: string) => {
      const args = ["probe", "--no-pin", "--json", "--profile", "tracepoint"];
      const { code, stdout } = await sensor([], args, { WARDER_WITHOUT: without });
      return { code, ...(JSON.parse(stdout) as Probe) };
    };
    const whole = await probe("");
    expect(whole).toMatchObject({ code: 0, runs: true, missing: [] });
    const hooks = new Set(Object.values(whole.events).flatMap((served) => served.hooks));
    expect(hooks.size).toBe(6);
    for (const hook of hooks) {
      const { code, runs, missing, events } = await probe(hook);
      expect({ code, runs }).toEqual({ code: 5, runs: false });
      const gone = Object.keys(events).filter((type) => !events[type]?.attached);
      expect(gone).toEqual(Object.keys(events).filter((type) => whole.events[type]?.hooks.includes(hook)));
      expect(missing.map((line) => /^no hook for (\w+): /.exec(line)?.[1])).toEqual(gone);
      const args = [...RUN, "--no-pin", "--profile", "tracepoint"];
      const run = await sensor([], args, { WARDER_WITHOUT: hook });
      expect(run).toMatchObject({ code: 5, stderr: `warder-sensor: ${missing[0]}\n` });
    }
  }, 60_000);

  test("an object that the kernel does not take", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-refusal-"));
    try {
      const object = join(folder, "broken.o");
      writeFileSync(object, "not an object");
      const { code, stderr } = await sensor([], [...RUN, "--no-pin"], { WARDER_OBJECT: object });
      expect(stderr).toMatch(/^warder-sensor: .*broken\.o.*\n$/);
      expect(code).toBe(5);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 30_000);
});

describe.skipIf(reason !== null)("the sensor refuses, with one line and code 2,", () => {
  const wrong: [string, string[], RegExp][] = [
    ["an unknown command", ["rnu"], /unknown command "rnu"/],
    ["an unknown option", ["run", "--sokcet", "x"], /--sokcet/],
    ["root as the user to become", ["run", "--user", "root"], /does not serve as root/],
    ["a user that is not there", ["run", "--user", "warder-nobody"], /no user "warder-nobody"/],
    [
      "a settings file that is not there",
      ["run", "--config", "/nonexistent.toml"],
      /\/nonexistent\.toml: no such file/,
    ],
  ];
  for (const [name, args, line] of wrong) {
    test(name, async () => {
      const { code, stderr } = await sensor([], args);
      expect(stderr).toMatch(line);
      expect(code).toBe(2);
    }, 30_000);
  }

  test("settings that others can write", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-refusal-"));
    try {
      const config = join(folder, "config.toml");
      writeFileSync(config, "[process]\ncollect_args = false\n");
      chmodSync(config, 0o666);
      const { code, stderr } = await sensor([], ["run", "--config", config]);
      expect(stderr).toBe(
        `warder-sensor: ${config}: anybody can change this file: "chmod go-w ${config}" mends that\n`,
      );
      expect(code).toBe(2);
      chmodSync(config, 0o644);
      writeFileSync(config, '[process]\ncollect_args = "yes"\n');
      const second = await sensor([], ["run", "--config", config]);
      expect(second.stderr).toContain("process.collect_args");
      expect(second.code).toBe(2);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 30_000);

  test("lists that have no room in the kernel, and patterns that nothing could match", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-refusal-"));
    const config = join(folder, "config.toml");
    const paths = JSON.stringify(Array.from({ length: 4096 }, (_, i) => `/some/path/${i}`));
    const probe = (settings: string) => {
      writeFileSync(config, `[file]\n${settings}\n`);
      return sensor([], ["probe", "--no-pin", "--config", config]);
    };
    try {
      expect(await probe(`watch_paths = ${paths}`)).toMatchObject({ code: 0, stderr: "" });
      expect(
        await probe(`watch_paths = ${paths}\nwatch_patterns = ["/one/more", "*.service"]`),
      ).toMatchObject({
        code: 2,
        stderr: `warder-sensor: ${config}: file.watch_paths and the watch_patterns without *: 4097 entries, and at most 4096 have room in the kernel\n`,
      });
      for (const pattern of ["shadow", "/etc/*.conf", "*a*"]) {
        const { code, stderr } = await probe(`watch_patterns = ["${pattern}"]`);
        expect(stderr).toContain(`${config}: file.watch_patterns.0: expected the end of a path behind a "*"`);
        expect(code).toBe(2);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 120_000);
});
