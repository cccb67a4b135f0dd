// Captures: a stream in a file or from standard input, plain or compressed with zstd; the first bytes tell which.

import { closeSync, fstatSync, openSync, read, write } from "node:fs";
import { pipeline } from "node:stream";
import { finished } from "node:stream/promises";
import { promisify } from "node:util";
import { constants, crc32, createZstdCompress, createZstdDecompress, type ZstdCompress } from "node:zlib";
import { FRAME_HEADER, FrameType, STREAM_PREAMBLE, writeFrameHeader } from "../../bpf/event.gen.ts";
import { type Frame, frameChecksum, StreamError } from "./records.ts";

const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
/** A capture that wants a larger window (8 MiB, as `zstd -19` does) to be decompressed is refused: it would be held as a whole. */
const ZSTD_WINDOW_LOG_MAX = 23;
const WINDOW_TOO_LARGE = "ZSTD_error_frameParameter_windowTooLarge";
const PIECE_SIZE = 256 * 1024;
const STDIN = 0;
/** Standard input that someone else has set to non-blocking is tried again after this. */
const RETRY_MS = 5;

/** An open capture: where it comes from, for messages, its descriptor, and how many of its bytes were read. */
export type Capture = { name: string; fd: number; taken: number };

/**
 * Opens a capture; `-` is standard input.
 * @throws the system's error
 */
export function openCapture(path: string): Capture {
  if (path === "-") return { name: "standard input", fd: STDIN, taken: 0 };
  const fd = openSync(path, "r");
  if (!fstatSync(fd).isDirectory()) return { name: path, fd, taken: 0 };
  closeSync(fd);
  throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
}

/**
 * The stream's bytes, decompressed, in pieces.
 * @throws StreamError when the file cannot be read, or its compressed bytes are damaged or cut; what came before has been given
 */
export async function* readCapture(capture: Capture): AsyncGenerator<Uint8Array> {
  const pieces = filePieces(capture);
  const head = await firstBytes(pieces, ZSTD_MAGIC.length);
  if (!head.subarray(0, ZSTD_MAGIC.length).equals(ZSTD_MAGIC)) {
    yield head;
    yield* pieces;
    return;
  }
  const zstd = createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } });
  const source = { size: 0 };
  let failure: NodeJS.ErrnoException | null = null;
  let offset = 0;
  pipeline(compressed(head, pieces, source), zstd, (error) => {
    failure ??= error ?? null;
  });
  try {
    for await (const piece of zstd as AsyncIterable<Buffer>) {
      offset += piece.length;
      yield piece;
    }
  } catch (error) {
    failure ??= error as Error;
  }
  if (failure instanceof StreamError) throw failure;
  if (failure !== null) throw new StreamError(offset, reasonOf(failure));
  // The library stops at the end of the last compressed part, and says nothing of what follows.
  const rest = source.size - zstd.bytesWritten;
  if (rest > 0) throw new StreamError(offset, `${rest} bytes follow that are not compressed`);
}

/** A file in pieces; a piece's memory is valid until the next is asked for. While one is looked at, the next is read. */
async function* filePieces(capture: Capture): AsyncGenerator<Buffer> {
  const { fd } = capture;
  let [spare, used] = [Buffer.allocUnsafe(PIECE_SIZE), Buffer.allocUnsafe(PIECE_SIZE)];
  let next = readSome(fd, spare);
  try {
    for (;;) {
      const size = await next;
      if (size === 0) return;
      capture.taken += size;
      [spare, used] = [used, spare];
      next = readSome(fd, spare);
      yield used.subarray(0, size);
    }
  } catch (error) {
    throw new StreamError(capture.taken, `it cannot be read (${(error as Error).message})`);
  } finally {
    if (fd !== STDIN) {
      await next.catch(() => {});
      closeSync(fd);
    }
  }
}

