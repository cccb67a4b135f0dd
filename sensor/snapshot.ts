// The processes that run when a reader connects, from the kernel's iterator.

import { FRAME_SIZE_MAX, RING_ENTRY } from "../bpf/event.gen.ts";
import { createIterator } from "./libbpf.ts";
import * as libc from "./libc.ts";

const CHUNK_SIZE = 512 * 1024;

/** The records of running processes, read in chunks that end where a record ends. */
export class Snapshot {
  private readonly fd: number;
  private carried = new Uint8Array(0);

  /** `link`: of the iterator. */
  constructor(link: number) {
    this.fd = createIterator(link);
  }

  /** The next chunk; null at the end. */
  next(): Uint8Array | null {
    const chunk = new Uint8Array(CHUNK_SIZE + FRAME_SIZE_MAX / 4);
    chunk.set(this.carried);
    let size = this.carried.length;
    let ended = false;
    while (!ended && size < CHUNK_SIZE) {
      const read = libc.readFd(this.fd, chunk.subarray(size));
      ended = read === 0;
      size += read;
    }
    const end = wholeEntries(chunk, size);
    this.carried = chunk.slice(end, size);
    if (end > 0) return chunk.subarray(0, end);
    this.close();
    return null;
  }

  /** Gives the descriptor back. */
  close(): void {
    libc.closeFd(this.fd);
  }
}

/** Where the last entry ends that is complete within `size` bytes. */
function wholeEntries(chunk: Uint8Array, size: number): number {
  const view = new DataView(chunk.buffer);
  let end = 0;
  while (end + RING_ENTRY.size <= size) {
    const next = end + ((RING_ENTRY.size + view.getUint32(end, true) + 7) & ~7);
    if (next > size) break;
    end = next;
  }
  return end;
}
