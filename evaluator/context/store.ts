// All processes that are known, by key. Those that something happens to are objects; the others, which are most, wait outside of
// the heap until somebody asks for them again. Of one that is asked for only its numbers are read: what else is known of it stays
// where it is, until a rule, a line or a child wants to know it. So most of those that act by turns come and go as a few words.
//
// Those that have ended wait apart from those that live, and make room first: a host that starts a thousand programs a second
// would else forget within a minute who the others are. So do those of which neither beginning nor program is known: where more
// processes act than there is room for, those that were forgotten would else push out the rest.
//
// And those with long arguments wait apart, where they take room from one another only: a thousand children of one program with
// arguments of 32 kB would else push out all others. Of one that has no room there, all but arguments and directory is kept.

import { ColdStore, type Forgotten, NOWHERE } from "./cold.ts";
import { COLD_SHAPE, type Known, Process, shortened } from "./process.ts";
import { Table } from "./table.ts";

/** Processes that are objects, and bytes that these may hold. */
const HOT_MAX = 4096;
const HOT_SIZE_MAX = 6 * 1024 * 1024;
/** Bytes of memory for each process that waits: most need as much. Some with long arguments must fit into the smallest table. */
const COLD_ENTRY_SIZE = 384;
const COLD_SIZE_MIN = 1024 * 1024;
/** Of those that wait, so many at most can be spared: records that came late may be about them. */
const SPARE_PART = 1 / 4;
/** Of such a one: it has no arguments. */
const SPARE_ENTRY_SIZE = 192;
/** And so many at most have long arguments, of so many bytes each. */
const LONG_PART = 1 / 8;
const LONG_ENTRY_SIZE = 768;

/** Processes by key, at most so many. */
export class ProcessStore {
  private hot: Table<Process>;
  /** Those that wait. */
  private readonly living: ColdStore;
  private readonly spare: ColdStore;
  /** Nothing of it is lent. */
  private readonly long: ColdStore;
  private readonly coldMax: number;
  private versions = 0;

  /** `hotMax`: as many are objects. */
  constructor(
    private readonly entriesMax: number,
    private readonly hotMax = HOT_MAX,
  ) {
    this.coldMax = Math.max(0, entriesMax - hotMax);
    this.living = coldStore(this.coldMax, COLD_ENTRY_SIZE);
    this.spare = coldStore(Math.floor(this.coldMax * SPARE_PART), SPARE_ENTRY_SIZE);
    this.long = coldStore(Math.floor(this.coldMax * LONG_PART), LONG_ENTRY_SIZE, (key, entry) =>
      this.living.put(key, shortened(entry)),
    );
    this.hot = this.makeHot();
  }

  get size(): number {
    return this.hot.size + this.coldSize;
  }

  private get coldSize(): number {
    return this.living.size + this.spare.size + this.long.size;
  }

  /** Processes that were given up for newer ones, or their arguments. */
  get evicted(): number {
    return this.living.evicted + this.spare.evicted + this.long.evicted;
  }

  clear(): void {
    this.hot = this.makeHot();
    this.living.clear();
    this.spare.clear();
    this.long.clear();
  }

  private makeHot(): Table<Process> {
    return new Table(Math.min(this.entriesMax, this.hotMax), HOT_SIZE_MAX, (process) =>
      this.letWait(process),
    );
  }

  get(tgid: number, startLow: number, startHigh: number): Process | undefined {
    const process = this.hot.get(tgid, startLow, startHigh);
    return process ?? this.fetch(tgid, startLow, startHigh);
  }

  /** The object in a slot: another one, or none, once it waits. */
  at(slot: number): Process | null {
    return this.hot.at(slot);
  }

  /** Adds a process whose key has none. */
  add(process: Process): void {
    this.hot.add(process);
  }

  /** From now on, this one stays an object, and the same, whoever else is asked for. */
  keep(process: Process | null): void {
    this.hot.kept = process;
  }

  /** A process costs so much now. */
  reweigh(process: Process, weight: number): void {
    this.hot.reweigh(process, weight);
  }

  /** Comm, image or ancestors of a process have changed. */
  touch(process: Process): void {
    this.versions += 1;
    process.version = this.versions;
  }

  /** What is known of a process. It is changed by `ownOf` only. */
  knownOf(process: Process): Known {
    process.known ??= this.recollect(process);
    return process.known;
  }

  /** What is known of a process, to be changed. */
  ownOf(process: Process): Known {
    const known = this.knownOf(process);
    if (process.place !== NOWHERE) this.coldOf(process).drop(process.place);
    process.place = NOWHERE;
    return known;
  }

  private recollect(process: Process): Known {
    // One that has had to make room, but is still looked at, is among those that wait.
    const { tgid, startLow, startHigh, place } = process;
    const cold = this.coldOf(process);
    const from = place === NOWHERE ? cold.find(tgid, startLow, startHigh) : place;
    return process.tell(from === NOWHERE ? [] : cold.textsAt(from));
  }

  private coldOf({ isSpare }: Process): ColdStore {
    return isSpare ? this.spare : this.living;
  }

  private fetch(tgid: number, startLow: number, startHigh: number): Process | undefined {
    let cold = this.living;
    let place = cold.find(tgid, startLow, startHigh);
    if (place === NOWHERE) {
      cold = this.spare;
      place = cold.find(tgid, startLow, startHigh);
    }
    if (place === NOWHERE) {
      cold = this.long;
      place = cold.find(tgid, startLow, startHigh);
    }
    if (place === NOWHERE) return undefined;
    const process = new Process(tgid, startLow, startHigh, 0, 0, 0);
    process.warm(cold, place);
    process.isSpare = cold === this.spare;
    if (cold !== this.long && cold.lend(place)) process.place = place;
    else {
      process.known = process.tell(cold.textsAt(place));
      cold.drop(place);
    }
    this.touch(process);
    this.hot.add(process);
    return process;
  }

  /** A process has to make room for others. */
  private letWait(process: Process): void {
    const { living, spare, long } = this;
    const cold = this.coldOf(process);
    if (process.place !== NOWHERE) cold.giveBack(process.place);
    else (process.isLong && !process.isSpare ? long : cold).put(process, process.cold(this.knownOf(process)));
    process.place = NOWHERE;
    while (this.coldSize > this.coldMax) (spare.size > 0 ? spare : living).forgetOldest();
  }
}

function coldStore(entriesMax: number, entrySize: number, forgotten?: Forgotten): ColdStore {
  return new ColdStore(entriesMax, Math.max(entriesMax * entrySize, COLD_SIZE_MIN), COLD_SHAPE, forgotten);
}
