// From settings to programs that are attached and were seen to report: chooses hooks, tries them, and chooses again without
// those that are silent.

import { type CanaryThings } from "./canary.ts";
import { type Coverage, chooseHooks, type Hook, UnsupportedError, unserved } from "./hooks.ts";
import { openKernelTypes } from "./libbpf.ts";
import { closeFd } from "./libc.ts";
import { attachPrograms, type Programs } from "./programs.ts";
import { testHooks } from "./selftest.ts";
import type { Settings } from "./settings.ts";

/** What to attach, and with what it is tried. */
export type Wanted = {
  settings: Settings;
  profile: string | undefined;
  /** The compiled programs, beside those for Linux before 6.2, and the one that tells whether this kernel takes fentry programs. */
  object: string;
  probeObject: string;
  pin: boolean;
  canary: CanaryThings;
  say: (line: string) => void;
};

/** Something that was asked for cannot be had: the reasons, one line each, and what could be. */
export class UnservedError extends UnsupportedError {
  constructor(
    readonly reasons: string[],
    readonly coverage: Coverage,
  ) {
    super(reasons[0]);
  }
}

/**
 * Attaches what the settings want. A hook that does not report on some CPU counts as absent.
 * @throws UnsupportedError when the kernel lacks what is wanted, or refuses a program
 */
export function attach(wanted: Wanted): { programs: Programs; coverage: Coverage } {
  const { settings, profile, object, probeObject, pin, canary, say } = wanted;
  const silent = new Map<string, string>();
  for (;;) {
    const choice = chooseHooks(settings, profile, probeObject, silent);
    const reasons = unserved(choice);
    if (reasons.length > 0) throw new UnservedError(reasons, choice.coverage);
    const programs = attachPrograms(objectFor(object), settings, choice.hooks, pin, say);
    // What was there before was tested then; the canary goes on.
    if (programs.adopted) return { programs, coverage: choice.coverage };
    const test = testHooks(programs, canary);
    if (test.silent.size === 0) return { programs, coverage: { ...choice.coverage, tested_cpus: test.cpus } };
    closeAll(programs);
    for (const [type, cpus] of test.silent) {
      const hooks = suspects(choice.hooks.filter(({ serves }) => serves.includes(type)));
      for (const { hook } of hooks)
        silent.set(hook, `${hook} is attached but does not report on CPU ${cpus.join(", ")}`);
    }
  }
}

/** Which hooks of a silent type are to blame: a tracepoint beside fentry programs serves what the canary does not do. */
function suspects(hooks: Hook[]): Hook[] {
  const fentry = hooks.filter(({ hook }) => /^f(entry|exit)\//.test(hook));
  return fentry.length > 0 ? fentry : hooks;
}

/** Gives up what was attached, but for the pins: the next set replaces them. */
export function closeAll({ rings, counters, hooks, pins, lock, ...rest }: Programs): void {
  const maps = [...rings, counters, rest.ownProcesses, rest.memory, rest.messages, rest.losers];
  for (const fd of [...maps, pins?.fd, lock, ...hooks.flatMap(({ link, program }) => [link, program])])
    if (typeof fd === "number") closeFd(fd);
}

/** Kernels that cannot load from a number get the programs that read by calls: kernel.h says why these are compiled apart. */
function objectFor(path: string): string {
  const mayLoad = openKernelTypes().hasFunction("bpf_rdonly_cast");
  return mayLoad ? path : path.replace(/(?=\.bpf\.o$)/, "-calls");
}
