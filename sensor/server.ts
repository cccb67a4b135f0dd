// Hands the ring's bytes to one evaluator at a time. It looks at lengths, never into a record, and takes one thing from its
// peer: acknowledgements. The ring is the only queue: what was not acknowledged stays there for the next evaluator.

import { setImmediate } from "node:timers/promises";
import {
  ACKNOWLEDGEMENT,
  CLOCK_FRAME,
  COUNTERS_FRAME,
  FRAME_HEADER,
  FrameType,
  readAcknowledgement,
  type TakenFrame,
  writeClockFrame,
  writeCountersFrame,
  writeFrameHeader,
} from "../bpf/event.gen.ts";
import { type CounterMemory, lostByRing } from "./counters.ts";
import { NO_DEBTS } from "./debts.ts";
import * as libc from "./libc.ts";
import { type Memory, payloadOf, type Taken } from "./memory.ts";
import { positionsAtOnce, type Ring, type Span } from "./ring.ts";
import type { Snapshots } from "./snapshot.ts";
import type { Watch } from "./watch.ts";

/** What the server hands on and whom it serves. */
export type Service = {
  listener: number;
  /** User ids that may connect. */
  allowed: Set<number>;
  /** By their numbers in enum ring. */
  rings: Ring[];
  counters: CounterMemory;
  /** Whose records were lost: structs, one behind the other. */
  losers: () => Uint8Array;
  watch: Watch;
  snapshots: Snapshots;
  /** The first bytes of every stream. */
  preamble: Uint8Array;
  /** What is written as JSON. */
  coverage: object;
  /** What an earlier evaluator has left to the next one. */
  memory: Memory;
  /** Records below this ring position may have been sent by an earlier sensor. */
  redeliverUntil: number[];
  say: (line: string) => void;
  /** Said when everything is ready. */
  greeting: string;
};

const TICK_MS = 1000;
/** Without an evaluator, so often something may be said that was kept back. */
const ALONE_MS = 10_000;
/** Between two looks at a ring that holds unacknowledged records: the kernel wakes nobody then, and neither does the reader. */
const RECHECK_MS = 4;
/** While a list of processes is made, the others that want something wait at most so long. */
const LISTING_MS = 20;
const SEND_BUFFER_SIZE = 4 * 1024 * 1024;
/** A wall clock that moved by more than this was set, or has drifted enough to say so. */
const CLOCK_STEP_NS = 10_000_000n;
/** A stopped sensor waits for a reader that takes something at least so often, but not for ever; then for the end to be read. */
const DRAIN_MS = 8000;
const DRAIN_MS_MAX = 22_000;
/** For each of two steps: one whose programs stay attached leaves the rest to the next one. */
const LEAVE_MS = 1500;
const QUEUE_LENGTH_MAX = 8;
const PENDING_MAX = 16; // each is as large as all CPUs' counters
/** Nobody owes more. */
const UNWRITTEN_MAX = 2n ** 48n;

/** Serves until `stop` is readable, then waits for what is in the ring or was sent. Returns how far each ring was sent. */
export async function serve(
  service: Service,
  stop: { fd: number; requested: () => boolean; detached: () => boolean },
): Promise<number[]> {
  const { rings, say } = service;
  say(service.greeting);
  let connection: Connection | null = null;
  let drain: ReturnType<typeof beginDrain> | null = null;
  const state: State = { redeliverUntil: service.redeliverUntil, refused: 0n, losersTaken: null };

  for (;;) {
    const stopping = stop.requested();
    if (stopping) drain ??= beginDrain(rings, stop.detached());
    if (stopping && stop.detached()) service.watch.rest();
    if (connection) {
      connection.advance(drain !== null && !stop.detached());
      if (drain && (connection.drained(stop.detached()) || drain.isOver())) {
        await connection.end(stop.detached());
        return state.redeliverUntil;
      }
      connection = unlessGone(service, connection);
    } else if (stopping) return state.redeliverUntil;

    const interests = [
      { fd: stopping ? -1 : stop.fd, events: libc.POLLIN },
      { fd: service.listener, events: libc.POLLIN },
      { fd: connection?.fd ?? -1, events: connection?.interest ?? 0 },
      ...rings.map(({ fd }) => ({ fd: connection?.idle ? fd : -1, events: libc.POLLIN })),
    ];
    const { arrival } = service.snapshots;
    // Another thread's work wakes the runtime and not us.
    if (arrival) await Promise.race([arrival, Bun.sleep(LISTING_MS)]);
    else libc.poll(interests, connection ? connection.waitMs : ALONE_MS);
    await setImmediate(); // the runtime's turn: timers, and what waits for standard error

    for (let i = 0; i < libc.BACKLOG; i++) {
      const accepted = libc.acceptUnix(service.listener);
      if (!accepted) break;
      // The one before may have gone just now.
      connection?.receive();
      connection = admit(service, accepted, connection && unlessGone(service, connection), state);
    }
  }
}

