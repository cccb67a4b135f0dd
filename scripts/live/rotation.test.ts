// The short form of "bun run rotation", as a test.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: rotation under load (${reason})`);

test.skipIf(reason !== null)(
  "files that are rotated by size and moved away under load lose no line and tear none",
  async () => {
    const program = Bun.spawn([process.execPath, join(import.meta.dir, "rotation.ts"), "--seconds", "6"], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const table = await new Response(program.stdout).text();
    expect(await program.exited).toBe(0);
    expect(Number(/^events: (\d+) lines expected/m.exec(table)?.[1])).toBeGreaterThan(100_000);
    expect(Number(/^events: .* in (\d+) pieces/m.exec(table)?.[1])).toBeGreaterThan(20);
  },
  180_000,
);
