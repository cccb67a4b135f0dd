// Which processes are ours, told to the kernel side: what sensor and evaluator write for their reader is no event.

import { readFileSync } from "node:fs";
import { MessageTo, OWN_PROCESSES, writeOwnProcesses } from "../bpf/event.gen.ts";
import { mapShared } from "./libc.ts";
import type { Messages } from "./message.ts";

/** The map of own processes. */
export type OwnProcesses = {
  setEvaluator: (pid: number | null) => void;
  /** Begins or ends an act of the canary. */
  setCanary: (acting: boolean) => void;
  /** Has somebody else sent messages to the kernel side since this was asked last? What was there is written again. */
  changed: () => boolean;
  /** Takes this process out again. */
  close: () => void;
};

/** Maps the map `fd`, and enters this process. */
export function openOwnProcesses(fd: number, messages: Messages): OwnProcesses {
  const map = new DataView(mapShared(fd, 0, OWN_PROCESSES.size, false).bytes);
  const ofOthers = () => map.getBigUint64(OWN_PROCESSES.at.messages, true) - messages.count();
  const bytes = new Uint8Array(OWN_PROCESSES.size);
  const own = {
    sensor: process.pid,
    evaluator: 0,
    sensorStart: startOf(process.pid),
    evaluatorStart: 0n,
    canary: 0,
    reserved: 0,
    messages: 0n,
  };
  const write = (change: Partial<typeof own>) => {
    writeOwnProcesses(new DataView(bytes.buffer), 0, Object.assign(own, change));
    messages.send(MessageTo.own, 0, bytes);
  };
  let before = ofOthers();
  write({});
  return {
    setEvaluator: (pid) => write({ evaluator: pid ?? 0, evaluatorStart: pid === null ? 0n : startOf(pid) }),
    setCanary: (acting) => write({ canary: Number(acting) }),
    changed() {
      const now = ofOthers();
      const changed = now !== before;
      before = now;
      if (changed) write({});
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
