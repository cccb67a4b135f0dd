// Bytes that are put together without strings: constants, numbers and texts go straight into one buffer, which is used again.
//
// Measured, ns for each: a constant below 32 bytes by a loop 4 to 9, above by TypedArray.set some 10; a string of 700 bytes by
// latin1Write 15; nine digits 8; a path of 50 bytes, looked at while it is copied, 25. JSON.stringify of an event of 750 bytes
// takes 1.6 µs, and knows neither bytes nor 64-bit numbers.

import type { Bytes } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import { jsonText, PLAIN } from "./text.ts";

const MIB = 1024 * 1024;
/** Room for lines at first. */
const LINES_SIZE = MIB;
/** Room for pieces that are kept: of some 25,000 processes. */
const KEPT_SIZE = 16 * MIB;
/** Up to here a loop is quicker than a call. */
const LOOP_MAX = 32;
const U32 = 2 ** 32;
const BILLION = 1_000_000_000;
/** Numbers of 64 bits whose upper half is below this are exact in a double. */
const EXACT_HIGH = 2 ** 21;
const ZERO = 0x30;
const HEX = constant("0123456789abcdef");
/** "00" to "99". */
const PAIRS = constant(Array.from({ length: 100 }, (_, i) => String(i).padStart(2, "0")).join(""));
/** Bytes that JSON shows as they are. */
const IS_PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => Number(PLAIN.test(String.fromCharCode(byte))));

/** The bytes of a text of ASCII. */
export function constant(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "latin1"));
}

/** What Buffer.write comes to in the end; 20 ns less. */
type Latin1Buffer = Buffer & { latin1Write(text: string, at: number): number };

/**
 * A buffer that grows when room is asked for, and not otherwise: whoever puts something has asked before. In front of what is
 * put there is a ring of pieces that are put again and again: within one piece of memory, a copy costs 10 ns and makes nothing.
 */
export class ByteBuffer {
  /** Where what is put begins. */
  readonly start = KEPT_SIZE;
  bytes = Buffer.allocUnsafe(KEPT_SIZE + LINES_SIZE) as Latin1Buffer;
  /** Where what was put ends. */
  end = KEPT_SIZE;
  /** How far the ring of kept pieces has got, in all. */
  private kept = 0;

