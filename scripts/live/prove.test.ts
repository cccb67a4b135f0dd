// The short form of "bun run prove", as a test.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: faults of a live pair (${reason})`);

test.skipIf(reason !== null)(
  "whatever happens to the pair, every event is written or counted, and whatever is done to the sensor is said",
  async () => {
    const program = Bun.spawn([process.execPath, join(import.meta.dir, "prove.ts"), "--short"], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const table = await new Response(program.stdout).text();
    expect(table.split("\n").filter((line) => line.includes("BROKEN"))).toEqual([]);
    expect(await program.exited).toBe(0);
  },
  600_000,
);
