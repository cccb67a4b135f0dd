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
const USUAL_MS = 20;
const RECHECK_MS = 4;
const HANG_MS = 2000;

/** The records of running processes, for one reader at a time. */
export class Snapshots {
  private fd = -1;
  private chunk = new Uint8Array(0);
  private size = 0;
  /** Since when another thread reads, and what it has brought. Nobody else may read with arguments meanwhile. */
  private readingSince: number | null = null;
  private brought: number | Error | null = null;

  /** `link`: of the iterator. */
  constructor(
    private readonly link: number,
    private readonly own: OwnProcesses,
    private readonly say: (line: string) => void,
  ) {}

  /** Begins anew, for another reader. */
  begin(): void {
    this.end();
    this.fd = createIterator(this.link);
    this.brought = null;
    this.renew(0);
    if (this.readingSince !== null) this.own.setBare(true);
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

  /** When to ask again: what is read wakes nobody. Null: it need not be. */
  get waitMs(): number | null {
    if (this.fd < 0 || this.readingSince === null) return null;
    return performance.now() - this.readingSince < USUAL_MS ? 0 : RECHECK_MS;
  }

  /** Gives the descriptor back. */
  end(): void {
    if (this.fd >= 0) libc.closeFd(this.fd);
    this.fd = -1;
  }

  /** Takes new memory, for an earlier read may still come; what is behind `end` goes over. */
  private renew(end: number): void {
    const chunk = new Uint8Array(CHUNK_SIZE + FRAME_SIZE_MAX / 4);
    chunk.set(this.chunk.subarray(end, this.size));
    [this.size, this.chunk] = [Math.max(0, this.size - end), chunk];
  }

  /** What another thread has read: bytes, 0 at the end; undefined: nothing yet. */
  private readAside(): number | undefined {
    const { brought } = this;
    this.brought = null;
    if (brought instanceof Error) throw brought;
    if (brought !== null) return brought;
    if (this.readingSince === null) this.beginReading();
    else if (performance.now() - this.readingSince > HANG_MS) this.giveUp();
    return undefined;
  }

  private beginReading(): void {
    const { chunk, size } = this;
    this.readingSince = performance.now();
    read(this.fd, chunk, size, chunk.length - size, null, (error, count) => {
      this.readingSince = null;
      this.own.setBare(false);
      if (chunk === this.chunk) this.brought = error ?? count;
    });
  }

  private giveUp(): void {
    const pid = this.own.reading();
    this.say(
      `pid ${pid} keeps its arguments where reading them does not end: the list of processes is sent without arguments`,
    );
    this.begin();
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
