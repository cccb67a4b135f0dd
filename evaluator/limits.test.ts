// What hostile input may cost, through the command line: memory is measured at its highest, and every refusal is quick and clear.
// The ids are those of the catalogue of evasions.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import {
  type Bytes,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  CPUS_MAX,
  type DecodedRecord,
  encodeRecord,
  FRAME_HEADER,
  FRAME_SIZE_MAX,
  FrameType,
  KIND_COUNTERS,
  LOSER,
  RECORD_HEADER,
  RecordKind,
} from "../bpf/event.gen.ts";
import { ALL_EVENT_KINDS } from "../bpf/kinds.ts";
import {
  countersOf,
  decoded,
  END,
  entryOf,
  firstOf,
  frameOf,
  preambleOf,
  recordsOf,
  sampleCapture,
} from "../scripts/fuzz/stream.ts";
import { MEMORY_SIZE_MAX, recordsFrame, Trial } from "../scripts/fuzz/trial.ts";

const records = recordsOf(sampleCapture());
const ofKind = (kind: number): DecodedRecord => decoded(firstOf(records, kind));
const folder = mkdtempSync(join(tmpdir(), "warder-limits-"));
afterAll(() => rmSync(folder, { recursive: true }));
const trial = new Trial(folder);

describe("E56: a number beyond 2^53", () => {
  const most = 2n ** 64n - 1n;
  const odd = 2n ** 53n + 1n;

  test("is written in its digits, in events and alerts", async () => {
    const exec = ofKind(RecordKind.exec);
    const write = ofKind(RecordKind.fileWrite);
    if (exec.kind !== RecordKind.exec || write.kind !== RecordKind.fileWrite) throw new Error("other kinds");
    const header = { ...write.header, flags: 0, time: odd, sequence: most };
    const path = { bytes: "/etc/cron.d/x" as Bytes, fullSize: 13 };
    const start = { ...exec, header: { ...exec.header, flags: 0, time: odd } };
    const quiet = { ...write, header, inode: most, device: odd, count: odd };
    const loud = { ...write, header, inode: odd, device: most, count: most, path };
    const { code, lines } = await trial.evaluate([
      "replay",
      trial.capture(
        Buffer.concat([
          preambleOf(),
          recordsFrame([{ ...start, inode: most, device: odd, cgroupId: most }]),
          recordsFrame([quiet, loud], 1),
          END,
        ]),
      ),
    ]);
    expect(code).toBe(0);
    const [started, direct, matched, alert] = lines;
    for (const line of [started, direct]) expect(line).toContain('"timestamp_ns":9007199254740993,');
    expect(started).toContain('"cgroup_id":18446744073709551615,');
    expect(started).toContain('"inode":18446744073709551615,"device":9007199254740993,');
    expect(direct).toContain('"count":9007199254740993,');
    expect(direct).toContain('"inode":18446744073709551615,"device":9007199254740993,');
    expect(direct).toContain("-20000000000001-0-ffffffffffffffff");
    expect(matched).toContain('"count":18446744073709551615,');
    expect(matched).toContain('"inode":9007199254740993,"device":18446744073709551615,');
    expect(alert).toContain('"rule_id":"BUILTIN-FILE-CRON-001"');
    expect(alert).toContain('"timestamp_ns":9007199254740993,');
  });
});

