// A ring buffer of the kernel, mapped. The positions are byte counters that only grow; the data area is mapped twice in a
// row, so that no span wraps. Layout and protocol: kernel/bpf/ringbuf.c.

import { FRAME_SIZE_MAX } from "../bpf/event.gen.ts";
import { mapShared } from "./libc.ts";

const PAGE_SIZE = 4096;
const BUSY = 0x8000_0000;
const DISCARDED = 0x4000_0000;
const HEADER_SIZE = 8;

/** Committed records in memory: `address` and `size` are ready for send(2), `position` is the ring's at the first byte. */
export type Span = { address: number; size: number; position: number };

/** A mapped ring buffer. */
export type Ring = {
  fd: number;
  /** Bytes of the data area. */
  size: number;
  /** Where the kernel writes next. */
  producerPosition(): number;
  /** Where records are not yet acknowledged. */
  consumerPosition(): number;
  /** Gives the memory before `position` back to the kernel. */
  release(position: number): void;
  /** Has somebody else moved the consumer position since the last release? It is put back. */
  moved(): boolean;
  /** The committed records from `position` on and below `limit`, at most a frame of them; null when there is none. */
  committedSpan(position: number, limit: number): Span | null;
};

/** Maps the ring buffer of map `fd`, which has `size` bytes. */
export function mapRing(fd: number, size: number): Ring {
  const consumer = new BigUint64Array(mapShared(fd, 0, PAGE_SIZE, true).bytes);
  const rest = mapShared(fd, PAGE_SIZE, PAGE_SIZE + 2 * size, false);
  const producer = new BigUint64Array(rest.bytes, 0, 1);
  const headers = new Uint32Array(rest.bytes, PAGE_SIZE);

  const producerPosition = () => Number(Atomics.load(producer, 0));
  const consumerPosition = () => Number(Atomics.load(consumer, 0));
  let released = consumerPosition();
  return {
    fd,
    size,
    producerPosition,
    consumerPosition,
    release(position) {
      released = position;
      Atomics.store(consumer, 0, BigInt(position));
    },
    moved() {
      if (consumerPosition() === released) return false;
      Atomics.store(consumer, 0, BigInt(released));
      return true;
    },
    committedSpan(position, limit) {
      const start = position % size;
      let end = position;
      while (end < limit) {
        const length = headers[(end % size) >>> 2] ?? BUSY;
        if (length >= BUSY) break;
        const next = end + (((length & ~DISCARDED) + HEADER_SIZE + 7) & ~7);
        if (next - position > FRAME_SIZE_MAX && end > position) break;
        end = next;
      }
      return end > position
        ? { address: rest.address + PAGE_SIZE + start, size: end - position, position }
        : null;
    },
  };
}
