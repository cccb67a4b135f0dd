// The second half of the sensor: a fresh program without any right, in the process of the first. All it has are the file
// descriptors that were handed over. It is bundled, and started by `becomeServer` in privileges.ts.

import { unlinkSync } from "node:fs";
import { CPU_COUNTERS } from "../bpf/event.gen.ts";
import * as libc from "./libc.ts";
import { verifyDropped } from "./privileges.ts";
import { mapRing } from "./ring.ts";
import { serve } from "./server.ts";

/** What the first half hands over: file descriptors, and facts for the streams. */
export type Handover = {
  rings: number[];
  /** Bytes of each ring. */
  ringSize: number;
  counters: number;
  cpus: number;
  ownProcesses: number;
  snapshot: number;
  links: number[];
  listener: number;
  socket: string;
  /** User ids that may connect. */
  allowed: number[];
  /** In base64. */
  preamble: string;
  coverage: string;
  pinned: boolean;
  /** Programs and rings were there before: some records may have been sent already. */
  adopted: boolean;
  /** Names of the hooks, for the message. */
  hooks: string[];
};

declare const handover: Handover;

function say(line: string): void {
  process.stderr.write(`warder-sensor: ${line}\n`);
}

/** SIGTERM and SIGINT: programs that are not pinned are detached, then the server is woken. */
function stopSignal(): { fd: number; requested: () => boolean; detached: () => boolean } {
  const { fd, wake } = libc.eventFd();
  let requested = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (!requested && !handover.pinned) handover.links.forEach(libc.closeFd);
      requested = true;
      wake();
    });
  }
  return { fd, requested: () => requested, detached: () => !handover.pinned };
}

async function main(): Promise<void> {
  verifyDropped();
  libc.setNotDumpable();
  libc.setName("warder-sensor");
  const stop = stopSignal();
  const rings = handover.rings.map((fd) => mapRing(fd, handover.ringSize));
  const counters = libc.mapShared(handover.counters, 0, handover.cpus * CPU_COUNTERS.size, false);
  await serve(
    {
      listener: handover.listener,
      allowed: new Set(handover.allowed),
      rings,
      ownProcesses: handover.ownProcesses,
      counters: new Uint8Array(counters.bytes),
      snapshot: handover.snapshot,
      preamble: Buffer.from(handover.preamble, "base64"),
      coverage: Buffer.from(handover.coverage),
      redeliverUntil: rings.map((ring) => (handover.adopted ? ring.producerPosition() : 0)),
      say,
      greeting:
        `serving at ${handover.socket} as uid ${process.getuid?.()}, rings of ${handover.ringSize / 1024} KiB, ` +
        `${handover.adopted ? "adopted" : "attached"} ${handover.hooks.join(", ")}`,
    },
    stop,
  );
  try {
    unlinkSync(handover.socket);
  } catch {
    // The folder belongs to somebody else: the next start replaces the socket.
  }
  const rest = `programs stay attached and keep filling the rings ("warder-sensor unload" removes them)`;
  say(handover.pinned ? `stopped; ${rest}` : "stopped");
}

try {
  await main();
  process.exit(0);
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exit(3);
}
