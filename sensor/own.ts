// Which processes are ours, told to the kernel side: what sensor and evaluator write for their reader is no event.

import { readFileSync } from "node:fs";
import { MessageTo, OWN_PROCESSES, writeOwnProcesses } from "../bpf/event.gen.ts";
import type { Messages } from "./message.ts";

/** The map of own processes. */
export type OwnProcesses = {
  setEvaluator: (pid: number | null) => void;
  /** Begins or ends an act of the canary. */
  setCanary: (acting: boolean) => void;
  /** Has somebody else sent messages to the kernel side since this was asked last, or since an earlier sensor looked? */
  changed: () => boolean;
  /** Takes this process out again. */
  close: () => void;
};

/**
 * Enters this process. `known`: how many strangers there were when an earlier sensor looked last; null when there was none, or
 * it was this process.
 */
export function openOwnProcesses(messages: Messages, known: bigint | null): OwnProcesses {
  const bytes = new Uint8Array(OWN_PROCESSES.size);
  const own = {
    sensor: process.pid,
    evaluator: 0,
    sensorStart: startOf(process.pid),
    evaluatorStart: 0n,
    canary: 0,
    reserved: 0,
    strangers: 0n,
  };
  const write = (change: Partial<typeof own>) => {
    writeOwnProcesses(new DataView(bytes.buffer), 0, Object.assign(own, change));
    messages.send(MessageTo.own, 0, bytes);
  };
  let wasChanged = known !== null && messages.strangers() !== known;
  write({});
  let before = messages.strangers();
  return {
    setEvaluator: (pid) => write({ evaluator: pid ?? 0, evaluatorStart: pid === null ? 0n : startOf(pid) }),
    setCanary: (acting) => write({ canary: Number(acting) }),
    changed() {
      const now = messages.strangers();
      const changed = wasChanged || now !== before;
      wasChanged = false;
      if (changed) write({});
      before = messages.strangers();
      return changed;
    },
    close: () => write({ sensor: 0, sensorStart: 0n, evaluator: 0, evaluatorStart: 0n }),
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
