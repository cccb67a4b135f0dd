// The sensor's socket: bytes in, acknowledgements out.

import { connect, type Socket } from "node:net";
import { ACKNOWLEDGEMENT, writeAcknowledgement } from "../../bpf/event.gen.ts";

/** Bytes of acknowledgements that may wait for a sensor that does not read them; then the last one has to do. */
const WAITING_SIZE_MAX = 64 * 1024;

/** A connection to the sensor. */
export type SensorConnection = {
  /** The stream's bytes in pieces; it ends when the sensor does. */
  pieces: AsyncIterable<Uint8Array>;
  /** Says that all records of the ring before `position` were written out. */
  acknowledge: (ring: number, position: bigint) => void;
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
  const positions = new Map<number, bigint>();
  const send = () => {
    for (const [ring, position] of positions) {
      const view = new DataView(new ArrayBuffer(ACKNOWLEDGEMENT.size));
      writeAcknowledgement(view, 0, { position, ring, reserved: 0 });
      if (socket.writable) socket.write(new Uint8Array(view.buffer));
    }
    positions.clear();
  };
  socket.on("drain", send);
  return {
    pieces: piecesOf(socket),
    acknowledge(ring, position) {
      positions.set(ring, position);
      if (socket.writableLength < WAITING_SIZE_MAX) send();
    },
    close: () => void socket.destroy(),
  };
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
