// How the sensor writes what root cannot write: it asks a program to, which counts those who ask and are not the sensor.

import { MESSAGE, type MessageTo, OWN_PROCESSES } from "../bpf/event.gen.ts";
import { runProgram } from "./libbpf.ts";
import { mapShared } from "./libc.ts";

/** Bytes that a message can carry. */
export const BLOCK_SIZE = MESSAGE.size - MESSAGE.at.words;

/** Messages to the kernel side. */
export type Messages = {
  /** Sends at most BLOCK_SIZE bytes; the rest of the block becomes zero. */
  send: (to: MessageTo, block: number, bytes: Uint8Array) => void;
  /** How many messages came from processes that were not the sensor by then. */
  strangers: () => bigint;
  /** Whose arguments are being read for a snapshot. */
  reading: () => number;
};

/** The descriptors of on_message and of the map of own processes. */
export function openMessages({
  messages,
  ownProcesses,
}: {
  messages: number;
  ownProcesses: number;
}): Messages {
  const own = new DataView(mapShared(ownProcesses, 0, OWN_PROCESSES.size, false).bytes);
  return {
    send(to, block, bytes) {
      const message = new Uint8Array(MESSAGE.size);
      const view = new DataView(message.buffer);
      view.setUint32(MESSAGE.at.to, to, true);
      view.setUint32(MESSAGE.at.block, block, true);
      message.set(bytes, MESSAGE.at.words);
      runProgram(messages, message);
    },
    strangers: () => own.getBigUint64(OWN_PROCESSES.at.strangers, true),
    reading: () => own.getUint32(OWN_PROCESSES.at.reading, true),
  };
}
