// Events of files and of the network as lines of JSON, straight from the record: what ndjson(normalise(record)) gives, byte for
// byte, without an event, a string or a bigint in between.
//
// An event of 790 bytes took 5 µs to decode, normalise and render. Here it takes TODO. Where it goes: half of the line is the
// process's lineage, which is rendered by ndjson itself when something in it has changed, kept with the process, and copied in
// one piece. What is constant within a stream (keys, host, boot) is copied in pieces, too. Numbers are written digit by digit.
// Texts are looked at while they are copied; one that is not plain ASCII is rendered by jsonText, as everywhere else.
//
// The keys and their order are those of event/event.ts. A property test holds both ways together, on any records.

import {
  FILE_RECORD,
  KINDS_MAX,
  NETWORK_RECORD,
  PROCESS_KEY,
  RECORD_HEADER,
  RecordKind,
  TEXT,
} from "../../bpf/event.gen.ts";
import type { Process, Processes } from "../context/processes.ts";
import { SCHEMA_VERSION } from "../event/event.ts";
import { callName, flagNames } from "../event/file.ts";
import { Instant } from "../event/instant.ts";
import { AF_INET, AF_UNIX, isMapped, protocolName, sixOf } from "../event/network.ts";
import { type Origin, wallSecond } from "../event/normalise.ts";
import { type Bytes, errorName } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import { type ByteBuffer, constant } from "./bytes.ts";
import { typeOf } from "./ledger.ts";
import type { Lines } from "./lines.ts";
import { ndjson } from "./ndjson.ts";
import { jsonText } from "./text.ts";

const HEADER = RECORD_HEADER.at;
const FILE = FILE_RECORD.at;
const NETWORK = NETWORK_RECORD.at;
const { path: PATH, newPath: NEW_PATH, filename: FILENAME } = FILE_RECORD.variable;
const SECOND_NS = 1_000_000_000n;
const NANOS = 1_000_000_000;

/** The key of a text, and that of its exact bytes. */
type TextKey = { open: Uint8Array; name: string };
const textKeyOf = (name: string): TextKey => ({ open: constant(`,"${name}":"`), name });
const keyOf = (name: string) => constant(`,"${name}":`);
const QUOTE = constant('"');
const DASH = constant("-");
const DOT = constant(".");
const NULL = constant("null");
const [TRUE, FALSE] = [constant("true"), constant("false")];
const TIME = constant(',"time":"');
const [PID, TID, PPID] = [constant('","pid":'), keyOf("tid"), keyOf("ppid")];
const [UID, GID, EUID, EGID] = [keyOf("uid"), keyOf("gid"), keyOf("euid"), keyOf("egid")];
const COMM = textKeyOf("comm");
const REDELIVERED = constant(',"redelivered":true');
const FILENAME_KEY = textKeyOf("filename");
const NO_FILENAME = constant(',"filename":null');
const PATH_KEY = textKeyOf("path");
const RESOLVED_PATH = textKeyOf("resolved_path");
const OLD_FILENAME = textKeyOf("old_filename");
const NEW_FILENAME = textKeyOf("new_filename");
const [COUNT, CREATED, INODE, DEVICE] = [keyOf("count"), keyOf("created"), keyOf("inode"), keyOf("device")];
const [NLINK, MODE, ERROR] = [keyOf("nlink"), keyOf("mode"), keyOf("error")];
const NO_FILE = constant(',"inode":null,"device":null,"nlink":null,"mode":null');
const [LOCAL_ADDR, LOCAL_PORT] = [keyOf("local_addr"), keyOf("local_port")];
const [REMOTE_ADDR, REMOTE_PORT] = [keyOf("remote_addr"), keyOf("remote_port")];
const [SOCKET_FD, RESULT, BACKLOG] = [keyOf("socket_fd"), keyOf("result"), keyOf("backlog")];
const NOTHING_DETECTED = constant(',"alert":false,"detection_type":null');
const END = constant("}\n");

/** Where each kind's line begins. */
const BEGINNINGS = Array.from({ length: RecordKind.accept + 1 }, (_, kind) =>
  constant(`{"event_type":"${typeOf(kind)}","timestamp_ns":`),
);
/** The longest that a line can be beside its texts and its lineage, and how many bytes a byte of a text can become. */
const FIXED_SIZE_MAX = 4096;
const GROWTH_MAX = 16;
/** Flags of opens come in some dozen combinations, protocols and calls in fewer; more than this are not kept. */
const KEPT_MAX = 1000;
const U16 = 65536;
const FAMILIES = ["unix", "ipv4", "ipv6"];
const SLASH = 0x2f;
const COMM_SIZE = 16;
const ADDRESS_SIZE = 16;

