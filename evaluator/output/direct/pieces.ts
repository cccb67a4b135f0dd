// Pieces of lines that are constant, or that a number decides about.

import { constant, type Piece } from "../bytes.ts";

/** A key behind another value, as far as its own value. */
export const keyOf = (name: string) => constant(`,"${name}":`);
/** The same with the beginning of a text. */
export const textKeyOf = (name: string) => constant(`,"${name}":"`);
/** The end of a text, then a key and the beginning of its text. */
export const thenTextOf = (name: string) => constant(`","${name}":"`);

export const QUOTE = constant('"');
export const NULL = constant("null");
export const END = constant("}\n");

/** There are some dozens of each; more than this are not kept. */
const KEPT_MAX = 1000;

/** Pieces that are made once for a number. */
export class Kept {
  private readonly kept = new Map<number, Piece>();

  constructor(private readonly make: (number: number) => string) {}

  of(number: number): Piece {
    return this.kept.get(number) ?? this.add(number);
  }

  private add(number: number): Piece {
    if (this.kept.size === KEPT_MAX) this.kept.clear();
    const made = constant(this.make(number));
    this.kept.set(number, made);
    return made;
  }
}
