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
  KINDS_MAX,
  RECORD_HEADER,
  RECORD_LAYOUTS,
  RecordFlag,
  RING_ENTRY,
  TEXT,
  TEXT_LIST,
} from "../../bpf/event.gen.ts";
import { DISCARDED, wordsOf } from "./records.ts";

/**
 * How a kind announces its variable part: where the sizes of each text or list are, in words from the record's beginning. A list
 * has two, of its head and of its tail; a text none for a tail.
 */
type Variable = { fixedSize: number; sizes: Int32Array; tailSizes: Int32Array; fullSizes: Int32Array };

const NO_TAIL = -1;

/** By kind of record. */
const VARIABLES: readonly (Variable | undefined)[] = variableParts();
const TEXTS_MAX = Math.max(...VARIABLES.map((variable) => variable?.sizes.length ?? 0));
const UNREADABLE = RecordFlag.argsUnreadable | RecordFlag.envUnreadable;
const CHARS_SIZE = 16;
const U32 = 2 ** 32;

/** A frame's records, one at a time. Offsets are those of the layouts, texts are numbered as in their `variable`. */
export class RecordView {
  /** Where the record begins in `bytes`, and how long it is. */
  start = 0;
  size = 0;
  /** Is a text shorter than the kernel had it, or were arguments or environment not readable? Known with `isWhole`. */
  isCut = false;
  /** The memory that the frame is in. The first byte of every record is at a multiple of 8. */
  bytes: Uint8Array = new Uint8Array(0);
  /** Where the frame begins and ends in it, and where the next entry is. */
  private begin = 0;
  private end = 0;
  private next = 0;
  private words: Uint32Array = new Uint32Array(0);
  private base = 0;
  private buffer: Buffer = Buffer.alloc(0);
  /** The same memory. */
  view: DataView = new DataView(new ArrayBuffer(0));
  /** Where the bytes of each text begin, once `isWhole` has looked. */
  private readonly starts = new Int32Array(TEXTS_MAX + 1);

  /** Looks at the frame, or part of one, of which these are the entries. Next to nothing is made for parts of the same memory. */
  open({ buffer, byteOffset, byteLength }: Uint8Array): void {
    if (buffer !== this.bytes.buffer) {
      this.bytes = new Uint8Array(buffer);
      this.words = wordsOf(this.bytes);
      this.buffer = Buffer.from(buffer);
      this.view = new DataView(buffer);
    }
    this.begin = this.next = byteOffset;
    this.end = byteOffset + byteLength;
  }

  /** Bytes of the frame up to the end of the record's entry. */
  get passed(): number {
    return this.next - this.begin;
  }

  /** Goes on to the next record, past entries that were discarded. Returns false at the frame's end. */
  advance(): boolean {
    while (this.next < this.end) {
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
    const variable = this.hasHeader ? VARIABLES[this.u16(RECORD_HEADER.at.kind)] : undefined;
    return variable !== undefined && this.size >= variable.fixedSize && this.findTexts(variable);
  }

  private findTexts({ fixedSize, sizes, tailSizes, fullSizes }: Variable): boolean {
    const { words, base, starts } = this;
    const end = this.start + this.size;
    let at = this.start + fixedSize;
    let isCut = (this.u32(RECORD_HEADER.at.flags) & UNREADABLE) !== 0;
    for (let i = 0; i < sizes.length; i++) {
      const tail = tailSizes[i] ?? NO_TAIL;
      const fullSize = words[base + (fullSizes[i] ?? 0)] ?? 0;
      let size = words[base + (sizes[i] ?? 0)] ?? 0;
      if (tail !== NO_TAIL) size += words[base + tail] ?? 0;
      if (size > fullSize || size > end - at) return false;
      if (size < fullSize) isCut = true;
      starts[i] = at;
      at += size;
    }
    starts[sizes.length] = at;
    this.isCut = isCut;
    return at === end;
  }

  u16(at: number): number {
    return (this.u32(at) >>> ((at & 2) * 8)) & 0xffff;
  }

  u32(at: number): number {
    return this.words[this.base + (at >>> 2)] ?? 0;
  }

  /** The same bits, which fit into less: quicker to compare, and to calculate with. */
  i32(at: number): number {
    return (this.words[this.base + (at >>> 2)] ?? 0) | 0;
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

function variableParts(): (Variable | undefined)[] {
  const byKind: (Variable | undefined)[] = Array.from({ length: KINDS_MAX });
  for (const [kind, { size, at, variable, lists }] of Object.entries(RECORD_LAYOUTS)) {
    const names = Object.keys(variable);
    const isList = (name: string) => (lists as readonly string[]).includes(name);
    const placesOf = (place: (name: string) => number) =>
      Int32Array.from(names, (name) => (((at as Record<string, number>)[name] ?? 0) + place(name)) / 4);
    byKind[Number(kind)] = {
      fixedSize: size,
      sizes: placesOf((name) => (isList(name) ? TEXT_LIST.at.size : TEXT.at.size)),
      tailSizes: placesOf(() => TEXT_LIST.at.tailSize).map((place, i) =>
        isList(names[i] ?? "") ? place : NO_TAIL,
      ),
      fullSizes: placesOf((name) => (isList(name) ? TEXT_LIST.at.fullSize : TEXT.at.fullSize)),
    };
  }
  return byKind;
}
