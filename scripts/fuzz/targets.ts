// What hostile bytes are given to, and the laws that must hold whatever they are. An input that breaks one is a finding; so is
// any exception that is not the reader's or the decoder's own.

import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import {
  type DecodedRecord,
  DecodeError,
  decodeRecord,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RecordFlag,
  RING_ENTRY,
  type Text,
  type TextList,
} from "../../bpf/event.gen.ts";
import { load } from "../../evaluator/config.ts";
import { Core, type CoreSettings } from "../../evaluator/core.ts";
import { isControl } from "../../evaluator/event/text.ts";
import { openCapture, readCapture } from "../../evaluator/input/capture.ts";
import { FrameReader, READER_SIZE_MAX, StreamError } from "../../evaluator/input/records.ts";
import { Rounds } from "../../evaluator/input/rounds.ts";
import { RecordView } from "../../evaluator/input/view.ts";
import { compact } from "../../evaluator/output/compact.ts";
import { EventWriter } from "../../evaluator/output/direct/events.ts";
import { ALERT, Lines, NOTICE } from "../../evaluator/output/lines.ts";
import { ndjson } from "../../evaluator/output/ndjson.ts";
import { type Notice, warnings } from "../../evaluator/output/notice.ts";
import { decisionOf } from "../../evaluator/reload.ts";
import type { Filter } from "../../evaluator/rule/filter.ts";
import { makeRule } from "../../evaluator/rule/schema.ts";
import { law, type Target } from "./law.ts";
import { anyCompressed, anyStream, mutateRecord, rewrittenRecord, type Seeds } from "./mutate.ts";
import { settingsTarget } from "./settings.ts";
import { viewOf } from "./stream.ts";

/** Bytes of one line of output. */
const LINE_SIZE_MAX = 1024 * 1024;
/** Bytes of output for each byte of a stream, and for each of its frames. */
const LINES_PER_BYTE_MAX = 64;
const LINES_PER_FRAME_MAX = 64 * 1024;
const PROCESSES_MAX = 16;

/** All targets. `root` is the project's folder, `compressed` a compressed capture. */
export function targetsOf(seeds: Seeds, root: string, compressed: Buffer): Target[] {
  return [decoder(seeds), reader(seeds), core(seeds, root), capture(seeds, compressed), settingsTarget(root)];
}

function decoder(seeds: Seeds): Target {
  const bytes = Buffer.alloc(256 * 1024);
  const view = viewOf(bytes);
  const where = new RecordView();
  let at = 0;
  let size = 0;
  return {
    name: "decoder",
    input: "one record, given to decodeRecord and to RecordView, which must agree",
    last: () => bytes.subarray(at, at + size),
    run(random) {
      const seed = random.pick(seeds.records);
      at = RING_ENTRY.size * (1 + random.below(8));
      size = (random.once(32) ? rewrittenRecord(random, seed) : seed.bytes).copy(bytes, at);
      for (let count = 1 + random.below(3); count > 0; count--)
        size = mutateRecord(random, seed, bytes, at, size);
      const record = decodes(view, bytes, at, size);
      const isWhole = typeof record === "object";
      bytes.writeUInt32LE(size, at - RING_ENTRY.size);
      const entry = bytes.subarray(at - RING_ENTRY.size, (at + size + 7) & ~7);
      where.open(entry);
      const isThere = where.advance() && where.size === size && where.passed === entry.length;
      law(isThere, "a record that is not found where it lies");
      law(where.isWhole() === isWhole, "one of the two ways to read a record takes it, the other does not");
      const held = isWhole ? checkTexts(record, where) : 0;
      law(held <= size, "the texts of a record are larger than it is");
      if (random.once(64)) {
        // What lies around a record must not matter.
        const alone = Buffer.alloc(size + 16, 0xa5);
        bytes.copy(alone, 8, at, at + size);
        const moved = decodes(viewOf(alone), alone, 8, size);
        law(Bun.deepEquals(record, moved), "the same record decodes to something else elsewhere");
      }
      return { accepted: isWhole, records: 1, lines: 0, held };
    },
  };
}

/** The texts of a record must be the same in both ways to read it. Returns how many bytes they have. */
function checkTexts(record: DecodedRecord, where: RecordView): number {
  let size = 0;
  let isCut = (record.header.flags & (RecordFlag.argsUnreadable | RecordFlag.envUnreadable)) !== 0;
  for (const [key, text] of Object.entries(RECORD_LAYOUTS[record.kind].variable)) {
    const value = (record as unknown as Record<string, Text | TextList>)[key];
    if (!value) throw new Error(`a record without ${key}`);
    const bytes = "bytes" in value ? value.bytes : value.head + value.tail;
    law(where.text(text) === bytes, `another ${key}`);
    size += bytes.length;
    if (bytes.length < value.fullSize) isCut = true;
  }
  law(where.chars(RECORD_HEADER.at.comm) === record.header.comm, "another comm");
  law(where.isCut === isCut, "one of the two ways to read a record finds it cut, the other does not");
  return size;
}

