#!/usr/bin/env bun
// Makes a stream of any length, the same one every time: processes that live long and short ones that come and go, what they
// do to files and on the network, and counters that add up. For measurements; `bun scripts/bench/stream.ts > FILE`.

import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { crc32 } from "node:zlib";
import {
  type Bytes,
  Call,
  COUNTERS_FRAME,
  CPU_COUNTERS,
  type DecodedRecord,
  EVENT_ABI,
  encodeRecord,
  type FileRecord,
  FORK_RECORD,
  FRAME_HEADER,
  FrameType,
  KIND_COUNTERS,
  KINDS_MAX,
  type NetworkRecord,
  type ProcessKey,
  RECORD_HEADER,
  RecordKind,
  RING_ENTRY,
  RINGS_MAX,
  Ring,
  STREAM_MAGIC,
  STREAM_PREAMBLE,
  type Text,
  writeClockFrame,
  writeCountersFrame,
  writeFrameHeader,
  writeStreamPreamble,
} from "../../bpf/event.gen.ts";
import { ringOf } from "../../bpf/kinds.ts";
import { frameChecksum } from "../../evaluator/input/records.ts";

/** What a stream holds. */
type StreamShape = {
  /** Rounded up to whole rounds of some thousand. */
  events: number;
  /** Processes that run all the time. */
  processes: number;
  /** Bytes of an average path. */
  pathSize: number;
  /** As in a capture; a socket has none. */
  checksums: boolean;
};

/** The usual one: what a host of middling size does. */
const USUAL: StreamShape = { events: 1_000_000, processes: 500, pathSize: 45, checksums: true };

const CPUS = 4;
const FRAME_SIZE = 256 * 1024;
/** Boot time of the first record, and between two of them, ns. */
const START_NS = 3_600_000_000_000n;
const STEP_NS = 1_000n;
/** A round has so many process lives, and so many records of files and network for each. */
const LIVES = 150;
const ACTS_OF_A_LIFE = 10;
const ACTS_OF_OTHERS = 20;
const COUNTERS_EVERY_NS = 1_000_000_000n;
const WALL_OFFSET = 1_790_000_000_000_000_000n;

type Act = [kind: FileRecord["kind"], path: string];
/** Acts that rules of rules.ts match, and a built-in one: with a connection, one record in a thousand. */
const MATCHING: Act[] = [
  [RecordKind.fileWrite, "/home/user/app-3/late"], // BENCH-3
  [RecordKind.fileOpen, "/var/lib/app/data/late.ext5"], // BENCH-5
  [RecordKind.fileUnlink, "/usr/lib/backdoor-6.so"], // BENCH-6
  [RecordKind.fileWrite, "/etc/systemd/system/late.service"],
];
/** Acts that have what a rule is looked up by, and are none of its: one record in a hundred. */
const NEARLY: Act[] = [
  [RecordKind.fileWrite, "/usr/lib/truckdoor-6.so"], // BENCH-6 has eight bytes of it
  [RecordKind.fileOpen, "/etc/conf-7/late.yaml"], // BENCH-7 has the folder
];
const LIVES_FOR_ONE_NEARLY = 3;

/** A number generator whose numbers never change (xorshift32). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const zeros = (length: number) => Array.from({ length }, () => 0);

type Actor = {
  key: ProcessKey;
  parent: ProcessKey;
  comm: Bytes;
  exe: Bytes;
  execId: number;
  threads: number;
};
type Random = (below: number) => number;

const COMMS = ["nginx", "postgres", "python3", "java", "node", "sshd", "cron", "bash", "systemd", "dockerd"];
const FOLDERS = [
  "/usr/lib/x86_64-linux-gnu",
  "/var/lib/app/data",
  "/home/user/project/src",
  "/proc/4242/task",
];
const NAMES = ["index", "libcrypto.so.3", "page-cache", "status", "segment_", "Makefile", "session"];
const bytes = (text: string) => text as Bytes;
const text = (value: string): Text => ({ bytes: bytes(value), fullSize: value.length });
const NONE = text("");

/** The first process, which all others come from. */
const INIT: Actor = {
  key: { startTime: 1n, tgid: 1, reserved: 0 },
  parent: { startTime: 0n, tgid: 0, reserved: 0 },
  comm: bytes("systemd"),
  exe: bytes("/usr/lib/systemd/systemd"),
  execId: 1,
  threads: 1,
};

