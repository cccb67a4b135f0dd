// Watching the watcher: once a second, do the hooks still report, are they still attached, has somebody touched what is ours?
// Nothing is decided here: the findings go into the stream, and its reader compares.

import { fstatSync, statSync } from "node:fs";
import { KINDS_MAX, Tamper } from "../bpf/event.gen.ts";
import { type CanaryThings, openCanary } from "./canary.ts";
import { linkedProgram, programInfo } from "./libbpf.ts";
import type { OwnProcesses } from "./own.ts";
import type { Ring } from "./ring.ts";

/** A program (its name and a descriptor) at its hook (its name and the link's descriptor), and the record kinds that it serves. */
export type AttachedHook = { name: string; program: number; hook: string; link: number; kinds: number[] };

/** What there is to watch. */
export type Watched = {
  hooks: AttachedHook[];
  own: OwnProcesses;
  /** Null: no canary is wanted. */
  canary: CanaryThings | null;
  /** The folder of the pins, and of the file system that it is in; null without pins. */
  pins: { fd: number; mount: string } | null;
  rings: Ring[];
};

/** What was found, as in struct counters_frame. */
export type Findings = { tampered: number; detached: number[]; missed: bigint[]; canaries: bigint[] };

/** Says who the evaluator is (null: nobody), and looks. */
export type Watch = {
  setEvaluator: (pid: number | null) => void;
  look: () => Findings;
  /** A reader was told of this tampering. What leaves no trace is found until then. */
  told: (tampered: number) => void;
  /** The programs are detached on purpose: that they do not report is no finding. */
  rest: () => void;
};

/** Begins to watch. */
export function openWatch({ hooks, own, canary: things, pins, rings }: Watched): Watch {
  const acts = byKind();
  const act = things ? openCanary(things, acts, own.setCanary) : () => true;
  /** Of kinds that nobody asked for there is no record to wait for. */
  const served = new Set(hooks.flatMap(({ kinds }) => kinds));
  const programs = hooks.map(({ link }) => linkedProgram(link));
  const pinned = pins && { ...pins, ...identityOf(pins.fd) };
  let last: Findings = { tampered: 0, detached: [0, 0, 0, 0], missed: byKind(), canaries: byKind() };
  let resting = false;
  let moved = false;
  return {
    setEvaluator: own.setEvaluator,
    told(tampered) {
      if (tampered & Tamper.own) own.told();
      if (tampered & Tamper.position) moved = false;
    },
    rest() {
      resting = true;
    },
    look() {
      const missed = missedByKind(hooks);
      if (resting) return { ...last, missed };
      if (rings.some((ring) => ring.moved())) moved = true;
      const tampered =
        (pinned && pinsChanged(pinned) ? Tamper.pins : 0) |
        (own.changed() ? Tamper.own : 0) |
        (moved ? Tamper.position : 0) |
        (own.isBare() ? Tamper.args : 0) |
        (act() ? 0 : Tamper.canary);
      const detached = [0, 0, 0, 0];
      for (const [i, { link, kinds }] of hooks.entries()) {
        if (programs[i] === null || linkedProgram(link) !== programs[i])
          kinds.forEach((kind) => setBit(detached, kind));
      }
      const canaries = acts.map((count, kind) => (served.has(kind) ? count : 0n));
      last = { tampered, detached, missed, canaries };
      return last;
    },
  };
}

/** A program, and the record kinds that it serves. */
export type Missable = Pick<AttachedHook, "program" | "kinds">;

/** How often hooks fired while their program ran already; [0] for those that serve several kinds. */
export function missedByKind(hooks: Missable[]): bigint[] {
  const missed = byKind();
  for (const { program, kinds } of hooks) {
    const [kind = 0, second] = kinds;
    const cell = second === undefined ? kind : 0;
    missed[cell] = (missed[cell] ?? 0n) + programInfo(program).misses;
  }
  return missed;
}

function byKind(): bigint[] {
  return Array.from({ length: KINDS_MAX }, () => 0n);
}

function setBit(words: number[], bit: number): void {
  words[bit >>> 5] = ((words[bit >>> 5] ?? 0) | (1 << (bit & 31))) >>> 0;
}

type Identity = { links: number; changed: number; device: number };

function identityOf(fd: number): Identity {
  const { nlink, ctimeMs, dev } = fstatSync(fd); // the time that nobody can set back
  return { links: nlink, changed: ctimeMs, device: dev };
}

/** Was a pin removed, its folder, or the file system? */
function pinsChanged(before: Identity & { fd: number; mount: string }): boolean {
  const now = identityOf(before.fd);
  const mounted = statSync(before.mount, { throwIfNoEntry: false })?.dev;
  return now.links !== before.links || now.changed !== before.changed || mounted !== now.device;
}
