// Which processes are ours, told to the kernel side: what sensor and evaluator write for their reader is no event.

import { readFileSync } from "node:fs";
import { MessageTo, OWN_PROCESSES, writeOwnProcesses } from "../bpf/event.gen.ts";
import type { Messages } from "./message.ts";

/** The map of own processes. */
export type OwnProcesses = {
  setEvaluator: (pid: number | null) => void;
  /** Begins or ends an act of the canary. */
  setCanary: (acting: boolean) => void;
  /** Wants snapshots without arguments, or with them again. */
  setBare: (bare: boolean) => void;
  isBare: () => boolean;
  /** Has somebody else sent messages to the kernel side, of which no reader was told? */
  changed: () => boolean;
  /** Readers were told of those that were seen. */
  told: () => void;
  /** Whose arguments the kernel side is reading for a snapshot. */
  reading: () => number;
  /** How many strangers readers were told of, or were sensors. */
  known: () => bigint;
};

/** Enters this process. `earlier`: how many strangers were known to the sensor before; null when there was none. */
export function openOwnProcesses(messages: Messages, earlier: bigint | null): OwnProcesses {
  const bytes = new Uint8Array(OWN_PROCESSES.size);
  const own = {
    ...{ sensor: process.pid, sensorStart: startOf(process.pid), evaluator: 0, evaluatorStart: 0n },
    ...{ canary: 0, bare: 0, strangers: 0n, reading: 0, reserved: 0 },
  };
  const write = (change: Partial<typeof own>) => {
    writeOwnProcesses(new DataView(bytes.buffer), 0, Object.assign(own, change));
    messages.send(MessageTo.own, 0, bytes);
  };
  const before = messages.strangers();
  write({});
  // Until then, this process was a stranger itself.
  let known = (earlier ?? before) + messages.strangers() - before;
  let seen = known;
  return {
    setEvaluator: (pid) => write({ evaluator: pid ?? 0, evaluatorStart: pid === null ? 0n : startOf(pid) }),
    setCanary: (acting) => write({ canary: Number(acting) }),
    setBare(bare) {
      if (own.bare !== Number(bare)) write({ bare: Number(bare) });
    },
    isBare: () => own.bare === 1,
    changed() {
      if (messages.strangers() !== seen) write({});
      seen = messages.strangers();
      return seen !== known;
    },
    told() {
      known = seen;
    },
    reading: messages.reading,
    known: () => known,
  };
}

/** When a process started, in hundredths of a second since boot: field 22 of /proc/PID/stat. 0 when that is hidden. */
function startOf(pid: number): bigint {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name, in parentheses, is the second field, and may hold anything.
    return BigInt(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? 0);
  } catch {
    return 0n;
  }
}
