// Whose records were lost since a loss of their kind was told last.

import type { Loser } from "../../bpf/event.gen.ts";
import type { Bytes } from "../event/text.ts";
import type { Loss } from "./checkpoint.ts";

/** So many of them a loss names. */
const NAMED_MAX = 3;

/** Who has lost how much, by kind and name, now and when it was told. */
export class Losers {
  private now = new Map<string, Loser>();
  private before = new Map<string, Loser>();

  /** The kernel side's sums, as they are now. */
  set(losers: readonly Loser[]): void {
    this.now = new Map(losers.map((loser) => [`${loser.kind} ${loser.comm}`, loser]));
  }

  /** Another evaluator has told all of this. */
  inherit(): void {
    this.before = this.now;
  }

  /** Whose records of this kind were lost since the last time, those with most first. */
  worst(kind: number | null): { comm: Bytes; lost: number }[] {
    return [...this.now]
      .filter(([, loser]) => loser.kind === kind)
      .map(([key, { comm, lost }]) => ({ comm, lost: Number(lost - (this.before.get(key)?.lost ?? 0n)) }))
      .filter(({ lost }) => lost > 0)
      .toSorted((a, b) => b.lost - a.lost)
      .slice(0, NAMED_MAX);
  }

  /** These losses were told. Names of other kinds, whose losses were counted a moment too late, are for the next. */
  told(losses: readonly Loss[]): void {
    const kinds = new Set(losses.map(({ kind }) => kind));
    const before = [...this.now].map(
      ([key, loser]) => [key, kinds.has(loser.kind) ? loser : this.before.get(key)] as const,
    );
    this.before = new Map(before.filter((one): one is [string, Loser] => one[1] !== undefined));
  }
}
