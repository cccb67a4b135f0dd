// Lines to a file descriptor, whole or not at all: a slow reader holds the caller back, a full disk costs lines that are
// counted, a closed pipe ends the writing.

import { fstatSync, ftruncateSync, write } from "node:fs";
import type { Bytes } from "../event/text.ts";

const BATCH_SIZE = 1024 * 1024;
/** A pipe that is full and set to non-blocking by someone else is tried again after this. */
const RETRY_MS = 5;
/** The disk is asked again for room after this. */
const FULL = new Set(["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS"]);

/** Writes lines to one descriptor. */
export class LineWriter {
  /** The reader has gone; nothing is written any more. */
  closed = false;
  /** The last attempt failed: the reason. Null when it worked. */
  failure: string | null = null;
  /** Of a regular file: where the last whole line ends, so that half a line can be taken back. */
  private end: number | null;
  private torn: Buffer | null = null;

  constructor(
    private readonly fd: number,
    /** Told once when writing begins to fail, and once when it works again. */
    private readonly say: (line: string) => void,
  ) {
    this.end = fstatSync(fd).isFile() ? 0 : null;
  }

  /** Writes `lines` in order. Returns the indices of those that did not get out. */
  async write(lines: Bytes[]): Promise<number[]> {
    const failed: number[] = [];
    for (let first = 0; first < lines.length; ) {
      let last = first;
      for (let size = 0; last < lines.length && (size === 0 || size < BATCH_SIZE); last++) size += lines[last]?.length ?? 0;
      const whole = await this.writeBatch(lines.slice(first, last));
      for (let i = first + whole; i < last; i++) failed.push(i);
      first = last;
    }
    return failed;
  }

  /** Returns how many whole lines got out. */
  private async writeBatch(lines: Bytes[]): Promise<number> {
    if (this.closed) return 0;
    const batch = Buffer.from(lines.join(""), "latin1");
    const rest = this.torn ? await this.writeAll(this.torn) : 0;
    if (this.torn && rest < this.torn.length) {
      this.torn = this.torn.subarray(rest);
      return 0;
    }
    this.torn = null;
    const written = await this.writeAll(batch);
    if (written === batch.length) {
      if (this.failure) this.say(`output works again (${this.failure} is over)`);
      this.failure = null;
      return lines.length;
    }
    return this.mend(lines, batch, written);
  }

  /** Part of a batch got out: the line in the middle of which it ended is taken back, or will be completed first. */
  private mend(lines: Bytes[], batch: Buffer, written: number): number {
    let whole = 0;
    let end = 0;
    for (const line of lines) {
      if (end + line.length > written) break;
      end += line.length;
      whole += 1;
    }
    if (written === end || this.closed) return whole;
    if (this.takeBack(written - end)) return whole;
    const line = lines[whole] ?? "";
    this.torn = batch.subarray(written, end + line.length);
    return whole + 1; // it will be completed before anything else is written
  }

  private takeBack(bytes: number): boolean {
    if (this.end === null) return false;
    try {
      ftruncateSync(this.fd, fstatSync(this.fd).size - bytes);
      return true;
    } catch {
      return false;
    }
  }

  /** Writes as much as can be. Returns the bytes that got out. */
  private async writeAll(bytes: Buffer): Promise<number> {
    let at = 0;
    while (at < bytes.length) {
      try {
        at += await writeSome(this.fd, bytes, at);
      } catch (error) {
        const { code = "", message } = error as NodeJS.ErrnoException;
        if (code === "EAGAIN" || code === "EINTR") {
          await Bun.sleep(RETRY_MS);
          continue;
        }
        if (code === "EPIPE") this.closed = true;
        else if (!FULL.has(code)) throw error;
        else if (this.failure !== code) {
          this.failure = code;
          this.say(`output fails (${message}): lines are lost until there is room, and counted`);
        }
        return at;
      }
    }
    return at;
  }
}

function writeSome(fd: number, bytes: Buffer, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, at, bytes.length - at, null, (error, size) => (error ? reject(error) : resolve(size)));
  });
}
