// Lines to a file descriptor, whole or not at all: a slow reader holds the caller back, a full disk costs lines that are
// counted, a closed pipe ends the writing.

import { fstatSync, ftruncateSync, write } from "node:fs";
import type { Bytes } from "../event/text.ts";

const BATCH_SIZE = 1024 * 1024;
/** A full pipe that someone else has set to non-blocking is tried again after this. */
const RETRY_MS = 5;
/** Lines are lost while these last; anything else is a fault of ours. */
const FULL = new Set(["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS"]);

/** Writes lines to one descriptor. */
export class LineWriter {
  /** The reader has gone; nothing is written any more. */
  closed = false;
  /** The last attempt failed: the reason. Null when it worked. */
  failure: string | null = null;
  /** The rest of a line whose beginning got out: nothing else is written before it. */
  private torn: Buffer | null = null;
  private tornWritten = 0;

  constructor(
    private readonly fd: number,
    /** Told once when writing begins to fail, and once when it works again. */
    private readonly say: (line: string) => void,
  ) {}

  /** Writes `lines` in order. Returns the indices of those that did not get out. */
  async write(lines: Bytes[]): Promise<number[]> {
    const failed: number[] = [];
    for (let first = 0; first < lines.length; ) {
      let last = first;
      for (let size = 0; last < lines.length && (size === 0 || size < BATCH_SIZE); last++)
        size += lines[last]?.length ?? 0;
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
    if (!(await this.completeTorn())) return 0;
    const written = await this.writeAll(batch);
    if (written === batch.length) {
      if (this.failure) this.say(`output works again (${this.failure} is over)`);
      this.failure = null;
      return lines.length;
    }
    return this.mend(lines, batch, written);
  }

  /** Tries for the last time to complete a line; of a file, half a line is cut off. Returns false when one was lost. */
  async close(): Promise<boolean> {
    if (await this.completeTorn()) return true;
    const status = fstatSync(this.fd);
    if (status.isFile()) ftruncateSync(this.fd, status.size - this.tornWritten);
    return false;
  }

  private async completeTorn(): Promise<boolean> {
    if (!this.torn) return true;
    const size = await this.writeAll(this.torn);
    this.tornWritten += size;
    this.torn = size < this.torn.length ? this.torn.subarray(size) : null;
    return this.torn === null;
  }

  /** Part of a batch got out: the line within which it ended counts, and will be completed before anything else. */
  private mend(lines: Bytes[], batch: Buffer, written: number): number {
    let whole = 0;
    let end = 0;
    for (const line of lines) {
      if (end + line.length > written) break;
      end += line.length;
      whole += 1;
    }
    if (written === end) return whole;
    this.torn = batch.subarray(written, end + (lines[whole]?.length ?? 0));
    this.tornWritten = written - end;
    return whole + 1;
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