  /** Makes sure that `size` more bytes fit. */
  reserve(size: number): void {
    if (this.end + size <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.end + size)) as Latin1Buffer;
    larger.set(this.bytes.subarray(0, this.end));
    this.bytes = larger;
  }

  /** Keeps what is from `from` to the end. Returns a ticket for it. */
  keep(from: number): number {
    const size = this.end - from;
    const at = this.kept % KEPT_SIZE;
    const ticket = at + size <= KEPT_SIZE ? this.kept : this.kept + KEPT_SIZE - at;
    this.bytes.copyWithin(ticket % KEPT_SIZE, from, this.end);
    this.kept = ticket + size;
    return ticket;
  }

  /** Has the ring not come round since? */
  hasKept(ticket: number): boolean {
    return this.kept <= ticket + KEPT_SIZE;
  }

  /** Puts a part of what is kept. */
  putKept(ticket: number, from: number, to: number): void {
    const at = ticket % KEPT_SIZE;
    this.bytes.copyWithin(this.end, at + from, at + to);
    this.end += to - from;
  }

  put(piece: Uint8Array): void {
    const { bytes, end } = this;
    const size = piece.length;
    if (size > LOOP_MAX) bytes.set(piece, end);
    else for (let i = 0; i < size; i++) bytes[end + i] = piece[i] ?? 0;
    this.end = end + size;
  }

  putBytes(text: Bytes): void {
    this.end += this.bytes.latin1Write(text, this.end);
  }

  /** Puts what JSON shows as it is. Returns false, and puts nothing, when there is something else between `start` and `stop`. */
  putPlain(source: Uint8Array, start: number, stop: number): boolean {
    const { bytes } = this;
    let { end } = this;
    for (let at = start; at < stop; at++) {
      const byte = source[at] ?? 0;
      if (IS_PLAIN[byte] === 0) return false;
      bytes[end++] = byte;
    }
    this.end = end;
    return true;
  }

  /**
   * The inside of a JSON string. If it does not say which bytes there were, the string ends there, and the exact bytes begin
   * another under a key of their own.
   */
  putText(name: string, source: Uint8Array, start: number, end: number): void {
    if (this.putPlain(source, start, end)) return;
    const bytes = Buffer.from(source.buffer, source.byteOffset + start, end - start);
    this.putHard(name, bytes.toString("latin1") as Bytes);
  }

  /** The same of an array of characters, as far as its first NUL. */
  putChars(name: string, record: RecordView, at: number): void {
    this.putText(name, record.bytes, record.start + at, record.charsEnd(at));
  }

  /** The same of a text that is a string already. */
  putString(name: string, text: Bytes): void {
    if (PLAIN.test(text)) this.putBytes(text);
    else this.putHard(name, text);
  }

  private putHard(name: string, text: Bytes): void {
    const { body, exact } = jsonText(text);
    this.putBytes(body);
    if (!exact) this.putBytes(`","${name}_b64":"${Buffer.from(text, "latin1").toString("base64")}` as Bytes);
  }

  /** A whole number from 0 to 2^53, in digits. */
  putNumber(number: number): void {
    if (number >= BILLION) {
      const upper = Math.floor(number / BILLION);
      this.putNumber(upper);
      this.putNine(number - upper * BILLION);
      return;
    }
    let rest = number | 0;
    let size = 1;
    for (let bound = 10; rest >= bound && size < 9; bound *= 10) size += 1;
    const { bytes } = this;
    let at = this.end + size;
    this.end = at;
    while (rest >= 100) {
      const quotient = (rest / 100) | 0;
      const pair = (rest - quotient * 100) * 2;
      bytes[--at] = PAIRS[pair + 1] ?? 0;
      bytes[--at] = PAIRS[pair] ?? 0;
      rest = quotient;
    }
    if (rest >= 10) {
      bytes[--at] = PAIRS[rest * 2 + 1] ?? 0;
      bytes[--at] = PAIRS[rest * 2] ?? 0;
    } else bytes[--at] = ZERO + rest;
  }

  /** A number below a billion, in nine digits. */
  putNine(number: number): void {
    const { bytes, end } = this;
    let rest = number | 0;
    for (let at = end + 8; at > end; at -= 2) {
      const quotient = (rest / 100) | 0;
      const pair = (rest - quotient * 100) * 2;
      bytes[at] = PAIRS[pair + 1] ?? 0;
      bytes[at - 1] = PAIRS[pair] ?? 0;
      rest = quotient;
    }
    bytes[end] = ZERO + rest;
    this.end = end + 9;
  }

  /** A number of 64 bits in digits, by its halves. */
  putU64(low: number, high: number): void {
    if (high < EXACT_HIGH) this.putNumber(high * U32 + low);
    else this.putBytes(((BigInt(high) << 32n) | BigInt(low)).toString() as Bytes);
  }

  /** A number of 64 bits in hex, without zeros before it. */
  putHex(low: number, high: number): void {
    let shift = high === 0 ? 28 - (Math.clz32(low | 1) & ~3) : 60 - (Math.clz32(high) & ~3);
    const { bytes } = this;
    let { end } = this;
    for (; shift >= 0; shift -= 4)
      bytes[end++] = HEX[(shift >= 32 ? high >>> (shift - 32) : low >>> shift) & 15] ?? 0;
    this.end = end;
  }

  /** The same in 16 digits. */
  putHex16(low: number, high: number): void {
    const { bytes, end } = this;
    for (let i = 0; i < 8; i++) {
      bytes[end + i] = HEX[(high >>> (28 - i * 4)) & 15] ?? 0;
      bytes[end + 8 + i] = HEX[(low >>> (28 - i * 4)) & 15] ?? 0;
    }
    this.end = end + 16;
  }
}
