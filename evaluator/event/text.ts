// Text that is not text: paths, names and arguments are bytes. Inside the evaluator they are strings with one character
// (U+0000 to U+00FF) per byte, so that rules compare bytes exactly and maps can use them as keys.

import { constants } from "node:os";
import type { Bytes } from "../../bpf/event.gen.ts";

export type { Bytes };

/** The bytes of a text that a person wrote, such as a rule's path. */
export function fromUtf8(text: string): Bytes {
  return Buffer.from(text, "utf8").toString("latin1") as Bytes;
}

const ERROR_NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The name of an errno, such as EACCES. */
export function errorName(error: number): string {
  return ERROR_NAMES.get(error) ?? `errno ${error}`;
}

/** Would a terminal, or a reader that splits lines, do something else than show this character? */
export function isControl(codePoint: number): boolean {
  return (
    codePoint < 0x20 ||
    (codePoint >= 0x7f && codePoint <= 0x9f) ||
    codePoint === 0x61c ||
    codePoint === 0x200e ||
    codePoint === 0x200f ||
    (codePoint >= 0x2028 && codePoint <= 0x202e) ||
    (codePoint >= 0x2066 && codePoint <= 0x2069)
  );
}
