// The canary: harmless acts, once a second, so that a reader of the stream sees that the hooks still report. While it acts,
// what this thread and its child do is marked by the kernel side and passes every filter.

import { RecordKind } from "../bpf/event.gen.ts";
import * as libc from "./libc.ts";

/** As in file.bpf.h. */
const NAME = "canary";
const MOVED = "moved";

/** What it acts with: an open folder for a file, and a program that ends at once; null where there is none. */
export type CanaryThings = { folder: number; program: string | null };

/**
 * Gives a function that acts once, and says whether all of it worked. `counts` gets how often an act of each record kind has
 * succeeded: for one that failed, the reader waits for nothing. `mark` is told when an act begins and ends.
 */
export function openCanary(
  { folder, program }: CanaryThings,
  counts: bigint[],
  mark: (acting: boolean) => void,
): () => boolean {
  const done = (kinds: RecordKind[]) => {
    for (const kind of kinds) counts[kind] = (counts[kind] ?? 0n) + 1n;
  };
  const acts = [() => touchFile(folder, done), () => connectToMyself(done), () => runOnce(program, done)];
  return () => {
    mark(true);
    const worked = acts.map(works);
    mark(false);
    return !worked.includes(false);
  };
}

function works(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (error instanceof libc.SystemError) return false;
    throw error;
  }
}

type Done = (kinds: RecordKind[]) => void;

function touchFile(folder: number, done: Done): void {
  const file = libc.createAt(folder, NAME);
  done([RecordKind.fileOpen]);
  try {
    if (libc.writeFd(file, new Uint8Array(1)) === 1) done([RecordKind.fileWrite]);
  } finally {
    libc.closeFd(file);
  }
  libc.renameAt(folder, NAME, MOVED);
  done([RecordKind.fileRename]);
  libc.unlinkAt(folder, MOVED);
  done([RecordKind.fileUnlink]);
}

/** Through a Unix socket whose abstract name the kernel chooses: no port, no file. */
function connectToMyself(done: Done): void {
  const listener = libc.bindUnnamed();
  const fds = [listener];
  try {
    done([RecordKind.bind]);
    libc.listenFd(listener);
    done([RecordKind.listen]);
    fds.push(libc.connectTo(listener));
    done([RecordKind.connect]);
    const accepted = libc.acceptUnix(listener);
    if (!accepted) return;
    fds.push(accepted.fd);
    done([RecordKind.accept]);
  } finally {
    fds.forEach(libc.closeFd);
  }
}

function runOnce(program: string | null, done: Done): void {
  if (program === null) return;
  libc.runProgram(program);
  done([RecordKind.fork, RecordKind.exec, RecordKind.exit]);
}
