// Records for tests: any of any kind, also such as no kernel would write, and how they lie in a frame.

import fc from "fast-check";
import {
  type Bytes,
  Call,
  type DecodedRecord,
  encodeRecord,
  type ProcessKey,
  RecordKind,
  RING_ENTRY,
  type Text,
  type TextList,
  writeRingEntry,
} from "../bpf/event.gen.ts";
import { RecordView } from "../evaluator/input/view.ts";

/** The entries of a frame that holds these records. */
export function framed(records: readonly Uint8Array[]): Uint8Array {
  const sizeOf = (record: Uint8Array) => (RING_ENTRY.size + record.length + 7) & ~7;
  const frame = new Uint8Array(records.reduce((size, record) => size + sizeOf(record), 0));
  let at = 0;
  for (const record of records) {
    writeRingEntry(new DataView(frame.buffer), at, { size: record.length, pageOffset: 0 });
    frame.set(record, at + RING_ENTRY.size);
    at += sizeOf(record);
  }
  return frame;
}

/** A view of a record in a frame of its own. It is asked for as whole. */
export function viewOf(record: DecodedRecord): RecordView {
  const view = new RecordView();
  view.open(framed([encodeRecord(record)]));
  if (!view.advance() || !view.isWhole())
    throw new Error(`a record of kind ${record.kind} that is not whole`);
  return view;
}

/** Bytes that meet the difficult cases often: quotes, backslashes, "x5c", cut and overlong UTF-8, controls, NUL. */
const hostile = fc
  .array(
    fc.constantFrom(
      ...["\\", "x5c", "\\x5c", '"', "\n", "\x1b[31m", "\x7f", "\0", "/", "a", " ", "~"],
      ...["\xe2\x80\xae", "\xc3\xa9", "\xc3", "\xa9", "\xed\xa0\x80", "\xf0\x9f\x92\xa9", "\xc0\xaf", "\xff"],
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));
const COMMS = ["sh", "bash", "nginx", "php-fpm", "a-very-long-nam", "kworker/0:1", "", "caf\xc3\xa9"];
const EXES = ["/usr/bin/sh", "/usr/sbin/nginx", "/bin/bash", "/memfd:x (deleted)"];
export const PATHS = [
  ...["/etc/passwd", "/etc/cron.d/x", "/etc", "/etc/", "/etcetera", "/", "", "//", "x", "/etc//cron.d"],
  ...["/a/b.service", "/etc/systemd/system/x.service", "/x/y/z", "/opt/lib.so.6", "/tmp/cron", "etc/passwd"],
];
/** Paths of few letters, so that parts of them meet the keys of rules. */
const fewLetters = fc
  .array(fc.constantFrom("/", "a", "b", ".so", "etc", "cron", ".d", "."), { maxLength: 10 })
  .map((parts) => parts.join(""));

