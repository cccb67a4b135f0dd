// Streams that are not what they should be, through the command line: a clear error with the offset, exit code 3, and
// everything before it written. The streams are made from the sample capture, which a real sensor has recorded.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import {
  EVENT_ABI,
  FRAME_HEADER,
  FRAME_SIZE_MAX,
  FrameType,
  RING_ENTRY,
  readFrameHeader,
  STREAM_PREAMBLE,
} from "../../bpf/event.gen.ts";
import { FrameReader, frameChecksum, StreamError } from "./records.ts";

const ROOT = join(import.meta.dir, "../..");
const SAMPLE = join(ROOT, "scripts/sample.capture.zst");
const sample = zstdDecompressSync(readFileSync(SAMPLE));
const folder = mkdtempSync(join(tmpdir(), "warder-stream-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function replay(input: Uint8Array | string, ...args: string[]) {
  const path = typeof input === "string" ? input : join(folder, "capture");
  if (typeof input !== "string") writeFileSync(path, input);
  const program = Bun.spawn(
    [
      process.execPath,
      join(ROOT, "evaluator/main.ts"),
      "replay",
      path,
      "-o",
      "json",
      "--rules",
      join(ROOT, "rules/web.toml"),
      ...args,
    ],
    {
      stdout: "pipe",
      stderr: "pipe",
      timeout: 15_000,
    },
  );
  const [stdout, stderr, code] = await Promise.all([
    new Response(program.stdout).text(),
    new Response(program.stderr).text(),
    program.exited,
  ]);
  return { stdout, stderr, code };
}

/** Where each frame of the sample begins. */
function frames(): { offset: number; type: number; size: number }[] {
  const found = [];
  const view = new DataView(sample.buffer, sample.byteOffset, sample.byteLength);
  for (let offset: number = STREAM_PREAMBLE.size; offset < sample.length; ) {
    const { type, size } = readFrameHeader(view, offset);
    found.push({ offset, type, size });
    offset += FRAME_HEADER.size + size;
  }
  return found;
}

/** The sample without checksums, so that what lies behind them is reached. */
function withoutChecksums(): Buffer {
  const copy = Buffer.from(sample);
  copy.writeUInt32LE(0, STREAM_PREAMBLE.at.checksums);
  for (const { offset } of frames()) copy.writeUInt32LE(0, offset + FRAME_HEADER.at.checksum);
  return copy;
}

const whole = await replay(SAMPLE);

describe("the sample", () => {
  test("gives its events, and each alert behind its event", () => {
    expect(whole.code).toBe(0);
    const lines = whole.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const alerts = lines.filter(({ event_type }) => event_type === "alert");
    expect(alerts.map(({ rule_id }) => rule_id)).toEqual([
      "PROC-001",
      "BUILTIN-FILE-SYSTEMD-001",
      "BUILTIN-FILE-SYSTEMD-001",
      "BUILTIN-NET-OUTBOUND-001",
    ]);
    expect(lines[lines.indexOf(alerts[0]) - 1]).toMatchObject({
      event_type: "process_start",
      event_id: alerts[0].event_id,
    });
    expect(alerts[0]).toMatchObject({ rule_id: "PROC-001", parent_name: "nginx", process_name: "sh" });
    expect(lines.at(-1)).toMatchObject({
      event_type: "health",
      ledger: { lost: 0, unaccounted: 0, balanced: true },
    });
    expect(whole.stderr).toContain("4 alerts (1 high, 3 medium), 0 lost");
  });

  test("gives the same bytes every time, from a file, from standard input, compressed or not", async () => {
    expect((await replay(SAMPLE)).stdout === whole.stdout).toBe(true);
    expect((await replay(sample)).stdout === whole.stdout).toBe(true);
    for (const bytes of [sample, readFileSync(SAMPLE)]) {
      const program = Bun.spawn(
        [
          process.execPath,
          join(ROOT, "evaluator/main.ts"),
          "replay",
          "-",
          "-o",
          "json",
          "--rules",
          join(ROOT, "rules/web.toml"),
        ],
        {
          stdin: bytes,
          stdout: "pipe",
          stderr: "ignore",
        },
      );
      expect((await new Response(program.stdout).text()) === whole.stdout).toBe(true);
      expect(await program.exited).toBe(0);
    }
  });

  test("twice in a row repeats nothing silently", async () => {
    const twice = await replay(Buffer.concat([sample, sample]));
    expect(twice.code).toBe(0);
    const health = JSON.parse(twice.stdout.trim().split("\n").at(-1) ?? "");
    expect(health.ledger.repeated).toBe(health.ledger.received / 2);
    expect(health.ledger.balanced).toBe(true);
  });
});

describe("a stream that", () => {
  const records = frames().filter(({ type }) => type === FrameType.records);
  const last = records.at(-1) ?? { offset: 0, size: 0 };

  /** Of the last round, records of the other ring may be missing between those that came. */
  const expectPart = (lines: string[]) => {
    const all = events(whole.stdout);
    let at = 0;
    for (const line of lines) {
      const found = all.indexOf(line, at);
      expect(line).toBe(all[found] ?? "");
      at = found + 1;
    }
  };

  test("ends within a frame is an error at that frame, and what came before is written", async () => {
    const { code, stdout, stderr } = await replay(sample.subarray(0, last.offset + 100));
    expect(code).toBe(3);
    expect(stderr).toContain(`offset ${last.offset}: the stream was cut`);
    const [gone = "", ...before] = events(stdout).toReversed();
    expect(JSON.parse(gone)).toMatchObject({ event_type: "sensor_gone" });
    expectPart(before.toReversed());
    expect(before.length).toBeGreaterThan(10);
  });

  test("ends between two frames is an error too", async () => {
    const { code, stderr } = await replay(sample.subarray(0, last.offset));
    expect({ code, stderr }).toEqual({
      code: 3,
      stderr: expect.stringContaining(`offset ${last.offset}: the stream was cut: it has no last frame`),
    });
  });

  test("has one changed bit, anywhere, is an error, and what came before is written", async () => {
    const step = Math.ceil(sample.length / 40);
    for (let at = 3; at < sample.length; at += step) {
      const copy = Buffer.from(sample);
      copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8));
      const { code, stdout, stderr } = await replay(copy);
      expect({ at, code }).toEqual({ at, code: 3 });
      expect(stderr).toMatch(/: offset \d+: /);
      expectPart(events(stdout));
    }
  }, 60_000);

  test("is damaged while compressed is an error", async () => {
    const bytes = readFileSync(SAMPLE);
    for (const at of [10, Math.floor(bytes.length / 2), bytes.length - 2]) {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      const { code, stderr } = await replay(copy);
      expect({ at, code, stderr }).toEqual({ at, code: 3, stderr: expect.stringMatching(/offset \d+: /) });
    }
    expect((await replay(bytes.subarray(0, bytes.length - 20))).code).toBe(3);
  });

  test("is something else is refused by its first bytes", async () => {
    for (const bytes of [
      Buffer.from("PK\x03\x04 not ours at all"),
      Buffer.alloc(0),
      Buffer.from("WARD"),
      zstdCompressSync(Buffer.from("hello")),
    ]) {
      const { code, stdout, stderr } = await replay(bytes);
      expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
      expect(stderr).toMatch(/offset 0: (not a Warder stream|the stream is empty)/);
    }
  });

  test("was written by another version is refused, with both event ABIs", async () => {
    const copy = Buffer.from(sample);
    copy.write("0".repeat(32), STREAM_PREAMBLE.at.abi);
    const { code, stderr } = await replay(copy);
    expect(code).toBe(3);
    expect(stderr).toContain("0".repeat(32));
    expect(stderr).toContain(EVENT_ABI);
  });

  test.each([
    [
      "a record longer than any",
      (copy: Buffer) => copy.writeUInt32LE(0x3fffffff, last.offset + FRAME_HEADER.size),
      /a record of \d+ bytes; at most/,
    ],
    [
      "a record longer than its frame",
      (copy: Buffer) => copy.writeUInt32LE(60_000, last.offset + FRAME_HEADER.size),
      /longer than its frame/,
    ],
    [
      "a record that was not complete",
      (copy: Buffer) => copy.writeUInt32LE(0x80000010, last.offset + FRAME_HEADER.size),
      /not complete when it was sent/,
    ],
    [
      "a frame longer than any",
      (copy: Buffer) => copy.writeUInt32LE(0xffffffff, last.offset + FRAME_HEADER.at.size),
      /a frame of 4294967295 bytes/,
    ],
    ["a frame of an unknown type", (copy: Buffer) => copy.writeUInt16LE(77, last.offset), /unknown type 77/],
    [
      "a ring that is unknown",
      (copy: Buffer) => copy.writeUInt16LE(9, last.offset + FRAME_HEADER.at.ring),
      /unknown ring 9/,
    ],
  ])("has %s is an error with its offset", async (_name, change, message) => {
    const copy = withoutChecksums();
    change(copy);
    const { code, stderr } = await replay(copy);
    expect(code).toBe(3);
    expect(stderr).toMatch(message);
    expect(Number(/offset (\d+)/.exec(stderr)?.[1])).toBeGreaterThanOrEqual(last.offset);
  });

  test("has a record that does not decode counts it as malformed and goes on", async () => {
    const copy = withoutChecksums();
    // The text's size within the first record of the last frame: beyond what the record has.
    copy.fill(
      0xff,
      last.offset + FRAME_HEADER.size + RING_ENTRY.size + 16,
      last.offset + FRAME_HEADER.size + RING_ENTRY.size + 18,
    );
    const { code, stdout } = await replay(copy);
    expect(code).toBe(0);
    const health = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
    expect(health).toMatchObject({ userspace_unsupported_kind: 1, ledger: { malformed: 1 } });
  });
});

