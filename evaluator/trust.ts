// Whose settings and rules a command acts on.

import { statSync } from "node:fs";
import type { Writers } from "../bpf/trusted.ts";

/**
 * Who may be able to change what `command` reads: root, this user, and whoever can write this program, and so decides already
 * what it does. Null, which is anybody, where the outcome protects no host and nothing is opened as root: an analyst's
 * replay and a check of rules take files as they are, which on a laptop or in CI often belong to another user.
 */
export function writersFor(command: "run" | "replay" | "record"): Writers | null {
  if (command !== "run" && process.getuid?.() !== 0) return null;
  const program = statSync(import.meta.path, { throwIfNoEntry: false });
  const mode = program?.mode ?? 0;
  return {
    uids: [0, process.geteuid?.() ?? 0, program?.uid ?? 0],
    gids: program && (mode & 0o020) !== 0 ? [program.gid] : [],
    anybody: (mode & 0o002) !== 0,
  };
}
