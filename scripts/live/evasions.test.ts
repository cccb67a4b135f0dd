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
    const outcomes = table.split("\n").filter((line) => /^[EX]\d\d /.test(line));
    expect(outcomes.length).toBeGreaterThan(45);
    expect(outcomes.filter((line) => / silent/.test(line))).toEqual([]);
    const declared = outcomes.filter((line) => / declared /.test(line)).map((line) => line.slice(0, 3));
    // X08 is a race, which the right name can win each time.
    const byCalls = table.startsWith("profile fentry") ? [] : ["E06", "X07", "X16", "X17"];
    const always = ["E45", "E47", "E49", "X12", "X13", "X18"];
    expect(declared.filter((id) => id !== "X08")).toEqual([...byCalls, ...always].toSorted());
  },
  120_000,
);
