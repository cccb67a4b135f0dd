import { describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Bytes } from "../event/text.ts";
import { LineWriter } from "./writer.ts";

function lines(count: number, size: number): Bytes[] {
  return Array.from({ length: count }, (_, i) => `${String(i).padEnd(size - 1, ".")}\n` as Bytes);
}

/** A folder with one megabyte of room, or null where it cannot be mounted. */
function smallDisk(): string | null {
  if (process.getuid?.() !== 0) return null;
  const folder = mkdtempSync(join(tmpdir(), "warder-disk-"));
  const { exitCode } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]);
  return exitCode === 0 ? folder : null;
}

describe("lines", () => {
  test("get into a file whole and in order, whatever their number", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-writer-"));
    const fd = openSync(join(folder, "out"), "w");
    const writer = new LineWriter(fd, () => {});
    const batch = lines(5000, 700);
    expect(await writer.write(batch)).toEqual([]);
    expect(await writer.close()).toBe(true);
    closeSync(fd);
    expect(readFileSync(join(folder, "out"), "latin1") === batch.join("")).toBe(true);
    rmSync(folder, { recursive: true });
  });

  test("wait for a slow reader, and none is lost", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-writer-"));
    const fifo = join(folder, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    const reader = Bun.spawn(["sh", "-c", `exec < ${fifo}; sleep 0.3; exec wc -lc`], { stdout: "pipe" });
    const fd = openSync(fifo, "w");
    const writer = new LineWriter(fd, () => {});
    const started = performance.now();
    expect(await writer.write(lines(2000, 500))).toEqual([]);
    expect(performance.now() - started).toBeGreaterThan(200); // the pipe holds 64 KiB of these 1,000,000 bytes
    closeSync(fd);
    expect((await new Response(reader.stdout).text()).trim().split(/\s+/)).toEqual(["2000", "1000000"]);
    rmSync(folder, { recursive: true });
  });

  test("end when the reader has gone, and all of them count as failed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warder-writer-"));
    const fifo = join(folder, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    const reader = Bun.spawn(["head", "-n", "1", fifo], { stdout: "ignore" });
    const fd = openSync(fifo, "w");
    const said: string[] = [];
    const writer = new LineWriter(fd, (line) => said.push(line));
    await writer.write(lines(1, 10));
    await reader.exited;
    const failed = await writer.write(lines(3000, 100));
    expect(writer.closed).toBe(true);
    expect(failed.length).toBeGreaterThan(0);
    expect(said).toEqual([]);
    expect(await writer.write(lines(2, 10))).toEqual([0, 1]);
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  const disk = smallDisk();
  if (disk === null) console.error("skipped: a full disk (no tmpfs can be mounted here)");
  test.skipIf(disk === null)(
    "on a full disk are counted, and none is torn when there is room again",
    async () => {
      const folder = disk ?? "";
      try {
        writeFileSync(join(folder, "ballast"), Buffer.alloc(500_000));
        const fd = openSync(join(folder, "out"), "a");
        const said: string[] = [];
        const writer = new LineWriter(fd, (line) => said.push(line));
        const first = await writer.write(lines(9000, 100));
        expect(first.length).toBeGreaterThan(1000);
        expect(await writer.write(lines(10, 100))).toHaveLength(10);
        expect(said).toEqual([expect.stringContaining("output fails")]);
        rmSync(join(folder, "ballast"));
        const again = lines(10, 100).map((line) => line.replace(".", "!") as Bytes);
        expect(await writer.write(again)).toEqual([]);
        expect(said[1]).toContain("output works again");
        expect(await writer.close()).toBe(true);
        closeSync(fd);
        const written = readFileSync(join(folder, "out"), "latin1").split("\n").slice(0, -1);
        expect(written.length).toBe(9000 - first.length + 10);
        for (const line of written) expect(line.length).toBe(99);
        expect(written.slice(-10).map((line) => `${line}\n`)).toEqual(again);
      } finally {
        Bun.spawnSync(["umount", folder]);
        rmSync(folder, { recursive: true });
      }
    },
  );
});
