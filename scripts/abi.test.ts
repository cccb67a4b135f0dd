// The generated layouts against what a C compiler made of the same header, and the generator against wrong headers.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import * as abi from "../bpf/event.gen.ts";

const BPF = join(import.meta.dir, "../bpf");
const KINDS = Object.keys(abi.RecordKind) as (keyof typeof abi.RecordKind)[];
const folder = mkdtempSync(join(tmpdir(), "warder-golden-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Records and structs as C wrote them, and what C says of their members. */
const golden = new Map<string, Buffer>();
const members = new Map<string, Map<string, string>>();

beforeAll(() => {
  const program = join(folder, "golden");
  const source = join(import.meta.dir, "golden.c");
  const compiled = Bun.spawnSync(["clang-19", "-Wall", "-Wextra", "-Werror", "-o", program, source], {
    stderr: "inherit",
  });
  expect(compiled.exitCode).toBe(0);
  for (const line of Bun.spawnSync([program]).stdout.toString().trim().split("\n")) {
    const [name = "", ...value] = line.split(" ");
    const dot = name.indexOf(".");
    if (dot < 0) golden.set(name, Buffer.from(value.join(""), "hex"));
    else {
      const struct = name.slice(0, dot);
      if (!members.has(struct)) members.set(struct, new Map());
      members.get(struct)?.set(name.slice(dot + 1), value.join(""));
    }
  }
});

function goldenBytes(name: string): { view: DataView; bytes: Buffer } {
  const bytes = golden.get(name);
  if (!bytes) throw new Error(`golden.c writes no ${name}`);
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), bytes };
}

const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** The members that a decoder gave, as C names them: a text by its own name is its bytes. */
function pathsOf(value: unknown, path = ""): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array)
    return [path];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === "bytes" ? [path] : pathsOf(inner, path ? `${path}.${key}` : key),
  );
}

/** Compares every member with what C says of it; what C does not mention is an error, too. */
function compare(name: string, decoded: object): void {
  const expected = members.get(name) ?? new Map<string, string>();
  expect(pathsOf(decoded).toSorted()).toEqual([...expected.keys()].map(camel).toSorted());
  for (const [path, value] of expected) {
    const keys = camel(path).split(".");
    let actual: unknown = decoded;
    for (const key of keys) actual = (actual as Record<string, unknown>)[key];
    if (typeof actual === "object" && actual !== null && "bytes" in actual) actual = actual.bytes;
    const shown = typeof actual === "string" ? Buffer.from(actual, "latin1").toString("hex") : String(actual);
    expect({ path, value: shown }).toEqual({ path, value });
  }
}

describe("what C has written is read as C reads it", () => {
  test.each(KINDS)("record %s", (name) => {
    const { view, bytes } = goldenBytes(name);
    const record = abi.decodeRecord(view, bytes, 0, bytes.length);
    expect(record.kind).toBe(abi.RecordKind[name]);
    const { kind: _, ...rest } = record;
    compare(name, rest);
    expect(Buffer.from(abi.encodeRecord(record)).toString("hex")).toBe(bytes.toString("hex"));
  });

  test.each<
    [
      string,
      (view: DataView, at: number) => object,
      ((view: DataView, at: number, value: never) => void) | null,
    ]
  >([
    ["stream_preamble", abi.readStreamPreamble, abi.writeStreamPreamble],
    ["frame_header", abi.readFrameHeader, abi.writeFrameHeader],
    ["ring_entry", abi.readRingEntry, abi.writeRingEntry],
    ["clock_frame", abi.readClockFrame, abi.writeClockFrame],
    ["counters_frame", abi.readCountersFrame, abi.writeCountersFrame],
    ["kind_counters", abi.readKindCounters, null],
    ["acknowledgement", abi.readAcknowledgement, abi.writeAcknowledgement],
    ["kernel_settings", abi.readKernelSettings, abi.writeKernelSettings],
    ["own_processes", abi.readOwnProcesses, abi.writeOwnProcesses],
    ["message", abi.readMessage, abi.writeMessage],
    ["taken_frame", abi.readTakenFrame, abi.writeTakenFrame],
    ["loser", abi.readLoser, abi.writeLoser],
  ])("struct %s, and written it is the same bytes, wherever it lies", (name, read, write) => {
    const { view, bytes } = goldenBytes(name);
    const value = read(view, 0);
    compare(name, value);
    if (!write) return;
    const copy = Buffer.alloc(bytes.length + 16, 0xa5);
    const around = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
    write(around, 8, value as never);
    expect(copy.toString("hex")).toBe(`${"a5".repeat(8)}${bytes.toString("hex")}${"a5".repeat(8)}`);
    expect(read(around, 8)).toEqual(value);
  });

  test("the sizes of all structs, the columns of the counters, and the magic", () => {
    const layouts = Object.entries(abi).flatMap(([name, value]) =>
      typeof value === "object" && "at" in value ? [[camel(name.toLowerCase()), value.size] as const] : [],
    );
    compare("size", Object.fromEntries(layouts));
    compare("cpu_counters", abi.CPU_COUNTERS.at);
    const { view } = goldenBytes("stream_preamble");
    expect<string>(abi.readStreamPreamble(view, 0).magic).toBe(abi.STREAM_MAGIC);
  });
});

