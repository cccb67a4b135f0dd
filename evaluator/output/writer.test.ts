import { describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Bytes } from "../event/text.ts";
import { Lines } from "./lines.ts";
import { LineWriter, STDOUT, type Target } from "./writer.ts";

/** Lines that are told apart by the number in front. */
function lines(count: number, size: number, from = 0): Bytes[] {
  return Array.from({ length: count }, (_, i) => `${String(from + i).padEnd(size - 1, ".")}\n` as Bytes);
}

/** A writer to `fd`, and what it says and loses. Each line's owner is the number of it. */
function writerTo(fd: number, target: Partial<Target> = {}) {
  const said: string[] = [];
  const lost: Bytes[] = [];
  const texts = new Map<number, Bytes>();
  let wrote = 0;
  const inner = new LineWriter(
    { ...STDOUT, name: "out", fd, ...target },
    {
      wrote: () => void (wrote += 1),
      lost(owner, torn) {
        lost.push(texts.get(owner) as Bytes);
        if (torn) wrote -= 1;
      },
      say: (line) => said.push(line),
    },
  );
  const writeLines = inner.write.bind(inner);
  const write = (all: readonly Bytes[]) => {
    const batch = new Lines();
    for (const text of all) {
      texts.set(Number.parseInt(text, 10), text);
      batch.add(text, Number.parseInt(text, 10));
    }
    return writeLines(batch);
  };
  return { writer: Object.assign(inner, { write }), said, lost, wrote: () => wrote };
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "warder-writer-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether file systems can be mounted here. */
const mounts = Bun.spawnSync(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).exitCode === 0;
if (!mounts) console.error("skipped: a full disk (no tmpfs can be mounted here)");

/** A folder with one megabyte of room, half of it taken by `ballast`. */
async function onSmallDisk(use: (folder: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]).exitCode).toBe(0);
    try {
      writeFileSync(join(folder, "ballast"), Buffer.alloc(500_000));
      await use(folder);
    } finally {
      Bun.spawnSync(["umount", folder]);
    }
  });
}

