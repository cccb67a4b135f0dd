// Bytes as text that survives every reader: valid UTF-8 as it is, what could steer a terminal or end a line as an escape,
// and what is not UTF-8 as \xNN, with the exact bytes beside it.

import { type Bytes, isControl } from "../event/text.ts";

/** The inside of a JSON string, as UTF-8 bytes; `exact` is false when some bytes are not UTF-8. */
export type JsonText = { body: Bytes; exact: boolean };

/** Printable ASCII without quote and backslash: most texts, and they stay as they are. */
export const PLAIN = /^[ !#-[\]-~]*$/;
const ENTITY: Record<number, string> = {
  8: "\\b",
  9: "\\t",
  10: "\\n",
  12: "\\f",
  13: "\\r",
  34: '\\"',
  92: "\\\\",
};

/** What JSON shows of each character of ASCII; behind these, of each byte that is no UTF-8. */
const SHOWN = Array.from({ length: 0x80 }, (_, code) => shownOf(code)).concat(
  Array.from({ length: 0x100 }, (_, byte) => `\\\\x${hex(byte, 2)}`),
);
const RAW = 0x80;
const SHOWN_SIZE_MAX = 6;
/** Bytes of \xNN. */
const ESCAPE_SIZE = 4;
/** The same as bytes, each in a row of its own. */
const SHOWN_SIZES = Uint8Array.from(SHOWN, (text) => text.length);
const SHOWN_BYTES = Buffer.from(SHOWN.map((text) => text.padEnd(SHOWN_SIZE_MAX)).join(""), "latin1");
const BACKSLASH = 92;
/** Control characters, of which this is beyond the last. */
const CONTROLS_END = 0x2070;
const CONTROLS = new Map(
  Array.from({ length: CONTROLS_END }, (_, code) => code)
    .filter(isControl)
    .map((code) => [code, shownOf(code)]),
);
/** A text is rendered here: as a string that grows by each character, it takes three times as long. */
let room = roomFor(4096);

function roomFor(size: number): Buffer {
  return Buffer.allocUnsafe(size * SHOWN_SIZE_MAX);
}

function makeRoomFor({ length }: Bytes): void {
  if (room.length < length * SHOWN_SIZE_MAX) room = roomFor(length);
}

/**
 * Renders bytes as the inside of a JSON string. Two different byte strings differ in `body` or in `exact`. Anybody may open a path of
 * 4,096 bytes that are not plain, as often as he likes: that takes less than 0.1 ms.
 */
export function jsonText(bytes: Bytes): JsonText {
  if (PLAIN.test(bytes)) return { body: bytes, exact: true };
  const exact = isUtf8(bytes);
  makeRoomFor(bytes);
  let end = 0;
  for (let at = 0; at < bytes.length; ) {
    const code = bytes.charCodeAt(at);
    const size = sizeAt(bytes, at);
    if (size > 1) {
      end = putCharacter(bytes, at, size, end);
      at += size;
      continue;
    }
    // A text with \xNN in it must not look like one that has these characters.
    const shown = size === 0 || (code === BACKSLASH && !exact) ? RAW + code : code;
    const stop = end + (SHOWN_SIZES[shown] ?? 0);
    for (let from = shown * SHOWN_SIZE_MAX; end < stop; from++) room[end++] = SHOWN_BYTES[from] ?? 0;
    at += 1;
  }
  return { body: room.toString("latin1", 0, end) as Bytes, exact };
}

/** Puts a character that is not ASCII into the room. Returns where it ends. */
function putCharacter(bytes: Bytes, at: number, size: number, start: number): number {
  const codePoint = codePointOf(bytes, at, size);
  const control = CONTROLS.get(codePoint);
  if (control !== undefined) return start + room.write(control, start, "latin1");
  for (let i = 0; i < size; i++) room[start + i] = bytes.charCodeAt(at + i);
  return start + size;
}

function shownOf(codePoint: number): string {
  return (
    ENTITY[codePoint] ?? (isControl(codePoint) ? `\\u${hex(codePoint, 4)}` : String.fromCharCode(codePoint))
  );
}

/** Bytes as UTF-8: themselves; or, when they are not, with \xNN for the bytes that are none and \x5c for backslashes. */
export function readable(bytes: Bytes): Bytes {
  if (isText(bytes)) return bytes;
  makeRoomFor(bytes);
  let end = 0;
  for (let at = 0; at < bytes.length; ) {
    const code = bytes.charCodeAt(at);
    const size = sizeAt(bytes, at);
    // A text with \xNN in it must not look like one that has these characters.
    if (size === 0 || code === BACKSLASH) {
      // JSON doubles the backslash: it is left out here.
      const from = (RAW + code) * SHOWN_SIZE_MAX + 1;
      for (let i = 0; i < ESCAPE_SIZE; i++) room[end++] = SHOWN_BYTES[from + i] ?? 0;
      at += 1;
    } else for (const stop = at + size; at < stop; at++) room[end++] = bytes.charCodeAt(at);
  }
  return room.toString("latin1", 0, end) as Bytes;
}

/** Does every byte belong to a character? */
export function isText(bytes: Bytes): boolean {
  return PLAIN.test(bytes) || isUtf8(bytes);
}

/** The same of one that is not plain. */
function isUtf8(bytes: Bytes): boolean {
  for (let at = 0; at < bytes.length; ) {
    const size = sizeAt(bytes, at);
    if (size === 0) return false;
    at += size;
  }
  return true;
}

/** The UTF-8 character at `at`; size 0 when there is none. */
export function codePointAt(bytes: Bytes, at: number): { size: number; codePoint: number } {
  const size = sizeAt(bytes, at);
  return { size, codePoint: size === 0 ? 0 : codePointOf(bytes, at, size) };
}

function codePointOf(bytes: Bytes, at: number, size: number): number {
  const first = bytes.charCodeAt(at);
  if (size === 1) return first;
  let codePoint = first & (0x7f >> size);
  for (let i = 1; i < size; i++) codePoint = (codePoint << 6) | (bytes.charCodeAt(at + i) & 0x3f);
  return codePoint;
}

/**
 * Bytes of the UTF-8 character at `at`; 0 when there is none: a stray or missing continuation, an overlong form, a surrogate,
 * something beyond U+10FFFF (RFC 3629).
 */
function sizeAt(bytes: Bytes, at: number): number {
  const first = bytes.charCodeAt(at);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const second = bytes.charCodeAt(at + 1);
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (!(second >= least && second <= most)) return 0;
  if (first < 0xe0) return 2;
  if (!continues(bytes, at + 2)) return 0;
  if (first < 0xf0) return 3;
  return continues(bytes, at + 3) ? 4 : 0;
}

function continues(bytes: Bytes, at: number): boolean {
  return (bytes.charCodeAt(at) & 0xc0) === 0x80;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
