// What a measurement has started, and how all of it is ended when one breaks off: nothing is measured beside it, and nothing is left
// behind.

import { readdirSync } from "node:fs";
import { statOf } from "./machine.ts";

/** How long programs have to end by themselves. */
const END_MS_MAX = 5000;

const undone = new Set<() => Promise<unknown>>();

/** What has to be done at an end that comes too early, too. Returns what does it earlier. */
export function atEnd(undo: () => Promise<unknown>): () => Promise<void> {
  undone.add(undo);
  return async () => {
    undone.delete(undo);
    await undo();
  };
}

/** Ends all programs that this one has started, and what they have started; then undoes the rest. */
export async function endStarted(): Promise<void> {
  const deadline = performance.now() + 4 * END_MS_MAX;
  do {
    await endPrograms();
    const rest = [...undone];
    undone.clear();
    await Promise.allSettled(rest.map((undo) => undo()));
    // What was measured may have gone on meanwhile.
  } while ((undone.size > 0 || startedBy(process.pid).length > 0) && performance.now() < deadline);
}

async function endPrograms(): Promise<void> {
  const deadline = performance.now() + END_MS_MAX;
  const all = new Map<number, string>();
  for (;;) {
    for (const pid of startedBy(process.pid)) {
      if (all.has(pid)) continue;
      all.set(pid, idOf(pid));
      signal(pid, "SIGTERM");
    }
    // A number that another process has by now is left alone.
    const left = [...all].filter(([pid, id]) => id !== "" && idOf(pid) === id).map(([pid]) => pid);
    if (left.length === 0) return;
    if (performance.now() > deadline) for (const pid of left) signal(pid, "SIGKILL");
    // What the kernel does not end is not waited for.
    if (performance.now() > deadline + END_MS_MAX) return;
    await Bun.sleep(20);
  }
}

/** When a process was started, which no other of its number was; empty when it has ended. */
function idOf(pid: number): string {
  return fieldsOf(pid)?.[19] ?? "";
}

/** Null when it has ended. */
function fieldsOf(pid: number): string[] | null {
  try {
    const fields = statOf(pid);
    return fields[0] === "Z" ? null : fields;
  } catch {
    return null;
  }
}

/** The children of a process, with theirs. */
function startedBy(parent: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const above = fieldsOf(Number(name))?.[1];
    if (above === undefined) continue;
    children.set(Number(above), [...(children.get(Number(above)) ?? []), Number(name)]);
  }
  const below = (pid: number): number[] =>
    (children.get(pid) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(parent);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}