/** Writes events that no rule and no detection is about. */
export class EventWriter {
  private readonly time = new Instant();
  private readonly calls = new Map<number, Bytes>();
  private readonly flags = new Map<number, Bytes>();
  private readonly protocols = new Map<number, Bytes>();
  /** What is constant in a stream: from behind the time to the first part of the event id. */
  private origin: Uint8Array = new Uint8Array(0);
  private offsetSeconds = 0;
  private offsetNanos = 0;
  private shownSecond = Number.NaN;
  private shownPrefix: Uint8Array = new Uint8Array(0);

  private readonly buffer: ByteBuffer;

  constructor(private readonly lines: Lines) {
    this.buffer = lines.buffer;
  }

  /** Records come from there, from now on. */
  setOrigin({ bootId, hostId, wallOffset }: Origin): void {
    const facts = { schema_version: SCHEMA_VERSION, host_id: hostId, boot_id: bootId };
    const middle = ndjson(facts).slice(1, -2);
    this.origin = constant(`Z",${middle},"event_id":"${bootId.slice(0, 8)}-`);
    const nanos = ((wallOffset % SECOND_NS) + SECOND_NS) % SECOND_NS;
    this.offsetNanos = Number(nanos);
    this.offsetSeconds = Number((wallOffset - nanos) / SECOND_NS);
  }

  /** Adds the line of a record of a file or of the network whose process was observed just now. */
  add(record: RecordView, process: Process, processes: Processes, redelivered: boolean): void {
    const { buffer } = this;
    const kind = record.u16(HEADER.kind);
    const lineage = processes.renderingOf(record, process) ?? render(record, process, processes);
    buffer.reserve(record.size * GROWTH_MAX + lineage.length + FIXED_SIZE_MAX);
    this.putBeginning(record, kind);
    buffer.putBytes(lineage);
    this.putTruncated(record, kind);
    if (redelivered) buffer.put(REDELIVERED);
    if (kind >= RecordKind.connect) this.putNetwork(record, kind);
    else this.putFile(record, kind);
    buffer.put(END);
    this.lines.close(kind);
  }

  private putBeginning(record: RecordView, kind: number): void {
    const { buffer, time } = this;
    const low = record.u32(HEADER.time);
    const high = record.u32(HEADER.time + 4);
    time.set(low, high);
    buffer.put(BEGINNINGS[kind] ?? NULL);
    buffer.putU64(low, high);
    buffer.put(TIME);
    this.putWallTime();
    buffer.put(this.origin);
    buffer.putHex(low, high);
    buffer.put(DASH);
    buffer.putHex(record.u16(HEADER.cpu), 0);
    buffer.put(DASH);
    buffer.putHex(record.u32(HEADER.sequence), record.u32(HEADER.sequence + 4));
    this.putNumber(PID, record.u32(HEADER.process + PROCESS_KEY.at.tgid));
    this.putNumber(TID, record.u32(HEADER.tid));
    this.putNumber(PPID, record.u32(HEADER.parent + PROCESS_KEY.at.tgid));
    this.putNumber(UID, record.u32(HEADER.uid));
    this.putNumber(GID, record.u32(HEADER.gid));
    this.putNumber(EUID, record.u32(HEADER.euid));
    this.putNumber(EGID, record.u32(HEADER.egid));
    const start = record.start + HEADER.comm;
    let end = start;
    while (end < start + COMM_SIZE && record.bytes[end] !== 0) end++;
    this.putText(COMM, record.bytes, start, end);
  }

  /** The time by the wall clock, as far as its "Z". */
  private putWallTime(): void {
    const { buffer, time } = this;
    let nanos = time.nanos + this.offsetNanos;
    let second = time.seconds + this.offsetSeconds;
    if (nanos >= NANOS) {
      nanos -= NANOS;
      second += 1;
    }
    if (second !== this.shownSecond) {
      this.shownSecond = second;
      this.shownPrefix = constant(wallSecond(second));
    }
    buffer.put(this.shownPrefix);
    buffer.putNine(nanos);
  }

  private putTruncated(record: RecordView, kind: number): void {
    const names: string[] = [];
    switch (kind) {
      case RecordKind.fileRename:
        if (isShort(record, FILE.path, PATH)) names.push("old_filename");
        if (isShort(record, FILE.newPath, NEW_PATH)) names.push("new_filename");
        break;
      case RecordKind.fileOpen:
      case RecordKind.fileWrite:
      case RecordKind.fileUnlink:
        if (isShort(record, FILE.path, PATH)) names.push("path");
        if (isShort(record, FILE.filename, FILENAME)) names.push("filename");
        break;
      default:
        if (isShort(record, NETWORK.path, NETWORK_RECORD.variable.path)) names.push("path");
    }
    if (names.length > 0) this.buffer.putBytes(`,"truncated":["${names.join('","')}"]` as Bytes);
  }

