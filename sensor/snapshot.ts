// The processes that run when a reader connects, from the kernel's iterator.
//
// Arguments lie in the memory of their process, which may have put a file there whose file system never answers: who reads them
// then hangs, and cannot even be killed. So another thread reads, and after a while the list is read without arguments.

import { read } from "node:fs";
import { FRAME_SIZE_MAX, RING_ENTRY } from "../bpf/event.gen.ts";
import { createIterator } from "./libbpf.ts";
import * as libc from "./libc.ts";
import type { OwnProcesses } from "./own.ts";

const CHUNK_SIZE = 512 * 1024;
/** A read takes some 50 µs, or more where pages have to be fetched. */
const HANG_MS = 2000;
/** For all reads: one process after the other may keep one waiting for less. */
const LIST_MS_MAX = 10_000;

/** The records of running processes, for one reader at a time. */
export class Snapshots {
  private fd = -1;
  private chunk = new Uint8Array(0);
  private size = 0;
  /** What another thread reads. Nobody else may read with arguments meanwhile. */
  private reading: { fd: number; since: number; end: Promise<void> } | null = null;
  private brought: number | Error | null = null;
  /** In reads of this list, ms. */
  private spent = 0;

  /** `link`: of the iterator. */
  constructor(
    private readonly link: number,
    private readonly own: OwnProcesses,
    private readonly say: (line: string) => void,
  ) {}

  /** Begins anew, for another reader: with arguments, as long as nothing else is known. */
  begin(isBare = false): void {
    this.end();
    this.fd = createIterator(this.link);
    this.spent = 0;
    this.renew(0);
    // Of an earlier sensor that was killed, a read may not have come back: it is in the memory where ours would be made.
    this.own.setBare(isBare || (this.reading === null && this.own.reading() !== 0));
  }

  /** The next records, which end where one ends; null when there are no more, undefined when they are not there yet. */
  next(): Uint8Array | null | undefined {
    while (this.size < CHUNK_SIZE) {
      const count = this.own.isBare()
        ? libc.readFd(this.fd, this.chunk.subarray(this.size))
        : this.readAside();
      if (count === undefined) return undefined;
      if (count === 0) break;
      this.size += count;
    }
    const { chunk } = this;
    const end = wholeEntries(chunk, this.size);
    this.renew(end);
    if (end > 0) return chunk.subarray(0, end);
    this.end();
    return null;
  }

  /** Comes when there is something to ask for again; null: it need not be waited for. */
  get arrival(): Promise<void> | null {
    return this.fd < 0 || this.own.isBare() ? null : (this.reading?.end ?? null);
  }

  /** Gives descriptor and memory back. */
  end(): void {
    // A read that has not begun must not meet another file of the same number: whose read is under way is closed behind it.
    if (this.fd >= 0 && this.fd !== this.reading?.fd) libc.closeFd(this.fd);
    this.fd = -1;
    this.brought = null;
    this.size = 0;
    this.chunk = new Uint8Array(0);
  }

  /** Takes new memory, for an earlier read may still come; what is behind `end` goes over. */
  private renew(end: number): void {
    const chunk = new Uint8Array(CHUNK_SIZE + FRAME_SIZE_MAX / 4);
    chunk.set(this.chunk.subarray(end, this.size));
    this.size -= end;
    this.chunk = chunk;
  }

  /** What another thread has read: bytes, 0 at the end; undefined: nothing yet. */
  private readAside(): number | undefined {
    const { brought } = this;
    this.brought = null;
    if (brought instanceof Error) throw brought;
    if (brought !== null) return brought;
    if (this.reading === null) {
      this.beginReading();
      return undefined;
    }
    const took = performance.now() - this.reading.since;
    if (took > HANG_MS || this.spent + took > LIST_MS_MAX) this.giveUp();
    return undefined;
  }

  private beginReading(): void {
    const { fd, chunk, size } = this;
    const { promise, resolve } = Promise.withResolvers<void>();
    const since = performance.now();
    this.reading = { fd, since, end: promise };
    read(fd, chunk, size, chunk.length - size, null, (error, count) => {
      this.reading = null;
      if (fd === this.fd) {
        this.brought = error ?? count;
        this.spent += performance.now() - since;
      } else libc.closeFd(fd);
      resolve();
    });
  }

  private giveUp(): void {
    const where = `pid ${this.own.reading()} keeps its arguments where reading them does not end`;
    this.say(`${where}: the list of processes is sent without arguments`);
    this.begin(true);
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
