// A file that lines are added to: set aside when it is large or old enough, opened anew when somebody else has moved it.

import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { IS_FOLDER } from "../../bpf/words.ts";
import { Segments } from "./segments.ts";
import { OutputError, type Target } from "./writer.ts";

/** Where a file is, and when it is set aside: sizes in bytes, 0 for never. */
export type FileSettings = {
  path: string;
  rotateSize: number;
  rotateAgeMs: number;
  compress: boolean;
  keep: number;
};

const MODE = 0o640;
/** As far back as the beginning of a line is looked for; more than a line can have. */
const LINE_SIZE_MAX = 1024 * 1024;
/** How every line of ours begins. */
const BEGINNING = '{"event_type":';
/** A rotation that failed is tried again after this. */
const RETRY_MS = 1000;

/** A file, or whatever else has a path. It is changed between two lines only, which is for the caller to see to. */
export class OutputFile implements Target {
  readonly name: string;
  fd: number;
  owned = false;
  awaitsReader = false;
  private readonly segments: Segments | null;
  /** When the first line may have been written, ms since 1970. */
  private begun = 0;
  private retryAt = 0;

  /** Opens the file for this process's user. @throws OutputError */
  constructor(
    private readonly settings: FileSettings,
    private readonly say: (line: string) => void,
  ) {
    const { path, rotateSize, rotateAgeMs } = settings;
    this.name = path;
    try {
      this.fd = openForLines(path, say);
    } catch (error) {
      throw new OutputError(`${path}: ${whyNotWritten(error as NodeJS.ErrnoException, path)}`);
    }
    this.begin();
    const rotates = this.owned && rotateSize + rotateAgeMs > 0;
    if (rotates) checkFolder(path);
    this.segments = rotates ? new Segments(path, settings, say) : null;
    this.segments?.tidy();
  }

  makeRoom(size: number): number {
    const { rotateSize } = this.settings;
    if (rotateSize === 0 || !this.owned) return Infinity;
    if (this.size > 0 && this.size + size > rotateSize && !this.rotate()) return Infinity;
    return rotateSize - this.size;
  }

  /** Is it time to set the file aside? */
  get old(): boolean {
    const { rotateAgeMs } = this.settings;
    return rotateAgeMs > 0 && this.owned && Date.now() - this.begun >= rotateAgeMs;
  }

  /** Sets the file aside, if anything is in it. */
  rotateByAge(): void {
    if (this.size > 0) this.rotate();
    else this.begun = Date.now();
  }

  /** Opens the path anew; when that fails, goes on with what is open. */
  reopen(): void {
    try {
      this.replace();
    } catch (error) {
      const reason = whyNotWritten(error as NodeJS.ErrnoException, this.name);
      this.say(`${this.name}: cannot be opened anew: ${reason}; lines go on into the old file`);
    }
  }

  /** Waits for segments that are being compressed; with `now`, leaves them to the next start. */
  async close(now: boolean): Promise<void> {
    closeSync(this.fd);
    await this.segments?.close(now);
  }

  private get size(): number {
    return fstatSync(this.fd).size;
  }

  private rotate(): boolean {
    if (!this.segments || performance.now() < this.retryAt) return false;
    try {
      if (isAt(this.name, this.fd)) {
        const segment = this.segments.next(new Date());
        renameSync(this.name, segment);
        try {
          this.replace();
        } catch (error) {
          renameSync(segment, this.name);
          throw error;
        }
      } else this.replace(); // somebody else has set it aside
    } catch (error) {
      if (this.retryAt === 0)
        this.say(`${this.name}: cannot be rotated: ${(error as Error).message}; lines go on into it`);
      this.retryAt = performance.now() + RETRY_MS;
      return false;
    }
    this.retryAt = 0;
    this.segments.tidy();
    return true;
  }

  private replace(): void {
    const fd = openForLines(this.name, this.say);
    closeSync(this.fd);
    this.fd = fd;
    this.begin();
  }

  private begin(): void {
    const status = fstatSync(this.fd);
    this.owned = status.isFile();
    this.awaitsReader = status.isFIFO();
    // Some file systems do not keep the time of birth.
    this.begun = status.size > 0 && status.birthtimeMs > 0 ? status.birthtimeMs : Date.now();
  }
}

function openForLines(path: string, say: (line: string) => void): number {
  if (!statSync(path, { throwIfNoEntry: false })?.isFIFO()) {
    const fd = openSync(path, "a", MODE);
    mendEnd(path, fd, say);
    return fd;
  }
  // Opening a FIFO waits for a reader: here is one, for a moment.
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return openSync(path, "a");
  } finally {
    closeSync(reader);
  }
}

function isAt(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const open = fstatSync(fd);
  return there?.ino === open.ino && there.dev === open.dev;
}

/**
 * Half a line at the end is what a crash has left. One of ours is cut off, because what was not written was not
 * acknowledged either and comes again; anything else gets a line end. Some file systems need room even for that.
 * @throws the system's error
 */
function mendEnd(path: string, fd: number, say: (line: string) => void): void {
  const status = fstatSync(fd);
  if (!status.isFile()) return;
  const { size } = status;
  const tail = Buffer.alloc(Math.min(size, LINE_SIZE_MAX));
  try {
    const reader = openSync(path, "r");
    readSync(reader, tail, 0, tail.length, size - tail.length);
    closeSync(reader);
  } catch {
    return; // a file that this user may add to, and not read
  }
  const half = tail.subarray(tail.lastIndexOf("\n") + 1).toString("latin1");
  if (half === "") return;
  if (half.startsWith(BEGINNING) || BEGINNING.startsWith(half)) {
    ftruncateSync(fd, size - half.length);
    say(`${path}: half a line at its end, ${half.length} bytes, was cut off`);
  } else writeSync(fd, "\n");
}

/** @throws OutputError when files cannot be renamed and created where `path` is */
function checkFolder(path: string): void {
  const folder = dirname(path);
  const user = process.geteuid?.() ?? 0;
  const { uid, mode } = statSync(folder);
  const sticky = (mode & 0o1000) !== 0 && user !== 0 && user !== uid && user !== statSync(path).uid;
  try {
    if (sticky) throw new Error("it is sticky, and the file is another's");
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    const reason = `user ${user} may not do that in ${folder} (${(error as Error).message})`;
    throw new OutputError(
      `${path}: rotation renames and creates files, and ${reason}: "chown ${user} ${folder}", or be another user`,
    );
  }
}

/** Why the system did not let a file be written at `path`, in words. */
export function whyNotWritten({ code, message }: NodeJS.ErrnoException, path: string): string {
  if (code === "EACCES") {
    const user = process.geteuid?.() ?? 0;
    return `user ${user} may not write there: "chown ${user}" the file, or its folder if it is new, or be another user`;
  }
  if (code === "ENOENT") return `there is no folder ${dirname(path)}`;
  return code === "EISDIR" ? IS_FOLDER : message;
}
