import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Bytes } from "../event/text.ts";
import { type FileSettings, OutputFile } from "./file.ts";
import { Lines } from "./lines.ts";
import { Segments } from "./segments.ts";
import { LineWriter } from "./writer.ts";

const MIB = 1024 * 1024;
const NOBODY = 65534;

function lines(count: number, size: number, from = 0): Bytes[] {
  return Array.from(
    { length: count },
    (_, i) => `${`{"event_type":"test","id":${from + i},"more":"`.padEnd(size - 3, "x")}"}\n` as Bytes,
  );
}

function linesOf(texts: readonly Bytes[]): Lines {
  const all = new Lines();
  for (const text of texts) all.add(text, 0);
  return all;
}

/** A file `out.ndjson` with its writer, and what they say. */
function outputTo(folder: string, settings: Partial<FileSettings> = {}) {
  const said: string[] = [];
  const say = (line: string) => void said.push(line);
  const all = { path: join(folder, "out.ndjson"), rotateSize: 0, rotateAgeMs: 0, compress: true, keep: 0 };
  const file = new OutputFile({ ...all, ...settings }, say);
  const target = new LineWriter(file, { wrote() {}, lost() {}, say });
  const writer = {
    write: (texts: readonly Bytes[]) => target.write(linesOf(texts)),
    between: (step: () => void) => target.between(step),
  };
  const close = async () => {
    await target.close();
    await file.close(false);
  };
  return { file, writer, said, close };
}

/** What all segments and the file hold, in the order of their names. */
function contents(folder: string): string {
  const segments = readdirSync(folder).filter((name) => /^out-.*\.ndjson(\.zst)?$/.test(name));
  const bytes = segments.toSorted().map((name) => {
    const content = readFileSync(join(folder, name));
    return name.endsWith(".zst") ? Buffer.from(Bun.zstdDecompressSync(content)) : content;
  });
  return Buffer.concat([...bytes, readFileSync(join(folder, "out.ndjson"))]).toString("latin1");
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "warder-file-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("a file that is rotated", () => {
  test("by size leaves segments of at most that size, compressed, and every line once and in order", () =>
    inFolder(async (folder) => {
      const { writer, close, said } = outputTo(folder, { rotateSize: MIB });
      const all = lines(20_000, 400);
      for (let at = 0; at < all.length; at += 777) await writer.write(all.slice(at, at + 777));
      await close();
      const names = readdirSync(folder).toSorted();
      expect(names.length).toBe(Math.ceil(all.length / Math.floor(MIB / 400)));
      for (const name of names.slice(0, -1)) {
        expect(name).toMatch(/^out-\d{8}T\d{6}Z-\d{4}\.ndjson\.zst$/);
        expect(Bun.zstdDecompressSync(readFileSync(join(folder, name))).length).toBeLessThanOrEqual(MIB);
      }
      expect(contents(folder) === all.join("")).toBe(true);
      expect(said).toEqual([]);
    }));

  test("keeps the newest segments, plain where that is asked for, and leaves other files alone", () =>
    inFolder(async (folder) => {
      for (const name of [
        "out-notes.ndjson",
        "out-20200101T000000Z-1.ndjson",
        "other-20200101T000000Z-0001.ndjson",
      ])
        writeFileSync(join(folder, name), "not ours\n");
      writeFileSync(join(folder, "out-20200101T000000Z-0001.ndjson"), "old\n");
      const { writer, close } = outputTo(folder, { rotateSize: MIB, compress: false, keep: 2 });
      const all = lines(20_000, 400);
      await writer.write(all);
      await close();
      const names = readdirSync(folder);
      expect(names).not.toContain("out-20200101T000000Z-0001.ndjson");
      expect(names.filter((name) => readFileSync(join(folder, name), "utf8") === "not ours\n").length).toBe(
        3,
      );
      expect(names.length).toBe(3 + 2 + 1);
      const own = contents(folder).replaceAll("not ours\n", "");
      expect(all.join("").endsWith(own)).toBe(true);
      expect(own.length).toBeGreaterThan(2 * (MIB - 400));
    }));

  test("by age begins anew when lines are in it, and only then", () =>
    inFolder(async (folder) => {
      const { file, writer, close } = outputTo(folder, { rotateAgeMs: 200 });
      const turn = () => file.old && writer.between(() => file.rotateByAge());
      turn();
      await Bun.sleep(250);
      turn();
      expect(readdirSync(folder)).toEqual(["out.ndjson"]);
      const all = lines(3, 100);
      await writer.write(all.slice(0, 1));
      await Bun.sleep(250);
      turn();
      await writer.write(all.slice(1));
      turn();
      await close();
      expect(readdirSync(folder).length).toBe(2);
      expect(readFileSync(join(folder, "out.ndjson"), "latin1")).toBe(all.slice(1).join(""));
      expect(contents(folder)).toBe(all.join(""));
    }));

  test("is of the age that its first line has, also for the next process", () =>
    inFolder(async (folder) => {
      const first = outputTo(folder);
      await first.writer.write(lines(1, 100));
      await first.close();
      await Bun.sleep(250);
      const second = outputTo(folder, { rotateAgeMs: 200 });
      expect(second.file.old).toBe(true);
      second.writer.between(() => second.file.rotateByAge());
      await second.close();
      expect(readdirSync(folder).length).toBe(2);
    }));

  test("takes lines while a segment is being compressed", () =>
    inFolder(async (folder) => {
      const { writer, close } = outputTo(folder, { rotateSize: 32 * MIB });
      const all = lines(90_000, 400);
      let during = 0;
      for (let at = 0; at < all.length; at += 1000) {
        await writer.write(all.slice(at, at + 1000));
        if (readdirSync(folder).some((name) => name.endsWith(".part"))) during += 1;
      }
      expect(during).toBeGreaterThan(1);
      await close();
      expect(contents(folder) === all.join("")).toBe(true);
    }));

  test("goes on in the same file when it cannot be set aside, and says so once", () =>
    inFolder(async (folder) => {
      const inner = join(folder, "inner");
      mkdirSync(inner);
      const { writer, close, said } = outputTo(inner, { rotateSize: MIB, compress: false });
      const all = lines(9000, 400);
      await writer.write(all.slice(0, 1000));
      // The folder is somewhere else now: neither the file nor a place for segments is found.
      renameSync(inner, `${inner}-moved`);
      await writer.write(all.slice(1000, 6000));
      expect(said).toEqual([expect.stringMatching(/cannot be rotated: .*ENOENT.*; lines go on into it$/)]);
      renameSync(`${inner}-moved`, inner);
      await Bun.sleep(1000);
      await writer.write(all.slice(6000));
      await close();
      expect(said.length).toBe(1);
      expect(readdirSync(inner).length).toBeGreaterThan(1);
      expect(contents(inner) === all.join("")).toBe(true);
    }));

  test("does not set aside what somebody else has put in its place", () =>
    inFolder(async (folder) => {
      const path = join(folder, "out.ndjson");
      const { writer, close } = outputTo(folder, { rotateSize: MIB, compress: false });
      const all = lines(6000, 400);
      await writer.write(all.slice(0, 2000));
      renameSync(path, join(folder, "moved"));
      writeFileSync(path, "theirs\n");
      await writer.write(all.slice(2000, 4000));
      await close();
      expect(readFileSync(path, "latin1")).toStartWith("theirs\n");
      const both = readFileSync(join(folder, "moved"), "latin1") + readFileSync(path, "latin1").slice(7);
      expect(both === all.slice(0, 4000).join("")).toBe(true);
    }));
});

describe("segments", () => {
  test("have names that sort as they were made, whatever the clock does, and are never used twice", () =>
    inFolder(async (folder) => {
      const segments = new Segments(join(folder, "a.b.ndjson"), { compress: true, keep: 0 }, () => {});
      const noon = Date.UTC(2026, 4, 17, 12);
      const names: string[] = [];
      for (const time of [noon, noon, noon - 3_600_000, noon + 999, noon + 1000, noon - 1]) {
        const name = segments.next(new Date(time));
        expect(existsSync(name)).toBe(false);
        writeFileSync(names.length % 2 ? name : `${name}.zst`, "");
        names.push(name);
      }
      expect(names.map((name) => name.slice(folder.length + 1))).toEqual([
        "a.b-20260517T120000Z-0001.ndjson",
        "a.b-20260517T120000Z-0002.ndjson",
        "a.b-20260517T120000Z-0003.ndjson",
        "a.b-20260517T120000Z-0004.ndjson",
        "a.b-20260517T120001Z-0001.ndjson",
        "a.b-20260517T120001Z-0002.ndjson",
      ]);
    }));

  test("that a crash left unfinished are finished at the next start", () =>
    inFolder(async (folder) => {
      const all = lines(40, 100);
      const place = (count: number) => join(folder, `out-20260517T120000Z-000${count}.ndjson`);
      const chunk = (count: number) => all.slice((count - 1) * 10, count * 10).join("");
      writeFileSync(`${place(1)}.zst`, Bun.zstdCompressSync(chunk(1)));
      // Compressed and renamed, but not yet removed; then half compressed; then not begun.
      writeFileSync(`${place(2)}.zst`, Bun.zstdCompressSync(chunk(2)));
      writeFileSync(place(2), chunk(2));
      writeFileSync(place(3), chunk(3));
      writeFileSync(`${place(3)}.zst.part`, Bun.zstdCompressSync(chunk(3)).subarray(0, 20));
      writeFileSync(place(4), chunk(4));
      const { close } = outputTo(folder, { rotateSize: MIB });
      await close();
      expect(readdirSync(folder).toSorted()).toEqual([
        ...[1, 2, 3, 4].map((count) => `out-20260517T120000Z-000${count}.ndjson.zst`),
        "out.ndjson",
      ]);
      expect(contents(folder)).toBe(all.join(""));
    }));

  test("that cannot be compressed stay as they are, and the reason is said", () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, "out-20260517T120000Z-0001.ndjson"), "x\n");
      mkdirSync(join(folder, "out-20260517T120000Z-0001.ndjson.zst.part"));
      const { close, said } = outputTo(folder, { rotateSize: MIB });
      await close();
      expect(said).toEqual([expect.stringContaining("out.ndjson: a rotated segment stays as it is: ")]);
      expect(readFileSync(join(folder, "out-20260517T120000Z-0001.ndjson"), "utf8")).toBe("x\n");
    }));
});

describe("a file that somebody moves", () => {
  test("keeps its lines until it is opened anew, and none is lost or torn", () =>
    inFolder(async (folder) => {
      const { file, writer, close } = outputTo(folder);
      const all = lines(30_000, 400);
      const path = join(folder, "out.ndjson");
      let count = 0;
      for (let at = 0; at < all.length; at += 3000) {
        const writing = writer.write(all.slice(at, at + 3000));
        count += 1;
        renameSync(path, join(folder, `out-${count}.ndjson`));
        writer.between(() => file.reopen());
        await writing;
      }
      await close();
      const moved = Array.from({ length: count }, (_, i) => join(folder, `out-${i + 1}.ndjson`));
      const text = [...moved, path].map((name) => readFileSync(name, "latin1"));
      expect(text.join("") === all.join("")).toBe(true);
      for (const part of text) expect(part === "" || part.endsWith("\n")).toBe(true);
    }));

  test("is opened anew at once when nothing is being written", () =>
    inFolder(async (folder) => {
      const { file, writer, close } = outputTo(folder);
      await writer.write(lines(1, 100));
      renameSync(join(folder, "out.ndjson"), join(folder, "moved"));
      writer.between(() => file.reopen());
      expect(readFileSync(join(folder, "out.ndjson"), "latin1")).toBe("");
      await close();
    }));

  test("and that cannot be opened anew goes on, and that is said", () =>
    inFolder(async (folder) => {
      const { file, writer, close, said } = outputTo(folder);
      renameSync(join(folder, "out.ndjson"), join(folder, "moved"));
      mkdirSync(join(folder, "out.ndjson"));
      writer.between(() => file.reopen());
      await writer.write(lines(2, 100));
      await close();
      expect(readFileSync(join(folder, "moved"), "latin1")).toBe(lines(2, 100).join(""));
      expect(said).toEqual([expect.stringContaining("cannot be opened anew: is a folder")]);
    }));
});

describe("a file that ends within a line", () => {
  test.each([
    ["of ours loses it", `whole\n{"event_type":"file_op`, "whole\n"],
    ["of ours that has hardly begun loses it", `{"ev`, ""],
    ["of something else gets a line end", "whole\nwhatever", "whole\nwhatever\n"],
    ["is left alone when it does not", "whole\n", "whole\n"],
  ])("%s", (_name, before, after) =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, "out.ndjson"), before);
      const { writer, close } = outputTo(folder);
      await writer.write(lines(1, 100));
      await close();
      expect(readFileSync(join(folder, "out.ndjson"), "latin1")).toBe(after + lines(1, 100).join(""));
    }),
  );
});