/** The record, or why it is none. */
function decodes(view: DataView, bytes: Buffer, at: number, size: number): DecodedRecord | string {
  try {
    return decodeRecord(view, bytes, at, size);
  } catch (error) {
    if (error instanceof DecodeError) return error.message;
    throw error;
  }
}

function reader(seeds: Seeds): Target {
  let stream: Buffer = Buffer.alloc(0);
  return {
    name: "reader",
    input: "one stream of up to a dozen frames, given to FrameReader whole, and every fourth also in pieces",
    last: () => stream,
    run(random) {
      stream = anyStream(random, seeds);
      const whole = framesOf([stream]);
      law(whole.end <= stream.length, "more bytes were read than there are");
      if (whole.error) {
        const { offset } = whole.error;
        law(offset >= whole.end && offset <= stream.length, `an error at offset ${offset}, outside the rest`);
      }
      if (random.once(4)) {
        const pieces: Buffer[] = [];
        for (let from = 0; from < stream.length; ) {
          const next = from + 1 + random.below(random.once(4) ? 16 : 1000);
          pieces.push(stream.subarray(from, next));
          from = next;
        }
        const { error, frames } = framesOf(pieces);
        law(error?.message === whole.error?.message, "another error when the stream comes in pieces");
        law(Bun.deepEquals(frames, whole.frames), "other frames when the stream comes in pieces");
      }
      return { accepted: whole.error === null, records: 0, lines: 0, held: whole.held };
    },
  };
}

/** The frames that a reader gives (type and hash of their bytes), where they end, the error that came then, and what it held. */
function framesOf(pieces: Buffer[]) {
  const frames: unknown[] = [];
  const frameReader = new FrameReader();
  let end = 0;
  try {
    for (const piece of pieces)
      for (const { type, raw } of frameReader.push(piece)) {
        end += raw.length;
        law(frameReader.offset === end, "the offset is not the sum of the frames");
        frames.push([type, Bun.hash.crc32(raw)]);
      }
    frameReader.finish();
    return { frames, end, error: null, held: frameReader.capacity };
  } catch (error) {
    if (error instanceof StreamError) return { frames, end, error, held: frameReader.capacity };
    throw error;
  } finally {
    law(frameReader.capacity <= READER_SIZE_MAX, "the reader holds more memory than its bound");
  }
}

function core(seeds: Seeds, root: string): Target {
  const settings = settingsOf(root);
  const plain = { ...settings, decision: { ...settings.decision, filter: ANYTHING } };
  let stream: Buffer = Buffer.alloc(0);
  return {
    name: "core",
    input:
      "one such stream, through reader, core and rules to lines of JSON; every fourth also without the ways that make it quick",
    last: () => stream,
    run(random) {
      stream = anyStream(random, seeds);
      const quick = linesOf(stream, settings, true);
      if (random.once(4)) {
        const slow = linesOf(stream, plain, false);
        law(slow.text === quick.text, "the same stream gives other lines without filter and direct writing");
      }
      return { accepted: quick.complete, records: quick.records, lines: quick.lines, held: quick.held };
    },
  };
}

/** A filter that keeps nothing from the rules. */
const ANYTHING = { couldMatch: () => true } as unknown as Filter;

function settingsOf(root: string): CoreSettings {
  const loaded = load({ path: null, folder: null }, [join(root, "rules")]);
  const texts = { description: null, references: [], falsePositives: [], tests: [], attack: [] };
  const parts = {
    ...{ name: "some files", enabled: true, severity: "low" as const, action: "alert" as const },
    ...{ type: "file" as const, ...texts },
  };
  const operations = ["file_open" as const, "file_write" as const, "file_rename" as const];
  const patterns = [["*a*a*a*a*a*b", "*systemd*"], ["/etc/*"], ["*.conf", "/*/*x*"]];
  const extra = patterns.map((some, i) =>
    makeRule(
      { ...parts, id: `P${i}`, match: { type: "file", paths: [], patterns: some, operations } },
      "fuzz",
    ),
  );
  const seen = { type: "file" as const, paths: ["/etc/"], patterns: ["*e*"], operations };
  const config = { ...loaded.config, detections: [{ name: "d", match: seen }] };
  return {
    decision: decisionOf({ ...loaded, config, rules: [...loaded.rules, ...extra] }, false),
    limits: { entriesMax: PROCESSES_MAX, ancestorsMax: 4 },
    healthInterval: 1_000_000_000n,
    memory: () => null,
    shortfalls: () => [],
    hasNotices: true,
  };
}

const waiting = new Lines();

