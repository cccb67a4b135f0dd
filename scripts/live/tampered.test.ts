// E64 of the catalogue of evasions: what root does to a sensor is told, whoever is killed before it is read.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Bench, compileTools, notLive, type Program, until } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: tampering, and kills before it is told (${reason})`);

/** Two counters of the sensor. */
const COUNTERS_MS = 2500;
const OWN = expect.stringContaining("which processes are the sensor's own");
const POSITION = "somebody moved the consumer position of a ring";

describe.skipIf(reason !== null)("tampering", () => {
  let bench: Bench;
  let harm: string;
  beforeEach(() => {
    bench = new Bench();
    ({ harm } = compileTools(bench.folder, ["harm"]));
  });
  afterEach(() => bench.close());

  const act = (deed: string, sensor: Program, ...rest: string[]) => {
    const words = deed === "pose" ? [bench.path("written"), ...rest] : ["activity_ring"];
    const { exitCode } = Bun.spawnSync([harm, deed, String(sensor.pid), ...words]);
    expect(exitCode).toBe(0);
  };
  /** What an evaluator says of it that reads for a while. */
  const told = async () => {
    const evaluator = await bench.evaluator();
    await Bun.sleep(COUNTERS_MS);
    await evaluator.end("SIGTERM");
    return evaluator
      .lines()
      .filter((line) => line.event_type === "tampered")
      .map((line) => line["what"]);
  };

  test.each([
    ["pose", OWN],
    ["move", POSITION],
  ] as const)(
    "is told to the next evaluator when the first is killed before it has read it: %s",
    async (deed, what) => {
      const sensor = await bench.sensor("--no-pin");
      const first = await bench.evaluator();
      await Bun.sleep(COUNTERS_MS);
      first.signal("SIGSTOP");
      act(deed, sensor);
      await Bun.sleep(COUNTERS_MS);
      await first.end("SIGKILL");
      expect(await told()).toEqual([what]);
      expect(await told()).toEqual([]);
    },
    60_000,
  );

  test("between two sensors is told by the third when the second is killed before anybody has read it", async () => {
    const first = await bench.sensor();
    expect(await told()).toEqual([]);
    act("pose", first, "kill");
    await (await bench.sensor()).end("SIGKILL");
    await bench.sensor();
    expect(await told()).toEqual([OWN]);
    expect(await told()).toEqual([]);
  }, 60_000);

  test("is not what a sensor has done itself that was killed before it served", async () => {
    const first = await bench.startSensor();
    await until("the pins", () => /^[0-9a-f]{16}$/m.test(bench.inside("ls", "/sys/fs/bpf/warder")));
    await first.end("SIGKILL");
    const second = await bench.sensor();
    expect(second.stderr).toContain("adopted");
    expect(await told()).toEqual([]);
  }, 60_000);
});
