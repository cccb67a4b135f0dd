// Lines for tests, as they are inside the evaluator: those of the sample, and random ones of every type.

import { join } from "node:path";
import fc from "fast-check";
import { load, NOWHERE } from "../evaluator/config.ts";
import { Core } from "../evaluator/core.ts";
import { EVENT_FIELDS, type Field } from "../evaluator/event/fields.ts";
import { type Bytes, fromUtf8 } from "../evaluator/event/text.ts";
import { openCapture, readCapture } from "../evaluator/input/capture.ts";
import { FrameReader } from "../evaluator/input/records.ts";
import { Rounds } from "../evaluator/input/rounds.ts";
import { ALERT_FIELDS } from "../evaluator/output/alert.ts";
import { Ledger } from "../evaluator/output/ledger.ts";
import { NOTICE_FIELDS, SINCE_ATTACHED_FIELDS } from "../evaluator/output/notice.ts";
import type { Line } from "../evaluator/output/projection.ts";
import { decisionOf } from "../evaluator/reload.ts";

const ROOT = join(import.meta.dir, "..");

/** The lines of the sample capture, judged by all packaged rules. */
export async function sampleLines(): Promise<Line[]> {
  const lines: Line[] = [];
  const settings = {
    decision: decisionOf(load(NOWHERE, [join(ROOT, "rules")]), false),
    limits: { entriesMax: 65536, ancestorsMax: 16 },
    healthInterval: 1_000_000_000n,
    memory: () => null,
    shortfalls: () => [{ path: "standard output", failed: 0 }],
    hasNotices: true,
  };
  const add = (_kind: number, line: Line) => lines.push(line);
  const core = new Core(settings, { event: add, alert: add, direct: null, isFull: false });
  const reader = new FrameReader();
  const rounds = new Rounds();
  for await (const piece of readCapture(openCapture(join(ROOT, "scripts/sample.capture.zst"))))
    for (const frame of reader.push(piece))
      for (const portion of rounds.portions(frame)) lines.push(...core.handle(portion));
  return lines;
}

/** All types of lines with their keys. */
export const LINE_FIELDS: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  ...EVENT_FIELDS,
  alert: ALERT_FIELDS,
  ...NOTICE_FIELDS,
};

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 24 }).map((array) => Buffer.from(array).toString("latin1") as Bytes),
  fc.constantFrom("/usr/bin/sh", "/etc/ä.service", "/", "", 'a"b\\c', "\0abstract", "pipe:[1]").map(fromUtf8),
);
const comm = bytes.map((text) => text.slice(0, 15) as Bytes);
const pid = fc.integer({ min: 1, max: 4_194_304 });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const address = fc.oneof(fc.ipV4(), fc.constantFrom("::", "::1", "fe80::1", "2001:db8::2:1"));
const time = fc
  .tuple(fc.date({ min: new Date(0), max: new Date("2100-01-01"), noInvalidDate: true }), fc.nat(999_999))
  .map(([date, rest]) => date.toISOString().replace("Z", `${String(rest).padStart(6, "0")}Z`));
const error = fc.constantFrom("ENOENT", "EACCES", "ECONNREFUSED", "EINPROGRESS", "EINTR", "errno 512");
const counters = Object.fromEntries(Object.keys(SINCE_ATTACHED_FIELDS).map((key) => [key, fc.nat()]));

