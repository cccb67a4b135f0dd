// What is known of processes that nothing happens to: numbers and texts under process keys, in memory of its own outside of the
// heap, where 60,000 of them cost their bytes and no work of the garbage collector.
//
// The memory is a ring. Its hand goes past the oldest entry when room is needed: one that nobody has asked for since the hand came
// by is forgotten, any other goes on as the newest. Who only reads an entry borrows it: it stays where it is, and to give it back
// writes one byte. So where more processes act by turns than can be objects, an event costs no text that is made or written.
//
// An entry is known by its place in a table of buckets, which stays the same wherever the hand moves the bytes to. What is asked at
// each look-up lies there, too: the memory itself is too large for the processor's caches, and is looked at once.

import type { Bytes } from "../event/text.ts";

/** A process's number and the two halves of its start time. */
export type ColdKey = { readonly tgid: number; readonly startLow: number; readonly startHigh: number };

/** Numbers of 32 bits and texts, of which some may be missing. */
export type Cold = { numbers: readonly number[]; texts: readonly (Bytes | null)[] };

/** Somebody who gets what a store has no room for any more. */
export type Forgotten = (key: ColdKey, entry: Cold) => void;

/** Words of 32 bits before each entry's numbers: its bucket + 1 (0: nobody's), its size in bytes, its key. */
const HEAD = { bucket: 0, size: 1, tgid: 2, startLow: 3, startHigh: 4, length: 5 };
const State = { waits: 0, asked: 1, lent: 2 };
const WORD_SIZE = 4;
const ALIGNMENT = 8;
/** Places in a bucket. There are so many for each entry that a full bucket is rare; then one of its entries makes room. */
const BUCKET_SIZE = 8;
const PLACES_PER_ENTRY = 4;
/** Bytes of an entry that is lent, at most: longer ones are few, and those that are lent may not fill the memory. */
const LENT_SIZE_MAX = 2048;
const EMPTY = "" as Bytes;
/** No place. */
export const NOWHERE = -1;

/** A bounded store of entries that all have as many numbers and texts. Whatever the keys are, none costs more than its bucket. */
export class ColdStore {
  /** Entries that wait: those that are lent are not among them. */
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
  /** Of what is in each place: `State`. */
  private readonly states: Uint8Array;
  private readonly buckets: number;
  /** Where the oldest entry is in the memory, and where the next one will be, with so many bytes between them. */
  private oldest = 0;
  private next = 0;
  private used = 0;
  private lent = 0;
  private readonly lentMax: number;

  /** At most `entriesMax` entries that wait, in `memorySize` bytes. `forgotten` gets the oldest, which have to go. */
  constructor(
    private readonly entriesMax: number,
    memorySize: number,
    private readonly shape: { numbers: number; texts: number },
    private readonly forgotten?: Forgotten,
  ) {
    this.memory = Buffer.alloc(entriesMax === 0 ? 0 : memorySize & -ALIGNMENT);
    this.words = new Uint32Array(this.memory.buffer, this.memory.byteOffset, this.memory.length / WORD_SIZE);
    this.buckets = Math.ceil((entriesMax * PLACES_PER_ENTRY) / BUCKET_SIZE);
    this.places = new Uint32Array(this.buckets * BUCKET_SIZE);
    this.tags = new Uint8Array(this.places.length);
    this.states = new Uint8Array(this.places.length);
    // Half of the memory, and as many as may wait.
    this.lentMax = Math.min(entriesMax, Math.floor(this.memory.length / 2 / LENT_SIZE_MAX));
  }

  /** Keeps an entry under a key that has none. One that takes more than a quarter of the memory counts as evicted. */
  put(key: ColdKey, { numbers, texts }: Cold): void {
    const { memory, words } = this;
    const size = this.sizeOf(texts);
    if (this.entriesMax === 0 || size > memory.length / 4) {
      this.evicted += 1;
      return;
    }
    this.makeRoom(size);
    const start = this.next;
    const hash = hashOf(key.tgid, key.startLow, key.startHigh);
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
    this.append(size);
    this.enter(bucket, start / ALIGNMENT + 1, tagOf(hash));
    this.keepBound();
  }