/** The lines of a replay but for the evaluator's own. */
function events(stdout: string): string[] {
  return stdout.split("\n").filter((line) => line !== "" && !line.includes('"event_type":"health"'));
}

describe("the reader", () => {
  test("gives the same frames however the bytes are cut into pieces", () => {
    const all = describeFrames([sample]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 40 }), (sizes) => {
        const pieces: Uint8Array[] = [];
        for (let at = 0, i = 0; at < sample.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          pieces.push(sample.subarray(at, at + size));
          at += size;
        }
        expect(describeFrames(pieces)).toEqual(all);
      }),
      { numRuns: 200 },
    );
  });

  test("lays records where they can be read as words, whatever size the frames before them have", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 10 }), (sizes) => {
        const reader = new FrameReader();
        for (let at = 0, i = 0; at < sample.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          for (const frame of reader.push(sample.subarray(at, at + size)))
            if (frame.type === "records" || frame.type === "snapshot")
              expect(frame.bytes.byteOffset % 8).toBe(0);
          at += size;
        }
      }),
      { numRuns: 50 },
    );
  });

  test("random bytes behind a true preamble give frames or its own error, with bounded memory", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const stream = Buffer.concat([withoutChecksums().subarray(0, STREAM_PREAMBLE.size), bytes]);
        try {
          describeFrames([stream]);
        } catch (error) {
          expect(error).toBeInstanceOf(StreamError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("takes the largest frame that there can be", () => {
    const copy = Buffer.alloc(STREAM_PREAMBLE.size + FRAME_HEADER.size + FRAME_SIZE_MAX);
    sample.copy(copy, 0, 0, STREAM_PREAMBLE.size);
    const frame = copy.subarray(STREAM_PREAMBLE.size);
    frame.writeUInt16LE(FrameType.records, 0);
    frame.writeUInt32LE(FRAME_SIZE_MAX, FRAME_HEADER.at.size);
    for (let at: number = FRAME_HEADER.size; at < frame.length; at += 65536) frame.writeUInt32LE(65528, at);
    frame.writeUInt32LE(
      frameChecksum(frame, crc32(copy.subarray(0, STREAM_PREAMBLE.size))),
      FRAME_HEADER.at.checksum,
    );
    expect(describeFrames([copy])).toEqual([`preamble ${STREAM_PREAMBLE.size}`, `records ${frame.length}`]);
  });
});

function describeFrames(pieces: Uint8Array[]): string[] {
  const reader = new FrameReader();
  return pieces.flatMap((piece) => [...reader.push(piece)].map(({ type, raw }) => `${type} ${raw.length}`));
}
