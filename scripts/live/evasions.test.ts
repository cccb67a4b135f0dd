// No evasion is silent on the running kernel. The virtual machine tries them in the other profile.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: evasions (${reason})`);

test.skipIf(reason !== null)(
  "no evasion is silent; what the tracepoint profile cannot see is declared",
  async () => {
    const runner = Bun.spawn([process.execPath, join(import.meta.dir, "evasions.ts")], {
      env: { ...process.env },
      stdout: "pipe",
      stderr: "inherit",
    });
    const table = await new Response(runner.stdout).text();
    expect(await runner.exited).toBe(0);
    const outcomes = table.split("\n").filter((line) => /^E\d\d /.test(line));
    expect(outcomes.length).toBeGreaterThan(30);
    expect(outcomes.filter((line) => / silent/.test(line))).toEqual([]);
    const declared = outcomes.filter((line) => / declared /.test(line)).map((line) => line.slice(0, 3));
    const uring = table.startsWith("profile fentry") ? [] : ["E06"];
    expect(declared).toEqual([...uring, "E45", "E47", "E49"]);
  },
  60_000,
);
