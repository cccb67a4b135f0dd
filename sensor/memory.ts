// What one evaluator leaves to the next: the counters whose losses it has told, and what it owes. It lies in a map beside the
// programs, and outlives this process with them.

import {
  CPU_COUNTERS,
  EVENT_ABI,
  MessageTo,
  readTakenFrame,
  TAKEN_FRAME,
  type TakenFrame,
  writeTakenFrame,
} from "../bpf/event.gen.ts";
import { mapShared } from "./libc.ts";
import { BLOCK_SIZE, type Messages } from "./message.ts";

/** As the payload of a FRAME_TAKEN: the frame's facts, and the rows of the counters. */
export type Taken = { facts: TakenFrame; rows: Uint8Array };

/** The map, as something that is whole at any time. */
export type Memory = {
  /** What was written last. */
  read: () => Taken;
  /** Was it written by this version, so that it can be read? */
  isOurs: () => boolean;
  /** How many strangers had sent messages when this was written. */
  strangers: () => bigint;
  write: (taken: Taken) => void;
};

/** Behind the number of the half that is whole. */
const STRANGERS_AT = 8;
const ABI_AT = 16;

/** How many blocks the map has to have. */
export function blocksFor(cpus: number): number {
  return 1 + 2 * blocksOfHalf(cpus);
}

function blocksOfHalf(cpus: number): number {
  return Math.ceil((TAKEN_FRAME.size + cpus * CPU_COUNTERS.size) / BLOCK_SIZE);
}

/**
 * Maps the map `fd`. The first block says which half was written last: a sensor that is killed while it writes leaves the
 * other one.
 */
export function openMemory(fd: number, cpus: number, messages: Messages): Memory {
  const map = Buffer.from(mapShared(fd, 0, blocksFor(cpus) * BLOCK_SIZE, false).bytes);
  const head = Buffer.alloc(ABI_AT + EVENT_ABI.length);
  const firstBlock = (half: number) => 1 + half * blocksOfHalf(cpus);
  return {
    isOurs: () => map.toString("latin1", ABI_AT, head.length) === EVENT_ABI,
    strangers: () => map.readBigUInt64LE(STRANGERS_AT),
    read() {
      const start = firstBlock((map[0] ?? 0) & 1) * BLOCK_SIZE;
      const end = start + TAKEN_FRAME.size + cpus * CPU_COUNTERS.size;
      const copy = Uint8Array.from(map.subarray(start, end));
      return {
        facts: readTakenFrame(new DataView(copy.buffer), 0),
        rows: copy.subarray(TAKEN_FRAME.size),
      };
    },
    write(taken) {
      const half = map[0] === 0 ? 1 : 0;
      const bytes = payloadOf(taken);
      for (let at = 0, block = firstBlock(half); at < bytes.length; at += BLOCK_SIZE, block++) {
        const part = bytes.subarray(at, at + BLOCK_SIZE);
        // Little changes in a second.
        if (map.compare(part, 0, part.length, block * BLOCK_SIZE, block * BLOCK_SIZE + part.length) !== 0)
          messages.send(MessageTo.memory, block, part);
      }
      head[0] = half;
      head.writeBigUInt64LE(messages.strangers(), STRANGERS_AT);
      head.write(EVENT_ABI, ABI_AT);
      messages.send(MessageTo.memory, 0, head);
    },
  };
}

/** The payload of a FRAME_TAKEN. */
export function payloadOf({ facts, rows }: Taken): Uint8Array {
  const bytes = new Uint8Array(TAKEN_FRAME.size + rows.length);
  writeTakenFrame(new DataView(bytes.buffer), 0, facts);
  bytes.set(rows, TAKEN_FRAME.size);
  return bytes;
}