/** Values of keys that are more than their shape. */
const VALUES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  ...Object.fromEntries(["time", "from", "to", "since", "attached_since"].map((key) => [key, time])),
  ...{
    error,
    result: error,
    comm,
    parent_comm: comm,
    child_comm: comm,
    creator_comm: comm,
    group_dead: fc.constant(true),
  },
  ...{ pid, tid: pid, ppid: pid, schema_version: fc.constant(1), redelivered: fc.constant(true) },
  ancestors: fc.array(
    fc.tuple(comm, pid).map(([name, id]) => `${name}(${id})`),
    { maxLength: 3 },
  ),
  protocol: fc.constantFrom("tcp", "udp", "icmp", "icmpv6", "sctp", "mptcp", "255"),
  cap_effective: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((set) => set.toString(16).padStart(16, "0")),
  mode: fc.integer({ min: 0, max: 0xffff }),
  duration_ns: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  port: fc.integer({ min: 1, max: 65535 }),
  addr: address,
  attack: fc.array(fc.constantFrom("T1059", "T1059.004", "T1053.003").map(fromUtf8), {
    minLength: 1,
    maxLength: 3,
  }),
  namespaces: fc.record({ pid: u32, mnt: u32, net: u32, user: u32 }),
  events: fc.dictionary(
    word,
    fc.record({ hooks: fc.array(word), attached: fc.boolean(), reason: fc.option(word) }),
  ),
  ledger: fc.constant(new Ledger().statement()),
  since_attached: fc.dictionary(word, fc.record(counters)),
  outputs: fc.array(fc.record({ path: bytes, failed: fc.nat() }), { maxLength: 2 }),
  producers: fc.array(fc.record({ comm, lost: fc.nat() }), { maxLength: 2 }),
};

const SHAPES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  bytes,
  integer: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  number: u32,
  flag: fc.boolean(),
  "bytes list": fc.array(bytes, { maxLength: 4 }),
  "text list": fc.array(word, { maxLength: 4 }),
  text: word,
};

/** A random line of a type. */
export function anyLine(type: string): fc.Arbitrary<Line> {
  const values = Object.entries(LINE_FIELDS[type] ?? {}).map(([key, field]) => [key, valueOf(key, field)]);
  const record = fc.record({ event_type: fc.constant(type), ...Object.fromEntries(values) });
  const line = type.startsWith("network_") ? record.chain((facts) => ends(type, facts)) : record;
  return (type === "alert" ? line.map(ofItsType) : line) as fc.Arbitrary<Line>;
}

function valueOf(key: string, [shape, , words]: Field): fc.Arbitrary<unknown> {
  const base = shape.replace(/\??( or null)?$/, "");
  const value = words ? fc.constantFrom(...words) : (VALUES[key] ?? SHAPES[base] ?? fc.constant({}));
  const known = shape.endsWith(" or null") ? fc.option(value) : value;
  return shape.includes("?") ? fc.option(known, { nil: undefined }) : known;
}

/** Addresses as the family has them. */
function ends(type: string, facts: Record<string, unknown>): fc.Arbitrary<Record<string, unknown>> {
  const { family } = facts;
  const hasRemote = type === "network_connect" || type === "network_accept";
  const none = fc.constant(null);
  const direction = type === "network_connect" ? "outbound" : "inbound";
  if (family === "unix") {
    const nobody = { local_addr: null, local_port: null, remote_addr: null, remote_port: null };
    const socket = { protocol: "stream", direction };
    return bytes.map((path) => ({ ...facts, ...nobody, ...socket, path }));
  }
  const ip = family === "ipv4" ? fc.ipV4() : fc.constantFrom("::", "::1", "fe80::1", "2001:db8::2:1");
  const port = fc.integer({ min: 0, max: 65535 });
  return fc
    .record({
      local_addr: ip,
      local_port: port,
      remote_addr: hasRemote ? ip : none,
      remote_port: hasRemote ? port : none,
    })
    .map((addresses) => ({ ...facts, ...addresses, direction, path: undefined }));
}

/** An alert without what has no meaning for its rule's type. */
function ofItsType(alert: Record<string, unknown>): Record<string, unknown> {
  const { rule_type: type } = alert;
  const nothing = (keys: string[]) => Object.fromEntries(keys.map((key) => [key, null]));
  const network = ["direction", "port", "addr", "family"];
  if (type === "network") {
    const addr = (alert["addr"] as string | null) ?? "192.0.2.1";
    const family = addr.includes(":") ? "ipv6" : "ipv4";
    const known = { direction: alert["direction"] ?? "outbound", port: alert["port"] ?? 4444, addr, family };
    return { ...alert, ...nothing(["path", "operation"]), ...known };
  }
  return { ...alert, ...nothing(type === "file" ? network : ["path", "operation", ...network]) };
}
