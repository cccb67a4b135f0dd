// What the events of the network say beside what all events say: event/network.ts in bytes.

import { KINDS_MAX, NETWORK_RECORD, RECORD_HEADER, RecordKind } from "../../../bpf/event.gen.ts";
import { AF_INET, AF_UNIX, isMapped, protocolName, sixOf } from "../../event/network.ts";
import { type Bytes, errorName } from "../../event/text.ts";
import type { RecordView } from "../../input/view.ts";
import { type ByteBuffer, constant } from "../bytes.ts";
import { END, Kept, keyOf, NULL, QUOTE, textKeyOf } from "./pieces.ts";

const NETWORK = NETWORK_RECORD.at;
const PATH = NETWORK_RECORD.variable.path;
const LOCAL_PORT = keyOf("local_port");
const [REMOTE_ADDR, REMOTE_PORT] = [keyOf("remote_addr"), keyOf("remote_port")];
const NO_REMOTE = constant('null,"remote_port":null');
const PATH_KEY = textKeyOf("path");
const [SOCKET_FD, BACKLOG] = [keyOf("socket_fd"), keyOf("backlog")];
const DONE = constant(',"result":null,"alert":false,"detection_type":null');
const RESULT = textKeyOf("result");
const THEN_NOTHING_DETECTED = constant('","alert":false,"detection_type":null');
const DOT = constant(".");
const FAMILIES = ["unix", "ipv4", "ipv6"];
const ADDRESS_SIZE = 16;
/** Of an IPv4 address within one of IPv6, and where it is. */
const MAPPED_MARK = 0xffff;
const MAPPED_MARK_AT = 10;
const MAPPED_AT = 12;
const U16 = 65536;

const protocols = new Kept(protocolText);

/** Puts the facts of a network event that nothing was detected in, and the line's end. */
export function putNetwork(buffer: ByteBuffer, record: RecordView): void {
  const kind = record.u16(RECORD_HEADER.at.kind);
  const isUnix = record.u16(NETWORK.family) === AF_UNIX;
  const hasMapped = hasMappedAddress(record);
  putProtocol(buffer, record, kind, hasMapped);
  putAddress(buffer, record, NETWORK.localAddr, hasMapped);
  buffer.put(LOCAL_PORT);
  putNumberOrNull(buffer, !isUnix, record.u16(NETWORK.localPort));
  buffer.put(REMOTE_ADDR);
  if (kind === RecordKind.connect || kind === RecordKind.accept) {
    putAddress(buffer, record, NETWORK.remoteAddr, hasMapped);
    buffer.put(REMOTE_PORT);
    putNumberOrNull(buffer, !isUnix, record.u16(NETWORK.remotePort));
  } else buffer.put(NO_REMOTE);
  if (isUnix) putUnixName(buffer, record);
  putSocket(buffer, record, kind);
}

/** As far as the key `local_addr`. */
function putProtocol(buffer: ByteBuffer, record: RecordView, kind: number, hasMapped: boolean): void {
  const family = record.u16(NETWORK.family);
  const name = family === AF_UNIX ? 0 : family === AF_INET || hasMapped ? 1 : 2;
  const spoken = record.u16(NETWORK.type) * U16 + record.u16(NETWORK.protocol);
  buffer.put(protocols.of((spoken * KINDS_MAX + kind) * FAMILIES.length + name));
}

/** From the socket's number to the end of the line. */
function putSocket(buffer: ByteBuffer, record: RecordView, kind: number): void {
  const fd = record.u32(NETWORK.fd) | 0;
  buffer.put(SOCKET_FD);
  putNumberOrNull(buffer, fd >= 0, fd);
  putOutcome(buffer, record.u32(NETWORK.error) | 0);
  if (kind === RecordKind.listen) {
    buffer.put(BACKLOG);
    buffer.putNumber(record.u32(NETWORK.backlog));
  }
  buffer.put(END);
}

function hasMappedAddress(record: RecordView): boolean {
  const { localAddr, remoteAddr } = NETWORK;
  return (
    (record.u16(localAddr + MAPPED_MARK_AT) === MAPPED_MARK ||
      record.u16(remoteAddr + MAPPED_MARK_AT) === MAPPED_MARK) &&
    isMapped(addressAt(record, localAddr), addressAt(record, remoteAddr))
  );
}

function putAddress(buffer: ByteBuffer, record: RecordView, at: number, hasMapped: boolean): void {
  const family = record.u16(NETWORK.family);
  if (hasMapped) putFour(buffer, record.u32(at + MAPPED_AT));
  else if (family === AF_UNIX) buffer.put(NULL);
  else if (family === AF_INET) putFour(buffer, record.u32(at));
  else buffer.putBytes(`"${sixOf(addressAt(record, at))}"` as Bytes);
}

function putFour(buffer: ByteBuffer, address: number): void {
  buffer.put(QUOTE);
  buffer.putNumber(address & 0xff);
  buffer.put(DOT);
  buffer.putNumber((address >>> 8) & 0xff);
  buffer.put(DOT);
  buffer.putNumber((address >>> 16) & 0xff);
  buffer.put(DOT);
  buffer.putNumber(address >>> 24);
  buffer.put(QUOTE);
}

/** As it was bound, without the NUL that some callers count as part of it; an abstract name as it is. */
function putUnixName(buffer: ByteBuffer, record: RecordView): void {
  const start = record.textStart(PATH);
  const stop = record.textEnd(PATH);
  let end = start;
  while (end < stop && record.bytes[end] !== 0) end++;
  buffer.put(PATH_KEY);
  buffer.putText("path", record, start, end === start ? stop : end);
  buffer.put(QUOTE);
}

function putNumberOrNull(buffer: ByteBuffer, isKnown: boolean, number: number): void {
  if (isKnown) buffer.putNumber(number);
  else buffer.put(NULL);
}

function putOutcome(buffer: ByteBuffer, error: number): void {
  if (error === 0) {
    buffer.put(DONE);
    return;
  }
  buffer.put(RESULT);
  buffer.putBytes(errorName(error) as Bytes);
  buffer.put(THEN_NOTHING_DETECTED);
}

/** From behind what is common to the key `local_addr`, by the number that `putNetwork` makes. */
function protocolText(number: number): string {
  const name = FAMILIES[number % FAMILIES.length];
  const rest = Math.floor(number / FAMILIES.length);
  const direction = rest % KINDS_MAX === RecordKind.connect ? "outbound" : "inbound";
  const spoken = Math.floor(rest / KINDS_MAX);
  const family = name === "unix" ? AF_UNIX : AF_INET;
  const protocol = protocolName(family, Math.floor(spoken / U16), spoken % U16);
  return `,"family":"${name}","protocol":"${protocol}","direction":"${direction}","local_addr":`;
}

function addressAt(record: RecordView, at: number): Uint8Array {
  return record.bytes.subarray(record.start + at, record.start + at + ADDRESS_SIZE);
}
