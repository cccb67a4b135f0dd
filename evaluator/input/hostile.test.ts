// Bytes that broke something once, or would have: each is refused with an offset and words, or read as what it is, and costs no
// more than its size. "bun run fuzz" looks for more of them.

import { describe, expect, test } from "bun:test";
import {
  COUNTERS_FRAME,
  CPU_COUNTERS,
  CPUS_MAX,
  FRAME_HEADER,
  FRAME_SIZE_MAX,
  FrameType,
  KIND_COUNTERS,
  LOSER,
  RecordKind,
  RING_ENTRY,
  STREAM_PREAMBLE,
  TAKEN_FRAME,
} from "../../bpf/event.gen.ts";
import {
  countersOf,
  END,
  entryOf,
  firstOf,
  frameOf,
  preambleOf,
  recordsOf,
  sampleCapture,
} from "../../scripts/fuzz/stream.ts";
import { FrameReader, READER_SIZE_MAX, StreamError } from "./records.ts";
import { RecordView } from "./view.ts";

const records = recordsOf(sampleCapture());
const ofKind = (kind: number): Buffer => firstOf(records, kind);
const HEAD = STREAM_PREAMBLE.size;

/** The frames of a stream, and the message of the error that ended it. */
function read(...parts: Uint8Array[]): { types: string[]; error: string | null; capacity: number } {
  const reader = new FrameReader();
  const types: string[] = [];
  try {
    for (const { type } of reader.push(Buffer.concat(parts))) types.push(type);
    reader.finish();
  } catch (error) {
    expect(error).toBeInstanceOf(StreamError);
    return { types, error: (error as Error).message, capacity: reader.capacity };
  }
  return { types, error: null, capacity: reader.capacity };
}

describe("a frame", () => {
  /** A frame's header without its payload, which is of this size. */
  const announced = (type: number, size: number, ring = 0) => {
    const frame = frameOf(type, new Uint8Array(), { ring });
    frame.writeUInt32LE(size, FRAME_HEADER.at.size);
    return frame;
  };
  const counters = COUNTERS_FRAME.size + CPU_COUNTERS.size;
  const taken = TAKEN_FRAME.size + CPU_COUNTERS.size;

  test.each([
    [
      "records of 4 GiB",
      announced(FrameType.records, 0xffff_ffff),
      /a frame of 4294967295 bytes; at most 1048576 can be/,
    ],
    ["records of 2 GiB", announced(FrameType.records, 0x8000_0000), /a frame of 2147483648 bytes/],
    [
      "records of one byte more than can be",
      announced(FrameType.records, FRAME_SIZE_MAX + 1),
      /at most 1048576/,
    ],
    ["a snapshot of 4 GiB", announced(FrameType.snapshot, 0xffff_fff8), /a frame of 4294967288 bytes/],
    [
      "coverage of a megabyte",
      announced(FrameType.coverage, FRAME_SIZE_MAX),
      /a coverage frame of 1048576 bytes; at most 65536/,
    ],
    ["a clock of 17 bytes", announced(FrameType.clock, 17), /a clock frame of 17 bytes; 16 were expected/],
    [
      "counters of another number of CPUs",
      announced(FrameType.counters, counters + 1),
      new RegExp(`counters of ${counters + 1} bytes; ${counters} were expected for 1 CPUs`),
    ],
    [
      "counters that were taken on another number of CPUs",
      announced(FrameType.taken, TAKEN_FRAME.size),
      new RegExp(`counters that were taken of ${TAKEN_FRAME.size} bytes; ${taken} were expected for 1 CPUs`),
    ],
    [
      "half a loser",
      announced(FrameType.losers, LOSER.size + 1),
      /losers of 33 bytes; at most 1024 of 32 bytes/,
    ],
    ["very many losers", announced(FrameType.losers, LOSER.size * 1025), /losers of 32800 bytes/],
    ["an end with bytes", announced(FrameType.end, 1), /a last frame of 1 bytes; 0 were expected/],
    ["an unknown type", announced(0xffff, 0), /a frame of unknown type 65535/],
    [
      "an unknown ring",
      announced(FrameType.records, 8, 2),
      /records of an unknown ring 2; 0 and 1 are known/,
    ],
  ])("that announces %s is refused before its bytes are waited for", (_name, frame, message) => {
    const { types, error, capacity } = read(preambleOf(), frame);
    expect(types).toEqual(["preamble"]);
    expect(error).toMatch(message);
    expect(error).toStartWith(`offset ${HEAD}: `);
    expect(capacity).toBeLessThan(FRAME_SIZE_MAX);
  });

  test("with the counters of as many CPUs as can be is the largest thing that a reader holds", () => {
    const { types, error, capacity } = read(
      preambleOf({ cpus: CPUS_MAX }),
      frameOf(FrameType.counters, countersOf(1n, CPUS_MAX)),
      END,
    );
    expect({ types, error }).toEqual({ types: ["preamble", "counters", "end"], error: null });
    expect(capacity).toBe(READER_SIZE_MAX);
  });

  test("that follows text of an odd size has its records where they can be read as words", () => {
    const payload = Buffer.concat([entryOf(ofKind(RecordKind.exec)), entryOf(ofKind(RecordKind.fileOpen))]);
    for (let size = 2; size < 12; size++) {
      const text = Buffer.from("{}".padEnd(size));
      const stream = [
        preambleOf(),
        frameOf(FrameType.coverage, text),
        frameOf(FrameType.records, payload),
        END,
      ];
      const kinds: number[] = [];
      const view = new RecordView();
      for (const frame of new FrameReader().push(Buffer.concat(stream)))
        if (frame.type === "records")
          for (view.open(frame.bytes); view.advance(); ) kinds.push(view.isWhole() ? view.u16(16) : -1);
      expect(kinds).toEqual([RecordKind.exec, RecordKind.fileOpen]);
    }
  });
});

