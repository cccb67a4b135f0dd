// What the person at the terminal hears, on standard error: lines that stay, and one that shows how far long work has got.

import { fstatSync } from "node:fs";
import type { Capture } from "./input/capture.ts";
import { duration } from "./output/summary.ts";

/** To the line's beginning, and what is there is erased. */
const ERASE = "\r\u001b[K";
/** Work that is done sooner shows nothing; then the line changes as often. */
const STEP_MS = 500;
const MIB = 1024 * 1024;

/** Is there a line on the screen that the next one replaces? */
let isShown = false;

/** Says a line. */
export function say(line: string): void {
  hide();
  process.stderr.write(`warder: ${line}\n`);
}

function hide(): void {
  if (isShown) process.stderr.write(ERASE);
  isShown = false;
}

/** Shows how far the reading of captures has got: only on a terminal that no lines of the output scroll on. */
export class Progress {
  private readonly isWanted = process.stderr.isTTY && !process.stdout.isTTY;
  private readonly started = performance.now();
  private shownAt = this.started;
  /** Bytes of all captures; null when nobody knows how many will come. */
  private readonly size: number | null;

  constructor(private readonly captures: readonly Capture[]) {
    const facts = captures.map(({ fd }) => fstatSync(fd));
    this.size = facts.every((fact) => fact.isFile()) ? facts.reduce((sum, { size }) => sum + size, 0) : null;
  }

  /** Some more was read; `events` says how many came of everything so far. */
  step(events: () => number): void {
    const now = performance.now();
    if (!this.isWanted || now - this.shownAt < STEP_MS) return;
    this.shownAt = now;
    process.stderr.write(`${ERASE}warder: ${this.words(now - this.started, events())}`);
    isShown = true;
  }

  /** Takes the line away. */
  end(): void {
    hide();
  }

  private words(elapsedMs: number, events: number): string {
    const taken = this.captures.reduce((sum, { taken: some }) => sum + some, 0);
    const rate = `${Math.round(events / (elapsedMs / 1000)).toLocaleString("en-US")} events/s`;
    if (this.size === null || taken === 0) return `${mib(taken)} read, ${rate}`;
    const left = Math.max(0, (elapsedMs / taken) * (this.size - taken));
    return `${Math.floor((100 * taken) / this.size)}% of ${mib(this.size)}, ${rate}, ${duration(left)} left`;
  }
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}
