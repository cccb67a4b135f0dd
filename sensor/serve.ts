// The second half of the sensor: a fresh program without any right, in the process of the first. All it has are the file
// descriptors that were handed over. It is bundled, and started by `becomeServer` in privileges.ts.

import type { CanaryThings } from "./canary.ts";
import { mapCounters, readLosers } from "./counters.ts";
import * as libc from "./libc.ts";
import { openMemory } from "./memory.ts";
import { openMessages } from "./message.ts";
import { openOwnProcesses } from "./own.ts";
import { STOP_SIGNALS, verifyDropped } from "./privileges.ts";
import type { Programs } from "./programs.ts";
import { mapRing } from "./ring.ts";
import { serve } from "./server.ts";
import { Snapshots } from "./snapshot.ts";
import { talker } from "./talk.ts";
import { openWatch } from "./watch.ts";

/** What the first half hands over: file descriptors, and facts for the streams. */
export type Handover = Omit<Programs, "lock"> & {
  /** Bytes of each ring. */
  ringSizes: number[];
  listener: number;
  socket: string;
  canary: CanaryThings | null;
  /** User ids that may connect. */
  allowed: number[];
  /** In base64. */
  preamble: string;
  coverage: string;
};

declare const handover: Handover;

const say = talker((line) => process.stderr.write(`warder-sensor: ${line}\n`));
process.on("exit", () => libc.closeAllFds()); // behind what the talker has kept for the end

/** One of STOP_SIGNALS wakes the server; as soon as it looks, programs that are not pinned are detached. */
function stopSignal(): { fd: number; requested: () => boolean; detached: () => boolean } {
  const { fd, take } = libc.signalFd(STOP_SIGNALS);
  let [isSignalled, isRequested] = [false, false];
  process.on("SIGUSR1", () => {}); // means the evaluator's files, and would end this process
  // They are held. But while the runtime looks for work (epoll_pwait2), nothing is, and what comes then unhandled ends us.
  for (const signal of STOP_SIGNALS) process.on(signal, () => void (isSignalled = true));
  const requested = () => {
    if (isRequested || !(take() || isSignalled)) return isRequested;
    if (!handover.pins) for (const { link } of handover.hooks) libc.closeFd(link);
    isRequested = true;
    return true;
  };
  return { fd, requested, detached: () => !handover.pins };
}

async function main(): Promise<void> {
  verifyDropped();
  libc.dropStdin();
  libc.setNotDumpable();
  libc.setName("warder-sensor");
  const stop = stopSignal();
  const rings = handover.rings.map((fd, i) => mapRing(fd, handover.ringSizes[i] ?? 0));
  const messages = openMessages(handover);
  const memory = openMemory(handover.memory, handover.cpus, { ...messages, strangers: () => own.known() });
  const own = openOwnProcesses(messages, memory.strangers());
  memory.write(memory.read());
  const sent = await serve(
    {
      listener: handover.listener,
      allowed: new Set(handover.allowed),
      rings,
      counters: mapCounters(handover.counters, handover.cpus),
      losers: () => readLosers(handover.losers),
      watch: openWatch({ ...handover, own, rings }),
      memory,
      snapshots: new Snapshots(handover.snapshot, own, say),
      preamble: Buffer.from(handover.preamble, "base64"),
      coverage: JSON.parse(handover.coverage) as object,
      redeliverUntil: rings.map((ring) => (handover.adopted ? ring.producerPosition() : 0)),
      say,
      greeting:
        `serving at ${handover.socket} as uid ${process.getuid?.()}, rings of ${handover.ringSizes.map((size) => size / 1024).join(" and ")} KiB, ` +
        `${handover.adopted ? "adopted" : "attached"} ${handover.hooks.map(({ hook }) => hook).join(", ")}`,
    },
    stop,
  );
  // The socket stays where it is, in a folder that this process cannot write: the next start replaces it.
  const count = (from: number[]) => rings.reduce((sum, ring, i) => sum + ring.count(from[i]), 0);
  const [left, unsent] = handover.pins ? [0, 0] : [count([]), count(sent)];
  if (left > 0)
    say(`${left - unsent} records were sent and not acknowledged, ${unsent} were not sent: these are lost`);
  const rest = '; programs stay attached and keep filling the rings ("warder-sensor unload" removes them)';
  say(`stopped${handover.pins ? rest : ""}`);
}

try {
  await main();
  process.exit(0);
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exit(3);
}
