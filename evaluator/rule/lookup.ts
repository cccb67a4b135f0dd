// Things by keys of paths: which of very many have a key in this path. It costs what the path is long and deep, not what the
// things are many.

import type { Bytes } from "../event/text.ts";
import type { PathKey } from "./keys.ts";

/** Any things, each with keys of which one is in all paths that concern it. */
export class PathTable<T> {
  private readonly path = new Map<string, T[]>();
  private readonly ending = new Map<string, T[]>();
  private readonly part = new Map<string, T[]>();
  private readonly all: T[] = [];
  private readonly pathSizes = new Set<number>();
  /** Sizes of endings, by their last byte. */
  private readonly endingSizes = new Map<number, Set<number>>();
  /** Sizes of parts, by their last two bytes. */
  private readonly partSizes = new Map<number, Set<number>>();

  add(key: PathKey, thing: T): void {
    if (key.of === "anyPath") {
      this.all.push(thing);
      return;
    }
    const { bytes } = key;
    addTo(this[key.of], bytes, thing);
    if (key.of === "path") this.pathSizes.add(bytes.length);
    else if (key.of === "ending") addSize(this.endingSizes, bytes.charCodeAt(bytes.length - 1), bytes.length);
    else addSize(this.partSizes, lastTwo(bytes, bytes.length), bytes.length);
  }

  /** The things with a key in this path; one may come more than once. */
  *in(path: Bytes): Generator<T> {
    yield* this.all;
    if (this.path.size > 0) for (const prefix of this.prefixesOf(path)) yield* this.path.get(prefix) ?? [];
    for (const size of this.endingSizes.get(path.charCodeAt(path.length - 1)) ?? [])
      yield* this.ending.get(path.slice(-size)) ?? [];
    if (this.part.size > 0) for (const part of this.partsOf(path)) yield* this.part.get(part) ?? [];
  }

  /**
   * A path and each folder above it, as they are in keys: those of a size that a key has. To cut a path of 4,096 bytes at each of
   * 2,048 folders would cost a millisecond.
   */
  private *prefixesOf(path: Bytes): Generator<string> {
    if (this.pathSizes.has(path.length)) yield path;
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
      if (this.pathSizes.has(at)) yield path.slice(0, at);
  }

  /**
   * The pieces of a path that may be parts: those with the last two bytes and the size of one. To cut a path of 4,096 bytes at each
   * place for each size would cost a millisecond, and anybody may open such a path.
   */
  private *partsOf(path: Bytes): Generator<string> {
    for (let end = 2; end <= path.length; end++)
      for (const size of this.partSizes.get(lastTwo(path, end)) ?? [])
        if (size <= end) yield path.slice(end - size, end);
  }
}

/** Adds a thing to those of a key, once. */
export function addTo<K, T>(lists: Map<K, T[]>, key: K, thing: T): void {
  const list = lists.get(key);
  if (!list) lists.set(key, [thing]);
  else if (list.at(-1) !== thing) list.push(thing);
}

function addSize(sizes: Map<number, Set<number>>, end: number, size: number): void {
  sizes.set(end, (sizes.get(end) ?? new Set()).add(size));
}

function lastTwo(text: string, end: number): number {
  return (text.charCodeAt(end - 2) << 8) | text.charCodeAt(end - 1);
}
