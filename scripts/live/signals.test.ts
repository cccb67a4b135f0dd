// What a signal does to each program while it runs, is stuck, or waits. What SIGHUP and SIGUSR1 change is in reload.test.ts and
// rotation.test.ts.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { Bench, notLive, type Program, ROOT, until, warder } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: signals (${reason})`);

/** So soon both programs end when they are asked to. */
const END_MS_MAX = 5000;

/** The exit code of a program that is asked to end, or words when it does not in time. */
function ends(program: Program, ...signals: NodeJS.Signals[]): Promise<number | string> {
  for (const signal of signals) program.signal(signal);
  return Promise.race([program.exited, Bun.sleep(END_MS_MAX).then(() => "still there")]);
}

describe.skipIf(reason !== null)("signals", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(() => bench.close());

  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s ends the evaluator with code 0 and a last health line",
    async (signal) => {
      await bench.sensor("--no-pin");
      const evaluator = await bench.evaluator();
      await Bun.spawn(["/bin/true", "before-the-signal"]).exited;
      await until("the event", () => evaluator.stdout.includes("before-the-signal"));
      expect(await ends(evaluator, signal)).toBe(0);
      expect(evaluator.lines().at(-1)?.event_type).toBe("health");
    },
    60_000,
  );

  test("an evaluator whose sensor does nothing, or that waits for one, ends as soon", async () => {
    const sensor = await bench.sensor("--no-pin");
    const beside = await bench.evaluator("--once");
    sensor.signal("SIGSTOP");
    expect(await ends(beside, "SIGTERM")).toBe(0);
    sensor.signal("SIGCONT");
    const waiting = await bench.evaluator("--alerts-only", "--socket", bench.path("absent.sock"));
    await until("the waiting", () => waiting.stderr.includes("waiting"));
    expect(await ends(waiting, "SIGINT")).toBe(0);
  }, 60_000);

  test("a signal at any moment of an evaluator's start ends it, also while it reads its rules or connects", async () => {
    await bench.sensor("--no-pin");
    const config = bench.path("many.toml");
    const rule = (id: number) =>
      `[[rules]]\nid = "T-${id}"\nname = "n"\nenabled = true\ntype = "file"\nseverity = "low"\naction = "alert"\npaths = ["/absent/${id}"]\noperations = ["write"]\n`;
    writeFileSync(config, Array.from({ length: 4000 }, (_, id) => rule(id)).join(""));
    const command = ["evaluator/main.ts", "run", "--socket", bench.socket, "--config", config];
    const codes: unknown[] = [];
    for (let ms = 150; ms <= 1050; ms += 150) {
      const program = Bun.spawn([process.execPath, ...command], {
        cwd: ROOT,
        stdout: "ignore",
        stderr: "ignore",
      });
      await Bun.sleep(ms);
      program.kill("SIGTERM");
      const timer = Bun.sleep(END_MS_MAX).then(() => "still there");
      codes.push(await Promise.race([program.exited, timer]));
      program.kill("SIGKILL");
    }
    // Before it has handlers, the signal itself ends it.
    expect(codes.filter((code) => code !== 0 && code !== 143)).toEqual([]);
    expect(codes).toContain(0);
  }, 60_000);

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)(
    "a second %s ends an evaluator that is stuck at once, with code %d",
    async (signal, code) => {
      await bench.sensor();
      const fifo = bench.path("fifo");
      Bun.spawnSync(["mkfifo", fifo]);
      const reader = Bun.spawn(["sh", "-c", `exec sleep 60 < ${fifo}`]);
      const evaluator = await bench.evaluatorTo(openSync(fifo, "w"), "-o", "json");
      await Bun.spawn(["bash", "-c", "for i in $(seq 300); do /bin/true; done"]).exited;
      await Bun.sleep(500);
      evaluator.signal(signal);
      await Bun.sleep(200); // two at once would be one
      expect(await ends(evaluator, signal)).toBe(code);
      reader.kill();
    },
    60_000,
  );

  test("SIGHUP, SIGUSR1 and SIGPIPE end no evaluator, whether it waits or works", async () => {
    const waiting = await bench.evaluator("--alerts-only", "-o", "json");
    await until("the waiting", () => waiting.stderr.includes("waiting"));
    for (const signal of ["SIGHUP", "SIGUSR1", "SIGPIPE"] as const) waiting.signal(signal);
    await bench.sensor("--no-pin");
    await until("the stream", () => waiting.stdout.includes('"coverage"'));
    for (const signal of ["SIGHUP", "SIGUSR1", "SIGPIPE"] as const) waiting.signal(signal);
    await until("the reload", () => waiting.stderr.includes("reloaded: 3 rules"));
    await Bun.sleep(200);
    expect(await ends(waiting, "SIGTERM")).toBe(0);
  }, 60_000);

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s ends the sensor with code 0; the programs that are pinned stay",
    async (signal) => {
      const sensor = await bench.sensor();
      for (const other of ["SIGUSR1", "SIGPIPE"] as const) sensor.signal(other);
      const evaluator = await bench.evaluator("--once");
      expect(await ends(sensor, signal)).toBe(0);
      expect(sensor.stderr).toContain("stopped; programs stay attached");
      expect(await evaluator.exited).toBe(0);
      expect(bench.inside("ls", "/sys/fs/bpf/warder")).not.toBe("");
      expect(await bench.sensorCommand("unload")).toMatchObject({ code: 0 });
    },
    60_000,
  );

  test("at no moment does a stop signal end the sensor by itself: the runtime lets all through while it looks for work", async () => {
    const sensor = await bench.sensor("--no-pin");
    await bench.evaluator("--once");
    const numbers = [constants.signals.SIGHUP, constants.signals.SIGINT, constants.signals.SIGTERM];
    const ofAll = numbers.reduce((bits, number) => bits | (1n << BigInt(number - 1)), 0n);
    for (const thread of readdirSync(`/proc/${sensor.pid}/task`)) {
      const status = readFileSync(`/proc/${sensor.pid}/task/${thread}/status`, "utf8");
      const bits = (key: string) =>
        BigInt(`0x${new RegExp(`^${key}:\\s+(.*)$`, "m").exec(status)?.[1]}`) & ofAll;
      expect({ held: bits("SigBlk"), handled: bits("SigCgt") }).toEqual({ held: ofAll, handled: ofAll });
    }
    expect(await ends(sensor, "SIGTERM")).toBe(0);
  }, 60_000);

  test("a sensor whose programs stay attached ends in time, even while its evaluator is stopped", async () => {
    const sensor = await bench.sensor();
    const evaluator = await bench.evaluator("--once");
    evaluator.signal("SIGSTOP");
    await Bun.sleep(1500); // until something is not acknowledged
    const start = performance.now();
    expect(await ends(sensor, "SIGTERM")).toBe(0);
    expect(performance.now() - start).toBeLessThan(5500);
    evaluator.signal("SIGCONT");
    expect(await evaluator.exited).toBe(0);
    expect(await bench.sensorCommand("unload")).toMatchObject({ code: 0 });
  }, 60_000);

  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s completes a recording",
    async (signal) => {
      await bench.sensor("--no-pin");
      const capture = bench.path("today.capture.zst");
      const command = [
        process.execPath,
        join(import.meta.dir, "../../evaluator/main.ts"),
        "record",
        capture,
        "--socket",
        bench.socket,
      ];
      const recorder = Bun.spawn(command, { stderr: "ignore" });
      await until("the recording", () => existsSync(capture) && statSync(capture).size > 0);
      recorder.kill(signal);
      expect(await recorder.exited).toBe(0);
      expect(await warder(["replay", "--alerts-only", capture])).toMatchObject({ code: 0 });
    },
    60_000,
  );
});

test("SIGINT ends a replay as it ends any program", async () => {
  const command = [process.execPath, join(import.meta.dir, "../../evaluator/main.ts"), "replay", "-"];
  const replay = Bun.spawn(command, { stdin: "pipe", stdout: "ignore", stderr: "ignore" });
  await Bun.sleep(500);
  replay.kill("SIGINT");
  await replay.exited;
  expect(replay.signalCode).toBe("SIGINT"); // 130 in a shell
});