function actors(count: number): Actor[] {
  return Array.from({ length: count }, (_, i) => {
    const comm = bytes(COMMS[i % COMMS.length] ?? "");
    return {
      key: { startTime: 1_000_000_000n + BigInt(i) * 1_000_003n, tgid: 1000 + i, reserved: 0 },
      parent: INIT.key,
      comm,
      exe: bytes(`/usr/bin/${comm}`),
      execId: 2 + (i % 7),
      threads: 1 + (i % 5 === 0 ? 8 : 0),
    };
  });
}

function headerOf(actor: Actor, kind: RecordKind, cpu: number, thread: number) {
  const { key, parent, comm, execId } = actor;
  const ids = { uid: 1000, gid: 1000, euid: 1000, egid: 1000 };
  const tid = key.tgid + thread;
  return { sequence: 0n, time: 0n, kind, cpu, flags: 0, process: key, parent, tid, execId, comm, ...ids };
}

function pathOf(random: Random, size: number): string {
  const folder = FOLDERS[random(FOLDERS.length)] ?? "";
  const path = `${folder}/${NAMES[random(NAMES.length)]}${random(100_000)}`;
  return path.padEnd(size - 8 + random(16), "/deeper-still").replace(/\/$/, "_");
}

function execOf(actor: Actor, kind: "exec" | "snapshot", cpu: number, creator?: Actor): DecodedRecord {
  const args = `${actor.comm}\0--config\0/etc/app/${actor.comm}.conf\0--verbose\0`;
  return {
    kind: RecordKind[kind],
    header: headerOf(actor, RecordKind[kind], cpu, 0),
    parentComm: creator?.comm ?? bytes("systemd"),
    exePath: text(actor.exe),
    parentExePath: text(creator?.exe ?? "/usr/lib/systemd/systemd"),
    ...{ cwd: text("/home/user/project"), root: NONE, filename: text(actor.exe), interpreter: NONE },
    cgroup: text("/system.slice/app.service"),
    args: { head: bytes(args), tail: bytes(""), fullSize: args.length, count: 4 },
    env: { head: bytes(""), tail: bytes(""), fullSize: 0, count: 0 },
    ...{ capEffective: 0n, cgroupId: 4711n, inode: 1_234_567n, device: 2049n, nlink: 1, mode: 0o100755 },
    ...{ ownerUid: 0, ownerGid: 0, fileless: 0, source: 1, auid: 1000, sessionId: 3 },
    ...{
      pidNamespace: 4026531836,
      mntNamespace: 4026531841,
      netNamespace: 4026531840,
      userNamespace: 4026531837,
    },
  };
}

function anyAct(random: Random, pathSize: number): Act {
  const which = random(100);
  const { fileOpen, fileWrite, fileRename, fileUnlink } = RecordKind;
  const kind = which < 80 ? fileOpen : which < 92 ? fileWrite : which < 96 ? fileRename : fileUnlink;
  return [kind, pathOf(random, pathSize)];
}

function fileOf(random: Random, actor: Actor, cpu: number, [kind, path]: Act): DecodedRecord {
  const facts = {
    [RecordKind.fileOpen]: { call: Call.openat, flags: random(2) === 0 ? 0 : 0o102101, filename: text(path) },
    [RecordKind.fileWrite]: { call: Call.write, count: BigInt(random(65536)) },
    [RecordKind.fileRename]: { call: Call.renameat2, newPath: text(`${path}.old`) },
    [RecordKind.fileUnlink]: { call: Call.unlinkat },
  }[kind];
  return {
    kind,
    header: headerOf(actor, kind, cpu, random(actor.threads)),
    ...{ inode: BigInt(random(10_000_000)), device: 2049n, count: 0n, mode: 0o100644, nlink: 1 },
    ...{ flags: 0, created: 0, call: 0, error: 0, path: text(path), newPath: NONE, filename: NONE },
    ...facts,
  };
}

function networkOf(
  random: Random,
  actor: Actor,
  cpu: number,
  kind: NetworkRecord["kind"] = random(4) === 0 ? RecordKind.accept : RecordKind.connect,
): DecodedRecord {
  const address = (last: number) => Uint8Array.from({ length: 16 }, (_, i) => [10, 0, 3, last][i] ?? 0);
  return {
    kind,
    header: headerOf(actor, kind, cpu, random(actor.threads)),
    ...{ family: 2, type: 1, protocol: 6, reserved: 0, backlog: 0, fd: 5 + random(100), error: 0 },
    localPort: 32768 + random(28000),
    remotePort: 443,
    ...{ call: kind === RecordKind.accept ? Call.accept4 : Call.connect, requested: 0, path: NONE },
    localAddr: address(2),
    remoteAddr: address(random(256)),
  };
}

