// What is known of processes that nothing happens to: numbers and texts under process keys, in memory of its own outside of the
// heap, where 60,000 of them cost their bytes and no work of the garbage collector. The memory is a ring; the oldest make room
// for new ones.

import type { Bytes } from "../event/text.ts";

/** A process's number and the two halves of its start time. */
export type ColdKey = { readonly tgid: number; readonly startLow: number; readonly startHigh: number };

/** Numbers of 32 bits and texts, of which some may be missing. */
export type Cold = { numbers: readonly number[]; texts: readonly (Bytes | null)[] };

/** Words of 32 bits before each entry's numbers: its bucket + 1 (0: nobody's), its size in bytes, its key. */
const HEAD = { bucket: 0, size: 1, tgid: 2, startLow: 3, startHigh: 4, length: 5 };
const WORD_SIZE = 4;
const ALIGNMENT = 8;
/** Places in a bucket. There are so many for each entry that a full bucket is rare; then one of its entries makes room. */
const BUCKET_SIZE = 8;
const PLACES_PER_ENTRY = 4;

/** A bounded store of entries that all have as many numbers and texts. Whatever the keys are, none costs more than its bucket. */
export class ColdStore {
  size = 0;
  /** Entries that were given up for newer ones. */
  evicted = 0;
  private readonly memory: Buffer;
  /** The same memory. */
  private readonly words: Uint32Array;
  /** Where the entries of each bucket begin, in units of the alignment, plus one; 0 is a free place. */
  private readonly places: Uint32Array;
  /** A part of the hash of what is in each place, so that memory is seldom looked at in vain: that costs 100 ns. */
  private readonly tags: Uint8Array;
  private readonly buckets: number;
  /** Where the oldest entry is in the memory, and where the next one will be, with so many bytes between them. */
  private oldest = 0;
  private next = 0;
  private used = 0;

  /** At most `entriesMax` entries, in `memorySize` bytes. */
  constructor(
    private readonly entriesMax: number,
    memorySize: number,
    private readonly shape: { numbers: number; texts: number },
  ) {
    this.memory = Buffer.alloc(entriesMax === 0 ? 0 : memorySize & -ALIGNMENT);
    this.words = new Uint32Array(this.memory.buffer, this.memory.byteOffset, this.memory.length / WORD_SIZE);
    this.buckets = Math.ceil((entriesMax * PLACES_PER_ENTRY) / BUCKET_SIZE);
    this.places = new Uint32Array(this.buckets * BUCKET_SIZE);
    this.tags = new Uint8Array(this.places.length);
  }

  /** Keeps an entry under a key that has none. One that takes more than a quarter of the memory counts as evicted. */
  put(key: ColdKey, { numbers, texts }: Cold): void {
    const { memory, words } = this;
    const size = this.sizeOf(texts);
    if (this.entriesMax === 0 || size > memory.length / 4) {
      this.evicted += 1;
      return;
    }
    // An entry is never in two pieces: what is left at the end is nobody's.
    if (memory.length - this.next < size) this.skip();
    this.makeRoom(size);
    const start = this.next;
    const hash = hashOf(key);
    const bucket = hash % this.buckets;
    let word = start / WORD_SIZE;
    words[word + HEAD.bucket] = bucket + 1;
    words[word + HEAD.size] = size;
    words[word + HEAD.tgid] = key.tgid;
    words[word + HEAD.startLow] = key.startLow;
    words[word + HEAD.startHigh] = key.startHigh;
    word += HEAD.length;
    for (const number of numbers) words[word++] = number;
    let at = (word + texts.length) * WORD_SIZE;
    for (const text of texts) {
      words[word++] = text === null ? 0 : text.length + 1;
      if (text) at += memory.write(text, at, "latin1");
    }
    this.next = this.behind(start, size);
    this.enter(bucket, start / ALIGNMENT + 1, tagOf(hash));
    while (this.size > this.entriesMax) this.forgetOldest();
  }

  /** Gives an entry back, and forgets it. */
  take(key: ColdKey): Cold | null {
    if (this.size === 0) return null;
    const hash = hashOf(key);
    const tag = tagOf(hash);
    const first = (hash % this.buckets) * BUCKET_SIZE;
    for (let place = first; place < first + BUCKET_SIZE; place++) {
      if (this.tags[place] !== tag) continue;
      const start = ((this.places[place] ?? 0) - 1) * ALIGNMENT;
      if (start < 0 || !this.hasKey(start, key)) continue;
      this.places[place] = 0;
      this.size -= 1;
      return this.read(start);
    }
    return null;
  }