/** What a stream becomes; `isDirect` leaves events of files and the network to the writer that takes records. */
function linesOf(stream: Buffer, settings: CoreSettings, isDirect: boolean) {
  const frameReader = new FrameReader();
  waiting.clear();
  const evaluator = new Core(settings, {
    direct: isDirect ? new EventWriter(waiting) : null,
    isFull: false,
    event(kind, event) {
      if (!isDirect) checkShown(compact(event, { color: false }));
      waiting.add(ndjson(event), kind);
    },
    alert(kind, alert) {
      if (!isDirect) checkShown(compact(alert, { color: false }));
      waiting.add(ndjson(alert), ALERT | kind);
    },
  });
  const say = (notices: Notice[]) => {
    for (const words of warnings(notices)) checkShown(Buffer.from(words).toString("latin1"));
    for (const notice of notices) waiting.add(ndjson(notice), NOTICE);
  };
  const rounds = new Rounds();
  let frames = 0;
  let complete = true;
  try {
    for (const frame of frameReader.push(stream)) {
      frames += 1;
      for (const portion of rounds.portions(frame)) say(evaluator.handle(portion));
    }
    frameReader.finish();
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    complete = false;
  }
  for (const portion of rounds.rest()) say(evaluator.handle(portion));
  say(evaluator.cut());
  const { buffer, count, size } = waiting;
  law(
    size <= LINES_PER_BYTE_MAX * stream.length + LINES_PER_FRAME_MAX * (frames + 1),
    "more output than its bound",
  );
  const text = buffer.bytes.toString("latin1", buffer.start, buffer.end);
  for (let line = 0; line < count; line++) {
    evaluator.wrote(waiting.ownerOf(line));
    checkLine(text.slice(waiting.startOf(line) - buffer.start, waiting.endOf(line) - buffer.start));
  }
  const totals = evaluator.ledger.statement();
  const { received, decoded, malformed, repeated, canaries, lineage, written } = totals;
  law(received === decoded + malformed + repeated, "records are not accounted for");
  law(decoded === canaries + lineage + written, "events are not accounted for");
  // What failed here is what an earlier evaluator could not write.
  const {
    lines,
    write_failed: failed,
    matched,
    alert_lines: alerts,
    alert_write_failed: alertsFailed,
  } = totals;
  law(written === lines + failed && matched === alerts + alertsFailed, "lines are not accounted for");
  return { text, lines: count, records: received, complete, held: frameReader.capacity + size };
}

const decodeUtf8 = new TextDecoder("utf-8", { fatal: true });
const JSON_STRING = /"(?:[^"\\]|\\.)*"/g;

/** One line, valid JSON, nothing raw that steers a terminal, numbers as their digits. */
function checkLine(line: string): void {
  law(line.length <= LINE_SIZE_MAX, "a line that is longer than its bound");
  const text = decodeUtf8.decode(Buffer.from(line, "latin1"));
  law(text.endsWith("\n"), "a line without an end");
  for (let at = 0; at < text.length - 1; at++)
    law(!isControl(text.charCodeAt(at)), "a control character in a line");
  const value: unknown = JSON.parse(text);
  law(typeof value === "object" && value !== null && !Array.isArray(value), "a line that is no object");
  const type = (value as { event_type?: unknown }).event_type;
  law(typeof type === "string", "a line without its type");
  const bare = text.replace(JSON_STRING, "").replace(/true|false|null/g, "");
  law(/^[-0-9[\]{}:,\s]*$/.test(bare), "a number that is not written as its digits");
}

/** As many lines as there are line ends, and nothing raw in them. */
function checkShown(text: string): void {
  const shown = decodeUtf8.decode(Buffer.from(text, "latin1"));
  for (let at = 0; at < shown.length; at++)
    law(shown[at] === "\n" || !isControl(shown.charCodeAt(at)), "a control character for eyes");
}

function capture(seeds: Seeds, whole: Buffer): Target {
  const path = join(tmpdir(), `warder-fuzz-${process.pid}.zst`);
  let bytes: Buffer = Buffer.alloc(0);
  return {
    name: "capture",
    input: "one compressed capture, given to readCapture and FrameReader",
    last: () => bytes,
    async run(random) {
      const good = random.once(4) ? whole : zstdCompressSync(anyStream(random, seeds));
      bytes = anyCompressed(random, good);
      const fd = openSync(path, "w");
      writeSync(fd, bytes);
      closeSync(fd);
      const opened = openCapture(path);
      unlinkSync(path);
      const frameReader = new FrameReader();
      let held = 0;
      try {
        for await (const piece of readCapture(opened))
          for (const frame of frameReader.push(piece)) {
            law(frame.raw.length > 0, "a frame of nothing");
            held = Math.max(held, frameReader.capacity + piece.length);
          }
        frameReader.finish();
        return { accepted: true, records: 0, lines: 0, held };
      } catch (error) {
        if (!(error instanceof StreamError)) throw error;
        return { accepted: false, records: 0, lines: 0, held };
      }
    },
  };
}
