// The short form of "bun run prove", as a test.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: faults of a live pair (${reason})`);

const prove = async (...args: string[]) => {
  const program = Bun.spawn([process.execPath, join(import.meta.dir, "prove.ts"), ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const table = await new Response(program.stdout).text();
  expect(table.split("\n").filter((line) => line.includes("BROKEN"))).toEqual([]);
  expect(await program.exited).toBe(0);
  return table;
};

test.skipIf(reason !== null)(
  "whatever happens to the pair, every event is written or counted, and whatever is done to the sensor is said",
  async () => {
    expect(await prove("--short")).toContain("all holds");
  },
  600_000,
);

test.skipIf(reason !== null)(
  "a minute under load with a kill: every event is written or counted, and memory and descriptors stay",
  async () => {
    expect(await prove("--soak", "60")).toMatch(/^ *1 /m);
  },
  300_000,
);
