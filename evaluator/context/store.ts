// All processes that are known, by key. Those that something happens to are objects; the others, which are most, wait outside of
// the heap until somebody asks for them again. Of one that is asked for only its numbers are read: what else is known of it stays
// where it is, until a rule, a line or a child wants to know it. So most of those that act by turns come and go as a few words.

import { ColdStore, NOWHERE } from "./cold.ts";
import { COLD_SHAPE, type Known, Process } from "./process.ts";
import { Table } from "./table.ts";

/** Processes that are objects, and bytes that these may hold. */
const HOT_MAX = 4096;
const HOT_SIZE_MAX = 6 * 1024 * 1024;
/** Bytes of memory for each process that waits: most need as much. Some with long arguments must fit into the smallest table. */
const COLD_ENTRY_SIZE = 384;
const COLD_SIZE_MIN = 1024 * 1024;

/** Processes by key, at most so many. */
export class ProcessStore {
  private hot: Table<Process>;
  private readonly cold: ColdStore;
  private versions = 0;

  /** `hotMax`: as many are objects. */
  constructor(
    private readonly entriesMax: number,
    private readonly hotMax = HOT_MAX,
  ) {
    const coldMax = Math.max(0, entriesMax - hotMax);
    this.cold = new ColdStore(coldMax, Math.max(coldMax * COLD_ENTRY_SIZE, COLD_SIZE_MIN), COLD_SHAPE);
    this.hot = this.makeHot();
  }

  get size(): number {
    return this.hot.size + this.cold.size;
  }

  /** Processes that were given up for newer ones. */
  get evicted(): number {
    return this.cold.evicted;
  }

  clear(): void {
    this.hot = this.makeHot();
    this.cold.clear();
  }

  private makeHot(): Table<Process> {
    return new Table(Math.min(this.entriesMax, this.hotMax), HOT_SIZE_MAX, (process) =>
      this.letWait(process),
    );
  }

  get(tgid: number, startLow: number, startHigh: number): Process | undefined {
    const process = this.hot.get(tgid, startLow, startHigh);
    return process || this.cold.size === 0 ? process : this.fetch(tgid, startLow, startHigh);
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
    if (process.place !== NOWHERE) this.cold.drop(process.place);
    process.place = NOWHERE;
    return known;
  }

  private recollect(process: Process): Known {
    // One that has had to make room, but is still looked at, is among those that wait.
    const { tgid, startLow, startHigh, place } = process;
    const from = place === NOWHERE ? this.cold.find(tgid, startLow, startHigh) : place;
    return process.tell(from === NOWHERE ? [] : this.cold.textsAt(from));
  }

  private fetch(tgid: number, startLow: number, startHigh: number): Process | undefined {
    const { cold } = this;
    const place = cold.find(tgid, startLow, startHigh);
    if (place === NOWHERE) return undefined;
    const process = new Process(tgid, startLow, startHigh, 0, 0, 0);
    process.warm(cold, place);
    if (cold.lend(place)) process.place = place;
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
    if (process.place !== NOWHERE) this.cold.giveBack(process.place);
    else this.cold.put(process, process.cold(this.knownOf(process)));
    process.place = NOWHERE;
  }
}
