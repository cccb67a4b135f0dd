// What a target of the fuzzer is, and how a law is broken.

import type { Random } from "./random.ts";

/** What became of an input; `held` is the most bytes that were held for it at once, apart from itself. */
export type Outcome = { accepted: boolean; records: number; lines: number; held: number };

/** Something that bytes are given to. */
export type Target = {
  name: string;
  /** What one input is. */
  input: string;
  /** Makes the input that the random numbers describe, and gives it to the target. @throws what is a finding */
  run: (random: Random) => Outcome | Promise<Outcome>;
  /** The bytes of the last input. */
  last: () => Uint8Array;
};

/** A law that did not hold. */
class Broken extends Error {}

/** @throws what is a finding, when the law does not hold */
export function law(holds: boolean, words: string): void {
  if (!holds) throw new Broken(words);
}
