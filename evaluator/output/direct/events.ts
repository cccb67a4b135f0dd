// Events as lines of JSON straight from their records: what ndjson(normalise(record)) gives, byte for byte, without an event, a
// string or a bigint in between. It is for events that no rule and no detection has matched: nearly all.
//
// To decode, normalise and render an event of 790 bytes takes 5 µs; most of that is saved here. More than half of the line says who
// did it and where that process comes from: this is rendered once for a thread, kept until something in it changes, and copied in
// one piece (15 ns for 500 bytes). The beginning of a line is the same for a second, but for its nanoseconds: it is copied in one
// piece, too, and these are set. What is constant for a kind of record is put in pieces that are as large as they can be, because
// each costs 5 to 20 ns, and not its bytes. Texts are looked at while they are copied; one that is not plain ASCII is rendered by
// jsonText, as everywhere else.
//
// The functions on this path are short for a reason: the runtime's last compiler is kept from those of more than 500 bytecodes
// (evaluator/heap.ts), and what it compiles takes 10 % less time.
//
// The meaning is in event/ and ndjson.ts: keys, their order, and what is null. A property test holds both ways together, on
// any records.

import { PROCESS_KEY, RECORD_HEADER, RecordKind } from "../../../bpf/event.gen.ts";
import type { Process } from "../../context/process.ts";
import type { Processes } from "../../context/processes.ts";
import { SCHEMA_VERSION } from "../../event/event.ts";
import { Instant } from "../../event/instant.ts";
import { type Lineage, type Origin, truncatedOf, wallSecond } from "../../event/normalise.ts";
import type { Bytes } from "../../event/text.ts";
import type { RecordView } from "../../input/view.ts";
import { type ByteBuffer, constant, type Piece } from "../bytes.ts";
import type { Lines } from "../lines.ts";
import { ndjson } from "../ndjson.ts";
import { PLAIN } from "../text.ts";
import { typeOf } from "../totals.ts";
import { putFile } from "./file.ts";
import { putNetwork } from "./network.ts";
import { Kept, keyOf, NULL, QUOTE, textKeyOf } from "./pieces.ts";
import { putProcess } from "./process.ts";

const HEADER = RECORD_HEADER.at;
const SECOND_NS = 1_000_000_000n;
const NANOS = 1_000_000_000;
const KINDS = Array.from({ length: RecordKind.accept + 1 }, (_, kind) => kind);
/** In the event id. */
const CPUS = new Kept((cpu) => `-${cpu.toString(16)}-`);
const THEN_PID = constant('","pid":');
const [TID, PPID] = [keyOf("tid"), keyOf("ppid")];
const [UID, GID, EUID, EGID] = [keyOf("uid"), keyOf("gid"), keyOf("euid"), keyOf("egid")];
const COMM = textKeyOf("comm");
const [EXE_PATH, PROCESS_ID, PARENT_PROCESS_ID] = [
  keyOf("exe_path"),
  keyOf("process_id"),
  keyOf("parent_process_id"),
];
const [PARENT_COMM, PARENT_EXE_PATH] = [keyOf("parent_comm"), keyOf("parent_exe_path")];
const CONTAINER_ID = keyOf("container_id");
const ANCESTORS = constant(',"ancestors":[');
const [THEN_ANCESTOR, END_OF_TEXTS, END_OF_LIST] = [constant('","'), constant('"]'), constant("]")];
const COMMA = constant(",");
const REDELIVERED = constant(',"redelivered":true');
/** The longest that a line can be beside its texts and its lineage, and how many bytes a byte of a text can become. */
const FIXED_SIZE_MAX = 4096;
const GROWTH_MAX = 16;

/**
 * The beginning of a line as far as the upper half of the time in the event id, for one kind, one second since boot, one of the wall
 * clock: put as one piece of some 230 bytes, into which the nanoseconds are set. 0: nowhere.
 */
type Head = {
  seconds: number;
  wall: number;
  high: number;
  piece: Piece;
  nanosAt: number;
  wallNanosAt: number;
};
const ROOM_FOR_NINE = "0".repeat(9);

