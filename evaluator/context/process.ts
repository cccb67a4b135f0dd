// A process as the process table knows it, and how it waits in the memory of those that nothing happens to.

import { RECORD_HEADER } from "../../bpf/event.gen.ts";
import type { Bytes } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import type { Cold, ColdKey } from "./cold.ts";
import type { Entry } from "./table.ts";

/** What an object costs beside its longest texts, with its ancestors and its identity, bytes. */
const ENTRY_SIZE = 1024;

const HEADER = RECORD_HEADER.at;

/** A program that a process runs: `execId` tells it from the ones before and after. */
export type Image = {
  execId: number;
  exePath: Bytes | null;
  /** The argument list as the record had it: its beginning, and its end if the middle was cut out. */
  argsHead: Bytes;
  argsTail: Bytes;
  cwd: Bytes | null;
  containerId: string | undefined;
};

/** Arguments that nobody needs any more. */
export const NONE = "" as Bytes;

/** What is known of a process. */
export class Process implements Entry {
  weight = ENTRY_SIZE;
  used = false;
  slot = -1;
  image: Image | null = null;
  /** Null until it is asked for. */
  ancestors: Bytes[] | null = null;
  /** Another number whenever comm, image or ancestors change; no two processes ever have the same. */
  version = 0;
  /** Null until it is asked for. */
  processId: string | null = null;
  /** The list of the child that it created last, and its own, of which that one is made. */
  children: { above: Bytes[]; ancestors: Bytes[] } | null = null;
  comm = "" as Bytes;
  /** The bytes of `comm`, and what was behind them, in the record that told it. */
  private word0 = 0;
  private word1 = 0;
  private word2 = 0;
  private word3 = 0;

  constructor(
    readonly tgid: number,
    readonly startLow: number,
    readonly startHigh: number,
    public creatorTgid: number,
    public creatorLow: number,
    public creatorHigh: number,
  ) {}

  /** Does it still run the program that the record is about? */
  hasImageOf(record: RecordView): boolean {
    return this.image !== null && this.image.execId === record.u32(HEADER.execId);
  }

  /** Is this the name that the record has? */
  hasCommOf(record: RecordView): boolean {
    return (
      this.word0 === record.u32(HEADER.comm) &&
      this.word1 === record.u32(HEADER.comm + 4) &&
      this.word2 === record.u32(HEADER.comm + 8) &&
      this.word3 === record.u32(HEADER.comm + 12)
    );
  }

  /** Takes on the name that the record has. */
  rename(record: RecordView, comm: Bytes): void {
    this.word0 = record.u32(HEADER.comm);
    this.word1 = record.u32(HEADER.comm + 4);
    this.word2 = record.u32(HEADER.comm + 8);
    this.word3 = record.u32(HEADER.comm + 12);
    this.comm = comm;
  }
}

/** What a process costs, with its longest texts, bytes. */
export function weightOf({ image }: Process): number {
  if (!image) return ENTRY_SIZE;
  const { argsHead, argsTail, exePath, cwd } = image;
  return ENTRY_SIZE + argsHead.length + argsTail.length + (exePath?.length ?? 0) + (cwd?.length ?? 0);
}

/** The numbers and texts of a process that waits. */
export const COLD_SHAPE = { numbers: 4, texts: 7 };
/** No name of a process contains it. */
const BETWEEN = "\0";

/** What has to be known of a process that waits; the rest can be found out again. */
export function cold({ comm, creatorTgid, creatorLow, creatorHigh, ancestors, image }: Process): Cold {
  const names = ancestors && (ancestors.join(BETWEEN) as Bytes);
  const numbers = [creatorTgid, creatorLow, creatorHigh, image?.execId ?? 0];
  if (!image) return { numbers, texts: [comm, names, null, null, null, null, null] };
  const { exePath, argsHead, argsTail, cwd, containerId } = image;
  return {
    numbers,
    texts: [comm, names, argsHead, argsTail, exePath, cwd, (containerId ?? null) as Bytes | null],
  };
}

/** The process that waited like this. */
export function warm({ tgid, startLow, startHigh }: ColdKey, { numbers, texts }: Cold): Process {
  const [creatorTgid = 0, creatorLow = 0, creatorHigh = 0, execId = 0] = numbers;
  const [comm, names = null, argsHead = null, argsTail, exePath = null, cwd = null, containerId = null] =
    texts;
  const process = new Process(tgid, startLow, startHigh, creatorTgid, creatorLow, creatorHigh);
  process.comm = comm ?? NONE;
  if (names !== null) process.ancestors = names === "" ? [] : (names.split(BETWEEN) as Bytes[]);
  if (argsHead !== null) {
    const args = { argsHead, argsTail: argsTail ?? NONE };
    process.image = { execId, exePath, ...args, cwd, containerId: containerId ?? undefined };
  }
  process.weight = weightOf(process);
  return process;
}
