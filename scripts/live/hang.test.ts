// A process that keeps its arguments in a file system that never answers: nobody who reads them comes back. The sensor says so
// and goes on without them.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { connect } from "node:net";
import { Tamper } from "../../bpf/event.gen.ts";
import { FrameReader } from "../../evaluator/input/records.ts";
import { Bench, compileTools, notLive, until } from "./pair.ts";

const reason = notLive() ?? (existsSync("/dev/fuse") ? null : "no /dev/fuse");
if (reason !== null) console.error(`skipped: a file system that never answers (${reason})`);

const HANGS_S = 15;
/** Somewhat longer than the sensor waits. */
const LATE_MS = 2100;

describe.skipIf(reason !== null)("arguments that nobody can read", () => {
  test("cost the list of processes its arguments, and nothing else", async () => {
    const bench = new Bench();
    const { hang } = compileTools(bench.folder, ["hang"]);
    const folder = bench.path("fs");
    mkdirSync(folder);
    const hanging = Bun.spawn(["unshare", "--mount", hang, folder, String(HANGS_S)], { stdout: "pipe" });
    try {
      const { value } = await hanging.stdout.getReader().read();
      const pid = Number(Buffer.from(value ?? []).toString());
      expect(pid).toBeGreaterThan(1);

      const sensor = await bench.sensor("--no-pin");
      const running = Bun.spawn(["sleep", "30"]);
      const evaluator = await bench.evaluator("--once");
      await until("the word of it", () => evaluator.lines().some((line) => line.event_type === "tampered"));
      expect(sensor.stderr).toContain(`pid ${pid} keeps its arguments where reading them does not end`);
      // What happens is told, and by whom, although a list of all came without arguments.
      running.kill();
      await running.exited;
      Bun.spawnSync(["true", "behind the hang"]);
      await until("an event", () => evaluator.stdout.includes('"behind the hang"'));
      const exit = evaluator
        .lines()
        .find((line) => line.event_type === "process_exit" && line["pid"] === running.pid);
      expect(exit).toMatchObject({
        ancestors: expect.arrayContaining([expect.stringContaining(`(${process.pid})`)]),
      });

      sensor.signal("SIGTERM");
      await evaluator.exited;
      expect(evaluator.lines().at(-1)).toMatchObject({ ledger: { balanced: true, unaccounted: 0 } });
      // Its thread waits until the file system is gone; nothing that it had open stands in the way of the next sensor.
      const next = await bench.sensor("--no-pin");
      const reader = await bench.evaluator("--once");
      await until("the word of it", () => reader.lines().some((line) => line.event_type === "tampered"));
      await hanging.exited;
      await sensor.exited;
      // What hung has come back.
      await reader.end("SIGTERM");
      const last = await bench.evaluator("--once");
      await until("an event", () => {
        Bun.spawnSync(["true", "after all"]);
        return last.stdout.includes('"after all"');
      });
      expect(last.lines().some((line) => line.event_type === "tampered")).toBe(false);
      await next.end("SIGTERM");
    } finally {
      await hanging.exited;
      await bench.close();
    }
  }, 60_000);

  test("in time are a list without arguments that is told, although it ends, and the counters go on", async () => {
    const bench = new Bench();
    const { hang } = compileTools(bench.folder, ["hang"]);
    const folder = bench.path("fs");
    mkdirSync(folder);
    const command = ["unshare", "--mount", hang, folder, String(HANGS_S), String(LATE_MS)];
    const hanging = Bun.spawn(command, { stdout: "pipe" });
    try {
      await hanging.stdout.getReader().read();
      const sensor = await bench.sensor("--no-pin");
      const socket = connect(bench.socket);
      const seen: string[] = [];
      const reader = new FrameReader();
      socket.on("data", (piece: Buffer) => {
        for (const frame of reader.push(piece)) {
          if (frame.type === "counters") seen.push(`counters ${frame.counters.tampered}`);
        }
      });
      await until("the word of it", () => seen.includes(`counters ${Tamper.args}`));
      // One when it connected, one a second later, while the list was waited for.
      expect(seen.filter((word) => word === "counters 0").length).toBeGreaterThanOrEqual(2);
      socket.destroy();
      await sensor.end("SIGTERM");
    } finally {
      await hanging.exited;
      await bench.close();
    }
  }, 60_000);
});
