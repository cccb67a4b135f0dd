// A bounded table of entries that are known by a process key. Look-ups take numbers: 10 ns, where a Map needs a string or bigint
// made and hashed (150 to 300 ns). When the table is full, a hand goes round and gives up the first entry that nobody has asked
// for since it last came by ("clock", as page caches do): to ask costs one store.

/** What the table knows of an entry. A start time is in two halves. */
export type Entry = {
  readonly tgid: number;
  readonly startLow: number;
  readonly startHigh: number;
  /** In bytes or what is like them; changes by `reweigh` only. */
  weight: number;
  /** The table's own: somebody has asked for it since the hand came by. */
  used: boolean;
  /** The table's own, too: where it is in the table, -1 when it is not. */
  slot: number;
};

const INDEX_SIZE_MIN = 1024;
/** Places of the index for each entry, at least. */
const SPARSE = 2;

/** Entries by process key. */
export class Table<Item extends Entry> {
  /** Slot + 1 of an entry, by hash of its key; 0: none. One that finds its place taken is in the next that was free. */
  private index = new Int32Array(INDEX_SIZE_MIN);
  private readonly slots: (Item | null)[] = [];
  private readonly free: number[] = [];
  /** An entry that is not given up whatever comes, as long as it is this one. */
  kept: Item | null = null;
  private hand = 0;
  private count = 0;
  private weight = 0;

  /** Holds so many entries, of so much weight together; `evicted` is told of those that are given up for newer ones. */
  constructor(
    private readonly entriesMax: number,
    private readonly weightMax: number,
    private readonly evicted: (item: Item) => void,
  ) {}

  get size(): number {
    return this.count;
  }

  get(tgid: number, startLow: number, startHigh: number): Item | undefined {
    const { index, slots } = this;
    const mask = index.length - 1;
    for (let place = hash(tgid, startLow, startHigh) & mask; ; place = (place + 1) & mask) {
      const slot = (index[place] ?? 0) - 1;
      if (slot < 0) return undefined;
      const item = slots[slot];
      if (item?.tgid === tgid && item.startLow === startLow && item.startHigh === startHigh) {
        item.used = true;
        return item;
      }
    }
  }

  /** What is in a slot. */
  at(slot: number): Item | null {
    return this.slots[slot] ?? null;
  }

  /** Adds an entry whose key has none; others may have to go. */
  add(item: Item): void {
    if (this.count === this.entriesMax) this.evict(item);
    if ((this.count + 1) * SPARSE > this.index.length) this.grow();
    const slot = this.free.pop() ?? this.slots.length;
    this.slots[slot] = item;
    item.slot = slot;
    this.enter(slot, item);
    this.count += 1;
    this.weight += item.weight;
    this.lighten(item);
  }

  /** An entry of the table has become heavier or lighter; others may have to go. One that has gone is left alone. */
  reweigh(item: Item, weight: number): void {
    if (item.slot < 0) return;
    this.weight += weight - item.weight;
    item.weight = weight;
    this.lighten(item);
  }

  private lighten(except: Item): void {
    const least = this.kept === null || this.kept === except ? 1 : 2;
    while (this.weight > this.weightMax && this.count > least) this.evict(except);
  }

  private evict(except: Item): void {
    for (;;) {
      const slot = this.hand;
      const item = this.slots[slot];
      this.hand = (slot + 1) % this.slots.length;
      if (!item || item === except || item === this.kept) continue;
      if (item.used) {
        item.used = false;
        continue;
      }
      this.remove(slot, item);
      this.evicted(item);
      return;
    }
  }

  private remove(slot: number, item: Item): void {
    const { index } = this;
    const mask = index.length - 1;
    let hole = hash(item.tgid, item.startLow, item.startHigh) & mask;
    while (index[hole] !== slot + 1) hole = (hole + 1) & mask;
    // Entries that were pushed on past the hole move back, so that none is behind an empty place.
    for (let place = (hole + 1) & mask; index[place] !== 0; place = (place + 1) & mask) {
      const other = this.slots[(index[place] ?? 0) - 1];
      const home = other ? hash(other.tgid, other.startLow, other.startHigh) & mask : place;
      if (((place - home) & mask) < ((place - hole) & mask)) continue;
      index[hole] = index[place] ?? 0;
      hole = place;
    }
    index[hole] = 0;
    this.slots[slot] = null;
    item.slot = -1;
    this.free.push(slot);
    this.count -= 1;
    this.weight -= item.weight;
  }

  private enter(slot: number, item: Item): void {
    const mask = this.index.length - 1;
    let place = hash(item.tgid, item.startLow, item.startHigh) & mask;
    while (this.index[place] !== 0) place = (place + 1) & mask;
    this.index[place] = slot + 1;
  }

  private grow(): void {
    this.index = new Int32Array(this.index.length * 2);
    for (const [slot, item] of this.slots.entries()) if (item) this.enter(slot, item);
  }
}

function hash(tgid: number, startLow: number, startHigh: number): number {
  const mixed = Math.imul(
    tgid ^ Math.imul(startLow ^ Math.imul(startHigh, 0xc2b2ae35), 0x9e3779b1),
    0x85ebca6b,
  );
  return mixed ^ (mixed >>> 15);
}