const mostly = <T>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: usual }, { weight: 1, arbitrary: other });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = mostly(fc.nat(3), fc.oneof(fc.nat(0xffff), fc.integer({ min: 0, max: 0xffff_ffff })));
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 3n }),
  fc.bigInt({ min: 0n, max: 2n ** 53n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(
    999_999_999n,
    10n ** 9n,
    10n ** 18n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n + 1n,
    2n ** 64n - 1n,
  ),
);

/** Few processes, so that records are about those of other records. */
const key: fc.Arbitrary<ProcessKey> = fc.record({
  startTime: mostly(fc.constant(1n), fc.constantFrom(0n, 2n, 2n ** 32n, 2n ** 53n + 1n)),
  tgid: mostly(fc.nat(3), fc.constantFrom(4_194_303, 0xffff_ffff)),
  reserved: fc.constant(0),
});
const chars = (text: string) => text.replaceAll("\0", "").slice(0, 16) as Bytes;
const comm = mostly(fc.constantFrom(...COMMS), hostile).map(chars);
/** As the kernel had it, or cut; empty, or unknown. */
const textOf = (usual: fc.Arbitrary<string>): fc.Arbitrary<Text> =>
  fc
    .tuple(mostly(usual, hostile), mostly(fc.constant(0), fc.nat(5)))
    .map(([text, cut]) => ({ bytes: text as Bytes, fullSize: text.length + cut }));
const path = textOf(fc.oneof(fc.constantFrom(...PATHS), fewLetters));
const exe = textOf(fc.constantFrom(...EXES, ""));
const word = textOf(fc.constantFrom("", "/srv", "a b", "../x"));
const list: fc.Arbitrary<TextList> = fc
  .tuple(
    fc.array(mostly(fc.constantFrom("sh", "-c", "x y", ""), hostile), { maxLength: 3 }),
    hostile,
    fc.nat(3),
    u32,
  )
  .map(([strings, end, cut, count]) => {
    const whole = strings.map((text) => `${text}\0`).join("");
    // What was cut may end anywhere.
    const head = (cut === 1 ? whole.slice(0, -1) : whole) as Bytes;
    const tail = (cut === 0 ? "" : cut === 2 ? end : `${end}\0`) as Bytes;
    return { head, tail, fullSize: head.length + tail.length + cut, count };
  });

const headerOf = (kind: RecordKind) =>
  fc.record({
    ...{ sequence: u64, time: u64, kind: fc.constant(kind), cpu: u16, process: key, parent: key },
    flags: mostly(fc.constant(0), fc.integer({ min: 0, max: 31 })),
    ...{ tid: fc.nat(4), execId: fc.nat(3), uid: u32, gid: u32, euid: u32, egid: u32, comm },
  });

const execOf = (kind: "exec" | "snapshot") =>
  fc.record({
    ...{ kind: fc.constant(RecordKind[kind]), header: headerOf(RecordKind[kind]), parentComm: comm },
    ...{ capEffective: u64, cgroupId: u64, inode: u64, device: u64, nlink: u32, mode: u32, ownerUid: u32 },
    ...{ ownerGid: u32, fileless: u32, source: u32, auid: u32, sessionId: u32, pidNamespace: u32 },
    ...{ mntNamespace: u32, netNamespace: u32, userNamespace: u32, exePath: exe, parentExePath: exe },
    ...{ cwd: word, root: word, filename: word, interpreter: word, args: list, env: list },
    cgroup: textOf(fc.constantFrom("", "/system.slice", `/docker/${"0123456789abcdef".repeat(4)}`)),
  });
const fork = fc.record({
  ...{ kind: fc.constant(RecordKind.fork), header: headerOf(RecordKind.fork), creator: key, creatorTid: u32 },
  ...{ reserved: fc.constant(0), creatorComm: comm, parentComm: comm, exePath: exe },
});
const exit = fc.record({
  ...{ kind: fc.constant(RecordKind.exit), header: headerOf(RecordKind.exit), exePath: exe },
  ...{ status: fc.oneof(u32, u16), reserved: fc.constant(0) },
});
const call = fc.oneof(fc.constantFrom(...Object.values(Call)), fc.nat(100));
const error = mostly(fc.constant(0), fc.constantFrom(1, 2, 13, 115, 9999, -1));
const file = fc.constantFrom("fileOpen", "fileWrite", "fileRename", "fileUnlink").chain((name) =>
  fc.record({
    ...{ kind: fc.constant(RecordKind[name]), header: headerOf(RecordKind[name]), inode: u64, device: u64 },
    ...{ count: u64, mode: u32, nlink: u32, flags: u32, created: fc.nat(2), call, error },
    ...{ path, newPath: path, filename: path },
  }),
);
const address = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((all) => Uint8Array.from(all)),
  fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((last) => Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...last])),
);
const port = fc.oneof(fc.constantFrom(0, 1, 80, 4444, 65535), u16);
const network = fc.constantFrom("connect", "bind", "listen", "accept").chain((name) =>
  fc.record({
    ...{
      kind: fc.constant(RecordKind[name]),
      header: headerOf(RecordKind[name]),
      call,
      error,
      requested: u32,
    },
    ...{ family: fc.constantFrom(1, 2, 10, 0, 77), type: fc.nat(6), reserved: fc.constant(0), backlog: u32 },
    ...{ protocol: fc.constantFrom(0, 1, 6, 17, 33, 58, 132, 136, 255), localPort: port, remotePort: port },
    ...{ fd: fc.integer({ min: -2, max: 70_000 }), localAddr: address, remoteAddr: address, path },
  }),
);

/** The record of an exec. */
export const execRecord: fc.Arbitrary<DecodedRecord> = execOf("exec");
/** A record of a file or of the network. */
export const activity: fc.Arbitrary<DecodedRecord> = fc.oneof(
  { weight: 3, arbitrary: file },
  { weight: 2, arbitrary: network },
);
/** A record of any kind. */
export const anyRecord: fc.Arbitrary<DecodedRecord> = fc.oneof(
  { weight: 5, arbitrary: activity },
  ...[execRecord, execOf("snapshot"), fork, exit].map((arbitrary) => ({ weight: 1, arbitrary })),
);
