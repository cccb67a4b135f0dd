// What the runtime may take beside what is alive. Only the environment can tell it, before it starts.
//
// On a host with more than 16 GB, the collector lets a small heap become four times what is alive in it. Measured on one of 24 GB:
// see ARCHITECTURE.md.

import { isHanded } from "./metrics.ts";

/** The unit has them, too (warder.service). */
export const LIMITS = {
  /** The machine's memory does not matter. */
  BUN_JSC_heapGrowthFunctionThresholdInMB: "0",
  /** A third of what is alive may be added before all of it is looked at again. */
  BUN_JSC_heapGrowthMaxIncrease: "0.3",
  /** Long functions stay out of the last compiler: it takes 25 MB for them, and they run 8 % faster (PERFORMANCE.md). */
  BUN_JSC_maximumFTLCandidateBytecodeCost: "500",
};

/**
 * Starts this program anew, in the same process, if its environment does not bound its memory yet. A socket that was handed over
 * would be closed by that: whoever hands one over bounds the memory.
 */
export function boundHeap(): void {
  if (isHanded(process.env)) return;
  if (Object.keys(LIMITS).every((name) => process.env[name] !== undefined)) return;
  const { execPath, execArgv, argv, env } = process;
  try {
    process.execve?.(execPath, [execPath, ...execArgv, ...argv.slice(1)], { ...LIMITS, ...env });
  } catch {
    // Whoever forbids it gets a program that works, and needs more memory.
  }
}