/** Tells when there is no more hope: the reader takes nothing any more, or takes too long. */
function beginDrain(rings: Ring[], detached: boolean): { isOver: () => boolean } {
  const [each, all] = detached ? [DRAIN_MS, DRAIN_MS_MAX] : [LEAVE_MS, LEAVE_MS];
  const end = performance.now() + all;
  const taken = () => rings.reduce((sum, ring) => sum + ring.consumerPosition(), 0);
  let deadline = performance.now() + each;
  let before = taken();
  return {
    isOver() {
      const now = taken();
      if (now !== before) deadline = performance.now() + each;
      before = now;
      return performance.now() > Math.min(deadline, end);
    },
  };
}

/** The connection, or null when it is over: then it is closed. */
function unlessGone(service: Service, connection: Connection): Connection | null {
  if (!connection.closed) return connection;
  service.say(`evaluator pid ${connection.peer.pid} has gone: ${connection.closed}`);
  connection.close();
  service.watch.setEvaluator(null);
  return null;
}

function admit(
  service: Service,
  { fd, peer }: { fd: number; peer: libc.Peer },
  current: Connection | null,
  state: State,
): Connection | null {
  const refused = !service.allowed.has(peer.uid)
    ? "this user may not connect"
    : current
      ? `pid ${current.peer.pid} (uid ${current.peer.uid}) is connected`
      : null;
  if (refused) {
    state.refused += 1n;
    service.say(`refused pid ${peer.pid} (uid ${peer.uid}): ${refused}`);
    libc.closeFd(fd);
    return current;
  }
  service.say(`evaluator pid ${peer.pid} (uid ${peer.uid}) connected`);
  service.watch.setEvaluator(peer.pid);
  return new Connection(service, fd, peer, state);
}

/** What outlives a connection. */
type State = {
  /** Records below these positions of the rings may have been sent before. */
  redeliverUntil: number[];
  /** Connections that were refused. */
  refused: bigint;
  /** Whose records were lost when counters were acknowledged last; null: nobody has to this sensor. */
  losersTaken: Uint8Array | null;
};

type Chunk = { bytes: Uint8Array } | (Span & { ring: number });
/** What was known when counters were sent. */
type Counted = Omit<Taken, "facts"> & { facts: Facts; losers: Uint8Array; tampered: number };
type Facts = Pick<TakenFrame, "time" | "missed">;

/** One evaluator: what it was sent, what it has acknowledged. */
class Connection {
  /** Why the connection is over; null while it is not. */
  closed: string | null = null;
  /** Position of each ring up to which records were sent, or wait in the queue. */
  private readonly sentUntil: number[];
  /**
   * How far this round goes, and with it what is sent before this process waits again: a producer that is as fast as we are would
   * get a frame for each handful of records.
   */
  private limits: number[];
  private readonly queue: Chunk[] = [];
  private queueOffset = 0;
  private isListing = true;
  private readonly inbox = new Uint8Array(ACKNOWLEDGEMENT.size * 256);
  private inboxSize = 0;
  private nextTick = 0;
  private wallOffset: bigint | null = null;
  private readonly redeliverUntil: number[];
  private losers = "";
  /** What the next evaluator has to know, as it is remembered. */
  private taken: Taken;
  /** When the counters that were sent last were read. */
  private countedAt = 0n;
  /** Counters that were sent and not yet acknowledged; of very many, all but some in the middle. */
  private readonly pending: Counted[] = [];

