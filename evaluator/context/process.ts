// A process as the process table knows it, and how it waits in the memory of those that nothing happens to.

import { RECORD_HEADER } from "../../bpf/event.gen.ts";
import type { Bytes } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import { type Cold, type ColdStore, NOWHERE } from "./cold.ts";
import type { Entry } from "./table.ts";

/** What an object costs beside its longest texts, with its ancestors and its identity, bytes. */
const ENTRY_SIZE = 1024;
/** Longest texts of more bytes than this are long. */
const LONG_SIZE = 1024;

const HEADER = RECORD_HEADER.at;

/** A program that a process runs: `execId` tells it from the ones before and after. */
export type Image = {
  execId: number;
  exePath: Bytes | null;
  /** The argument list as the record had it: its beginning, and its end if the middle was cut out. */
  argsHead: Bytes;
  argsTail: Bytes;
  cwd: Bytes | null;
  /** What of these is not all that there was, as bits of `Lack`. */
  lacks: number;
  containerId: string | undefined;
};

/** What may be missing of an image. */
export const Lack = { argsUnknown: 1, argsCut: 2, cwdCut: 4, exeCut: 8 } as const;

/** Arguments that nobody needs any more. */
export const NONE = "" as Bytes;

/** What is known of a process beside numbers. */
export type Known = {
  comm: Bytes;
  /** Null until it is asked for. */
  ancestors: Bytes[] | null;
  image: Image | null;
};

/** No program has this number. */
const NO_IMAGE = -1;

/** A process. What each record is held against is in numbers here; what else is known may wait until somebody asks for it. */
export class Process implements Entry {
  weight = ENTRY_SIZE;
  used = false;
  slot = -1;
  /** Null while it waits. */
  known: Known | null = null;
  /** Where what is known is lent from, and has to be dropped before it changes; NOWHERE when it is the object's own. */
  place = NOWHERE;
  hasAncestors = false;
  /** Can it be spared before others? It has ended, or no more is known of it than its next record says again. */
  isSpare = true;
  /** Another number whenever comm, image or ancestors change; no two processes ever have the same. */
  version = 0;
  /** Null until it is asked for. */
  processId: string | null = null;
  /** The list of the child that it created last, and its own, of which that one is made. */
  children: { above: Bytes[]; ancestors: Bytes[] } | null = null;
  private execId = NO_IMAGE;
  private lacks = 0;
  private hasExe = false;
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

  /** Are its texts so long that few like it would take the place of all others? */
  get isLong(): boolean {
    return this.weight > ENTRY_SIZE + LONG_SIZE;
  }

  /** Does it still run the program that the record is about? */
  hasImageOf(record: RecordView): boolean {
    return this.execId === record.u32(HEADER.execId);
  }

  /** The same, and is it known where that program is? */
  hasExeOf(record: RecordView): boolean {
    return this.hasExe && this.hasImageOf(record);
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

  /** Has the name that the record has from now on. */
  rename(record: RecordView, known: Known, comm: Bytes): void {
    this.word0 = record.u32(HEADER.comm);
    this.word1 = record.u32(HEADER.comm + 4);
    this.word2 = record.u32(HEADER.comm + 8);
    this.word3 = record.u32(HEADER.comm + 12);
    known.comm = comm;
  }

  /** Runs another program from now on. */
  run(known: Known, image: Image): void {
    this.execId = image.execId;
    this.lacks = image.lacks;
    this.hasExe = image.exePath !== null;
    this.isSpare = false;
    known.image = image;
  }

  /** Has these ancestors from now on. */
  descend(known: Known, ancestors: Bytes[]): void {
    this.hasAncestors = true;
    known.ancestors = ancestors;
  }

  /** How it waits. */
  cold({ comm, ancestors, image }: Known): Cold {
    const { creatorTgid, creatorLow, creatorHigh, execId, word0, word1, word2, word3, lacks } = this;
    const numbers = [creatorTgid, creatorLow, creatorHigh, execId, word0, word1, word2, word3, lacks];
    const names = ancestors && (ancestors.join(BETWEEN) as Bytes);
    if (!image) return { numbers, texts: [comm, names, null, null, null, null, null] };
    const { exePath, argsHead, argsTail, cwd, containerId } = image;
    const container = (containerId ?? null) as Bytes | null;
    return { numbers, texts: [comm, names, argsHead, argsTail, exePath, cwd, container] };
  }

  /** Takes over the numbers of one that waits. */
  warm(store: ColdStore, place: number): void {
    this.creatorTgid = store.numberAt(place, 0);
    this.creatorLow = store.numberAt(place, 1);
    this.creatorHigh = store.numberAt(place, 2);
    this.execId = store.hasTextAt(place, ARGS_HEAD) ? store.numberAt(place, 3) : NO_IMAGE;
    this.word0 = store.numberAt(place, 4);
    this.word1 = store.numberAt(place, 5);
    this.word2 = store.numberAt(place, 6);
    this.word3 = store.numberAt(place, 7);
    this.lacks = store.numberAt(place, LACKS);
    this.hasAncestors = store.hasTextAt(place, NAMES);
    this.hasExe = store.hasTextAt(place, EXE_PATH);
    this.weight = ENTRY_SIZE + store.sizeAt(place);
  }

  /** What these texts of one that waits say. */
  tell(texts: readonly (Bytes | null)[]): Known {
    const [comm, names = null, argsHead = null, argsTail, exePath = null, cwd = null, container = null] =
      texts;
    let image: Image | null = null;
    if (argsHead !== null) {
      const args = { argsHead, argsTail: argsTail ?? NONE };
      const { execId, lacks } = this;
      image = { execId, exePath, ...args, cwd, lacks, containerId: container ?? undefined };
    }
    return { comm: comm ?? NONE, ancestors: names === null ? null : listOf(names), image };
  }
}

/** What a process costs, with its longest texts, bytes. */
export function weightOf({ image }: Known): number {
  if (!image) return ENTRY_SIZE;
  const { argsHead, argsTail, exePath, cwd } = image;
  return ENTRY_SIZE + argsHead.length + argsTail.length + (exePath?.length ?? 0) + (cwd?.length ?? 0);
}

/** The numbers and texts of a process that waits, and which of these say how much is known of it. */
export const COLD_SHAPE = { numbers: 9, texts: 7 };
const LACKS = 8;
const NAMES = 1;
const ARGS_HEAD = 2;
const ARGS_TAIL = 3;
const EXE_PATH = 4;
const CWD = 5;
/** No name of a process contains it. */
const BETWEEN = "\0";

/** One that waits, without its longest texts. */
export function shortened({ numbers, texts }: Cold): Cold {
  const without = (text: Bytes | null, i: number) =>
    i === CWD ? null : text !== null && (i === ARGS_HEAD || i === ARGS_TAIL) ? NONE : text;
  return { numbers: numbers.with(LACKS, Lack.argsUnknown), texts: texts.map(without) };
}

function listOf(names: Bytes): Bytes[] {
  return names === "" ? [] : (names.split(BETWEEN) as Bytes[]);
}