/** One round of records, in order: lives of short processes between what the others do, and acts that are suspicious. */
function roundOf(random: Random, others: Actor[], pathSize: number): DecodedRecord[] {
  const records: DecodedRecord[] = [];
  const act = (actor: Actor) => {
    const cpu = random(CPUS);
    const isFile = random(8) !== 0;
    records.push(
      isFile ? fileOf(random, actor, cpu, anyAct(random, pathSize)) : networkOf(random, actor, cpu),
    );
  };
  const actAs = (actor: Actor, one: Act) => records.push(fileOf(random, actor, random(CPUS), one));
  for (let life = 0; life < LIVES; life++) {
    const creator = others[random(others.length)] as Actor;
    const key = { startTime: START_NS + BigInt(records.length) * STEP_NS, tgid: 100_000 + life, reserved: 0 };
    const child: Actor = { ...creator, key, parent: creator.key, threads: 1 };
    const cpu = random(CPUS);
    records.push({
      kind: RecordKind.fork,
      header: headerOf(child, RecordKind.fork, cpu, 0),
      ...{ creator: creator.key, creatorTid: creator.key.tgid, reserved: 0, creatorComm: creator.comm },
      ...{ parentComm: creator.comm, exePath: text(creator.exe) },
    });
    const program: Actor = { ...child, comm: bytes("cc1"), exe: bytes("/usr/libexec/gcc/cc1"), execId: 99 };
    records.push(execOf(program, "exec", cpu, creator));
    for (let i = 0; i < ACTS_OF_A_LIFE; i++) act(program);
    for (let i = 0; i < ACTS_OF_OTHERS; i++) act(others[random(others.length)] as Actor);
    if (life % LIVES_FOR_ONE_NEARLY === 0)
      actAs(creator, NEARLY[(life / LIVES_FOR_ONE_NEARLY) % NEARLY.length] as Act);
    const header = headerOf(program, RecordKind.exit, cpu, 0);
    records.push({ kind: RecordKind.exit, header, status: 0, reserved: 0, exePath: text(program.exe) });
  }
  const [first, last] = [others[0] as Actor, others.at(-1) as Actor];
  for (const matching of MATCHING) actAs(first, matching);
  records.push({ ...(networkOf(random, last, 0, RecordKind.connect) as NetworkRecord), remotePort: 4444 });
  return records;
}

/** A frame whose records can be moved to the next round: places of 64-bit numbers, and what to add to each. */
type Template = { bytes: Uint8Array; ring: Ring; position: bigint; places: Uint32Array; steps: Float64Array };

/** Lays records out as frames of both rings; a frame of the process ring comes before activity that depends on it. */
class Layout {
  readonly frames: Template[] = [];
  /** Records of a round by CPU and kind, and by CPU and ring; bytes by ring. */
  readonly counts = Array.from({ length: CPUS }, () => zeros(KINDS_MAX));
  readonly numbers = Array.from({ length: CPUS }, () => zeros(RINGS_MAX));
  readonly sizes = zeros(RINGS_MAX);
  private readonly open = [Ring.process, Ring.activity].map(() => ({ parts: [] as Uint8Array[], size: 0 }));

  constructor(
    records: DecodedRecord[],
    private readonly durationNs: bigint,
  ) {
    for (const [i, record] of records.entries()) {
      const { header, kind } = record;
      const ring = ringOf(kind);
      const row = this.numbers[header.cpu] as number[];
      header.sequence = BigInt(row[ring] ?? 0);
      header.time = START_NS + BigInt(i) * STEP_NS;
      row[ring] = (row[ring] ?? 0) + 1;
      const counts = this.counts[header.cpu] as number[];
      counts[kind] = (counts[kind] ?? 0) + 1;
      this.add(ring, encodeRecord(record));
    }
    this.close(Ring.process);
    this.close(Ring.activity);
    for (const frame of this.frames) this.findPlaces(frame);
  }