test(
  "writers that are killed at any time leave every line that they had written, whole, in whatever segment",
  () =>
    inFolder(async (folder) => {
      const program = join(folder, "writer.ts");
      writeFileSync(
        program,
        `import { OutputFile } from ${JSON.stringify(join(import.meta.dir, "file.ts"))};
       import { Lines } from ${JSON.stringify(join(import.meta.dir, "lines.ts"))};
       import { LineWriter } from ${JSON.stringify(join(import.meta.dir, "writer.ts"))};
       const settings = { path: process.argv[2], rotateSize: ${MIB}, rotateAgeMs: 0, compress: true, keep: 0 };
       const file = new OutputFile(settings, () => {});
       const writer = new LineWriter(file, { wrote() {}, lost() {}, say() {} });
       for (let id = Number(process.argv[3]); ; id += 500) {
         const line = (i) => '{"event_type":"test","id":' + (id + i) + ',"more":"' + "x".repeat(300) + '"}\\n';
         const lines = new Lines();
         for (let i = 0; i < 500; i++) lines.add(line(i), 0);
         await writer.write(lines);
         process.stdout.write(id + 500 + "\\n");
       }`,
      );
      const output = join(folder, "output");
      mkdirSync(output);
      let written = 0;
      for (let kills = 0; kills < 12; kills++) {
        const child = Bun.spawn([process.execPath, program, join(output, "out.ndjson"), String(written)]);
        const reader = child.stdout.getReader();
        const deadline = performance.now() + 100 + 150 * Math.random();
        let told = "";
        while (performance.now() < deadline || told === "")
          told += Buffer.from((await reader.read()).value ?? []).toString();
        child.kill("SIGKILL");
        await child.exited;
        written = Number(told.trim().split("\n").at(-1));
      }
      await outputTo(output, { rotateSize: MIB }).close();
      const ids = contents(output)
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { id: number }).id);
      const seen = new Set(ids);
      expect(Array.from({ length: written }, (_, id) => id).filter((id) => !seen.has(id))).toEqual([]);
      expect(readdirSync(output).length).toBeGreaterThan(3);
      expect(readdirSync(output).filter((name) => !name.endsWith(".zst"))).toEqual(["out.ndjson"]);
    }),
  60_000,
);