/** Writes events that nothing has matched. */
export class EventWriter {
  private readonly buffer: ByteBuffer;
  private readonly time = new Instant();
  /** What is constant in a stream: from behind the time to the first part of the event id. */
  private originText = "";
  private offsetSeconds = 0;
  private offsetNanos = 0;
  private readonly heads: (Head | undefined)[] = KINDS.map(() => undefined);

  constructor(private readonly lines: Lines) {
    this.buffer = lines.buffer;
  }

  /** Records come from there, from now on. */
  setOrigin({ bootId, hostId, wallOffset }: Origin): void {
    const facts = { schema_version: SCHEMA_VERSION, host_id: hostId, boot_id: bootId };
    const middle = ndjson(facts).slice(1, -2);
    this.originText = `Z",${middle},"event_id":"${bootId.slice(0, 8)}-`;
    this.heads.fill(undefined);
    const nanos = ((wallOffset % SECOND_NS) + SECOND_NS) % SECOND_NS;
    this.offsetNanos = Number(nanos);
    this.offsetSeconds = Number((wallOffset - nanos) / SECOND_NS);
  }

  /** Adds the line of a record whose process was observed just now. */
  add(record: RecordView, process: Process, processes: Processes, redelivered: boolean): void {
    const { buffer } = this;
    const kind = record.u16(HEADER.kind);
    buffer.reserve(FIXED_SIZE_MAX);
    this.putBeginning(record, kind);
    this.putWho(record, process, processes);
    buffer.reserve(record.size * GROWTH_MAX + FIXED_SIZE_MAX);
    if (record.isCut) this.putTruncated(record);
    if (redelivered) buffer.put(REDELIVERED);
    if (kind >= RecordKind.connect) putNetwork(buffer, record);
    else if (kind >= RecordKind.fileOpen) putFile(buffer, record);
    else putProcess(buffer, record);
    this.lines.close(kind);
  }

  /** From behind the event id to the end of the lineage: rendered once for a thread, and kept. */
  private putWho(record: RecordView, process: Process, processes: Processes): void {
    const { buffer } = this;
    const { actors } = processes;
    const actor = processes.actorOf(record, process);
    const size = actor < 0 ? 0 : actors.sizeOf(actor);
    const ticket = actor < 0 ? 0 : actors.ticketOf(actor);
    if (size > 0 && buffer.hasKept(ticket)) {
      buffer.reserve(size);
      buffer.putKept(ticket, size);
      return;
    }
    const start = buffer.end;
    this.putThread(record);
    this.putLineage(processes.lineageOf(record, process));
    if (actor >= 0) actors.keep(actor, buffer.keep(start), buffer.end - start);
  }

  /** As far as the end of the event id. */
  private putBeginning(record: RecordView, kind: number): void {
    const { buffer } = this;
    const low = record.u32(HEADER.time);
    const high = record.u32(HEADER.time + 4);
    this.putHead(low, high, kind);
    if (high > 0) buffer.putEight(low);
    else buffer.putHex(low, 0);
    buffer.put(CPUS.of(record.u16(HEADER.cpu)));
    buffer.putHex(record.u32(HEADER.sequence), record.u32(HEADER.sequence + 4));
  }

  /** As far as the upper half of the time in the event id. */
  private putHead(low: number, high: number, kind: number): void {
    const { buffer, time } = this;
    time.set(low, high);
    let wallNanos = time.nanos + this.offsetNanos;
    let wall = time.seconds + this.offsetSeconds;
    if (wallNanos >= NANOS) {
      wallNanos -= NANOS;
      wall += 1;
    }
    let head = this.heads[kind];
    if (head?.seconds !== time.seconds || head.wall !== wall || head.high !== high)
      head = this.turn(kind, high, wall);
    const start = buffer.end;
    buffer.put(head.piece);
    if (head.nanosAt > 0) buffer.setNine(start + head.nanosAt, time.nanos);
    buffer.setNine(start + head.wallNanosAt, wallNanos);
  }

