// Does what was attached report, on every CPU? A hook can be attached and silent: kernel.ftrace_enabled off, a kernel's bug.

import { cpus as online } from "node:os";
import { ALL_EVENT_KINDS, type EventType } from "../bpf/kinds.ts";
import { type CanaryThings, openCanary } from "./canary.ts";
import { mapCounters } from "./counters.ts";
import { allowedCpus, runOnCpus } from "./libc.ts";
import { openMessages } from "./message.ts";
import { openOwnProcesses } from "./own.ts";
import type { Programs } from "./programs.ts";

/** On how many CPUs the sensor has acted, and on which of them no record of an act was attempted, by type of event. */
export type SelfTest = { cpus: number; silent: Map<EventType, number[]> };

/** Acts once on each CPU that this process may use, through all hooks that a canary reaches. */
export function testHooks(programs: Programs, things: CanaryThings): SelfTest {
  const { counters, cpus, hooks } = programs;
  const memory = mapCounters(counters, cpus);
  const own = openOwnProcesses(openMessages(programs), null);
  const served = new Set(hooks.flatMap(({ kinds }) => kinds));
  const silent: SelfTest["silent"] = new Map();
  const allowed = allowedCpus();
  let tested = 0;
  for (const cpu of allowed) {
    if (!runOnCpus([cpu])) continue; // it has gone meanwhile
    tested += 1;
    const acts: bigint[] = [];
    const before = memory.attemptsOf(cpu);
    openCanary(things, acts, own.setCanary)();
    const after = memory.attemptsOf(cpu);
    for (const { type, kind } of ALL_EVENT_KINDS) {
      if (!served.has(kind) || !acts[kind] || after.get(kind) !== before.get(kind)) continue;
      silent.set(type, [...(silent.get(type) ?? []), cpu]);
    }
  }
  // One that is off now may come, and be used; unless the starter has excluded some that are on.
  const isFree = allowed.length >= online().length;
  runOnCpus(isFree ? Array.from({ length: cpus }, (_, cpu) => cpu) : allowed);
  return { cpus: tested, silent };
}