  /** Forgets everything; nothing of it counts as evicted. */
  clear(): void {
    this.places.fill(0);
    this.size = 0;
    this.oldest = this.next;
    this.used = 0;
  }

  private read(start: number): Cold {
    const { memory, words } = this;
    let word = start / WORD_SIZE + HEAD.length;
    // Loops, not lists made of views: where many processes act by turns, each event comes by here.
    const numbers: number[] = [];
    for (let i = 0; i < this.shape.numbers; i++) numbers.push(words[word++] as number);
    let at = (word + this.shape.texts) * WORD_SIZE;
    const texts: (Bytes | null)[] = [];
    for (let i = 0; i < this.shape.texts; i++) {
      const size = (words[word++] as number) - 1;
      texts.push(size < 0 ? null : (memory.toString("latin1", at, at + size) as Bytes));
      if (size > 0) at += size;
    }
    return { numbers, texts };
  }

  private sizeOf(texts: Cold["texts"]): number {
    let size = (HEAD.length + this.shape.numbers + this.shape.texts) * WORD_SIZE;
    for (const text of texts) size += text?.length ?? 0;
    return (size + ALIGNMENT - 1) & -ALIGNMENT;
  }

  private enter(bucket: number, value: number, tag: number): void {
    let place = this.placeOf(bucket, 0);
    if (place < 0) {
      place = bucket * BUCKET_SIZE;
      this.size -= 1;
      this.evicted += 1;
    }
    this.places[place] = value;
    this.tags[place] = tag;
    this.size += 1;
  }

  private skip(): void {
    const size = this.memory.length - this.next;
    this.makeRoom(size);
    // Whoever comes by here goes on at the beginning.
    this.words[this.next / WORD_SIZE + HEAD.bucket] = 0;
    this.next = 0;
  }

  /** What follows in the memory. */
  private behind(at: number, size: number): number {
    return at + size === this.memory.length ? 0 : at + size;
  }

  /** So many bytes are used from now on. */
  private makeRoom(size: number): void {
    while (this.used + size > this.memory.length) this.forgetOldest();
    this.used += size;
  }

  private forgetOldest(): void {
    const { oldest, words } = this;
    const bucket = (words[oldest / WORD_SIZE + HEAD.bucket] ?? 0) - 1;
    if (bucket < 0) {
      this.used -= this.memory.length - oldest;
      this.oldest = 0;
      return;
    }
    // What was taken is in no bucket any more.
    const place = this.placeOf(bucket, oldest / ALIGNMENT + 1);
    if (place >= 0) {
      this.places[place] = 0;
      this.size -= 1;
      this.evicted += 1;
    }
    const size = words[oldest / WORD_SIZE + HEAD.size] ?? 0;
    this.used -= size;
    this.oldest = this.behind(oldest, size);
  }

  /** The place in a bucket that holds this value; -1 when none does. */
  private placeOf(bucket: number, value: number): number {
    const first = bucket * BUCKET_SIZE;
    for (let place = first; place < first + BUCKET_SIZE; place++)
      if (this.places[place] === value) return place;
    return -1;
  }

  private hasKey(start: number, { tgid, startLow, startHigh }: ColdKey): boolean {
    const { words } = this;
    const word = start / WORD_SIZE;
    return (
      words[word + HEAD.startLow] === startLow &&
      words[word + HEAD.tgid] === tgid &&
      words[word + HEAD.startHigh] === startHigh
    );
  }
}

/**
 * 31 bits that tell keys apart, of which the rest after division is the bucket. With one more they would be a double, which is
 * divided by a call.
 */
export function hashOf({ tgid, startLow, startHigh }: ColdKey): number {
  let hash = Math.imul(tgid ^ 0x9e3779b1, 0x85ebca6b);
  hash = Math.imul((hash ^ (hash >>> 15)) + startLow, 0xc2b2ae35);
  hash = Math.imul((hash ^ (hash >>> 13)) + startHigh, 0x27d4eb2f);
  return (hash ^ (hash >>> 16)) >>> 1;
}

/** The upper bits: those that say least about the bucket. */
function tagOf(hash: number): number {
  return hash >>> 23;
}
