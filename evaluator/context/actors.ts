// Who acted lately: threads, as the headers of records name them, with what the process table and the output have found out about
// them. A host's events come from few threads, again and again. For these it is enough to see that nothing has changed.
//
// All that a header says of who acted is in one piece of it, from the process to the thread's name. If every word of that is the
// one of an earlier record, and neither process nor parent has changed, then there is nothing to look up, to compare or to
// render. That takes 6 % off the CPU time of a replay that writes every event (medians of three runs in turn): table, process, parent,
// program and what is kept of them lie in many places of the memory, and what is asked for here in one.

import { PROCESS_KEY, RECORD_HEADER } from "../../bpf/event.gen.ts";
import type { RecordView } from "../input/view.ts";
import type { Process } from "./process.ts";

const HEADER = RECORD_HEADER.at;
const WHO = HEADER.process;
const WHO_WORDS = (RECORD_HEADER.size - WHO) / 4;
/**
 * Words of a place: who; then the slots of process and parent in their table, whether the executable is known, and how many bytes the
 * output keeps.
 */
const SLOT = WHO_WORDS;
const PARENT_SLOT = WHO_WORDS + 1;
const ATTRIBUTED = WHO_WORDS + 2;
const SIZE = WHO_WORDS + 3;
const WORDS = WHO_WORDS + 4;
/** Numbers of a place, which may be larger: the versions of process and parent, and the output's ticket. */
const VERSION = 0;
const PARENT_VERSION = 1;
const TICKET = 2;
const NUMBERS = 3;
/** One megabyte. Two places are for the same threads. */
const PLACES = 8192;
/** No place, no slot. */
export const NONE = -1;

/** A bounded memory of those who acted. Nothing in it keeps a process alive. */
export class Actors {
  private readonly words = new Int32Array(PLACES * WORDS);
  private readonly numbers = new Float64Array(PLACES * NUMBERS);
  /** Which of two places is taken next. */
  private turn = 0;

  /** The place of the thread that a record is of; NONE when it is not remembered. */
  placeOf(record: RecordView): number {
    const first = firstPlaceOf(record);
    if (this.isOf(first, record)) return first;
    return this.isOf(first + 1, record) ? first + 1 : NONE;
  }

  private isOf(place: number, record: RecordView): boolean {
    const { words } = this;
    const start = place * WORDS;
    for (let word = 0; word < WHO_WORDS; word++)
      if (words[start + word] !== record.i32(WHO + word * 4)) return false;
    return true;
  }

  /** Remembers the thread of a record with its process and parent, both as they are now. Returns its place. */
  add(record: RecordView, process: Process, parent: Process | undefined, isAttributed: boolean): number {
    const { words, numbers } = this;
    const known = this.placeOf(record);
    this.turn ^= 1;
    const place = known === NONE ? firstPlaceOf(record) + this.turn : known;
    const start = place * WORDS;
    for (let word = 0; word < WHO_WORDS; word++) words[start + word] = record.i32(WHO + word * 4);
    words[start + SLOT] = process.slot;
    words[start + PARENT_SLOT] = parent?.slot ?? NONE;
    words[start + ATTRIBUTED] = Number(isAttributed);
    words[start + SIZE] = 0;
    const first = place * NUMBERS;
    numbers[first + VERSION] = process.version;
    numbers[first + PARENT_VERSION] = parent?.version ?? 0;
    return place;
  }

  slotOf(place: number): number {
    return this.words[place * WORDS + SLOT] ?? NONE;
  }

  parentSlotOf(place: number): number {
    return this.words[place * WORDS + PARENT_SLOT] ?? NONE;
  }

  isAttributed(place: number): boolean {
    return this.words[place * WORDS + ATTRIBUTED] === 1;
  }

  versionOf(place: number): number {
    return this.numbers[place * NUMBERS + VERSION] ?? 0;
  }

  parentVersionOf(place: number): number {
    return this.numbers[place * NUMBERS + PARENT_VERSION] ?? 0;
  }

  /** The output keeps so many bytes about this thread. */
  keep(place: number, ticket: number, size: number): void {
    this.numbers[place * NUMBERS + TICKET] = ticket;
    this.words[place * WORDS + SIZE] = size;
  }

  ticketOf(place: number): number {
    return this.numbers[place * NUMBERS + TICKET] ?? 0;
  }

  /** 0: it keeps nothing. */
  sizeOf(place: number): number {
    return this.words[place * WORDS + SIZE] ?? 0;
  }

  clear(): void {
    this.words.fill(0);
    this.numbers.fill(0);
  }
}

function firstPlaceOf(record: RecordView): number {
  const tid = Math.imul(record.i32(HEADER.tid), 0x9e3779b1);
  const mixed = Math.imul(tid ^ record.i32(HEADER.process + PROCESS_KEY.at.startTime), 0x85ebca6b);
  return (mixed >>> 16) & (PLACES - 2);
}