/** One read(2). What it fails with is for whoever asks for the piece. */
function readSome(fd: number, into: Buffer): Promise<number> {
  const done = new Promise<number>((resolve, reject) => {
    const attempt = () =>
      read(fd, into, 0, into.length, null, (error, size) => {
        if (error?.code === "EAGAIN") setTimeout(attempt, RETRY_MS);
        else if (error) reject(error);
        else resolve(size);
      });
    attempt();
  });
  done.catch(() => {});
  return done;
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  if (code !== WINDOW_TOO_LARGE) return `the compressed bytes are damaged or cut (${message})`;
  const size = 2 ** (ZSTD_WINDOW_LOG_MAX - 20);
  return `it takes more than ${size} MiB to decompress this: compress it again, with zstd -19 at most and without --long`;
}

async function* compressed(
  head: Buffer,
  pieces: AsyncIterable<Buffer>,
  source: { size: number },
): AsyncGenerator<Buffer> {
  source.size += head.length;
  yield head;
  for await (const piece of pieces) {
    source.size += piece.length;
    yield Buffer.from(piece);
  }
}

async function firstBytes(pieces: AsyncIterator<Buffer>, size: number): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < size) {
    const next = await pieces.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

/** Writes frames to a capture as they are, with checksums. A name that ends in `.zst` asks for compression. */
export class CaptureWriter {
  private readonly fd: number;
  private readonly zstd: ZstdCompress | null;
  /** What `flush` has to write. */
  private pending: Uint8Array[] = [];
  private checksum = 0;
  private open = false;

  /** Creates the file, or empties it. @throws the system's error */
  constructor(readonly path: string) {
    this.fd = openSync(path, "w", 0o600);
    this.zstd = path.endsWith(".zst")
      ? createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
      : null;
    this.zstd?.on("data", (bytes: Buffer) => void this.pending.push(bytes));
  }

  /** Adds a frame, which is in the file when `flush` has returned. */
  write(frame: Frame): void {
    const bytes = Buffer.from(frame.raw);
    if (frame.type === "preamble") {
      bytes.writeUInt32LE(1, STREAM_PREAMBLE.at.checksums);
      this.checksum = crc32(bytes);
      this.add(bytes);
    } else this.addFrame(bytes);
    this.open = frame.type !== "end";
  }

  /** Returns when write(2) has taken every frame so far. @throws the system's error */
  async flush(): Promise<void> {
    const { zstd } = this;
    if (zstd) await new Promise<void>((resolve) => zstd.flush(constants.ZSTD_e_flush, resolve));
    await this.writePending();
  }

  /** The stream has ended without saying so: because its reader left it, or because it was cut. Another one may follow. */
  endStream(wasCut: boolean): void {
    if (!this.open) return;
    const bytes = Buffer.alloc(FRAME_HEADER.size);
    writeFrameHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, {
      type: FrameType.end,
      ring: 0,
      size: 0,
      position: 0n,
      checksum: 0,
      more: wasCut ? 1 : 0,
    });
    this.addFrame(bytes);
    this.open = false;
  }

  /** Completes the file. @throws the system's error */
  async close(): Promise<void> {
    this.endStream(false);
    if (this.zstd) {
      this.zstd.end();
      await finished(this.zstd);
    }
    await this.writePending();
    closeSync(this.fd);
  }

  private addFrame(bytes: Buffer): void {
    this.checksum = frameChecksum(bytes, this.checksum);
    bytes.writeUInt32LE(this.checksum, FRAME_HEADER.at.checksum);
    this.add(bytes);
  }

  private add(bytes: Buffer): void {
    if (this.zstd) this.zstd.write(bytes);
    else this.pending.push(bytes);
  }

  private async writePending(): Promise<void> {
    const bytes = Buffer.concat(this.pending.splice(0));
    for (let at = 0; at < bytes.length; ) at += (await writeTo(this.fd, bytes, at)).bytesWritten;
  }
}

const writeTo = promisify(write);