  private putFile(record: RecordView, kind: number): void {
    const { buffer } = this;
    const { bytes } = record;
    const start = record.textStart(PATH);
    const end = record.textEnd(PATH);
    switch (kind) {
      case RecordKind.fileOpen:
        if (record.u32(FILE.filename + TEXT.at.fullSize) === 0) buffer.put(NO_FILENAME);
        else this.putText(FILENAME_KEY, bytes, record.textStart(FILENAME), record.textEnd(FILENAME));
        this.putText(PATH_KEY, bytes, start, end);
        buffer.putBytes(this.flagsOf(record.u32(FILE.flags)));
        buffer.put(CREATED);
        buffer.put(record.u32(FILE.created) === 0 ? FALSE : TRUE);
        break;
      case RecordKind.fileWrite: {
        this.putText(PATH_KEY, bytes, start, end);
        this.putText(RESOLVED_PATH, bytes, start, end);
        const count = record.u64(FILE.count);
        buffer.put(COUNT);
        if (count === 0) buffer.put(NULL);
        else if (count <= Number.MAX_SAFE_INTEGER) buffer.putNumber(count);
        else buffer.putBytes(String(count) as Bytes);
        break;
      }
      case RecordKind.fileRename:
        this.putText(OLD_FILENAME, bytes, start, end);
        this.putText(NEW_FILENAME, bytes, record.textStart(NEW_PATH), record.textEnd(NEW_PATH));
        break;
      default:
        this.putText(FILENAME_KEY, bytes, lastNameIn(bytes, start, end), end);
        this.putText(PATH_KEY, bytes, start, end);
    }
    this.putFileFacts(record);
  }

  private putFileFacts(record: RecordView): void {
    const { buffer } = this;
    buffer.putBytes(this.callOf(record.u32(FILE.call)));
    const [low, high] = [record.u32(FILE.inode), record.u32(FILE.inode + 4)];
    if (low === 0 && high === 0) buffer.put(NO_FILE);
    else {
      buffer.put(INODE);
      buffer.putU64(low, high);
      buffer.put(DEVICE);
      buffer.putU64(record.u32(FILE.device), record.u32(FILE.device + 4));
      this.putNumber(NLINK, record.u32(FILE.nlink));
      this.putNumber(MODE, record.u32(FILE.mode));
    }
    this.putError(ERROR, record.u32(FILE.error) | 0);
    buffer.put(NOTHING_DETECTED);
  }

  private putNetwork(record: RecordView, kind: number): void {
    const { buffer } = this;
    const family = record.u16(NETWORK.family);
    const hasMapped = this.hasMapped(record);
    const hasRemote = kind === RecordKind.connect || kind === RecordKind.accept;
    const hasPorts = family !== AF_UNIX;
    buffer.putBytes(this.protocolOf(record, kind, hasMapped));
    buffer.put(LOCAL_ADDR);
    this.putAddress(record, NETWORK.localAddr, hasMapped);
    buffer.put(LOCAL_PORT);
    this.putNumberOrNull(hasPorts, record.u16(NETWORK.localPort));
    buffer.put(REMOTE_ADDR);
    if (hasRemote) this.putAddress(record, NETWORK.remoteAddr, hasMapped);
    else buffer.put(NULL);
    buffer.put(REMOTE_PORT);
    this.putNumberOrNull(hasPorts && hasRemote, record.u16(NETWORK.remotePort));
    if (family === AF_UNIX) this.putUnixName(record);
    const fd = record.u32(NETWORK.fd) | 0;
    buffer.put(SOCKET_FD);
    this.putNumberOrNull(fd >= 0, fd);
    this.putError(RESULT, record.u32(NETWORK.error) | 0);
    buffer.put(NOTHING_DETECTED);
    if (kind === RecordKind.listen) this.putNumber(BACKLOG, record.u32(NETWORK.backlog));
  }

  private hasMapped(record: RecordView): boolean {
    const { localAddr, remoteAddr } = NETWORK;
    if (record.u16(localAddr + 10) !== 0xffff && record.u16(remoteAddr + 10) !== 0xffff) return false;
    return isMapped(addressAt(record, localAddr), addressAt(record, remoteAddr));
  }

  private putAddress(record: RecordView, at: number, hasMapped: boolean): void {
    const { buffer } = this;
    const family = record.u16(NETWORK.family);
    if (hasMapped) this.putFour(record, at + 12);
    else if (family === AF_UNIX) buffer.put(NULL);
    else if (family === AF_INET) this.putFour(record, at);
    else buffer.putBytes(`"${sixOf(addressAt(record, at))}"` as Bytes);
  }