  /** Most events are of the second of the last one: what is the same in all of these is made once. */
  private turn(kind: number, high: number, wall: number): Head {
    const { seconds, nanos } = this.time;
    const isEarly = seconds === 0;
    const boot = `{"event_type":"${typeOf(kind)}","timestamp_ns":${isEarly ? nanos : seconds}`;
    const clock = `${boot}${isEarly ? "" : ROOM_FOR_NINE},"time":"${wallSecond(wall)}`;
    const piece = constant(`${clock}${ROOM_FOR_NINE}${this.originText}${high > 0 ? high.toString(16) : ""}`);
    const head = {
      seconds,
      wall,
      high,
      piece,
      nanosAt: isEarly ? 0 : boot.length,
      wallNanosAt: clock.length,
    };
    // In the first second, there are no zeros before the number: each has a head of its own.
    this.heads[kind] = isEarly ? undefined : head;
    return head;
  }

  /** From behind the event id to the end of `comm`. */
  private putThread(record: RecordView): void {
    const { buffer } = this;
    buffer.put(THEN_PID);
    buffer.putNumber(record.u32(HEADER.process + PROCESS_KEY.at.tgid));
    this.putNumber(TID, record.u32(HEADER.tid));
    this.putNumber(PPID, record.u32(HEADER.parent + PROCESS_KEY.at.tgid));
    this.putIds(record);
    buffer.put(COMM);
    buffer.putChars("comm", record, HEADER.comm);
    buffer.put(QUOTE);
  }

  private putIds(record: RecordView): void {
    this.putNumber(UID, record.u32(HEADER.uid));
    this.putNumber(GID, record.u32(HEADER.gid));
    this.putNumber(EUID, record.u32(HEADER.euid));
    this.putNumber(EGID, record.u32(HEADER.egid));
  }

  private putLineage(lineage: Lineage): void {
    const { buffer } = this;
    const { exePath, parentProcessId, parentComm, parentExePath, ancestors, containerId } = lineage;
    buffer.reserve(sizeOf(lineage) * GROWTH_MAX + FIXED_SIZE_MAX);
    this.putString("exe_path", EXE_PATH, exePath);
    this.putString("process_id", PROCESS_ID, lineage.processId as Bytes);
    this.putString("parent_process_id", PARENT_PROCESS_ID, parentProcessId as Bytes | null);
    this.putString("parent_comm", PARENT_COMM, parentComm);
    this.putString("parent_exe_path", PARENT_EXE_PATH, parentExePath);
    this.putAncestors(ancestors);
    if (containerId !== undefined) this.putString("container_id", CONTAINER_ID, containerId as Bytes);
  }

  private putString(name: string, key: Piece, text: Bytes | null): void {
    const { buffer } = this;
    buffer.put(key);
    if (text === null) {
      buffer.put(NULL);
      return;
    }
    buffer.put(QUOTE);
    buffer.putString(name, text);
    buffer.put(QUOTE);
  }

  private putAncestors(ancestors: readonly Bytes[]): void {
    const { buffer } = this;
    if (!ancestors.every((ancestor) => PLAIN.test(ancestor))) {
      buffer.put(COMMA);
      buffer.putBytes(ndjson({ ancestors }).slice(1, -2) as Bytes);
      return;
    }
    buffer.put(ANCESTORS);
    for (let i = 0; i < ancestors.length; i++) {
      buffer.put(i === 0 ? QUOTE : THEN_ANCESTOR);
      buffer.putBytes(ancestors[i] as Bytes);
    }
    buffer.put(ancestors.length === 0 ? END_OF_LIST : END_OF_TEXTS);
  }

  /** Few records have a text that was cut. */
  private putTruncated(record: RecordView): void {
    const truncated = truncatedOf(record.decode());
    if (truncated) this.buffer.putBytes(`,"truncated":["${truncated.join('","')}"]` as Bytes);
  }

  private putNumber(key: Piece, number: number): void {
    this.buffer.put(key);
    this.buffer.putNumber(number);
  }
}

function sizeOf({ exePath, parentExePath, ancestors }: Lineage): number {
  const size = (exePath?.length ?? 0) + (parentExePath?.length ?? 0);
  return ancestors.reduce((sum, ancestor) => sum + ancestor.length, size);
}
