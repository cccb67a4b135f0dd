// Lines to an output, whole or not at all: a slow reader holds the caller back, a full disk costs lines that are counted, a
// closed pipe ends the writing.

import { fstatSync, ftruncateSync, write } from "node:fs";
import { isatty } from "node:tty";
import type { Lines } from "./lines.ts";

/** Where lines go. */
export type Target = {
  /** In messages and `health` lines. */
  readonly name: string;
  /** Asked for before each batch, because a file may be another one by then. */
  readonly fd: number;
  /** Nobody else writes there: half a line may be cut off again. */
  readonly owned: boolean;
  /** Without a reader, a FIFO is waited for; a pipe is over. */
  readonly awaitsReader: boolean;
  /** Called between lines, before one of `size` bytes. Returns how many bytes may be written until it is called again. */
  makeRoom(size: number): number;
};

/** Who hears what becomes of lines, by the numbers of their owners. */
export type Told = {
  /** The line got out. */
  wrote: (owner: number) => void;
  /** It did not, and never will; `torn` when it had been taken for one that did, because its beginning had got out. */
  lost: (owner: number, torn: boolean) => void;
  /** Words for the person at the terminal: once when writing begins to fail, and once when it works again. */
  say: (line: string) => void;
};

const BATCH_SIZE = 1024 * 1024;
/** A full pipe that someone else has set to non-blocking is tried again after this. */
const RETRY_MS = 5;
/** So is a FIFO that nobody reads. */
const READER_MS = 100;
/** A write that takes longer is trouble. */
const STUCK_MS = 5000;
/** The reader has gone. */
const GONE = new Set(["EPIPE", "ECONNRESET"]);
/** Lines are lost while these last. */
const FULL = new Set(["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS"]);

/** Standard output, which ends when its reader does. */
export const STDOUT: Target = {
  name: "standard output",
  fd: 1,
  owned: false,
  awaitsReader: false,
  makeRoom: () => BATCH_SIZE,
};

/** An output that cannot be used at all, and why, for the person at the terminal. */
export class OutputError extends Error {}

/** Lines from `first` to before `end`. */
type Batch = { lines: Lines; first: number; end: number };

/** Writes lines to one target. */
export class LineWriter {
  /** Nothing is written any more: the reader has gone, or `giveUp` was called. */
  closed = false;
  /** How many lines were lost. */
  failed = 0;
  /** The last attempt did not work: the reason. Null when it did. */
  private failure: string | null = null;
  /** When the write that is under way began, ms of this process's clock. */
  private writingSince: number | null = null;
  /** The rest of a line whose beginning got out and could not be cut off: nothing else is written before it. */
  private torn: { owner: number; rest: Buffer; written: number } | null = null;
  private busy = false;
  private readonly steps: (() => void)[] = [];
  private release: () => void = () => {};
  private readonly terminal: boolean;

  constructor(
    readonly target: Target,
    private readonly told: Told,
  ) {
    this.terminal = isatty(target.fd);
  }

  /** What is wrong with writing at this moment; null: nothing. */
  get trouble(): string | null {
    const { failure, writingSince } = this;
    if (failure !== null) return `output fails (${failure})`;
    const stuck = writingSince !== null && performance.now() - writingSince >= STUCK_MS;
    return stuck ? `one write takes longer than ${STUCK_MS / 1000} s: its reader does not keep up` : null;
  }

  /** Writes lines in order; they stay as they are until this has ended. One call at a time. */
  async write(lines: Lines): Promise<void> {
    this.busy = true;
    for (let first = 0; first < lines.count; ) {
      this.takeSteps();
      const batch = this.batchOf(lines, first);
      await this.writeBatch(batch);
      first = batch.end;
    }
    this.busy = false;
    this.takeSteps();
  }

  /** Does something between two lines: now, or when the lines that are being written are out. */
  between(step: () => void): void {
    this.steps.push(step);
    if (!this.busy) this.takeSteps();
  }

  /** Ends the waiting for a reader that does not read. What is not out is lost to this writer. */
  giveUp(): void {
    this.closed = true;
    this.release();
  }

  /** Tries for the last time to complete a line. */
  async close(): Promise<void> {
    if (!(await this.completeTorn())) this.dropTorn();
  }

  private takeSteps(): void {
    if (this.steps.length > 0) this.dropTorn();
    for (const step of this.steps.splice(0)) step();
  }