  /** The place of a key's entry, until that may be forgotten; NOWHERE when there is none. */
  find(tgid: number, startLow: number, startHigh: number): number {
    const { tags, places, words } = this;
    if (tags.length === 0) return NOWHERE;
    const hash = hashOf(tgid, startLow, startHigh);
    const tag = tagOf(hash);
    const first = (hash % this.buckets) * BUCKET_SIZE;
    for (let place = first; place < first + BUCKET_SIZE; place++) {
      if (tags[place] !== tag) continue;
      const start = ((places[place] ?? 0) - 1) * ALIGNMENT;
      if (start < 0) continue;
      const word = start / WORD_SIZE;
      if (
        words[word + HEAD.startLow] === startLow &&
        words[word + HEAD.tgid] === tgid &&
        words[word + HEAD.startHigh] === startHigh
      )
        return place;
    }
    return NOWHERE;
  }

  /** One of the numbers of an entry. */
  numberAt(place: number, number: number): number {
    return this.words[this.wordOf(place) + HEAD.length + number] ?? 0;
  }

  /** Is this text of an entry there? */
  hasTextAt(place: number, text: number): boolean {
    return this.numberAt(place, this.shape.numbers + text) > 0;
  }

  /** All texts of an entry. */
  textsAt(place: number): (Bytes | null)[] {
    const { memory, words } = this;
    let word = this.wordOf(place) + HEAD.length + this.shape.numbers;
    let at = (word + this.shape.texts) * WORD_SIZE;
    const texts: (Bytes | null)[] = [];
    // A loop, not a list made of a view: where many processes act by turns and all is written, each event comes by here.
    for (let i = 0; i < this.shape.texts; i++) {
      const size = (words[word++] ?? 0) - 1;
      if (size > 0) texts.push(memory.toString("latin1", at, at + size) as Bytes);
      else texts.push(size < 0 ? null : EMPTY);
      at += Math.max(0, size);
    }
    return texts;
  }

  /** Bytes of an entry. */
  sizeAt(place: number): number {
    return this.words[this.wordOf(place) + HEAD.size] ?? 0;
  }

  private wordOf(place: number): number {
    return ((this.places[place] ?? 0) - 1) * (ALIGNMENT / WORD_SIZE);
  }

  /** Lends an entry that waits: it keeps its place until it is given back or dropped. Returns whether that can be. */
  lend(place: number): boolean {
    if (this.lent >= this.lentMax || this.sizeAt(place) > LENT_SIZE_MAX) return false;
    this.states[place] = State.lent;
    this.lent += 1;
    this.size -= 1;
    return true;
  }

  /** Takes back what was lent. */
  giveBack(place: number): void {
    this.states[place] = State.asked;
    this.lent -= 1;
    this.size += 1;
    this.keepBound();
  }

  /** Forgets an entry, which may be lent. */
  drop(place: number): void {
    if (this.states[place] === State.lent) this.lent -= 1;
    else this.size -= 1;
    this.places[place] = 0;
  }

  /** Forgets everything; nothing of it counts as evicted. */
  clear(): void {
    this.places.fill(0);
    this.size = 0;
    this.oldest = this.next;
    this.used = 0;
    this.lent = 0;
  }

  private sizeOf(texts: Cold["texts"]): number {
    let size = (HEAD.length + this.shape.numbers + this.shape.texts) * WORD_SIZE;
    for (const text of texts) size += text?.length ?? 0;
    return (size + ALIGNMENT - 1) & -ALIGNMENT;
  }

  private enter(bucket: number, value: number, tag: number): void {
    let place = this.placeOf(bucket, 0);
    if (place < 0) {
      this.evicted += 1;
      place = this.placeToGive(bucket);
      if (place < 0) return;
      this.forgotten?.(this.keyAt(this.wordOf(place)), this.entryAt(place));
      this.size -= 1;
    }
    this.places[place] = value;
    this.tags[place] = tag;
    this.states[place] = State.waits;
    this.size += 1;
  }

  /** Forgets the oldest of those that wait and that nobody has asked for; there must be one that waits. */
  forgetOldest(): void {
    const { evicted } = this;
    while (this.evicted === evicted) this.passOldest();
  }

