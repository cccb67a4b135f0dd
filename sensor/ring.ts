// A ring buffer of the kernel, mapped. The positions are byte counters that only grow. Of the data, a window is mapped that
// slides over it: what is mapped counts as this process's memory. Layout and protocol: kernel/bpf/ringbuf.c.

import { FRAME_SIZE_MAX } from "../bpf/event.gen.ts";
import { mapReadOnlyAt, mapShared } from "./libc.ts";

const PAGE_SIZE = 4096;
/** Several frames: the window moves once for some ten thousand records. */
const WINDOW_SIZE = 4 * FRAME_SIZE_MAX;

/** Committed records in memory: `address` and `size` are ready for send(2), `position` is the ring's at the first byte. */
export type Span = { address: number; size: number; position: number };

/** A mapped ring buffer. */
export type Ring = {
  fd: number;
  /** Where the kernel writes next. */
  producerPosition(): number;
  /** Where records are not yet acknowledged. */
  consumerPosition(): number;
  /** Gives the memory before `position` back to the kernel. */
  release(position: number): void;
  /** Has somebody else moved the consumer position since this was asked last? It is put back. */
  moved(): boolean;
  /**
   * The committed records from `position` on and below `limit`, at most a frame of them; null when there is none. Both are
   * positions at which a record begins or will. The memory is valid until the next call.
   */
  committedSpan(position: number, limit: number): Span | null;
  /** How many records are in it that nobody has acknowledged, from a position on; committed or not. */
  count(from?: number): number;
};

const TRIES_MAX = 1000;

/**
 * How far the ring of processes and the other one have got at one moment: no record of a process came between two looks, and the
 * other ring was read in between. Of very many tries the last one stands: no start of a process is missing from it, maybe an end.
 */
export function positionsAtOnce([processes, activity]: Pick<Ring, "producerPosition">[]): number[] {
  if (!processes || !activity) throw new Error("two rings were expected");
  let [before, other, after] = [-1, 0, 0];
  for (let i = 0; i < TRIES_MAX && (i === 0 || before !== after); i++) {
    before = processes.producerPosition();
    other = activity.producerPosition();
    after = processes.producerPosition();
  }
  return [after, other];
}

/**
 * Where committed records end that begin at `start`: before one that is not, or that ends behind `endMax`. Without a JIT, names
 * for its numbers and a check of each element would double the time of this loop (96 ns a record, not 49).
 */
function endOfCommitted(lengths: Int32Array, start: number, endMax: number): number {
  let [end, next] = [start, start];
  while (next < endMax) {
    end = next;
    const length = lengths[end >>> 2] as number;
    if (length < 0) return end; // not yet committed
    next = end + (((length & 0x3fff_ffff) + 15) & -8); // the bit above says: discarded; eight bytes are the length's own
  }
  return next > endMax ? end : next;
}

/** Maps the ring buffer of map `fd`, whose data area has `size` bytes. */
export function mapRing(fd: number, size: number): Ring {
  const consumer = new BigUint64Array(mapShared(fd, 0, PAGE_SIZE, true).bytes);
  const producer = new BigUint64Array(mapShared(fd, PAGE_SIZE, PAGE_SIZE, false).bytes);
  // The kernel shows the data twice in a row, so that no window wraps. It begins with a whole page.
  const windowSize = Math.min(size, WINDOW_SIZE) + PAGE_SIZE;
  const window = mapShared(fd, 2 * PAGE_SIZE, windowSize, false);
  const lengths = new Int32Array(window.bytes);
  let windowPosition = 0;
  const slideTo = (position: number) => {
    const offset = position % size;
    const page = offset - (offset % PAGE_SIZE);
    mapReadOnlyAt(window.address, fd, 2 * PAGE_SIZE + page, windowSize);
    windowPosition = position - (offset - page);
  };

  const shared = () => Number(Atomics.load(consumer, 0));
  // What the page says is believed once: root may write there, too.
  let released = shared();
  let wasMoved = false;
  const release = (position: number) => {
    wasMoved ||= shared() !== released;
    released = position;
    Atomics.store(consumer, 0, BigInt(position));
  };
  return {
    fd,
    producerPosition: () => Number(Atomics.load(producer, 0)),
    consumerPosition: () => released,
    release,
    moved() {
      release(released);
      const moved = wasMoved;
      wasMoved = false;
      return moved;
    },
    committedSpan(position, limit) {
      const sizeMax = Math.min(limit - position, FRAME_SIZE_MAX);
      if (position < windowPosition || position + sizeMax > windowPosition + windowSize) slideTo(position);
      const start = position - windowPosition;
      const end = endOfCommitted(lengths, start, start + sizeMax);
      return end > start ? { address: window.address + start, size: end - start, position } : null;
    },
    count(from = 0) {
      const end = this.producerPosition();
      let count = 0;
      for (let at = Math.max(from, released); at < end; count++) {
        if (at < windowPosition || at >= windowPosition + windowSize) slideTo(at);
        at += (((lengths[(at - windowPosition) >>> 2] ?? 0) & 0x3fff_ffff) + 15) & -8;
      }
      return count;
    },
  };
}