  private putFour(record: RecordView, at: number): void {
    const { buffer } = this;
    const bytes = record.u32(at);
    buffer.put(QUOTE);
    buffer.putNumber(bytes & 0xff);
    buffer.put(DOT);
    buffer.putNumber((bytes >>> 8) & 0xff);
    buffer.put(DOT);
    buffer.putNumber((bytes >>> 16) & 0xff);
    buffer.put(DOT);
    buffer.putNumber(bytes >>> 24);
    buffer.put(QUOTE);
  }

  /** As it was bound, without the NUL that some callers count as part of it; an abstract name as it is. */
  private putUnixName(record: RecordView): void {
    const text = NETWORK_RECORD.variable.path;
    const start = record.textStart(text);
    const stop = record.textEnd(text);
    let end = start;
    while (end < stop && record.bytes[end] !== 0) end++;
    this.putText(PATH_KEY, record.bytes, start, end === start ? stop : end);
  }

  private protocolOf(record: RecordView, kind: number, hasMapped: boolean): Bytes {
    const family = record.u16(NETWORK.family);
    const type = record.u16(NETWORK.type);
    const protocol = record.u16(NETWORK.protocol);
    const name = family === AF_UNIX ? 0 : family === AF_INET || hasMapped ? 1 : 2;
    return keep(this.protocols, ((type * U16 + protocol) * KINDS_MAX + kind) * 4 + name, () => {
      const direction = kind === RecordKind.connect ? "outbound" : "inbound";
      const spoken = protocolName(family, type, protocol);
      return `,"family":"${FAMILIES[name]}","protocol":"${spoken}","direction":"${direction}"`;
    });
  }

  private callOf(call: number): Bytes {
    return keep(this.calls, call, () => `,"syscall":${call === 0 ? "null" : `"${callName(call)}"`}`);
  }

  private flagsOf(flags: number): Bytes {
    return keep(this.flags, flags, () => `,"flags":${JSON.stringify(flagNames(flags))}`);
  }

  private putNumber(key: Uint8Array, number: number): void {
    this.buffer.put(key);
    this.buffer.putNumber(number);
  }

  private putNumberOrNull(isKnown: boolean, number: number): void {
    if (isKnown) this.buffer.putNumber(number);
    else this.buffer.put(NULL);
  }

  private putError(key: Uint8Array, error: number): void {
    this.buffer.put(key);
    if (error === 0) this.buffer.put(NULL);
    else this.buffer.putBytes(`"${errorName(error)}"` as Bytes);
  }

  private putText(key: TextKey, source: Uint8Array, start: number, end: number): void {
    const { buffer } = this;
    buffer.put(key.open);
    if (buffer.putPlain(source, start, end)) {
      buffer.put(QUOTE);
      return;
    }
    const bytes = Buffer.from(source.buffer, source.byteOffset + start, end - start);
    const { body, exact } = jsonText(bytes.toString("latin1") as Bytes);
    buffer.putBytes(body);
    buffer.put(QUOTE);
    if (!exact) buffer.putBytes(`,"${key.name}_b64":"${bytes.toString("base64")}"` as Bytes);
  }
}

/** The lineage of the record that was observed last, as it is written; it is kept until something in it changes. */
function render(record: RecordView, process: Process, processes: Processes): Bytes {
  const lineage = processes.lineageOf(record, process);
  const text = ndjson({
    exe_path: lineage.exePath,
    process_id: lineage.processId,
    parent_process_id: lineage.parentProcessId,
    parent_comm: lineage.parentComm,
    parent_exe_path: lineage.parentExePath,
    ancestors: lineage.ancestors,
    container_id: lineage.containerId,
  });
  const inner = `,${text.slice(1, -2)}` as Bytes;
  processes.keepRendering(record, process, inner);
  return inner;
}

/** What was made for a number before, or is made now. */
function keep(kept: Map<number, Bytes>, number: number, make: () => string): Bytes {
  const before = kept.get(number);
  if (before !== undefined) return before;
  if (kept.size === KEPT_MAX) kept.clear();
  const made = make() as Bytes;
  kept.set(number, made);
  return made;
}

/** Where the last name of a path begins. */
function lastNameIn(bytes: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && bytes[at - 1] !== SLASH) at--;
  return at;
}

function isShort(record: RecordView, at: number, text: number): boolean {
  return record.textSize(text) < record.u32(at + TEXT.at.fullSize);
}

function addressAt(record: RecordView, at: number): Uint8Array {
  return record.bytes.subarray(record.start + at, record.start + at + ADDRESS_SIZE);
}
