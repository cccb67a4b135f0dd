// Lines that wait to be written, one behind the other in one buffer.

import type { Bytes } from "../event/text.ts";
import { ByteBuffer } from "./bytes.ts";

/**
 * A line's owner is the kind of the record behind it, with this if it is an alert; a line about the stream itself has another.
 */
export const ALERT = 0x100;
export const NOTICE = 0x200;

const LINES_MIN = 4096;

/** Whole lines, each with its owner. */
export class Lines {
  readonly buffer = new ByteBuffer();
  count = 0;
  /** Where each line ends in the buffer; it begins where the one before ends. */
  private ends = new Uint32Array(LINES_MIN);
  private owners = new Uint16Array(LINES_MIN);

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
    this.buffer.end = this.buffer.start;
    this.count = 0;
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
