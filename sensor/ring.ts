// A ring buffer of the kernel, mapped. The positions are byte counters that only grow. Of the data, a window is mapped that
// slides over it: what is mapped counts as this process's memory. Layout and protocol: kernel/bpf/ringbuf.c.

import { FRAME_SIZE_MAX } from "../bpf/event.gen.ts";
import { mapReadOnlyAt, mapShared } from "./libc.ts";

const PAGE_SIZE = 4096;
/** Several frames: the window moves once for some ten thousand records. */
const WINDOW_SIZE = 4 * FRAME_SIZE_MAX;
/** In the length before a record: it is not yet committed (the sign of an __s32), it is discarded (the next bit). */
const DISCARDED = 0x4000_0000;
const HEADER_SIZE = 8;

/** `count` committed records in memory: `address` and `size` are ready for send(2), `position` is the ring's at the first byte. */
export type Span = { address: number; size: number; position: number; count: number };

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
};

/** A record that is being written is looked at again so often. In a ring whose programs are gone, it never will be. */
const TRIES_MAX = 1000;

/** How many records are in a ring from a position on; without one, how many nobody has acknowledged. */
export function countRecords(ring: Ring, from: number = ring.consumerPosition()): number {
  const end = ring.producerPosition();
  let count = 0;
  for (let at = from, tries = 0; at < end && tries < TRIES_MAX; ) {
    const span = ring.committedSpan(at, end);
    tries = span ? 0 : tries + 1;
    count += span?.count ?? 0;
    at += span?.size ?? 0;
  }
  return count;
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
      const endMax = start + sizeMax;
      let end = start;
      let count = 0;
      while (end < endMax) {
        const length = lengths[end >>> 2] ?? -1;
        if (length < 0) break;
        const next = end + (((length & ~DISCARDED) + HEADER_SIZE + 7) & ~7);
        if (next > endMax) break;
        end = next;
        count += 1;
      }
      return end > start ? { address: window.address + start, size: end - start, position, count } : null;
    },
  };
}
