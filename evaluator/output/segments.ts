// What a rotated file leaves behind: segments named after the time at which each was set aside, compressed in the
// background, the oldest removed. The names of segments sort as they were written, and none is ever used twice.

import { createReadStream, createWriteStream, readdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress } from "node:zlib";

/** A segment of a file: `events-20260517T120431Z-0001.ndjson`, and with `.zst` when it is compressed. */
type Segment = { stamp: string; count: number; compressed: boolean };

const COMPRESSED = ".zst";
const PARTIAL = ".part";
const PIECE_SIZE = 256 * 1024;
/** Between two pieces, so that compressing takes a small part of one CPU: a MiB takes some 3 ms of work, and this four times. */
const PAUSE_MS = 3;

/** The segments of one file, in the folder where it is. */
export class Segments {
  private readonly folder: string;
  private readonly stem: string;
  private readonly extension: string;
  private working: Promise<void> = Promise.resolve();
  private active = false;
  private more = false;
  private failure: string | null = null;
  private readonly stopped = new AbortController();

  constructor(
    private readonly path: string,
    private readonly settings: { compress: boolean; keep: number },
    private readonly say: (line: string) => void,
  ) {
    this.folder = dirname(path);
    this.extension = extname(path);
    this.stem = basename(path, this.extension);
  }

  /** A name for the segment that is set aside at `time`, behind all that there are. @throws the system's error */
  next(time: Date): string {
    const now = `${time.toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
    const last = this.list().at(-1);
    const stamp = last && last.stamp > now ? last.stamp : now;
    const count = last?.stamp === stamp ? last.count + 1 : 1;
    return this.pathOf({ stamp, count, compressed: false });
  }

  /** Removes what is beyond `keep`, finishes what a crash left, compresses what is plain; in the background. */
  tidy(): void {
    this.more = true;
    if (!this.active) this.working = this.work();
  }

  /** Waits for what `tidy` began. With `now`, leaves the rest to the next start. */
  async close(now: boolean): Promise<void> {
    if (now) this.stopped.abort();
    await this.working;
  }

  private async work(): Promise<void> {
    this.active = true;
    while (this.more && !this.stopped.signal.aborted) {
      this.more = false;
      let segments: Segment[] = [];
      await this.attempt(() => {
        this.clean();
        segments = this.list();
      });
      const surplus = this.settings.keep === 0 ? [] : segments.slice(0, -this.settings.keep);
      for (const segment of surplus) await this.attempt(() => rmSync(this.pathOf(segment)));
      const plain = segments.slice(surplus.length).filter(({ compressed }) => !compressed);
      for (const segment of this.settings.compress ? plain : [])
        await this.attempt(() => this.compress(segment));
    }
    this.active = false;
  }

  /** What cannot be done to a segment stays undone until the next time, and is said once. */
  private async attempt(step: () => void | Promise<void>): Promise<void> {
    if (this.stopped.signal.aborted) return;
    try {
      await step();
      this.failure = null;
    } catch (error) {
      const { message } = error as Error;
      if (this.failure !== message && !this.stopped.signal.aborted)
        this.say(`${this.path}: a rotated segment stays as it is: ${message}`);
      this.failure = message;
    }
  }

  /** Removes what a crash left: halves of compressed segments, and plain ones that are compressed already. */
  private clean(): void {
    const names = new Set(readdirSync(this.folder));
    for (const name of names) {
      const partial = name.endsWith(PARTIAL) && this.parse(name.slice(0, -PARTIAL.length));
      const twin = this.parse(name)?.compressed === false && names.has(name + COMPRESSED);
      if (partial || twin) rmSync(join(this.folder, name));
    }
  }

  /** A crash at any point leaves the plain segment, or the whole compressed one. */
  private async compress(segment: Segment): Promise<void> {
    const plain = this.pathOf(segment);
    const compressed = this.pathOf({ ...segment, compressed: true });
    const partial = compressed + PARTIAL;
    const zstd = createZstdCompress({
      chunkSize: PIECE_SIZE,
      params: { [constants.ZSTD_c_checksumFlag]: 1 },
    });
    try {
      await pipeline(slowly(plain), zstd, createWriteStream(partial, { mode: 0o640 }), {
        signal: this.stopped.signal,
      });
      await using file = await open(partial, "r");
      await file.sync();
    } catch (error) {
      rmSync(partial, { force: true });
      throw error;
    }
    renameSync(partial, compressed);
    rmSync(plain);
  }

  /** All segments, oldest first. @throws the system's error */
  private list(): Segment[] {
    return readdirSync(this.folder)
      .map((name) => this.parse(name))
      .filter((segment) => segment !== null)
      .toSorted((a, b) => (a.stamp === b.stamp ? a.count - b.count : a.stamp < b.stamp ? -1 : 1));
  }

  private parse(name: string): Segment | null {
    const parts = /-(\d{8}T\d{6}Z)-(\d{4,9})\D/.exec(`${name.slice(this.stem.length)}.`);
    if (!parts?.[1] || !parts[2]) return null;
    const segment = { stamp: parts[1], count: Number(parts[2]), compressed: name.endsWith(COMPRESSED) };
    return this.pathOf(segment) === join(this.folder, name) ? segment : null;
  }

  private pathOf({ stamp, count, compressed }: Segment): string {
    const name = `${this.stem}-${stamp}-${String(count).padStart(4, "0")}${this.extension}`;
    return join(this.folder, name + (compressed ? COMPRESSED : ""));
  }
}

async function* slowly(path: string): AsyncGenerator<Buffer> {
  for await (const piece of createReadStream(path, { highWaterMark: PIECE_SIZE }) as AsyncIterable<Buffer>) {
    yield piece;
    await Bun.sleep(PAUSE_MS);
  }
}
