// What a full process table may cost, through the command line: memory is measured at its highest. The id is that of the catalogue
// of evasions.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type DecodedRecord,
  encodeRecord,
  FILE_RECORD,
  FORK_RECORD,
  FRAME_SIZE_MAX,
  FrameType,
  PROCESS_KEY,
  RECORD_HEADER,
  RecordKind,
  Ring,
} from "../bpf/event.gen.ts";
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
  withTexts,
} from "../scripts/fuzz/stream.ts";
import { MEMORY_SIZE_MAX, recordsFrame, Trial } from "../scripts/fuzz/trial.ts";

const records = recordsOf(sampleCapture());
const ofKind = (kind: number): DecodedRecord => decoded(firstOf(records, kind));
const folder = mkdtempSync(join(tmpdir(), "warder-memory-"));
afterAll(() => rmSync(folder, { recursive: true }));
const trial = new Trial(folder);

describe("E71: a capture with", () => {
  const exec = ofKind(RecordKind.exec);
  const fork = ofKind(RecordKind.fork);
  if (fork.kind !== RecordKind.fork) throw new Error("another kind");

  /** A stream of records, made while it is read. */
  function streamOf(
    count: number,
    make: (i: number) => Uint8Array,
    ring: number = Ring.process,
  ): ReadableStream {
    let made = 0;
    let position = 0n;
    const pieces = (function* () {
      yield preambleOf();
      while (made < count) {
        const entries: Buffer[] = [];
        for (let size = 0; size < FRAME_SIZE_MAX - 65_600 && made < count; made++) {
          const entry = entryOf(make(made));
          entries.push(entry);
          size += entry.length;
        }
        const payload = Buffer.concat(entries);
        yield frameOf(FrameType.records, payload, { ring, position });
        position += BigInt(payload.length);
      }
      yield END;
    })();
    return new ReadableStream({
      pull(controller) {
        const { done, value } = pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    });
  }
  const isHealth = (line: string) => line.startsWith('{"event_type":"health"');
  const keyOf = (i: number) => ({
    tgid: 1 + i,
    startTime: 10n ** 12n + BigInt(i) * 1_000_003n,
    reserved: 0,
  });

  /** Writes a process key into a record. */
  function putKey(record: Buffer, at: number, i: number): void {
    const { tgid, startTime } = keyOf(i);
    record.writeUInt32LE(tgid, at + PROCESS_KEY.at.tgid);
    record.writeBigUInt64LE(startTime, at + PROCESS_KEY.at.startTime);
  }

  test("a million processes stays within the memory goal, and counts what it forgets", async () => {
    const count = 1_000_000;
    const record = withTexts(
      { ...fork, header: { ...fork.header, flags: 0 } },
      { exePath: "/opt/app/0000000" },
    );
    const { process: own, parent, tid, comm } = RECORD_HEADER.at;
    const { creator, creatorComm } = FORK_RECORD.at;
    const stdin = streamOf(count, (i) => {
      const before = Math.max(0, i - 1 - (i % 20));
      putKey(record, own, i);
      for (const at of [parent, creator]) putKey(record, at, before);
      record.writeUInt32LE(1 + i, tid);
      for (const at of [comm, creatorComm]) record.write(`worker-${i % 1000}\0`, at, "latin1");
      record.write(String(i).padStart(7, "0"), record.length - 7, "latin1");
      return record;
    });
    const { code, lines, memory } = await trial.evaluate(["replay", "-", "--alerts-only"], {
      stdin,
      keep: isHealth,
    });
    expect(code).toBe(0);
    const health = JSON.parse(lines.at(-1) ?? "");
    expect(health.ledger.decoded).toBe(count);
    expect(health.process_table_size).toBeLessThanOrEqual(65_536);
    expect(health.process_table_size).toBeGreaterThan(50_000);
    expect(health.process_table_size + health.process_records_evicted).toBe(count);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 240_000);

  test("programs of long names and many arguments stays within it while all of it is written", async () => {
    const count = 60_000;
    const args = Array.from({ length: 40 }, (_, i) => `--option-${i}=value\0`).join("");
    const base = exec.kind === RecordKind.exec ? exec : null;
    if (!base) throw new Error("another kind");
    const template = decoded(
      withTexts(base, { args, cwd: `/srv/${"deep/".repeat(20)}`, exePath: `/opt/${"x".repeat(200)}` }),
    );
    const stdin = streamOf(count, (i) => {
      const process = keyOf(i);
      return encodeRecord({
        ...template,
        header: { ...template.header, process, parent: keyOf(i + 1), tid: process.tgid },
      });
    });
    const { code, lines, memory } = await trial.evaluate(["replay", "-"], { stdin, keep: isHealth });
    expect(code).toBe(0);
    const health = JSON.parse(lines.at(-1) ?? "");
    expect(health.ledger.lines).toBe(count);
    expect(health.process_table_size + health.process_records_evicted).toBe(count);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 240_000);

  test("a million opens, each with other flags, call, mode and device, stays within it while all of it is written", async () => {
    const count = 1_000_000;
    const { flags, call, mode, device, inode } = FILE_RECORD.at;
    const record = Buffer.from(firstOf(records, RecordKind.fileOpen));
    record.writeUInt32LE(0, RECORD_HEADER.at.flags);
    const stdin = streamOf(
      count,
      (i) => {
        for (const at of [flags, mode]) record.writeUInt32LE(i, at);
        record.writeUInt32LE(i, call);
        for (const at of [device, inode]) record.writeBigUInt64LE(BigInt(i + 1), at);
        return record;
      },
      Ring.activity,
    );
    const { code, lines, memory } = await trial.evaluate(["replay", "-"], { stdin, keep: isHealth });
    expect(code).toBe(0);
    expect(JSON.parse(lines.at(-1) ?? "").ledger.lines).toBe(count);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 240_000);

  test("opens of a process whose path is long and no text, as is its parent's, stays within it while all of it is written", async () => {
    const count = 20_000;
    const program = decoded(withTexts(exec, { args: "x\0", cwd: "/", exePath: `/${"\xff".repeat(4000)}` }));
    const base = decoded(firstOf(records, RecordKind.fileOpen));
    const header = { ...base.header, flags: 0, process: keyOf(1), parent: keyOf(0), tid: keyOf(1).tgid };
    const start = (i: number) => ({
      ...header,
      kind: RecordKind.exec,
      process: keyOf(i),
      tid: keyOf(i).tgid,
    });
    const first = [0, 1].map((i) => encodeRecord({ ...program, header: start(i) }));
    const open = encodeRecord({ ...base, header });
    const stdin = streamOf(count, (i) => first[i] ?? open);
    const { code, lines, memory } = await trial.evaluate(["replay", "-"], { stdin, keep: isHealth });
    expect(code).toBe(0);
    expect(JSON.parse(lines.at(-1) ?? "").ledger.lines).toBe(count);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 240_000);

  test("opens that a thousand rules match, each of them, stays within it, and has all alerts", async () => {
    const [count, rules] = [200, 1000];
    const path = join(folder, "alike.toml");
    const head =
      'enabled = true\nseverity = "low"\naction = "alert"\ntype = "file"\npaths = ["/"]\noperations = ["open"]';
    const ids = Array.from(
      { length: rules },
      (_, i) => `[[rules]]\nid = "ALIKE-${i}"\nname = "x"\n${head}\n`,
    );
    writeFileSync(path, ids.join("\n"));
    const open = encodeRecord(ofKind(RecordKind.fileOpen));
    const stdin = streamOf(count, () => open, Ring.activity);
    const args = ["replay", "-", "--rules", path];
    const { code, lines, memory } = await trial.evaluate(args, { stdin, keep: isHealth });
    expect(code).toBe(0);
    const { ledger } = JSON.parse(lines.at(-1) ?? "");
    expect([ledger.lines, ledger.alert_lines]).toEqual([count, count * rules]);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 240_000);

  test("streams of ever other boots begins anew each time, and costs no more", async () => {
    const parts: Buffer[] = [];
    for (let boot = 0; boot < 2000; boot++) {
      const bootId = new Uint8Array(16);
      bootId.set([boot & 255, boot >> 8]);
      parts.push(
        preambleOf({ bootId }),
        frameOf(FrameType.counters, countersOf(1n)),
        recordsFrame([fork]),
        END,
      );
    }
    const { code, lines, memory } = await trial.evaluate(["replay", trial.capture(Buffer.concat(parts))], {
      keep: isHealth,
    });
    expect({ code, lines: lines.length }).toEqual({ code: 0, lines: 2000 });
    const health = JSON.parse(lines.at(-1) ?? "");
    expect(health.process_table_size).toBe(1);
    expect(health.ledger.decoded).toBe(2000);
    expect(memory).toBeLessThan(MEMORY_SIZE_MAX);
  }, 60_000);
});
