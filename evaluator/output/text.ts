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

/** Renders bytes as the inside of a JSON string. Two different byte strings differ in `body` or in `exact`. */
export function jsonText(bytes: Bytes): JsonText {
  if (PLAIN.test(bytes)) return { body: bytes, exact: true };
  const text = readable(bytes);
  let body = "";
  for (let at = 0; at < text.length; ) {
    const { size, codePoint } = codePointAt(text, at);
    if (isControl(codePoint)) body += ENTITY[codePoint] ?? `\\u${hex(codePoint, 4)}`;
    else body += ENTITY[codePoint] ?? text.slice(at, at + size);
    at += size;
  }
  return { body: body as Bytes, exact: text === bytes };
}

/** Bytes as UTF-8: themselves; or, when they are not, with \xNN for the bytes that are none and \x5c for backslashes. */
export function readable(bytes: Bytes): Bytes {
  if (PLAIN.test(bytes) || isUtf8(bytes)) return bytes;
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const { size, codePoint } = codePointAt(bytes, at);
    // A text with \xNN in it must not look like one that has these characters.
    const raw = size > 0 && codePoint !== 92;
    text += raw ? bytes.slice(at, at + size) : `\\x${hex(bytes.charCodeAt(at), 2)}`;
    at += size || 1;
  }
  return text as Bytes;
}

function isUtf8(bytes: Bytes): boolean {
  for (let at = 0; at < bytes.length; ) {
    const { size } = codePointAt(bytes, at);
    if (size === 0) return false;
    at += size;
  }
  return true;
}

/**
 * The UTF-8 character at `at`; size 0 when there is none: a stray or missing continuation, an overlong form, a surrogate,
 * something beyond U+10FFFF (RFC 3629).
 */
export function codePointAt(bytes: Bytes, at: number): { size: number; codePoint: number } {
  const first = bytes.charCodeAt(at);
  if (first < 0x80) return { size: 1, codePoint: first };
  const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  let codePoint = first & (0x7f >> size);
  for (let i = 1; i < size; i++) {
    const next = bytes.charCodeAt(at + i);
    if (!(next >= 0x80 && next <= 0xbf)) return INVALID;
    codePoint = (codePoint << 6) | (next & 0x3f);
  }
  const least = size === 2 ? 0x80 : size === 3 ? 0x800 : 0x10000;
  const valid =
    first >= 0xc2 &&
    first <= 0xf4 &&
    codePoint >= least &&
    codePoint <= 0x10ffff &&
    (codePoint < 0xd800 || codePoint > 0xdfff);
  return valid ? { size, codePoint } : INVALID;
}

const INVALID = { size: 0, codePoint: 0 };

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
