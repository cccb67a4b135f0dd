// The order of what happened, across the rings. A sensor sends rounds: of each ring what was in it at one moment, the processes
// first. Here, the records of a round are put between each other by their times, so that what a process did stands behind its
// start and before its end.
//
// Within a ring, records lie in the order in which their places were reserved, and a record has its time before it has its place.
// So, if one record was complete before another one began, then the latest time of the first one's ring up to it is earlier than
// the other one's time. Merging two rings by these latest times puts the two in the right order, whatever the other CPUs do
// meanwhile. And a round ends at one moment, so that nothing in it can be later than something in the next one.

import { RECORD_HEADER, RING_ENTRY, Ring, type StreamPreamble } from "../../bpf/event.gen.ts";
import { type Frame, nextEntry, partOf, type RecordsFrame, wordsOf } from "./records.ts";

/**
 * Bytes of a frame's records that are handled at once, and after which lines may be written: a record of 170 bytes makes a line of 50 kB
 * where programs have long paths that are no text. With 64 KiB, an evaluator took 290 MB of such; time does not tell the two apart.
 */
export const PORTION_SIZE = 8 * 1024;
/** Of a round of the process ring that is longer, the beginning is not held back: than a ring of 16 MiB, with its frames. */
export const HELD_SIZE_MAX = 17 * 1024 * 1024;
/** What a frame that is held counts beside its bytes: of few bytes each, there may be very many, and dropping one moves the others. */
const HELD_FRAME_COST = 4096;

type CountersFrame = Extract<Frame, { type: "counters" }>;

const U32 = 2 ** 32;

/** Puts the records of each round in order. */
export class Rounds {
  /** Frames of the process ring whose round goes on, and how much of the first one has been given. */
  private readonly held: RecordsFrame[] = [];
  private heldSize = 0;
  private given = 0;
  /** The latest time of the round in the process ring, up to the first record that is held; in the other ring, up to here. */
  private latestHeld = 0;
  private latest = 0;
  /** Which ring buffers the stream is of. */
  private origin = "";

  /**
   * What can be handled when this frame has come: other frames, and frames of records that are parts of those that came, each
   * ring's in their order. What becomes of one can be written before the next is looked at.
   */
  *portions(frame: Frame): Generator<Frame> {
    if (frame.type === "preamble") yield* this.begin(frame.preamble);
    if (frame.type === "records" && frame.ring === Ring.process) {
      this.dropFrom(frame.position);
      if (frame.more) {
        this.hold(frame);
        while (this.heldSize > HELD_SIZE_MAX) yield* portionsOf(this.takeFirst());
        return;
      }
    }
    let rest = 0;
    if (frame.type === "records" && frame.ring === Ring.activity) rest = yield* this.merge(frame);
    if (isBehindAll(frame)) yield* this.rest();
    yield* portionsOf(frame.type === "counters" ? this.asHandled(frame) : frame, rest);
    if (frame.type === "records" && !frame.more) yield* this.rest();
  }

  /** What is held back has come, and is not yet among what can be counted. */
  private asHandled(frame: CountersFrame): CountersFrame {
    if (this.held.length === 0) return frame;
    const sentPosition = [...frame.counters.sentPosition];
    sentPosition[Ring.process] = this.heldFrom;
    return { ...frame, counters: { ...frame.counters, sentPosition } };
  }

  /** What is held back of these rings waits for what belongs between; of other rings, nothing comes any more. */
  private *begin({ bootId, instance }: StreamPreamble): Generator<Frame> {
    const origin = `${Buffer.from(bootId).toString("hex")} ${instance}`;
    if (origin !== this.origin) yield* this.rest();
    this.origin = origin;
  }

  /** What was not acknowledged comes again in the next stream: what is held back from here on is that. */
  private dropFrom(position: bigint): void {
    if (position <= this.heldFrom) while (this.held.length > 0) this.drop();
  }

  /** What is held back when nothing comes any more. */
  *rest(): Generator<Frame> {
    while (this.held.length > 0) yield* portionsOf(this.takeFirst());
    this.latest = 0;
  }

  /** Where in its ring begins what is held back. */
  private get heldFrom(): bigint {
    return (this.held[0]?.position ?? 0n) + BigInt(this.given);
  }

  private hold(frame: RecordsFrame): void {
    if (frame.bytes.length === 0) return; // no entry of it could be waited for
    const bytes = frame.bytes.slice();
    if (this.held.length === 0) this.latestHeld = timeAt(wordsOf(bytes), 0);
    this.held.push({ ...frame, bytes, raw: bytes });
    this.heldSize += bytes.length + HELD_FRAME_COST;
  }

  /** The first frame that is held, without what has been given of it. */
  private takeFirst(): RecordsFrame {
    const [frame] = this.held;
    if (!frame) throw new Error("nothing is held");
    const { given } = this;
    this.drop();
    return partOf(frame, given, frame.bytes.length);
  }

  private drop(): void {
    const first = this.held.shift();
    if (first) this.heldSize -= first.bytes.length + HELD_FRAME_COST;
    this.given = 0;
    const [next] = this.held;
    if (next) this.latestHeld = Math.max(this.latestHeld, timeAt(wordsOf(next.bytes), 0));
  }

  /** A frame of the activity ring, with what is held in its places. Returns where the part begins that is behind all of it. */
  private *merge(frame: RecordsFrame): Generator<Frame, number> {
    const { bytes } = frame;
    const words = wordsOf(bytes);
    let [start, at] = [0, 0];
    while (this.held.length > 0 && at < bytes.length) {
      this.latest = Math.max(this.latest, timeAt(words, at));
      if (this.latestHeld <= this.latest) {
        if (at > start) yield partOf(frame, start, at);
        start = at;
        yield* this.until(this.latest);
      }
      at = nextEntry(words, at);
      if (at - start < PORTION_SIZE) continue;
      yield partOf(frame, start, at);
      start = at;
    }
    return start;
  }

  /** What is held and not later than a time. */
  private *until(time: number): Generator<Frame> {
    for (let [frame] = this.held; frame && this.latestHeld <= time; [frame] = this.held) {
      const words = wordsOf(frame.bytes);
      const start = this.given;
      let at = start;
      while (this.latestHeld <= time && at - start < PORTION_SIZE) {
        at = nextEntry(words, at);
        if (at === frame.bytes.length) break;
        this.latestHeld = Math.max(this.latestHeld, timeAt(words, at));
      }
      yield partOf(frame, start, at);
      this.given = at;
      if (at === frame.bytes.length) this.drop();
    }
  }
}

/** Does it come behind all that is held back? The end of a stream is not that of its round: another one may go on with it. */
function isBehindAll(frame: Frame): boolean {
  if (frame.type === "records") return frame.ring === Ring.process;
  return frame.type === "counters" && frame.counters.abandoned !== 0;
}

/** A frame of records in portions, from one of its entries on. Any other frame is one portion. */
function* portionsOf(frame: Frame, from = 0): Generator<Frame> {
  if (frame.type !== "records") {
    yield frame;
    return;
  }
  const { bytes } = frame;
  const words = wordsOf(bytes);
  for (let start = from, end = from; start < bytes.length; start = end) {
    while (end < bytes.length && end - start < PORTION_SIZE) end = nextEntry(words, end);
    yield partOf(frame, start, end);
  }
}

/** The time of an entry's record, ns of boot clock, as near as a double comes to it. Of a record without one: something. */
function timeAt(words: Uint32Array, at: number): number {
  const time = (at + RING_ENTRY.size + RECORD_HEADER.at.time) >>> 2;
  return (words[time + 1] ?? 0) * U32 + (words[time] ?? 0);
}