  constructor(
    private readonly service: Service,
    readonly fd: number,
    readonly peer: libc.Peer,
    private readonly state: State,
  ) {
    this.redeliverUntil = [...state.redeliverUntil];
    this.taken = service.memory.read();
    libc.setSendBuffer(fd, SEND_BUFFER_SIZE);
    this.sentUntil = service.rings.map((ring) => ring.consumerPosition());
    this.limits = [...this.sentUntil];
    this.queue.push({ bytes: service.preamble });
    service.snapshots.begin();
    this.tick();
    this.enqueue(FrameType.coverage, Buffer.from(JSON.stringify(service.coverage)));
  }

  /** Takes acknowledgements, then sends what the socket takes. With `finish`, no new round begins. */
  advance(finish: boolean): void {
    this.receive();
    if (performance.now() >= this.nextTick) this.tick();
    if (!finish && !this.isListing && this.isBetweenRounds) this.limits = positionsAtOnce(this.service.rings);
    while (!this.closed) {
      this.flush();
      if (this.queue.length > 0 || !this.produce()) return;
    }
  }

  /** Is there something to send that the socket did not take? */
  get blocked(): boolean {
    return this.queue.length > 0;
  }

  /** Is everything sent and acknowledged, so that the ring itself can wake us? */
  get idle(): boolean {
    const { rings } = this.service;
    return !this.blocked && rings.every((ring) => ring.consumerPosition() === ring.producerPosition());
  }

  /**
   * What of its socket to wait for. Acknowledgements wake nobody while there is something to do soon anyway: under load, this
   * process runs a few hundred times a second, however many events there are.
   */
  get interest(): number {
    return this.blocked ? libc.POLLOUT : this.idle ? libc.POLLIN : 0;
  }

  get waitMs(): number {
    const tick = Math.max(0, Math.ceil(this.nextTick - performance.now()));
    return this.blocked || this.idle ? tick : Math.min(tick, RECHECK_MS);
  }

  /** Has the peer acknowledged everything: what is in the ring (`all`), or what was sent? */
  drained(all: boolean): boolean {
    if (this.closed) return true;
    if (this.blocked || this.isListing) return false;
    return this.service.rings.every(
      (ring, i) => ring.consumerPosition() === (all ? ring.producerPosition() : this.sentUntil[i]),
    );
  }

  /** Sends the last counters and says that the stream ends on purpose; with `detached`, for good. */
  async end(detached: boolean): Promise<void> {
    const deadline = performance.now() + (detached ? DRAIN_MS : LEAVE_MS);
    this.tick(detached);
    this.enqueue(FrameType.end, new Uint8Array(0));
    let isOut = false;
    while (!this.closed && performance.now() < deadline) {
      this.flush();
      if (!this.blocked && !isOut) libc.shutDownSending(this.fd);
      isOut = !this.blocked;
      libc.poll([{ fd: this.fd, events: isOut ? libc.POLLIN : libc.POLLOUT }], TICK_MS);
      // Closed with an acknowledgement unread, the socket would fail before its peer has read the end.
      this.receive();
    }
    this.close();
  }

  /** Gives the descriptors back. What is left of a frame was not sent: a reader makes nothing of its beginning. */
  close(): void {
    this.service.snapshots.end();
    libc.closeFd(this.fd);
    const { queue, sentUntil, state } = this;
    const kept = queue.find((chunk) => "ring" in chunk);
    if (kept) sentUntil[kept.ring] = kept.position;
    state.redeliverUntil = sentUntil.map((sent, i) => Math.max(sent, state.redeliverUntil[i] ?? 0));
  }