  private batchOf(lines: Lines, first: number): Batch {
    const start = lines.startOf(first);
    const room = this.torn
      ? BATCH_SIZE
      : Math.min(BATCH_SIZE, this.target.makeRoom(lines.endOf(first) - start));
    let end = first + 1;
    while (end < lines.count && lines.endOf(end) - start <= room) end++;
    return { lines, first, end };
  }

  private async writeBatch(batch: Batch): Promise<void> {
    const { lines, first, end } = batch;
    const bytes = lines.buffer.bytes.subarray(lines.startOf(first), lines.endOf(end - 1));
    const written = (await this.completeTorn()) ? await this.writeAll(bytes) : 0;
    const whole = written === bytes.length ? end : this.mend(batch, bytes, written);
    if (written === bytes.length) this.works();
    for (let line = first; line < whole; line++) this.told.wrote(lines.ownerOf(line));
    for (let line = whole; line < end; line++) this.lose(lines.ownerOf(line), false);
  }

  private lose(owner: number, torn: boolean): void {
    this.failed += 1;
    this.told.lost(owner, torn);
  }

  /**
   * Part of a batch got out: the line within which it ended is cut off, or else completed before anything else.
   * Returns the first line that does not count as written.
   */
  private mend({ lines, first }: Batch, bytes: Buffer, written: number): number {
    const start = lines.startOf(first);
    let line = first;
    while (lines.endOf(line) - start <= written) line++;
    const begun = written - (lines.startOf(line) - start);
    if (begun === 0) return line;
    // The lines' memory is used again.
    const rest = Buffer.from(bytes.subarray(written, lines.endOf(line) - start));
    this.torn = { owner: lines.ownerOf(line), rest, written: begun };
    return this.target.owned && this.cutTorn() ? line : line + 1;
  }

  private async completeTorn(): Promise<boolean> {
    if (!this.torn) return true;
    const { owner, rest, written } = this.torn;
    const size = await this.writeAll(rest);
    this.torn = size < rest.length ? { owner, rest: rest.subarray(size), written: written + size } : null;
    return this.torn === null;
  }

  /** Gives up a line whose beginning is out. */
  private dropTorn(): void {
    if (!this.torn) return;
    const { owner } = this.torn;
    this.cutTorn();
    this.torn = null;
    this.lose(owner, true);
  }

  /** Cuts the beginning of a line off a file. Returns false where that cannot be: some file systems need room for it. */
  private cutTorn(): boolean {
    const status = fstatSync(this.target.fd);
    if (!this.torn || !status.isFile()) return false;
    try {
      ftruncateSync(this.target.fd, status.size - this.torn.written);
    } catch {
      return false;
    }
    this.torn = null;
    return true;
  }

  /** Writes as much as can be. Returns the bytes that got out. */
  private async writeAll(bytes: Buffer): Promise<number> {
    let at = 0;
    while (at < bytes.length && !this.closed) {
      try {
        at += await this.writeSome(bytes, at);
      } catch (error) {
        const { code = "", message } = error as NodeJS.ErrnoException;
        // The runtime has no words for this one.
        const reason = code === "EDQUOT" ? "EDQUOT: the disk quota is used up" : message;
        if (code === "EAGAIN" || code === "EINTR") await Bun.sleep(RETRY_MS);
        else if (code === "EPIPE" && this.target.awaitsReader) {
          this.fails(code, "nobody reads it: waiting for a reader");
          await Bun.sleep(READER_MS);
        } else if (GONE.has(code) || (code === "EIO" && this.terminal)) this.closed = true;
        else if (FULL.has(code)) {
          this.fails(code, `output fails (${reason}): lines are lost until it works again, and counted`);
          return at;
        } else throw new OutputError(`${this.target.name}: ${reason}`);
      }
    }
    return at;
  }

  /** One write(2); `giveUp` ends the waiting for it. */
  private writeSome(bytes: Buffer, at: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.release = () => resolve(0);
      this.writingSince = performance.now();
      write(this.target.fd, bytes, at, bytes.length - at, null, (error, size) => {
        this.writingSince = null;
        if (error) reject(error);
        else resolve(size);
      });
    });
  }

  private fails(reason: string, words: string): void {
    if (this.failure !== reason) this.told.say(`${this.target.name}: ${words}`);
    this.failure = reason;
  }

  private works(): void {
    if (this.failure !== null)
      this.told.say(`${this.target.name}: output works again (${this.failure} is over)`);
    this.failure = null;
  }
}
