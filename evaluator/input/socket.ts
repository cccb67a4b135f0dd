// The sensor's socket: bytes in, acknowledgements out.

import { fstatSync, writeSync } from "node:fs";
import { connect, type Socket } from "node:net";
import {
  ACKNOWLEDGEMENT,
  type Acknowledgement,
  RINGS_MAX,
  writeAcknowledgement,
} from "../../bpf/event.gen.ts";
import type { Frame } from "./records.ts";

/** An acknowledgement that a sensor has no room for is offered again so often. */
const RETRY_MS = 100;

/** How far a stream has been handled: what can be acknowledged when that is written. */
export class Handled {
  /** By ring, where the last records end. */
  private readonly position = Array.from({ length: RINGS_MAX }, () => 0n);
  /** By ring, where the first records of this stream begin, and where the last ones end. */
  private readonly begun = Array.from({ length: RINGS_MAX }, (): bigint | null => null);
  private readonly sent = Array.from({ length: RINGS_MAX }, () => 0n);
  /** The time of the last counters. */
  private counters = 0n;

  /** This frame has come. */
  came(frame: Frame): void {
    if (frame.type !== "records") return;
    this.begun[frame.ring] ??= frame.position;
    this.sent[frame.ring] = frame.position + BigInt(frame.bytes.length);
  }

  /** This frame has been handled. */
  add(frame: Frame): void {
    // What was held back of a stream before this one is of other rings.
    if (frame.type === "preamble") this.position.fill(0n);
    else if (frame.type === "records")
      this.position[frame.ring] = frame.position + BigInt(frame.bytes.length);
    else if (frame.type === "counters") this.counters = frame.counters.time;
  }

  /** As it is at this moment. */
  now(): Pick<Acknowledgement, "position" | "counters"> {
    // What an earlier stream had sent of the same rings is this one's only once it has sent it again; it does not, when another
    // reader has acknowledged it meanwhile.
    const position = this.position.map((at, ring) => {
      const sent = this.sent[ring] ?? 0n;
      return at < (this.begun[ring] ?? 0n) ? 0n : at < sent ? at : sent;
    });
    return { position, counters: this.counters };
  }
}

/** A connection to the sensor. */
export type SensorConnection = {
  /** The stream's bytes in pieces; it ends when the sensor does. */
  pieces: AsyncIterable<Uint8Array>;
  /** Says what was written out and told. */
  acknowledge: (what: Acknowledgement) => void;
  close: () => void;
};

/**
 * Connects to the sensor at `path`.
 * @throws the system's error, such as ENOENT when no sensor serves there
 */
export async function connectSensor(path: string): Promise<SensorConnection> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opened = connect(path, () => resolve(opened));
    opened.once("error", reject);
  });
  let waiting: Acknowledgement | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  // Past the stream: a write of it that fails, because the sensor has closed, would take with it what the sensor has sent before.
  const { fd } = Reflect.get(socket, "_handle") as { fd: number };
  const own = fileOf(fd);
  const send = () => {
    clearTimeout(retry);
    // The runtime closes the descriptor before the socket knows, and its number may be another file's by now.
    if (!waiting || socket.destroyed || fileOf(fd) !== own) return;
    const view = new DataView(new ArrayBuffer(ACKNOWLEDGEMENT.size));
    writeAcknowledgement(view, 0, waiting);
    try {
      writeSync(fd, new Uint8Array(view.buffer));
      waiting = null;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") retry = setTimeout(send, RETRY_MS).unref();
      else if (code !== "EPIPE" && code !== "ECONNRESET") throw error;
    }
  };
  return {
    pieces: piecesOf(socket),
    acknowledge(what) {
      waiting = what;
      send();
    },
    close: () => void socket.destroy(),
  };
}

/** Which file a descriptor is of; null when it is closed. */
function fileOf(fd: number): string | null {
  try {
    const { dev, ino } = fstatSync(fd);
    return `${dev} ${ino}`;
  } catch {
    return null;
  }
}

async function* piecesOf(socket: Socket): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of socket as AsyncIterable<Buffer>) yield piece;
  } catch (error) {
    // A sensor that was killed: the same as one that closed.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ECONNRESET" && code !== "EPIPE" && code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
}