describe("a path that cannot be written to is an error that says what to do:", () => {
  test("a folder, a folder that is not there", () =>
    inFolder(async (folder) => {
      const open = (path: string) => outputTo(folder, { path });
      expect(() => open(folder)).toThrow(`${folder}: is a folder, and a file is needed`);
      expect(() => open(join(folder, "a/b"))).toThrow(`${folder}/a/b: there is no folder ${folder}/a`);
    }));

  const root = process.getuid?.() === 0;
  if (!root) console.error("skipped: files of other users (not root)");
  test.skipIf(!root)("another user's file, or a folder without the right to rename", () =>
    inFolder(async (folder) => {
      chmodSync(folder, 0o755);
      const path = join(folder, "out.ndjson");
      const attempt = (rotateSize: number) => {
        const program = `
          const { OutputFile } = require(${JSON.stringify(join(import.meta.dir, "file.ts"))});
          process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY});
          const settings = { rotateSize: ${rotateSize}, rotateAgeMs: 0, compress: true, keep: 0 };
          try { new OutputFile({ path: ${JSON.stringify(path)}, ...settings }, console.error); console.log("opened"); }
          catch (error) { console.log(error.message); }`;
        return Bun.spawnSync([process.execPath, "-e", program]).stdout.toString();
      };
      expect(attempt(0)).toContain(`user ${NOBODY} may not write there: "chown ${NOBODY}"`);
      closeSync(openSync(path, "w"));
      chownSync(path, NOBODY, NOBODY);
      expect(attempt(0)).toBe("opened\n");
      expect(attempt(MIB)).toContain(`"chown ${NOBODY} ${folder}"`);
      chmodSync(folder, 0o1777);
      expect(attempt(MIB)).toBe("opened\n");
      chownSync(path, 4242, NOBODY);
      chmodSync(path, 0o666);
      expect(attempt(MIB)).toContain("it is sticky, and the file is another's");
      expect(statSync(path).size).toBe(0);
    }),
  );
});
