// The canary: harmless acts, once a second, so that a reader of the stream sees that the hooks still report. While it acts,
// what this thread and its child do is marked by the kernel side and passes every filter.

import { RecordKind } from "../bpf/event.gen.ts";
import * as libc from "./libc.ts";

/** Acts. `counts` says how often an act of each record kind has succeeded. */
export type Canary = { act: () => void; counts: bigint[] };

/**
 * The smallest program: _exit(0), 64-bit, without libraries, so that nothing but its start and end happens.
 * ELF header, one program header, seven bytes of code (System V ABI, chapters 4 and 5).
 */
const PROGRAM = Buffer.from(
  "7f454c4602010100000000000000000002003e000100000078004000000000004000000000000000000000000000000000000000400038000100000000000000" +
    "0100000005000000000000000000000000004000000000000000400000000000810000000000000081000000000000000010000000000000" +
    "31ffb83c0000000f05",
  "hex",
);
const NAME = "canary";
const MOVED = "moved";

/**
 * `folder`: an open folder for the canary's file, or null when there is none. `mark` is told when an act begins and ends.
 * An act that fails is not counted: the reader then waits for nothing.
 */
export function openCanary(folder: number | null, counts: bigint[], mark: (acting: boolean) => void): Canary {
  const program = openProgram();
  const done = (kinds: RecordKind[]) => {
    for (const kind of kinds) counts[kind] = (counts[kind] ?? 0n) + 1n;
  };
  return {
    counts,
    act() {
      mark(true);
      try {
        if (folder !== null) touchFile(folder, done);
        connectToMyself(done);
        if (program !== null && libc.runProgram(program))
          done([RecordKind.fork, RecordKind.exec, RecordKind.exit]);
      } catch (error) {
        if (!(error instanceof libc.SystemError)) throw error;
      } finally {
        mark(false);
      }
    },
  };
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

/** The program as the path of a descriptor; null where the kernel allows no program in memory (vm.memfd_noexec). */
function openProgram(): string | null {
  try {
    return `/proc/self/fd/${libc.memoryFile("warder-canary", PROGRAM)}`;
  } catch (error) {
    if (error instanceof libc.SystemError) return null;
    throw error;
  }
}