  private enqueue(type: FrameType, payload: Uint8Array): void {
    // In one piece: two would wake the reader twice.
    this.queue.push({ bytes: Buffer.concat([frameHeader(type, { size: payload.length }), payload]) });
  }

  /** Is everything in the queue that was to be sent before the limits are taken again? */
  private get isBetweenRounds(): boolean {
    return this.sentUntil.every((sent, i) => sent >= (this.limits[i] ?? 0));
  }

  /** Puts the next frame of the snapshot or of the ring into the queue. Returns false when there is none. */
  private produce(): boolean {
    if (this.isListing) {
      const chunk = this.service.snapshots.next();
      if (chunk) this.enqueue(FrameType.snapshot, chunk);
      this.isListing = chunk !== null;
      return chunk !== undefined;
    }
    for (const [number, ring] of this.service.rings.entries()) {
      const sent = this.sentUntil[number] ?? 0;
      const limit = this.limits[number] ?? 0;
      if (sent >= limit) continue;
      const span = ring.committedSpan(sent, limit);
      if (!span) return false; // a program is about to complete it
      this.sentUntil[number] = sent + span.size;
      const more = Number(!this.isBetweenRounds);
      const header = frameHeader(FrameType.records, { ring: number, size: span.size, position: sent, more });
      this.queue.push({ bytes: header }, { ...span, ring: number });
      return true;
    }
    return false;
  }

  private flush(): void {
    for (let chunk = this.queue[0]; chunk; chunk = this.queue[0]) {
      const size = "bytes" in chunk ? chunk.bytes.length : chunk.size;
      const sent =
        "bytes" in chunk
          ? libc.sendBytes(this.fd, chunk.bytes.subarray(this.queueOffset))
          : libc.sendAddress(this.fd, chunk.address + this.queueOffset, size - this.queueOffset);
      if (sent < 0) this.closed ??= "it closed the connection";
      if (sent <= 0) return;
      this.queueOffset += sent;
      if (this.queueOffset < size) return;
      this.queueOffset = 0;
      this.queue.shift();
    }
  }

  /** Takes one inbox full: a peer that never stops acknowledging must not keep the rest waiting. */
  receive(): void {
    const size = libc.receive(this.fd, this.inbox.subarray(this.inboxSize));
    if (size < 0) return;
    if (size === 0) {
      this.closed ??= "it closed the connection";
      return;
    }
    this.inboxSize += size;
    const view = new DataView(this.inbox.buffer);
    let offset = 0;
    for (; offset + ACKNOWLEDGEMENT.size <= this.inboxSize; offset += ACKNOWLEDGEMENT.size) {
      if (!this.acknowledge(view, offset)) return;
    }
    this.inbox.copyWithin(0, offset, this.inboxSize);
    this.inboxSize -= offset;
  }

  private acknowledge(view: DataView, offset: number): boolean {
    const { position, counters, ...owed } = readAcknowledgement(view, offset);
    const { rings } = this.service;
    for (const [number, until] of position.map(Number).entries()) {
      const ring = rings[number];
      const sent = this.sentUntil[number] ?? 0;
      if (until === 0) continue;
      if (!ring || until < ring.consumerPosition() || until > sent || until % 8 !== 0)
        return this.refuse(`ring ${number}, position ${until}, sent ${sent}`);
    }
    if (owed.unwrittenEvents > UNWRITTEN_MAX || owed.unwrittenAlerts > UNWRITTEN_MAX)
      return this.refuse(`${owed.unwrittenEvents} events and ${owed.unwrittenAlerts} alerts that are owed`);
    if (counters > this.countedAt) return this.refuse(`counters of ${counters}, sent ${this.countedAt}`);
    // Who has acknowledged nothing has not yet read what others have left.
    if (counters > 0n || position.some((until) => until > 0n)) this.keep(counters, owed);
    // After that: who is killed in between has something told twice, and nothing silently gone.
    for (const [number, ring] of rings.entries()) {
      const until = Number(position[number]);
      if (until > 0) ring.release(until);
    }
    return true;
  }

