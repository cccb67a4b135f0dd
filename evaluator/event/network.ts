// Network records become events. Addresses are canonical: RFC 5952 for IPv6, and IPv4 for IPv4-mapped IPv6.

import { type NetworkRecord, RecordKind } from "../../bpf/event.gen.ts";
import type { Common, NetworkEvent } from "./event.ts";
import { type Bytes, errorName } from "./text.ts";

export const AF_UNIX = 1;
export const AF_INET = 2;
const PROTOCOLS: Record<number, string> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  33: "dccp",
  58: "icmpv6",
  132: "sctp",
  136: "udplite",
  262: "mptcp",
};
const PROTOCOL_MAX = 255;
const UNIX_TYPES: Record<number, string> = { 1: "stream", 2: "dgram", 5: "seqpacket" };

const NOTHING_DETECTED = { alert: false, detection_type: null, detections: undefined };

/** Makes the event of a network record. */
export function networkEvent(record: NetworkRecord, common: Common): NetworkEvent {
  const { kind } = record;
  const unix = record.family === AF_UNIX;
  const mapped = isMapped(record.localAddr, record.remoteAddr);
  const four = record.family === AF_INET || mapped;
  const show = (bytes: Uint8Array) => (unix ? null : addressOf(bytes, record.family === AF_INET));
  const remote = kind === RecordKind.connect || kind === RecordKind.accept;
  const facts = {
    ...common,
    family: unix ? ("unix" as const) : four ? ("ipv4" as const) : ("ipv6" as const),
    protocol: protocolName(record.family, record.type, record.protocol),
    direction: kind === RecordKind.connect ? ("outbound" as const) : ("inbound" as const),
    local_addr: mapped ? unmapped(record.localAddr) : show(record.localAddr),
    local_port: unix ? null : record.localPort,
    remote_addr: !remote ? null : mapped ? unmapped(record.remoteAddr) : show(record.remoteAddr),
    remote_port: unix || !remote ? null : record.remotePort,
    path: unix ? unixName(record.path.bytes) : undefined,
    socket_fd: record.fd < 0 ? null : record.fd,
    result: record.error === 0 ? null : errorName(record.error),
    ...NOTHING_DETECTED,
  };
  switch (kind) {
    case RecordKind.connect:
      return { event_type: "network_connect", ...facts };
    case RecordKind.bind:
      return { event_type: "network_bind", ...facts };
    case RecordKind.listen:
      return { event_type: "network_listen", ...facts, backlog: record.backlog };
    case RecordKind.accept:
      return { event_type: "network_accept", ...facts };
  }
}

/** The number in the IP header (IANA) of a protocol, as events name it; null when it has none, as those of Unix sockets. */
export function protocolNumber(protocol: string): number | null {
  const digits = Object.keys(PROTOCOLS).find((number) => PROTOCOLS[Number(number)] === protocol) ?? protocol;
  const number = /^\d+$/.test(digits) ? Number(digits) : null;
  return number !== null && number <= PROTOCOL_MAX ? number : null;
}

/** The name of what is spoken over a socket. */
export function protocolName(family: number, type: number, protocol: number): string {
  return (family === AF_UNIX ? UNIX_TYPES[type] : PROTOCOLS[protocol]) ?? String(protocol);
}

/** A path as it was bound, without the NUL that some callers count as part of it; an abstract name (unix(7)) as it is. */
function unixName(bytes: Bytes): Bytes {
  return bytes.startsWith("\0") ? bytes : (bytes.replace(/\0.*$/s, "") as Bytes);
}

/** An IPv4 host seen through an IPv6 socket: ::ffff:a.b.c.d on either side. */
export function isMapped(...addresses: Uint8Array[]): boolean {
  return addresses.some(
    (bytes) => bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff,
  );
}

/** The IPv4 address within a mapped one; of the unspecified address, the unspecified one. */
function unmapped(bytes: Uint8Array): string {
  return bytes.subarray(12, 16).join(".");
}

function addressOf(bytes: Uint8Array, four: boolean): string {
  return four ? bytes.subarray(0, 4).join(".") : sixOf(bytes);
}

/** An IPv6 address as RFC 5952 wants it. */
export function sixOf(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0));
  const { start, length } = longestZeros(groups);
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  return length < 2 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

function longestZeros(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}