test.each([
  ["0", 0, null],
  ["1", 1, null],
  ["all there is", 184, null],
  ["one more than there is", 185, "longer than its frame"],
  ["65537", 65_537, "a record of 65537 bytes; at most 65536 can be"],
  ["1 GiB - 1", 0x3fff_ffff, "a record of 1073741823 bytes"],
  ["2 GiB", 0x8000_0000, "not complete when it was sent"],
  ["4 GiB - 1", 0xffff_ffff, "not complete when it was sent"],
])("a record's length of %s is read, or an error at the record itself", (_name, length, message) => {
  const payload = Buffer.alloc(RING_ENTRY.size + 184);
  payload.writeUInt32LE(length, 0);
  // The rest of the frame, behind a record of 0 or 1 bytes, is entries of nothing.
  const { types, error } = read(preambleOf(), frameOf(FrameType.records, payload), END);
  if (message === null)
    expect({ types, error }).toEqual({ types: ["preamble", "records", "end"], error: null });
  else expect(error).toStartWith(`offset ${HEAD + FRAME_HEADER.size}: `);
  if (message !== null) expect(error).toContain(message);
});

describe("very many small things in one piece", () => {
  test("streams that follow each other, each of nothing", () => {
    const count = 20_000;
    const stream = Buffer.concat([preambleOf(), END]);
    const { types, error } = read(Buffer.concat(Array.from({ length: count }, () => stream)));
    expect({ count: types.length, error }).toEqual({ count: 2 * count, error: null });
  });

  test("frames of text of an odd size are not moved about together", () => {
    const frame = frameOf(FrameType.coverage, Buffer.from("{ }"));
    const empty = frameOf(FrameType.records, new Uint8Array());
    const pairs = Array.from({ length: 30_000 }, () => [frame, empty]).flat();
    const { types, error } = read(preambleOf(), ...pairs, END);
    expect({ count: types.length, error }).toEqual({ count: 60_002, error: null });
  });
});

describe("coverage", () => {
  test.each([
    ["no JSON", "{", "not JSON"],
    ["no UTF-8", "\xff", "not JSON"],
    ["a list", "[]", "not a JSON object"],
    ["nothing", "null", "not a JSON object"],
    [
      "a key that would end the line and begin another",
      '{"a\\":1}\\n{\\"event_type\\":\\"alert":1}',
      "snake_case",
    ],
    ["a key that steers a terminal", '{"\\u001b[31m":1}', "snake_case"],
    ["a prototype", '{"__proto__":{"a":1}}', "snake_case"],
    ["infinity", '{"a":1e400}', "a number that is not whole"],
    ["a fraction", '{"a":[0.5]}', "a number that is not whole"],
    ["a number that has lost digits", '{"a":9007199254740993}', "a number that is not whole"],
    ["depth", `{"a":${"[".repeat(9)}${"]".repeat(9)}}`, "more than 8 levels"],
    ["very much depth", `{"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}`, "more than 8 levels|not JSON"],
  ])("of %s is refused", (_name, text, message) => {
    const { types, error } = read(preambleOf(), frameOf(FrameType.coverage, Buffer.from(text, "latin1")));
    expect(types).toEqual(["preamble"]);
    expect(error).toMatch(new RegExp(`^offset ${HEAD}: a coverage frame .*(${message})`));
  });

  test("has its texts as bytes, like everything that is written", () => {
    const text = Buffer.from('{"kernel":"Gr\u00fc\u00dfe \u65e5\u672c","n":[1,null,true,{"k":"\\ud800"}]}');
    const [, frame] = [
      ...new FrameReader().push(Buffer.concat([preambleOf(), frameOf(FrameType.coverage, text)])),
    ];
    const coverage = frame?.type === "coverage" ? frame.coverage : {};
    expect(coverage["kernel"] as string).toBe(Buffer.from("Gr\u00fc\u00dfe \u65e5\u672c").toString("latin1"));
    expect(coverage["n"]).toEqual([1, null, true, { k: "\xef\xbf\xbd" }] as typeof coverage.n);
  });
});