  private add(ring: Ring, record: Uint8Array): void {
    const entry = new Uint8Array((RING_ENTRY.size + record.length + 7) & ~7);
    new DataView(entry.buffer).setUint32(RING_ENTRY.at.size, record.length, true);
    entry.set(record, RING_ENTRY.size);
    const open = this.open[ring];
    if (!open) throw new Error(`no ring ${ring}`);
    if (open.size + entry.length > FRAME_SIZE) {
      this.close(Ring.process);
      if (ring === Ring.activity) this.close(Ring.activity);
    }
    open.parts.push(entry);
    open.size += entry.length;
  }

  private close(ring: Ring): void {
    const open = this.open[ring];
    if (!open || open.size === 0) return;
    const position = BigInt(this.sizes[ring] ?? 0);
    const frame = frameOf(FrameType.records, Buffer.concat(open.parts), ring, position);
    this.frames.push({
      bytes: frame,
      ring,
      position,
      places: new Uint32Array(0),
      steps: new Float64Array(0),
    });
    this.sizes[ring] = (this.sizes[ring] ?? 0) + open.size;
    open.parts = [];
    open.size = 0;
  }

  private findPlaces(frame: Template): void {
    const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength);
    const found: [number, number][] = [];
    for (let at: number = FRAME_HEADER.size; at < view.byteLength; ) {
      const record = at + RING_ENTRY.size;
      const cpu = view.getUint16(record + RECORD_HEADER.at.cpu, true);
      const starts: number[] = [RECORD_HEADER.at.process, RECORD_HEADER.at.parent];
      if (view.getUint16(record + RECORD_HEADER.at.kind, true) === RecordKind.fork)
        starts.push(FORK_RECORD.at.creator);
      found.push([record + RECORD_HEADER.at.sequence, this.numbers[cpu]?.[frame.ring] ?? 0]);
      for (const place of [RECORD_HEADER.at.time, ...starts]) {
        // A start time within the round is that of a short life: another process in every round.
        if (view.getBigUint64(record + place, true) >= START_NS)
          found.push([record + place, Number(this.durationNs)]);
      }
      at = record + ((view.getUint32(at, true) + 7) & ~7);
    }
    frame.places = Uint32Array.from(found, ([place]) => place / 4);
    frame.steps = Float64Array.from(found, ([, step]) => step);
  }
}

function frameOf(type: FrameType, payload: Uint8Array, ring = 0, position = 0n): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER.size + payload.length);
  frame.set(payload, FRAME_HEADER.size);
  const size = payload.length;
  const header = { type, ring, size, position, checksum: 0, more: 0 };
  writeFrameHeader(new DataView(frame.buffer), 0, header);
  return frame;
}

/** Moves the frame's records to the next round, and the frame itself in its ring. */
function advance(frame: Template, size: number): void {
  const words = new Uint32Array(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength >>> 2);
  const { places, steps } = frame;
  for (let i = 0; i < places.length; i++) {
    const place = places[i] ?? 0;
    const low = (words[place] ?? 0) + (steps[i] ?? 0);
    words[place] = low;
    words[place + 1] = (words[place + 1] ?? 0) + Math.floor(low / 2 ** 32);
  }
  frame.position += BigInt(size);
  new DataView(frame.bytes.buffer, frame.bytes.byteOffset).setBigUint64(
    FRAME_HEADER.at.position,
    frame.position,
    true,
  );
}

/** What the kernel has counted after so many rounds. */
function countersFrame(layout: Layout, rounds: number, time: bigint): Uint8Array {
  const payload = new Uint8Array(COUNTERS_FRAME.size + CPUS * CPU_COUNTERS.size);
  const view = new DataView(payload.buffer);
  const none = Array.from({ length: KINDS_MAX }, () => 0n);
  const positions = layout.sizes.map((size) => BigInt(size) * BigInt(rounds));
  const nowhere = positions.map(() => 0n);
  writeCountersFrame(view, 0, {
    ...{ time, producerPosition: positions, sentPosition: positions, redeliverUntil: nowhere },
    ...{ waiting: nowhere, refused: 0n },
    ...{ tampered: 0, detached: [0, 0, 0, 0], abandoned: 0, missed: none, canaries: none },
  });
  for (let cpu = 0; cpu < CPUS; cpu++) {
    const row = COUNTERS_FRAME.size + cpu * CPU_COUNTERS.size;
    layout.numbers[cpu]?.forEach((count, ring) =>
      view.setBigUint64(row + CPU_COUNTERS.at.sequence + ring * 8, BigInt(count * rounds), true),
    );
    layout.counts[cpu]?.forEach((count, kind) => {
      const cell = row + CPU_COUNTERS.at.kinds + kind * KIND_COUNTERS.size;
      view.setBigUint64(cell + KIND_COUNTERS.at.attempts, BigInt(count * rounds), true);
      view.setBigUint64(cell + KIND_COUNTERS.at.submitted, BigInt(count * rounds), true);
    });
  }
  return frameOf(FrameType.counters, payload);
}