describe("what a stream says of itself", () => {
  test("does not pass for anything else", async () => {
    const claim = {
      event_type: "alert",
      time: "then",
      host_id: "me",
      rule_id: "R",
      kernel: "Gr\u00fc\u00dfe",
    };
    const coverage = frameOf(FrameType.coverage, Buffer.from(JSON.stringify(claim)));
    const { lines } = await trial.evaluate([
      "replay",
      trial.capture(Buffer.concat([preambleOf(), coverage, END])),
    ]);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      event_type: "coverage",
      time: "1970-01-01T00:00:00.000000000Z",
      host_id: "40".repeat(16),
      rule_id: "R",
      kernel: "Gr\u00fc\u00dfe",
    });
  });

  test("is no event: only snapshots are in a snapshot, and all else there counts as unknown", async () => {
    const list = [RecordKind.snapshot, RecordKind.exec, RecordKind.fileOpen].map(ofKind);
    const payload = Buffer.concat(list.map((record) => entryOf(encodeRecord(record))));
    const stream = Buffer.concat([preambleOf(), frameOf(FrameType.snapshot, payload), END]);
    const { lines } = await trial.evaluate(["replay", trial.capture(stream)]);
    expect(lines.length).toBe(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      process_table_size: 1,
      userspace_unsupported_kind: 2,
    });
  });

  test("names no kind that nobody knows, however many there are", async () => {
    const frames: Buffer[] = [];
    const record = Buffer.alloc(RECORD_HEADER.size);
    let position = 0n;
    for (let first = 0; first < 65_536; first += 8192) {
      const entries = Array.from({ length: 8192 }, (_, i) => {
        record.writeUInt16LE(first + i, RECORD_HEADER.at.kind);
        return entryOf(record);
      });
      const payload = Buffer.concat(entries);
      frames.push(frameOf(FrameType.records, payload, { position }));
      position += BigInt(payload.length);
    }
    const { lines } = await trial.evaluate([
      "replay",
      trial.capture(Buffer.concat([preambleOf(), ...frames, END])),
    ]);
    expect(lines.length).toBe(1);
    const { ledger } = JSON.parse(lines[0] ?? "");
    expect(ledger).toMatchObject({ received: 65_536, malformed: 65_536, balanced: true });
    expect(Object.keys(ledger.by_kind)).toEqual([...ALL_EVENT_KINDS.map(({ type }) => type), "unknown"]);
    expect(ledger.by_kind.unknown.malformed).toBe(65_536 - ALL_EVENT_KINDS.length);
  });

  test("may be that every kind was lost on every one of 1,024 CPUs", async () => {
    const counted = (time: bigint, lost: bigint) => {
      const payload = countersOf(time, CPUS_MAX);
      for (let cpu = 0; cpu < CPUS_MAX; cpu++)
        for (const { kind } of ALL_EVENT_KINDS) {
          const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size + CPU_COUNTERS.at.kinds;
          const at = row + kind * KIND_COUNTERS.size;
          payload.writeBigUInt64LE(lost, at + KIND_COUNTERS.at.attempts);
          payload.writeBigUInt64LE(lost, at + KIND_COUNTERS.at.lost);
        }
      return frameOf(FrameType.counters, payload);
    };
    const losers = Buffer.alloc(1024 * LOSER.size);
    for (let i = 0; i < 1024; i++) {
      losers.write(`loser-${i}`, i * LOSER.size);
      losers.writeUInt32LE(RecordKind.fileOpen, i * LOSER.size + LOSER.at.kind);
      losers.writeBigUInt64LE(BigInt(i), i * LOSER.size + LOSER.at.lost);
    }
    const parts = [
      preambleOf({ cpus: CPUS_MAX }),
      counted(1n, 0n),
      frameOf(FrameType.losers, losers),
      counted(2n, 5n),
      END,
    ];
    const { code, lines, memory } = await trial.evaluate(["replay", trial.capture(Buffer.concat(parts))]);
    expect(code).toBe(0);
    const losses = lines.map((line) => JSON.parse(line)).filter(({ event_type }) => event_type === "loss");
    expect(losses.length).toBe(CPUS_MAX * ALL_EVENT_KINDS.length);
    expect(losses.find(({ kind }) => kind === "file_open")).toMatchObject({
      count: 5,
      producers: [{ comm: "loser-1023", lost: 1023 }, { comm: "loser-1022" }, { comm: "loser-1021" }],
    });
    expect(memory).toBeLessThan(2 * MEMORY_SIZE_MAX);
  });
});

