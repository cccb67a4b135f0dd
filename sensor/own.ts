// Which processes are ours, told to the kernel side: what sensor and evaluator write for their reader is no event.

import { readFileSync } from "node:fs";
import { OWN_PROCESSES, writeOwnProcesses } from "../bpf/event.gen.ts";
import { mapShared } from "./libc.ts";

/** The map of own processes, as memory that nobody else should write. */
export type OwnProcesses = {
  setEvaluator: (pid: number | null) => void;
  /** Begins or ends an act of the canary. */
  setCanary: (acting: boolean) => void;
  /** Has somebody else written into it? What was there is written again. */
  changed: () => boolean;
  /** Takes this process out again. */
  close: () => void;
};

/** Maps the map `fd`, and enters this process. */
export function openOwnProcesses(fd: number): OwnProcesses {
  const memory = new DataView(mapShared(fd, 0, OWN_PROCESSES.size, true).bytes);
  const expected = new DataView(new ArrayBuffer(OWN_PROCESSES.size));
  const written = {
    sensor: process.pid,
    evaluator: 0,
    sensorStart: startOf(process.pid),
    evaluatorStart: 0n,
    canary: 0,
    reserved: 0,
  };
  const write = (change: Partial<typeof written>) => {
    Object.assign(written, change);
    writeOwnProcesses(expected, 0, written);
    writeOwnProcesses(memory, 0, written);
  };
  write({});
  return {
    setEvaluator: (pid) => write({ evaluator: pid ?? 0, evaluatorStart: pid === null ? 0n : startOf(pid) }),
    setCanary: (acting) => write({ canary: Number(acting) }),
    changed() {
      const same = bytesOf(memory).equals(bytesOf(expected));
      if (!same) write({});
      return !same;
    },
    close: () => write({ sensor: 0, sensorStart: 0n, evaluator: 0, evaluatorStart: 0n }),
  };
}

function bytesOf(view: DataView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, OWN_PROCESSES.size);
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
