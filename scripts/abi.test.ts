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

/** Compares every member that C has named with what the decoder gave. */
function compare(name: string, decoded: object): void {
  const expected = members.get(name);
  expect(expected?.size).toBeGreaterThan(0);
  for (const [path, value] of expected ?? []) {
    const keys = path
      .split(".")
      .map((key) => key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()));
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
    compare(name, record);
  });

  test("frame header, clock, acknowledgement, counters, preamble; and written they are the same bytes", () => {
    const pairs: [
      string,
      (view: DataView, at: number) => object,
      ((view: DataView, at: number, value: never) => void) | null,
    ][] = [
      ["frame_header", abi.readFrameHeader, abi.writeFrameHeader],
      ["clock_frame", abi.readClockFrame, abi.writeClockFrame],
      ["acknowledgement", abi.readAcknowledgement, abi.writeAcknowledgement],
      ["kind_counters", abi.readKindCounters, null],
      ["stream_preamble", abi.readStreamPreamble, abi.writeStreamPreamble],
    ];
    for (const [name, read, write] of pairs) {
      const { view, bytes } = goldenBytes(name);
      const value = read(view, 0);
      compare(name, value);
      if (!write) continue;
      const copy = Buffer.alloc(bytes.length);
      write(new DataView(copy.buffer, copy.byteOffset, copy.byteLength), 0, value as never);
      expect(copy.toString("hex")).toBe(bytes.toString("hex"));
    }
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

  test("a kind that this version does not know is told apart from damage", () => {
    const { bytes } = goldenBytes("exit");
    const other = Buffer.from(bytes);
    other.writeUInt16LE(999, abi.RECORD_HEADER.at.kind);
    const view = new DataView(other.buffer, other.byteOffset, other.byteLength);
    expect(() => abi.decodeRecord(view, other, 0, other.length)).toThrow(
      expect.objectContaining({ kind: 999, reason: "unknown kind" }),
    );
  });
});

describe("the generator", () => {
  /** Runs it on the headers with one change. */
  function generate(
    from: string | RegExp,
    to: string,
    check: boolean,
  ): { code: number; stderr: string; abi: string } {
    const copy = mkdtempSync(join(folder, "bpf-"));
    cpSync(BPF, copy, { recursive: true });
    const header = readFileSync(join(copy, "event.h"), "utf8");
    const changed = header.replace(from, to);
    if (from !== to) expect(changed).not.toBe(header);
    writeFileSync(join(copy, "event.h"), changed);
    const args = ["--bpf", copy, ...(check ? ["--check"] : [])];
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, join(import.meta.dir, "abi.ts"), ...args]);
    const text = readFileSync(join(copy, "event.gen.ts"), "utf8");
    return { code: exitCode, stderr: stderr.toString(), abi: /EVENT_ABI = "(.*)"/.exec(text)?.[1] ?? "" };
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
  ])("refuses %s, and names the member", (_name, replacement, message) => {
    expect(generate(status, replacement, false)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(message),
    });
  });
});
