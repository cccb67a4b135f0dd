// What a host does, as records: processes that run all the time and act, and short ones that come and go between. That is a round;
// stream.ts makes a stream of any length of it, by moving its times on and its acts from one process to another.

import {
  type Bytes,
  Call,
  type DecodedRecord,
  type FileRecord,
  type NetworkRecord,
  type ProcessKey,
  RecordKind,
  type Text,
} from "../../bpf/event.gen.ts";

export const CPUS = 4;
/** Boot time of the first record, and between two of them, ns. */
export const START_NS = 3_600_000_000_000n;
export const STEP_NS = 1_000n;
/** A round has so many process lives, and so many records of files and network for each. */
const LIVES = 150;
const ACTS_OF_A_LIFE = 10;
const ACTS_OF_OTHERS = 20;

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
export function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A process that does something. */
export type Actor = {
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
const SHARED_NAME = "status";
const NAMES = ["index", "libcrypto.so.3", "page-cache", SHARED_NAME, "segment_", "Makefile", "session"];
const bytes = (text: string) => text as Bytes;
const text = (value: string): Text => ({ bytes: bytes(value), fullSize: value.length });
const NONE = text("");

/** The first process, which all others come from. */
export const INIT: Actor = {
  key: { startTime: 1n, tgid: 1, reserved: 0 },
  parent: { startTime: 0n, tgid: 0, reserved: 0 },
  comm: bytes("systemd"),
  exe: bytes("/usr/lib/systemd/systemd"),
  execId: 1,
  threads: 1,
};

/** What the processes that run all the time are known by: the number of each, and when it was started. */
export const OTHERS = { tgid: 1000, startNs: 1_000_000_000, stepNs: 1_000_003 };
/** All but that repeats itself after so many of them: what one has done, another may do. */
export const ALIKE_EVERY = 10;

/** Processes that run all the time. */
export function actors(count: number): Actor[] {
  return Array.from({ length: count }, (_, i) => {
    const comm = bytes(COMMS[i % COMMS.length] ?? "");
    return {
      key: { startTime: BigInt(OTHERS.startNs + i * OTHERS.stepNs), tgid: OTHERS.tgid + i, reserved: 0 },
      parent: INIT.key,
      comm,
      exe: bytes(`/usr/bin/${comm}`),
      execId: 2 + (i % 5),
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
  const name = NAMES[random(NAMES.length)] ?? "";
  const number = random(100_000);
  const length = size - 8 + random(16);
  const padded = (path: string, to: number) => path.padEnd(to, "/deeper-still").replace(/\/$/, "_");
  // Of files in folders with numbers, some have a name that many have.
  if (name === SHARED_NAME) return `${padded(`${folder}/${number}`, length - name.length - 1)}/${name}`;
  return padded(`${folder}/${name}${number}`, length);
}

/** The record of a program that is begun, or that ran before anything was recorded. */
export function execOf(actor: Actor, kind: "exec" | "snapshot", cpu: number, creator?: Actor): DecodedRecord {
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
export function roundOf(random: Random, others: Actor[], pathSize: number): DecodedRecord[] {
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
