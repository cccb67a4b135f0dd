// Reads a file that decides what a process does, if nobody else could have changed it: as sshd does with the files that let
// people in (StrictModes), every folder and link on the way to it counts as much as the file.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { IS_FOLDER } from "./words.ts";

/** Who may be able to write a file that is acted on. */
export type Writers = { uids: readonly number[]; gids: readonly number[]; anybody: boolean };

/** Somebody else could have changed a file. The message says who, where, and how to mend it. */
class UntrustedError extends Error {}

/** What the kernel follows at most (MAXSYMLINKS). */
const LINKS_MAX = 40;
const GROUP_WRITES = 0o020;
const ANYBODY_WRITES = 0o002;
/** In such a folder everybody may add names, and nobody may take those of others away. */
const STICKY = 0o1000;

/**
 * Reads a file that nobody but `writers` could have changed; null: whoever could.
 * @throws UntrustedError, RangeError when it is larger than `sizeMax` bytes, or the system's error, such as ENOENT
 */
export function readTrusted(path: string, sizeMax: number, writers: Writers | null): Buffer {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const fd = writers
    ? openSync(trustedPath(path, writers), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
    : openSync(path, "r");
  try {
    const facts = fstatSync(fd);
    if (writers) verify(path, facts, writers);
    if (writers && !facts.isFile())
      throw new UntrustedError(facts.isDirectory() ? IS_FOLDER : "is no regular file");
    if (facts.size > sizeMax) throw new RangeError(`larger than ${sizeMax} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Where a path leads, without links. It is walked from the root: a folder that only `writers` can change holds an entry that
 * only they can change, and so on. Therefore nothing can be exchanged between this look and the use of its result.
 * @throws UntrustedError, or the system's error
 */
export function trustedPath(path: string, writers: Writers): string {
  const parts = partsOf(path.startsWith("/") ? path : `${process.cwd()}/${path}`);
  let here = "/";
  verify(here, lstatSync(here), writers);
  let links = 0;
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const next = join(here, part); // ".." leads up: there are no links in "here"
    const facts = lstatSync(next);
    verify(next, facts, writers);
    if (!facts.isSymbolicLink()) {
      here = next;
      continue;
    }
    links += 1;
    if (links > LINKS_MAX) throw new UntrustedError(`more than ${LINKS_MAX} symbolic links`);
    const target = readlinkSync(next);
    if (target.startsWith("/")) here = "/";
    parts.unshift(...partsOf(target));
  }
  return here;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function verify(path: string, facts: Stats, { uids, gids, anybody }: Writers): void {
  const { uid, gid, mode } = facts;
  const link = facts.isSymbolicLink();
  const what = link ? `the symbolic link ${path}` : facts.isDirectory() ? `the folder ${path}` : "this file";
  const refuse = (who: string, command: string) => {
    throw new UntrustedError(`${who} can change ${what}: "${command} ${quoted(path)}" mends that`);
  };
  if (!uids.includes(uid)) refuse(`its owner, uid ${uid},`, link ? "chown -h root" : "chown root");
  if (link || (facts.isDirectory() && (mode & STICKY) !== 0)) return;
  if ((mode & ANYBODY_WRITES) !== 0 && !anybody) refuse("anybody", "chmod go-w");
  if ((mode & GROUP_WRITES) !== 0 && !gids.includes(gid)) refuse(`group ${gid}`, "chmod g-w");
}

/** A path as a word of a shell. */
function quoted(path: string): string {
  return /^[\w./@+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