describe("E68: a peer that is no sensor", () => {
  /** Serves one connection, and lets `act` write to it. */
  async function serving(act: (socket: Socket) => void): Promise<{ path: string; server: Server }> {
    const path = join(folder, "sensor.sock");
    rmSync(path, { force: true });
    const server = createServer((socket) => {
      socket.on("error", () => {});
      act(socket);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { path, server };
  }
  /** Writes the same piece until nobody reads any more. */
  const flood = (socket: Socket, piece: Uint8Array) => {
    const more = () => {
      while (socket.write(piece));
    };
    socket.on("drain", more);
    more();
  };
  const header = (type: number, size: number) => {
    const frame = frameOf(type, new Uint8Array());
    frame.writeUInt32LE(size, FRAME_HEADER.at.size);
    return frame;
  };
  const zeros = Buffer.alloc(256 * 1024);

  test.each([
    ["sends zeros without end", Buffer.alloc(0), /offset 0: not a Warder stream: it begins with other bytes/],
    [
      "announces 4 GiB",
      Buffer.concat([preambleOf(), header(FrameType.records, 0xffff_ffff)]),
      /offset 96: a frame of 4294967295 bytes/,
    ],
    [
      "announces a megabyte of coverage",
      Buffer.concat([preambleOf(), header(FrameType.coverage, FRAME_SIZE_MAX)]),
      /offset 96: a coverage frame of 1048576 bytes/,
    ],
    [
      "sends a record over the end of its frame",
      Buffer.concat([preambleOf(), header(FrameType.records, 16), Buffer.from([9, 0, 0, 0])]),
      /offset 120: a record that is longer than its frame/,
    ],
  ])("that %s is refused with an offset, and costs no memory", async (_name, beginning, message) => {
    const { path, server } = await serving((socket) => {
      socket.write(beginning);
      flood(socket, zeros);
    });
    const { code, lines, stderr, memory } = await trial.evaluate(["run", "--socket", path, "--once"]);
    server.close();
    expect({ code, lines }).toEqual({ code: 3, lines: [] });
    expect(stderr).toMatch(message);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  });

  test("that sends frames as fast as it can and never reads costs no memory", async () => {
    const payload = Buffer.concat(Array.from({ length: 200 }, () => entryOf(Buffer.alloc(8))));
    const frames = Buffer.concat(
      Array.from({ length: 1000 }, () => frameOf(FrameType.records, payload.subarray(0, 16))),
    );
    let sent = 0;
    const { path, server } = await serving((socket) => {
      socket.pause();
      socket.write(preambleOf());
      const more = () => {
        while (sent < 100_000_000) {
          sent += frames.length;
          if (!socket.write(frames)) return;
        }
        socket.end(END);
      };
      socket.on("drain", more);
      more();
    });
    const { code, lines, memory } = await trial.evaluate(["run", "--socket", path, "--once"]);
    server.close();
    expect(code).toBe(0);
    const { ledger } = JSON.parse(lines.at(-1) ?? "");
    expect(ledger.received).toBe((sent / frames.length) * 1000);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 120_000);
});

describe("E69: a compressed capture that", () => {
  const part = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  /** 20 GiB, in some hundred kilobytes. */
  const zeros = Array.from({ length: 320 }, () => part);

  test.each([
    ["becomes 20 GiB of zeros", zeros, /offset 0: not a Warder stream/],
    [
      "becomes them behind a true beginning",
      [zstdCompressSync(preambleOf()), ...zeros],
      /offset 96: a frame of unknown type 0/,
    ],
    [
      "becomes them behind a true end",
      [zstdCompressSync(Buffer.concat([preambleOf(), END])), ...zeros],
      /offset 120: not a Warder stream/,
    ],
  ])("%s is refused at once", async (_name, parts, message) => {
    const { code, stderr, memory } = await trial.evaluate(["replay", trial.capture(Buffer.concat(parts))]);
    expect(code).toBe(3);
    expect(stderr).toMatch(message);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  });

  /** A zstd frame of one raw block that asks for a window of 2^(10 + exponent) bytes (RFC 8878, 3.1.1.1.2). */
  const windowed = (exponent: number, data: Uint8Array) => {
    const block = Buffer.alloc(3);
    block.writeUIntLE((data.length << 3) | 1, 0, 3);
    return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3]), block, data]);
  };
  const small = Buffer.concat([preambleOf(), END]);

  test.each([14, 17, 21, 31])(
    "asks for a window of 2^(10 + %d) bytes is refused, with what to do",
    async (exponent) => {
      const { code, stderr, memory } = await trial.evaluate([
        "replay",
        trial.capture(windowed(exponent, small)),
      ]);
      expect(code).toBe(3);
      expect(stderr).toContain(
        "it takes more than 8 MiB to decompress this: compress it again, with zstd -19 at most",
      );
      expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
    },
  );

  test("asks for as large a window as zstd -19 is read", async () => {
    expect((await trial.evaluate(["replay", trial.capture(windowed(13, small))])).code).toBe(0);
  });

  test("has other bytes behind it is an error, after all of it was read", async () => {
    const bytes = Buffer.concat([zstdCompressSync(small), windowed(13, small).fill(0, 0, 1)]);
    const { code, lines, stderr } = await trial.evaluate(["replay", trial.capture(bytes)]);
    expect(code).toBe(3);
    expect(lines.length).toBe(1);
    expect(stderr).toContain(
      `offset ${small.length}: ${windowed(13, small).length} bytes follow that are not compressed`,
    );
  });

  test("cannot be read is an error, too", async () => {
    const { code, stderr } = await trial.evaluate(["replay", "/proc/self/mem"]);
    expect(code).toBe(3);
    expect(stderr).toContain("/proc/self/mem: offset 0: it cannot be read (EIO");
  });
});