describe("lines", () => {
  test("get into a file whole and in order, whatever their number", () =>
    inFolder(async (folder) => {
      const { writer, lost } = writerTo(openSync(join(folder, "out"), "w"));
      const batch = lines(5000, 700);
      await writer.write(batch);
      await writer.close();
      closeSync(writer.target.fd);
      expect(readFileSync(join(folder, "out"), "latin1") === batch.join("")).toBe(true);
      expect(lost).toEqual([]);
    }));

  test("wait for a slow reader, and none is lost", () =>
    inFolder(async (folder) => {
      const fifo = join(folder, "fifo");
      Bun.spawnSync(["mkfifo", fifo]);
      const reader = Bun.spawn(["sh", "-c", `exec < ${fifo}; sleep 0.3; exec wc -lc`], { stdout: "pipe" });
      const { writer, lost } = writerTo(openSync(fifo, "w"));
      const started = performance.now();
      await writer.write(lines(2000, 500));
      expect(performance.now() - started).toBeGreaterThan(200); // the pipe holds 64 KiB of these 1,000,000 bytes
      closeSync(writer.target.fd);
      expect((await new Response(reader.stdout).text()).trim().split(/\s+/)).toEqual(["2000", "1000000"]);
      expect(lost).toEqual([]);
    }));

  test("end when the reader has gone, and all of them count as lost", () =>
    inFolder(async (folder) => {
      const fifo = join(folder, "fifo");
      Bun.spawnSync(["mkfifo", fifo]);
      const reader = Bun.spawn(["head", "-n", "1", fifo], { stdout: "ignore" });
      const { writer, said, lost } = writerTo(openSync(fifo, "w"));
      await writer.write(lines(1, 10));
      await reader.exited;
      const rest = lines(3000, 100);
      await writer.write(rest);
      await writer.close();
      expect(writer.closed).toBe(true);
      expect(lost).toEqual(rest);
      expect(writer.failed).toBe(3000);
      expect(said).toEqual([]);
      closeSync(writer.target.fd);
    }));

  test("end when the terminal has gone", async () => {
    const program = `
      import { Lines } from ${JSON.stringify(join(import.meta.dir, "lines.ts"))};
      import { LineWriter, STDOUT } from ${JSON.stringify(join(import.meta.dir, "writer.ts"))};
      const writer = new LineWriter(STDOUT, { wrote() {}, lost() {}, say: console.error });
      const lines = new Lines();
      lines.add("line\\n", 0);
      while (!writer.closed) await Bun.sleep(5).then(() => writer.write(lines));
      process.exit(writer.failed === 1 ? 42 : 1);`;
    const seen = Promise.withResolvers<void>();
    const terminal = new Bun.Terminal({ data: () => seen.resolve() });
    const child = Bun.spawn([process.execPath, "-e", program], { terminal });
    await seen.promise;
    terminal.close();
    expect(await child.exited).toBe(42);
  });

  test("wait for a FIFO's next reader, which goes on where the last one stopped", () =>
    inFolder(async (folder) => {
      const fifo = join(folder, "fifo");
      Bun.spawnSync(["mkfifo", fifo]);
      const first = Bun.spawn(["sh", "-c", `exec < ${fifo}; read -r line; echo "$line"`], { stdout: "pipe" });
      const { writer, said, lost } = writerTo(openSync(fifo, "w"), { awaitsReader: true });
      const all = lines(3000, 100);
      const done = writer.write(all);
      await first.exited;
      while (said.length === 0) await Bun.sleep(10);
      expect(said).toEqual(["out: nobody reads it: waiting for a reader"]);
      const second = Bun.spawn(["cat", fifo], { stdout: "pipe" });
      await done;
      closeSync(writer.target.fd);
      const read = (await new Response(first.stdout).text()) + (await new Response(second.stdout).text());
      expect(read === all.join("")).toBe(true);
      expect(said.slice(1)).toEqual(["out: output works again (EPIPE is over)"]);
      expect(lost).toEqual([]);
    }));

  test("that nobody takes are given up when that is asked for", () =>
    inFolder(async (folder) => {
      const fifo = join(folder, "fifo");
      Bun.spawnSync(["mkfifo", fifo]);
      const reader = Bun.spawn(["sh", "-c", `exec sleep 20 < ${fifo}`]);
      const { writer, lost } = writerTo(openSync(fifo, "w"));
      const all = lines(3000, 100);
      const done = writer.write(all);
      setTimeout(() => writer.giveUp(), 100);
      await done;
      await writer.close();
      expect(lost).toEqual(all); // what the pipe holds is not known to be read
      reader.kill();
      await reader.exited;
    }));

  for (const owned of [true, false]) {
    test.skipIf(!mounts)(
      `on a full disk are counted, and none is torn when there is room again (${owned ? "our own file" : "a file of others too"})`,
      () =>
        onSmallDisk(async (folder) => {
          const path = join(folder, "out");
          const { writer, said, lost, wrote } = writerTo(openSync(path, "a"), { owned });
          const all = lines(9000, 101);
          await writer.write(all.slice(0, 8000));
          await writer.write(all.slice(8000, 8010));
          expect(lost.length).toBeGreaterThan(1000);
          expect(said).toEqual([expect.stringContaining("out: output fails (ENOSPC")]);
          if (owned) expect(readFileSync(path, "latin1")).toEndWith("\n");
          rmSync(join(folder, "ballast"));
          await writer.write(all.slice(8010, 8020));
          expect(said[1]).toBe("out: output works again (ENOSPC is over)");
          await writer.close();
          closeSync(writer.target.fd);
          expect(writer.failed).toBe(lost.length);
          expect(wrote()).toBe(8020 - lost.length);
          const written = readFileSync(path, "latin1");
          const expected = all.slice(0, 8020).filter((line) => !lost.includes(line));
          expect(written === expected.join("")).toBe(true);
        }),
    );

    test.skipIf(!mounts)(
      `on a disk that stays full to the end are counted, and none is torn (${owned ? "our own file" : "a file of others too"})`,
      () =>
        onSmallDisk(async (folder) => {
          const path = join(folder, "out");
          const { writer, lost, wrote } = writerTo(openSync(path, "w"), { owned });
          const all = lines(9000, 101);
          await writer.write(all);
          await writer.close();
          const expected = all.filter((line) => !lost.includes(line));
          expect(readFileSync(path, "latin1") === expected.join("")).toBe(true);
          expect(writer.failed).toBe(lost.length);
          expect(wrote()).toBe(9000 - lost.length);
          closeSync(writer.target.fd);
        }),
    );
  }

  test("of a file that answers with an error of the device are counted", async () => {
    // A process's memory as a file: nothing is at its beginning, and the kernel says EIO.
    const { writer, said, lost } = writerTo(openSync("/proc/self/mem", "r+"), { owned: true });
    await writer.write(lines(3, 10));
    await writer.write(lines(3, 10, 3));
    await writer.close();
    expect(lost).toEqual(lines(6, 10));
    expect(said).toEqual([expect.stringMatching(/^out: output fails \(EIO: /)]);
    closeSync(writer.target.fd);
  });

  test("beyond a limit of the file's size are counted, and none is torn", () =>
    inFolder(async (folder) => {
      const path = join(folder, "out");
      const program = `
        import { openSync } from "node:fs";
        import { Lines } from ${JSON.stringify(join(import.meta.dir, "lines.ts"))};
        import { LineWriter, STDOUT } from ${JSON.stringify(join(import.meta.dir, "writer.ts"))};
        const target = { ...STDOUT, name: "out", fd: openSync(${JSON.stringify(path)}, "a"), owned: true };
        const writer = new LineWriter(target, { wrote() {}, lost() {}, say: console.error });
        const lines = new Lines();
        for (let i = 0; i < 9000; i++) lines.add(String(i).padEnd(100, ".") + "\\n", 0);
        await writer.write(lines);
        await writer.close();
        console.log(writer.failed);`;
      const limited = ["sh", "-c", 'ulimit -f 512 && exec "$@"', "sh", process.execPath, "-e", program];
      const child = Bun.spawnSync(limited);
      const written = readFileSync(path, "latin1");
      expect(written === lines(written.split("\n").length - 1, 101).join("")).toBe(true);
      expect(written.length).toBeGreaterThan(512 * 512 - 101);
      expect(Number(child.stdout.toString())).toBe(9000 - written.length / 101);
      expect(child.stderr.toString()).toMatch(/^out: output fails \(EFBIG[^\n]+\n$/);
    }));
});
