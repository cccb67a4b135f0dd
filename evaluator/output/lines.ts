// Lines that wait to be written, one behind the other in one buffer.

import type { Bytes } from "../event/text.ts";
import { ByteBuffer } from "./bytes.ts";

/**
 * A line's owner is the kind of the record behind it, with this if it is an alert; lines about the stream itself have another,
 * and those with all sums one more.
 */
export const ALERT = 0x100;
export const NOTICE = 0x200;
export const HEALTH = 0x201;

const LINES_MIN = 4096;

/** Whole lines, each with its owner. */
export class Lines {
  readonly buffer: ByteBuffer;
  count = 0;
  /** Where each line ends in the buffer; it begins where the one before ends. */
  private ends = new Uint32Array(LINES_MIN);
  private owners = new Uint16Array(LINES_MIN);

  /** With room for kept pieces in front. */
  constructor(keptSize = 0) {
    this.buffer = new ByteBuffer(keptSize);
  }

  /** Bytes of all lines. */
  get size(): number {
    return this.buffer.end - this.buffer.start;
  }

  /** Adds a line, which has its line end, or several that belong together; an empty one is none. */
  add(line: Bytes, owner: number): void {
    if (line === "") return;
    this.buffer.reserve(line.length);
    this.buffer.putBytes(line);
    this.close(owner);
  }

  /** What was put into the buffer since the last line is a line. */
  close(owner: number): void {
    if (this.count === this.ends.length) this.grow();
    this.ends[this.count] = this.buffer.end;
    this.owners[this.count] = owner;
    this.count += 1;
  }

  /** Forgets all lines. */
  clear(): void {
    this.buffer.clear();
    this.count = 0;
  }

  /** Becomes a copy of other lines. */
  copy(other: Lines): void {
    this.clear();
    this.buffer.append(other.buffer);
    while (this.ends.length < other.count) this.grow();
    const moved = this.buffer.start - other.buffer.start;
    for (let line = 0; line < other.count; line++) {
      this.ends[line] = other.endOf(line) + moved;
      this.owners[line] = other.ownerOf(line);
    }
    this.count = other.count;
  }

  startOf(line: number): number {
    return line === 0 ? this.buffer.start : (this.ends[line - 1] ?? 0);
  }

  endOf(line: number): number {
    return this.ends[line] ?? 0;
  }

  ownerOf(line: number): number {
    return this.owners[line] ?? 0;
  }

  private grow(): void {
    const { ends, owners } = this;
    this.ends = new Uint32Array(ends.length * 2);
    this.ends.set(ends);
    this.owners = new Uint16Array(owners.length * 2);
    this.owners.set(owners);
  }
}
