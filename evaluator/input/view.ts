// A record where it lies: its numbers are read in place, its texts become strings only when they are asked for. One view looks
// at all records of a frame, one after the other.
//
// To decode a record into an object of strings and bigints costs 1.5 to 4 µs, whatever becomes of it; to look at the words that
// decide what becomes of it costs some 30 ns. Offsets come from event.h here, too, by way of the generated layouts: a constant
// offset is folded into the load by the JIT, so that `u32(FILE_RECORD.at.mode)` is one instruction.

import {
  type Bytes,
  type DecodedRecord,
  decodeRecord,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RecordFlag,
  RING_ENTRY,
  TEXT,
  TEXT_LIST,
} from "../../bpf/event.gen.ts";
import { DISCARDED } from "./records.ts";

/** How a kind announces its variable part: where each text's or list's struct is, in words from the record's beginning. */
type Variable = { fixedSize: number; places: Int32Array; isList: Uint8Array };

const VARIABLES: ReadonlyMap<number, Variable> = variableParts();
const TEXTS_MAX = Math.max(...VARIABLES.values().map(({ places }) => places.length));
const UNREADABLE = RecordFlag.argsUnreadable | RecordFlag.envUnreadable;
const CHARS_SIZE = 16;
const U32 = 2 ** 32;

/** A frame's records, one at a time. Offsets are those of the layouts, texts are numbered as in their `variable`. */
export class RecordView {
  /** Where the record begins in `bytes`, how long it is, and where the next entry is. */
  start = 0;
  size = 0;
  next = 0;
  /** Is a text shorter than the kernel had it, or were arguments or environment not readable? Known with `isWhole`. */
  isCut = false;
  /** The frame's memory. Its first byte is at a multiple of 8, as the first of every record. */
  bytes: Uint8Array = new Uint8Array(0);
  private words: Uint32Array = new Uint32Array(0);
  private base = 0;
  private buffer: Buffer = Buffer.alloc(0);
  /** The same memory. */
  view: DataView = new DataView(new ArrayBuffer(0));
  /** Where the bytes of each text begin, once `isWhole` has looked. */
  private readonly starts = new Int32Array(TEXTS_MAX + 1);

  /** Looks at the frame of which these are the entries. */
  open(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.next = 0;
  }

  /** Goes on to the next record, past entries that were discarded. Returns false at the frame's end. */
  advance(): boolean {
    while (this.next < this.bytes.length) {
      const at = this.next;
      const length = this.words[at >>> 2] ?? 0;
      this.size = length & ~DISCARDED;
      this.start = at + RING_ENTRY.size;
      this.base = this.start >>> 2;
      this.next = (this.start + this.size + 7) & ~7;
      if ((length & DISCARDED) === 0) return true;
    }
    return false;
  }

  /** Is the record long enough to have a header? */
  get hasHeader(): boolean {
    return this.size >= RECORD_HEADER.size;
  }

  /**
   * Is every byte of it accounted for, so that `decode` would not fail? Texts can be read when this was asked, and only
   * if the answer was yes.
   */
  isWhole(): boolean {
    const variable = this.hasHeader ? VARIABLES.get(this.u16(RECORD_HEADER.at.kind)) : undefined;
    if (!variable || this.size < variable.fixedSize) return false;
    const { words, base, starts } = this;
    const { places, isList } = variable;
    const end = this.start + this.size;
    let at = this.start + variable.fixedSize;
    this.isCut = (this.u32(RECORD_HEADER.at.flags) & UNREADABLE) !== 0;
    for (let i = 0; i < places.length; i++) {
      const place = base + (places[i] ?? 0);
      let size = words[place + TEXT.at.size / 4] ?? 0;
      let fullSize = words[place + TEXT.at.fullSize / 4] ?? 0;
      if (isList[i] === 1) {
        size = (words[place + TEXT_LIST.at.size / 4] ?? 0) + (words[place + TEXT_LIST.at.tailSize / 4] ?? 0);
        fullSize = words[place + TEXT_LIST.at.fullSize / 4] ?? 0;
      }
      if (size > fullSize || size > end - at) return false;
      if (size < fullSize) this.isCut = true;
      starts[i] = at;
      at += size;
    }
    starts[places.length] = at;
    return at === end;
  }

  u16(at: number): number {
    return (this.u32(at) >>> ((at & 2) * 8)) & 0xffff;
  }

  u32(at: number): number {
    return this.words[this.base + (at >>> 2)] ?? 0;
  }

  /** A 64-bit number, as near as a double comes to it: exact up to 2^53. */
  u64(at: number): number {
    return this.u32(at + 4) * U32 + this.u32(at);
  }

  /** Where the bytes of a text are in `bytes`. */
  textStart(text: number): number {
    return this.starts[text] ?? 0;
  }

  textEnd(text: number): number {
    return this.starts[text + 1] ?? 0;
  }

  textSize(text: number): number {
    return this.textEnd(text) - this.textStart(text);
  }

  /** A text, or all strings of a list, as Bytes. */
  text(text: number): Bytes {
    return this.latin1(this.textStart(text), this.textEnd(text));
  }

  /** The same, and no other string if it is the one that is expected. */
  textLike(text: number, expected: Bytes | null): Bytes {
    return this.like(this.textStart(text), this.textEnd(text), expected);
  }

  /** An array of 16 characters, as far as its first NUL. */
  chars(at: number): Bytes {
    return this.latin1(this.start + at, this.charsEnd(at));
  }

  charsLike(at: number, expected: Bytes | null): Bytes {
    return this.like(this.start + at, this.charsEnd(at), expected);
  }

  /** Where the characters of an array end in `bytes`. */
  charsEnd(at: number): number {
    const start = this.start + at;
    let end = start;
    while (end < start + CHARS_SIZE && this.bytes[end] !== 0) end++;
    return end;
  }

  /** All of it as an object. @throws DecodeError */
  decode(): DecodedRecord {
    return decodeRecord(this.view, this.buffer, this.start, this.size);
  }

  private like(start: number, end: number, expected: Bytes | null): Bytes {
    if (expected?.length !== end - start) return this.latin1(start, end);
    for (let at = start; at < end; at++)
      if (this.bytes[at] !== expected.charCodeAt(at - start)) return this.latin1(start, end);
    return expected;
  }

  /** The bytes from one place to another of `bytes`. */
  latin1(start: number, end: number): Bytes {
    return this.buffer.toString("latin1", start, end) as Bytes;
  }
}

function variableParts(): Map<number, Variable> {
  return new Map(
    Object.entries(RECORD_LAYOUTS).map(([kind, { size, at, variable, lists }]) => {
      const names = Object.keys(variable);
      const places = Int32Array.from(names, (name) => ((at as Record<string, number>)[name] ?? 0) / 4);
      const isList = Uint8Array.from(names, (name) => Number((lists as readonly string[]).includes(name)));
      return [Number(kind), { fixedSize: size, places, isList }];
    }),
  );
}