describe("a record that is not whole is refused, never misread", () => {
  test("cut at any length, or longer by any byte", () => {
    for (const name of KINDS) {
      const { bytes } = goldenBytes(name);
      const longer = Buffer.concat([bytes, Buffer.alloc(1)]);
      const view = new DataView(longer.buffer, longer.byteOffset, longer.byteLength);
      for (let size = 0; size <= longer.length; size++) {
        if (size === bytes.length) continue;
        expect(() => abi.decodeRecord(view, longer, 0, size)).toThrow(abi.DecodeError);
      }
    }
  });

  test("random changes give a record or the decoder's own error, and stay within the record's bytes", () => {
    const change = fc.tuple(fc.nat(700), fc.nat(255));
    fc.assert(
      fc.property(
        fc.constantFrom(...KINDS),
        fc.array(change, { maxLength: 6 }),
        fc.nat(40),
        (name, changes, cut) => {
          const { bytes } = goldenBytes(name);
          const fence = Buffer.alloc(bytes.length + 64, 0x5a);
          bytes.copy(fence);
          for (const [at, value] of changes) fence[at % bytes.length] = value;
          const view = new DataView(fence.buffer, fence.byteOffset, fence.byteLength);
          try {
            const record = abi.decodeRecord(view, fence, 0, Math.max(0, bytes.length - cut));
            const size = JSON.stringify(record, (_, value) =>
              typeof value === "bigint" ? String(value) : value,
            ).length;
            expect(size).toBeLessThan(20 * bytes.length);
          } catch (error) {
            expect(error).toBeInstanceOf(abi.DecodeError);
          }
        },
      ),
      { numRuns: 20_000 },
    );
  });

  test("a size beyond the record is no way back to its beginning", () => {
    const { exePath, args } = abi.EXEC_RECORD.at;
    for (const [at, fullSize] of [
      [exePath, 4],
      [args, 8],
      [args + 4, 4],
    ] as const) {
      const bytes = Buffer.from(goldenBytes("exec").bytes);
      bytes.writeUInt32LE(0xfffffff0, at);
      bytes.writeUInt32LE(0xffffffff, at + fullSize);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      expect(() => abi.decodeRecord(view, bytes, 0, bytes.length)).toThrow(
        expect.objectContaining({ kind: abi.RecordKind.exec, reason: "text too long" }),
      );
    }
  });

  test("random bytes give a record or the decoder's own error, whatever kind they claim", () => {
    const kinds = fc.oneof(fc.constantFrom(...Object.values(abi.RecordKind)), fc.nat(0xffff));
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 600, size: "max" }), (kind, random) => {
        const bytes = Buffer.from(random);
        if (bytes.length >= abi.RECORD_HEADER.size) bytes.writeUInt16LE(kind, abi.RECORD_HEADER.at.kind);
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        try {
          abi.decodeRecord(view, bytes, 0, bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(abi.DecodeError);
          const claimed = bytes.length >= abi.RECORD_HEADER.size ? kind : undefined;
          expect((error as abi.DecodeError).kind).toBe(claimed);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test("a kind that this version does not know is told apart from damage", () => {
    const { bytes } = goldenBytes("exit");
    const other = Buffer.from(bytes);
    other.writeUInt16LE(0xfffe, abi.RECORD_HEADER.at.kind);
    const view = new DataView(other.buffer, other.byteOffset, other.byteLength);
    expect(() => abi.decodeRecord(view, other, 0, other.length)).toThrow(
      expect.objectContaining({ kind: 0xfffe, reason: "unknown kind" }),
    );
    expect(abi.readRecordHeader(view, 0).kind).toBe(0xfffe);
  });
});

describe("the generator", () => {
  /** Runs it on the headers with one change. */
  function generate(
    from: string | RegExp,
    to: string,
    check: boolean,
    file = "event.h",
  ): { code: number; stderr: string; abi: string; text: string } {
    const copy = mkdtempSync(join(folder, "bpf-"));
    cpSync(BPF, copy, { recursive: true });
    const header = readFileSync(join(copy, file), "utf8");
    const changed = header.replace(from, to);
    if (from !== to) expect(changed).not.toBe(header);
    writeFileSync(join(copy, file), changed);
    const args = ["--bpf", copy, ...(check ? ["--check"] : [])];
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, join(import.meta.dir, "abi.ts"), ...args]);
    const text = readFileSync(join(copy, "event.gen.ts"), "utf8");
    const [, hash = ""] = /EVENT_ABI = "(.*)"/.exec(text) ?? [];
    return { code: exitCode, stderr: stderr.toString(), abi: hash, text };
  }

  test("agrees with the committed file", () => {
    expect(generate("", "", true)).toMatchObject({ code: 0, stderr: "" });
  });

  test("notices two members of one type that changed places, and gives another ABI", () => {
    const swap = [
      "__u32 tid;			/* the thread that acted */\n	__u32 exec_id;",
      "__u32 exec_id;\n	__u32 tid;",
    ] as const;
    expect(generate(...swap, true)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("run bun run abi"),
    });
    const { code, abi: changed } = generate(...swap, false);
    expect(code).toBe(0);
    expect(changed).toMatch(/^[0-9a-f]{32}$/);
    expect(changed).not.toBe(abi.EVENT_ABI);
  });

  const status = "__u32 status;			/*";
  test.each([
    ["an int", "int status; /*", "exit_record.status: only __u8"],
    ["a pointer", "void *status; /*", "exit_record.status: only __u8"],
    ["an enum", "enum ring status; /*", "exit_record.status: only __u8"],
    ["a bit-field", "__u32 status : 31; /*", "exit_record.status: a bit-field"],
    ["unnamed padding", "__u16 status; /*", "exit_record.reserved: 2 bytes of unnamed padding before it"],
    ["a bare char", "char status; __u8 more[3]; /*", "exit_record.status: a single char"],
    ["a long", "unsigned long status; /*", "exit_record.status: only __u8"],
    ["an __s16", "__s16 status; __u16 more; /*", "exit_record.status: the type __s16"],
    ["a union", "union { __u32 a; } status; /*", "exit_record.status: only __u8"],
    [
      "a struct without a name",
      "struct { __u32 a; } status; /*",
      "exit_record.status: a struct without a name",
    ],
    ["an array without a length", "__u32 status; __u8 more[0]; /*", "exit_record.more: an array without"],
    ["an array of arrays", "__u8 status[2][2]; /*", "exit_record.status: an array of arrays"],
    ["texts in an array", "__u32 status; struct text more[2]; /*", "exit_record.more: only a record's own"],
    ["a second kind", "__u32 kind; /*", "exit_record.kind: the kind is in the header"],
  ])("refuses %s, and names the member", (_name, replacement, message) => {
    expect(generate(status, replacement, false)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(message),
    });
  });

  const accept = "RECORD_ACCEPT = 67,";
  test.each([
    [
      "a kind without a struct",
      accept,
      `${accept} RECORD_DNS = 68,`,
      "RECORD_DNS: anchor.c gives it no struct",
    ],
    [
      "a number with two kinds",
      accept,
      "RECORD_ACCEPT = 66,",
      "RECORD_ACCEPT: has the number of RECORD_LISTEN",
    ],
    ["a kind without a counter", accept, "RECORD_ACCEPT = 128,", "RECORD_ACCEPT: 128 is not from 1"],
    ["a stranger in an enum", "FLAG_ENV_", "ENV_", "ENV_UNREADABLE: does not begin with FLAG_"],
    [
      "a text in a frame",
      "clock_frame {",
      "clock_frame { struct text more;",
      "clock_frame.more: only a record's",
    ],
    [
      "what is not anchored",
      "struct ring_entry {",
      "struct lone { int a; };\n$&",
      "struct lone: not reached",
    ],
    ["an enum of 64 bits", "CALL_ACCEPT4 = 52", "CALL_ACCEPT4 = 1ll << 32", "enum call: not reached"],
    [
      "a record whose header is not first",
      /(struct exit_record \{\n)(.*\n)(.*\n.*\n)/,
      "$1$3$2",
      "exit_record: a record begins with a struct record_header",
    ],
  ])("refuses %s", (_name, from, to, message) => {
    expect(generate(from, to, false)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(message),
    });
  });

  test("refuses a struct for a kind that there is not", () => {
    const member = "struct network_record accept;";
    expect(generate(member, `${member} struct exit_record dns;`, false, "anchor.c")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("enum record_kind has no RECORD_DNS"),
    });
  });

  test("reads a text's members where the header has them, and flags up to the highest bit", () => {
    const swapped = generate(/(struct text \{\n)(.*\n)(.*\n)/, "$1$3$2", false);
    expect(swapped.text).toContain("const size = view.getUint32(at + 4, true);");
    expect(swapped.text).toContain("const fullSize = view.getUint32(at + 0, true);");
    const high = generate("FLAG_ENV_UNREADABLE = 4", "FLAG_ENV_UNREADABLE = 0x80000000", false);
    expect(high.text).toContain("envUnreadable: 2147483648,");
  });
});