  private keepBound(): void {
    while (this.size > this.entriesMax) this.passOldest();
  }

  /** So many bytes are free where the next entry will be. */
  private makeRoom(size: number): void {
    const { length } = this.memory;
    for (;;) {
      if (this.used + size > length) this.passOldest();
      else if (length - this.next < size) this.skip();
      else return;
    }
  }

  /** The next entry is so many bytes long. */
  private append(size: number): void {
    this.used += size;
    this.next = this.behind(this.next, size);
  }

  /** An entry is never in two pieces: what is left at the end is nobody's. */
  private skip(): void {
    // Whoever comes by here goes on at the beginning.
    this.words[this.next / WORD_SIZE + HEAD.bucket] = 0;
    this.used += this.memory.length - this.next;
    this.next = 0;
  }

  /** What follows in the memory. */
  private behind(at: number, size: number): number {
    return at + size === this.memory.length ? 0 : at + size;
  }

  private passOldest(): void {
    const { oldest, words } = this;
    const word = oldest / WORD_SIZE;
    const bucket = (words[word + HEAD.bucket] ?? 0) - 1;
    const size = bucket < 0 ? this.memory.length - oldest : (words[word + HEAD.size] ?? 0);
    this.used -= size;
    this.oldest = this.behind(oldest, size);
    // What was dropped is in no bucket any more.
    const place = bucket < 0 ? NOWHERE : this.placeOf(bucket, oldest / ALIGNMENT + 1);
    if (place < 0) return;
    if (this.states[place] !== State.waits) return this.renew(oldest, size, place);
    this.forgotten?.(this.keyAt(word), this.entryAt(place));
    this.places[place] = 0;
    this.size -= 1;
    this.evicted += 1;
  }

  private keyAt(word: number): ColdKey {
    const [tgid = 0, startLow = 0, startHigh = 0] = this.words.subarray(word + HEAD.tgid, word + HEAD.length);
    return { tgid, startLow, startHigh };
  }

  private entryAt(place: number): Cold {
    const numbers = Array.from({ length: this.shape.numbers }, (_, i) => this.numberAt(place, i));
    return { numbers, texts: this.textsAt(place) };
  }

  /** What was the oldest entry, of which the memory is free now, becomes the newest. There is room: at least its own. */
  private renew(start: number, size: number, place: number): void {
    if (this.memory.length - this.next < size) this.skip();
    this.memory.copyWithin(this.next, start, start + size);
    if (this.states[place] === State.asked) this.states[place] = State.waits;
    this.places[place] = this.next / ALIGNMENT + 1;
    this.append(size);
  }

  /** The place in a bucket that holds this value; NOWHERE when none does. */
  private placeOf(bucket: number, value: number): number {
    const first = bucket * BUCKET_SIZE;
    for (let place = first; place < first + BUCKET_SIZE; place++)
      if (this.places[place] === value) return place;
    return NOWHERE;
  }

  /** The place of a full bucket whose entry can best be spared; NOWHERE when all are lent. */
  private placeToGive(bucket: number): number {
    const first = bucket * BUCKET_SIZE;
    let best = NOWHERE;
    let least: number = State.lent;
    for (let place = first; place < first + BUCKET_SIZE; place++) {
      const state = this.states[place] ?? State.lent;
      if (state >= least) continue;
      best = place;
      least = state;
    }
    return best;
  }
}

/**
 * 31 bits that tell keys apart, of which the rest after division is the bucket. With one more they would be a double, which is
 * divided by a call.
 */
export function hashOf(tgid: number, startLow: number, startHigh: number): number {
  let hash = Math.imul(tgid ^ 0x9e3779b1, 0x85ebca6b);
  hash = Math.imul((hash ^ (hash >>> 15)) + startLow, 0xc2b2ae35);
  hash = Math.imul((hash ^ (hash >>> 13)) + startHigh, 0x27d4eb2f);
  return (hash ^ (hash >>> 16)) >>> 1;
}

/** The upper bits: those that say least about the bucket. */
function tagOf(hash: number): number {
  return hash >>> 23;
}