  private refuse(what: string): false {
    this.closed = `it sent something other than an acknowledgement (${what})`;
    return false;
  }

  /** Remembers what the next evaluator has to know. */
  private keep(counters: bigint, owed: Pick<TakenFrame, "unwrittenEvents" | "unwrittenAlerts">): void {
    const { pending, taken } = this;
    const known = pending.splice(0, pending.filter(({ facts }) => counters >= facts.time).length).at(-1);
    if (known) {
      this.taken = { facts: { ...NO_DEBTS, ...known.facts, ...owed }, rows: known.rows };
      this.state.losersTaken = known.losers;
      this.service.watch.told(known.tampered);
    } else if (
      taken.facts.unwrittenEvents !== owed.unwrittenEvents ||
      taken.facts.unwrittenAlerts !== owed.unwrittenAlerts
    ) {
      this.taken = { facts: { ...taken.facts, ...owed }, rows: taken.rows };
    }
    if (this.taken !== taken) this.service.memory.write(this.taken);
  }

  /** Once a second: the counters, and the wall clock if it was set. */
  private tick(last = false): void {
    this.nextTick = performance.now() + TICK_MS;
    const time = libc.bootTime();
    const wallOffset = libc.wallOffset();
    const moved = this.wallOffset === null ? CLOCK_STEP_NS : wallOffset - this.wallOffset;
    if (moved >= CLOCK_STEP_NS || moved <= -CLOCK_STEP_NS) {
      this.wallOffset = wallOffset;
      const clock = new Uint8Array(CLOCK_FRAME.size);
      writeClockFrame(new DataView(clock.buffer), 0, { time, wallOffset });
      this.enqueue(FrameType.clock, clock);
    }
    if (this.queue.length > QUEUE_LENGTH_MAX && !last) return; // a peer that does not read needs no further copy
    const { counters, losers, rings, watch } = this.service;
    const findings = watch.look();
    const payload = new Uint8Array(COUNTERS_FRAME.size + counters.size);
    const rows = payload.subarray(COUNTERS_FRAME.size);
    counters.copyTo(rows);
    const lost = losers(); // after the counters: whom these do not name, a later loss does
    const isFirst = this.countedAt === 0n;
    if (isFirst) this.handOn(lost);
    if (lost.length > 0 && this.losers !== lost.toString()) this.enqueue(FrameType.losers, lost);
    this.losers = lost.toString();
    this.countedAt = libc.bootTime();
    writeCountersFrame(new DataView(payload.buffer), 0, {
      time: this.countedAt,
      producerPosition: rings.map((ring) => BigInt(ring.producerPosition())),
      sentPosition: this.sentUntil.map(BigInt),
      redeliverUntil: this.redeliverUntil.map(BigInt),
      waiting: rings.map((ring, i) => BigInt(isFirst ? ring.count(this.sentUntil[i]) : 0)),
      refused: this.state.refused,
      ...findings,
      abandoned: Number(last),
    });
    this.enqueue(FrameType.counters, payload);
    const { missed, tampered } = findings;
    this.pending.push({ facts: { time: this.countedAt, missed }, rows, losers: lost, tampered });
    if (this.pending.length > PENDING_MAX) this.pending.splice(-2, 1);
  }

  /** What an earlier evaluator has left, and whose records were lost by then. */
  private handOn(lost: Uint8Array): void {
    const hadLost = lostByRing(this.taken.rows).some((count) => count > 0n);
    const losers = this.state.losersTaken ?? (hadLost ? lost : null);
    if (losers?.length) this.enqueue(FrameType.losers, losers);
    this.enqueue(FrameType.taken, payloadOf(this.taken));
  }
}

function frameHeader(type: FrameType, { ring = 0, size = 0, position = 0, more = 0 }): Uint8Array {
  const header = new Uint8Array(FRAME_HEADER.size);
  const facts = { type, ring, size, position: BigInt(position), checksum: 0, more };
  writeFrameHeader(new DataView(header.buffer), 0, facts);
  return header;
}
