// How the sensor writes what root cannot write: it asks a program to, which counts how often it was asked.

import { MESSAGE, type MessageTo } from "../bpf/event.gen.ts";
import { runProgram } from "./libbpf.ts";

/** Bytes that a message can carry. */
export const BLOCK_SIZE = MESSAGE.size - MESSAGE.at.words;

/** Messages to the kernel side. */
export type Messages = {
  /** Sends at most BLOCK_SIZE bytes; the rest of the block becomes zero. */
  send: (to: MessageTo, block: number, bytes: Uint8Array) => void;
  /** How many were sent. */
  count: () => bigint;
};

/** `program`: the descriptor of on_message. */
export function openMessages(program: number): Messages {
  let count = 0n;
  return {
    send(to, block, bytes) {
      const message = new Uint8Array(MESSAGE.size);
      const view = new DataView(message.buffer);
      view.setUint32(MESSAGE.at.to, to, true);
      view.setUint32(MESSAGE.at.block, block, true);
      message.set(bytes, MESSAGE.at.words);
      count += 1n;
      runProgram(program, message);
    },
    count: () => count,
  };
}