describe("counters", () => {
  const cell = (kind: number) => COUNTERS_FRAME.size + CPU_COUNTERS.at.kinds + kind * KIND_COUNTERS.size;
  const wrong = (change: (payload: Buffer) => void) => {
    const payload = countersOf(1n);
    change(payload);
    return read(preambleOf(), frameOf(FrameType.counters, payload), END).error;
  };

  test.each([0, 5, 31, 36, 127])("of the unknown kind %p are refused", (kind) => {
    expect(wrong((payload) => void payload.writeBigUInt64LE(1n, cell(kind) + 8))).toMatch(
      new RegExp(`^offset ${HEAD}: counters of CPU 0 for a kind from \\d+ to \\d+: none is known$`),
    );
  });

  test.each([
    ["attempts", cell(RecordKind.exec)],
    ["filtered", cell(RecordKind.accept) + KIND_COUNTERS.at.filtered],
    ["sequence numbers", COUNTERS_FRAME.size + CPU_COUNTERS.at.sequence],
    ["missed", COUNTERS_FRAME.at.missed],
    ["canaries", COUNTERS_FRAME.at.canaries + 8],
    ["refused", COUNTERS_FRAME.at.refused],
  ])("whose %s would not be exact any more are refused", (_name, at) => {
    expect(wrong((payload) => void payload.writeBigUInt64LE(2n ** 53n - 1n, at))).toBeNull();
    expect(wrong((payload) => void payload.writeBigUInt64LE(2n ** 53n, at))).toContain(
      "counters that add up to 9007199254740992; at most 9007199254740991 can be",
    );
    expect(wrong((payload) => void payload.writeBigUInt64LE(2n ** 64n - 1n, at))).toContain(
      "add up to 18446744073709551615",
    );
  });

  test("and were taken by an earlier evaluator are held to the same, and what it owed to less", () => {
    const { missed, unread, unwrittenEvents, unwrittenAlerts } = TAKEN_FRAME.at;
    for (const [at, most, message] of [
      [missed + 16, 2n ** 53n - 1n, "add up to 9007199254740992"],
      [TAKEN_FRAME.size + CPU_COUNTERS.at.sequence, 2n ** 53n - 1n, "add up to 9007199254740992"],
      [
        unread + 8,
        2n ** 48n,
        "281474976710657 records or lines that are owed; at most 281474976710656 can be",
      ],
      [unwrittenEvents, 2n ** 48n, "281474976710657 records or lines that are owed"],
      [unwrittenAlerts, 2n ** 48n, "281474976710657 records or lines that are owed"],
    ] as const) {
      const payload = Buffer.alloc(TAKEN_FRAME.size + CPU_COUNTERS.size);
      payload.writeBigUInt64LE(most, at);
      expect(read(preambleOf(), frameOf(FrameType.taken, payload), END).error).toBeNull();
      payload.writeBigUInt64LE(most + 1n, at);
      expect(read(preambleOf(), frameOf(FrameType.taken, payload), END).error).toContain(message);
    }
  });

  test("of losers are held to the same", () => {
    const payload = Buffer.alloc(2 * LOSER.size);
    payload.writeBigUInt64LE(2n ** 52n, LOSER.at.lost);
    payload.writeBigUInt64LE(2n ** 52n, LOSER.size + LOSER.at.lost);
    expect(read(preambleOf(), frameOf(FrameType.losers, payload), END).error).toContain("add up to");
  });
});