function* snapshotFrames(all: Actor[]): Generator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let size = 0;
  for (const actor of all) {
    const record = encodeRecord(execOf(actor, "snapshot", 0));
    const entry = new Uint8Array((RING_ENTRY.size + record.length + 7) & ~7);
    new DataView(entry.buffer).setUint32(RING_ENTRY.at.size, record.length, true);
    entry.set(record, RING_ENTRY.size);
    if (size + entry.length > FRAME_SIZE) {
      yield frameOf(FrameType.snapshot, Buffer.concat(parts));
      parts = [];
      size = 0;
    }
    parts.push(entry);
    size += entry.length;
  }
  yield frameOf(FrameType.snapshot, Buffer.concat(parts));
}

/** The stream in pieces: its preamble, then frame by frame. A piece's memory is valid until the next is asked for. */
export function* makeStream(shape: StreamShape): Generator<Uint8Array> {
  const random = numbers(2_463_534_242);
  const others = actors(shape.processes);
  const records = roundOf(random, others, shape.pathSize);
  const durationNs = BigInt(records.length) * STEP_NS;
  const layout = new Layout(records, durationNs);

  const preamble = new Uint8Array(STREAM_PREAMBLE.size);
  writeStreamPreamble(new DataView(preamble.buffer), 0, {
    ...{ magic: STREAM_MAGIC, abi: EVENT_ABI, cpus: CPUS, checksums: shape.checksums ? 1 : 0 },
    ...{ bootId: new Uint8Array(16).fill(0xb0), hostId: new Uint8Array(16).fill(0x40) },
    ...{ instance: 1n, attached: START_NS - 1_000_000n },
  });
  let checksum = crc32(preamble);
  const checked = (frame: Uint8Array): Uint8Array => {
    if (!shape.checksums) return frame;
    checksum = frameChecksum(frame, checksum);
    new DataView(frame.buffer, frame.byteOffset).setUint32(FRAME_HEADER.at.checksum, checksum, true);
    return frame;
  };

  yield preamble;
  const clock = new Uint8Array(16);
  writeClockFrame(new DataView(clock.buffer), 0, { time: START_NS - 500_000n, wallOffset: WALL_OFFSET });
  yield checked(frameOf(FrameType.clock, clock));
  yield checked(frameOf(FrameType.coverage, Buffer.from('{"events":{}}')));
  yield checked(countersFrame(layout, 0, START_NS - 1n));
  for (const frame of snapshotFrames([INIT, ...others])) yield checked(frame);
  const rounds = Math.ceil(shape.events / records.length);
  let counted = START_NS;
  for (let round = 1; round <= rounds; round++) {
    for (const frame of layout.frames) {
      yield checked(frame.bytes);
      advance(frame, layout.sizes[frame.ring] ?? 0);
    }
    const time = START_NS + BigInt(round) * durationNs;
    if (time - counted < COUNTERS_EVERY_NS) continue;
    counted = time;
    yield checked(countersFrame(layout, round, time));
  }
  const end = START_NS + BigInt(rounds) * durationNs;
  yield checked(countersFrame(layout, rounds, end + 1n));
  yield checked(countersFrame(layout, rounds, end + 2n));
  yield checked(frameOf(FrameType.end, new Uint8Array(0)));
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      events: { type: "string", default: String(USUAL.events) },
      processes: { type: "string", default: String(USUAL.processes) },
      "path-size": { type: "string", default: String(USUAL.pathSize) },
      "without-checksums": { type: "boolean", default: false },
    },
  });
  const pieces = makeStream({
    events: Number(values.events),
    processes: Number(values.processes),
    pathSize: Number(values["path-size"]),
    checksums: !values["without-checksums"],
  });
  for (const piece of pieces) for (let at = 0; at < piece.length; ) at += writeSync(1, piece, at);
}
