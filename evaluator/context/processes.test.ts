import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Bytes,
  type DecodedRecord,
  type ExecRecord,
  type ExitRecord,
  type FileRecord,
  type ForkRecord,
  type ProcessKey,
  RECORD_HEADER,
  RecordFlag,
  RecordKind,
  type Text,
  writeProcessKey,
} from "../../bpf/event.gen.ts";
import { anyRecord, viewOf } from "../../scripts/records.ts";
import type { Lineage } from "../event/normalise.ts";
import { fromUtf8 } from "../event/text.ts";
import { Processes } from "./processes.ts";

const LIMITS = { entriesMax: 1000, ancestorsMax: 4 };
const text = (value: string) => ({ bytes: fromUtf8(value), fullSize: value.length });
const NONE = text("");
const key = (tgid: number, startTime = BigInt(tgid) * 10n): ProcessKey => ({ tgid, startTime, reserved: 0 });

function headerOf(kind: number, process: ProcessKey, parent: ProcessKey, comm: string, execId: number) {
  return {
    sequence: 0n,
    time: 1n,
    kind,
    cpu: 0,
    flags: 0,
    process,
    parent,
    tid: process.tgid,
    execId,
    comm: fromUtf8(comm),
    ...{ uid: 0, gid: 0, euid: 0, egid: 0 },
  };
}

function exec(
  process: ProcessKey,
  parent: ProcessKey,
  exe: string,
  execId: number,
  cgroup = "/",
  args = "",
): ExecRecord {
  return {
    kind: RecordKind.exec,
    header: headerOf(RecordKind.exec, process, parent, exe.split("/").at(-1) ?? "", execId),
    parentComm: fromUtf8("parent"),
    exePath: text(exe),
    cgroup: text(cgroup),
    args: { head: fromUtf8(args), tail: "" as Bytes, fullSize: args.length, count: 1 },
    env: { head: "" as Bytes, tail: "" as Bytes, fullSize: 0, count: 0 },
    ...{ parentExePath: NONE, cwd: text("/cwd"), root: NONE, filename: NONE, interpreter: NONE },
    ...{
      capEffective: 0n,
      cgroupId: 0n,
      inode: 0n,
      device: 0n,
      nlink: 1,
      mode: 0,
      ownerUid: 0,
      ownerGid: 0,
      fileless: 0,
    },
    ...{
      source: 0,
      auid: 0,
      sessionId: 0,
      pidNamespace: 0,
      mntNamespace: 0,
      netNamespace: 0,
      userNamespace: 0,
    },
  };
}

function fork(
  child: ProcessKey,
  creator: ProcessKey,
  comm: string,
  execId: number,
  parent = creator,
  exe = "",
): ForkRecord {
  return {
    kind: RecordKind.fork,
    header: headerOf(RecordKind.fork, child, parent, comm, execId),
    creator,
    creatorTid: creator.tgid,
    reserved: 0,
    creatorComm: fromUtf8(comm),
    parentComm: fromUtf8("parent"),
    exePath: text(exe),
  };
}

function exit(process: ProcessKey, parent: ProcessKey, comm: string, execId: number): ExitRecord {
  return {
    kind: RecordKind.exit,
    header: headerOf(RecordKind.exit, process, parent, comm, execId),
    status: 0,
    reserved: 0,
    exePath: NONE,
  };
}

function open(process: ProcessKey, parent: ProcessKey, comm: string, execId: number): FileRecord {
  return {
    kind: RecordKind.fileOpen,
    header: headerOf(RecordKind.fileOpen, process, parent, comm, execId),
    ...{ inode: 1n, device: 1n, count: 0n, mode: 0, nlink: 1, flags: 0, created: 0, call: 0, error: 0 },
    ...{ path: text("/a"), newPath: NONE, filename: NONE },
  };
}

function observe(processes: Processes, record: DecodedRecord): Lineage {
  const view = viewOf(record);
  return processes.lineageOf(view, processes.observe(view));
}

function names(list: Bytes[]): string[] {
  return list.map(String);
}

describe("lineage", () => {
  test("outlives the parent, also when the process in the middle has gone", () => {
    const processes = new Processes("boot", LIMITS);
    observe(processes, exec(key(10), key(1), "/bin/shell", 1));
    observe(processes, fork(key(11), key(10), "shell", 1));
    observe(processes, fork(key(12), key(11), "shell", 1));
    observe(processes, exit(key(11), key(10), "shell", 1));
    observe(processes, exit(key(10), key(1), "shell", 1));
    const lineage = observe(processes, exec(key(12), key(1), "/bin/late", 2));
    expect(names(lineage.ancestors)).toEqual(["shell(11)", "shell(10)"]);
  });

  test("follows the creator, not a parent that was forged", () => {
    const processes = new Processes("boot", LIMITS);
    observe(processes, exec(key(10), key(1), "/bin/attacker", 1));
    const lineage = observe(processes, fork(key(11), key(10), "attacker", 1, key(1)));
    expect(names(lineage.ancestors)).toEqual(["attacker(10)"]);
    expect(lineage.parentProcessId).not.toBe(lineage.processId);
  });

  test("is found for a snapshot that names the child before its parent", () => {
    const processes = new Processes("boot", LIMITS);
    const snapshot = (record: ExecRecord): ExecRecord => ({ ...record, kind: RecordKind.snapshot });
    processes.remember(viewOf(snapshot(exec(key(30), key(20), "/bin/c", 1))));
    processes.remember(viewOf(snapshot(exec(key(20), key(10), "/bin/b", 1))));
    processes.remember(viewOf(snapshot(exec(key(10), key(1), "/bin/a", 1))));
    expect(names(observe(processes, exit(key(30), key(20), "c", 1)).ancestors)).toEqual(["b(20)", "a(10)"]);
  });

  test("is bounded, in a chain without end and in a circle", () => {
    const processes = new Processes("boot", LIMITS);
    for (let pid = 2; pid < 5000; pid++) {
      const { ancestors } = observe(processes, fork(key(pid), key(pid - 1), "x", 1));
      expect(ancestors.length).toBeLessThanOrEqual(4);
    }
    const circle = new Processes("boot", LIMITS);
    circle.remember(viewOf({ ...exec(key(1), key(2), "/a", 1), kind: RecordKind.snapshot }));
    circle.remember(viewOf({ ...exec(key(2), key(1), "/b", 1), kind: RecordKind.snapshot }));
    expect(observe(circle, exit(key(1), key(2), "a", 1)).ancestors.length).toBe(4);
  });
});

describe("the executable", () => {
  test("of a child is its creator's until it executes its own", () => {
    const processes = new Processes("boot", LIMITS);
    observe(processes, exec(key(10), key(1), "/bin/shell", 7));
    expect(observe(processes, fork(key(11), key(10), "shell", 7)).exePath as string).toBe("/bin/shell");
    expect(observe(processes, exec(key(11), key(10), "/bin/true", 8)).exePath as string).toBe("/bin/true");
    expect(observe(processes, exit(key(11), key(10), "true", 8)).exePath as string).toBe("/bin/true");
    expect(processes.unattributed).toBe(0);
  });

  test("is not known, and counted as such, when the exec between was lost", () => {
    const processes = new Processes("boot", LIMITS);
    observe(processes, exec(key(10), key(1), "/bin/shell", 7));
    observe(processes, fork(key(11), key(10), "shell", 7));
    expect(observe(processes, exit(key(11), key(10), "other", 8)).exePath).toBeNull();
    expect(processes.unattributed).toBe(1);
  });

  test("is counted as not known for each event of a thread, also when nothing about it has changed", () => {
    const processes = new Processes("boot", LIMITS);
    const opened = viewOf(open(key(10), key(1), "x", 7));
    for (let i = 0; i < 3; i++) processes.observe(opened);
    expect(processes.unattributed).toBe(3);
    observe(processes, exec(key(10), key(1), "/bin/x", 7));
    for (let i = 0; i < 3; i++) processes.observe(opened);
    expect(processes.unattributed).toBe(3);
  });

  test("a reused pid is another process", () => {
    const processes = new Processes("boot", LIMITS);
    const first = observe(processes, exec(key(10, 100n), key(1), "/bin/first", 1));
    const second = observe(processes, fork(key(10, 200n), key(5), "x", 2));
    expect(second.exePath).toBeNull();
    expect(second.processId).not.toBe(first.processId);
  });
});

test("a million processes keep the table at its bound, and evictions are counted", () => {
  const processes = new Processes("boot", LIMITS);
  const view = viewOf(fork(key(1), key(1), "x", 1));
  const memory = new DataView(view.bytes.buffer);
  for (let pid = 1; pid <= 1_000_000; pid++) {
    writeProcessKey(memory, view.start + RECORD_HEADER.at.process, key(pid));
    processes.observe(view);
  }
  expect(processes.size).toBe(1000);
  expect(processes.evicted).toBe(999_000);
}, 120_000);

test("long argument lists are bounded by their bytes: those of the oldest go, are counted, and nothing else of them goes", () => {
  const processes = new Processes("boot", { ...LIMITS, entriesMax: 100_000 });
  const args = "a".repeat(32_000);
  for (let pid = 1; pid <= 5000; pid++) observe(processes, exec(key(pid), key(1), `/${pid}`, 1, "/", args));
  expect(processes.size).toBe(5000);
  const seen = Array.from({ length: 5000 }, (_, i) => {
    const view = viewOf(open(key(i + 1), key(1), String(i + 1), 1));
    const process = processes.observe(view);
    expect(processes.lineageOf(view, process).exePath as string).toBe(`/${i + 1}`);
    const { args: own, cwd } = processes.imageOf(view, process, Infinity);
    return `${own?.join() ?? null} ${cwd}`;
  });
  const whole = seen.filter((one) => one === `${args} /cwd`).length;
  expect(seen.filter((one) => one === "null null").length).toBe(5000 - whole);
  expect(whole).toBeWithin(200, 600);
  expect(processes.evicted).toBeGreaterThanOrEqual(5000 - whole);
});

test("children with long arguments push out nobody", () => {
  const processes = new Processes("boot", { ...LIMITS, entriesMax: 65_536 });
  const idle = Array.from({ length: 300 }, (_, i) => 10 + i);
  for (const pid of idle) observe(processes, exec(key(pid), key(1), `/bin/${pid}`, 1));
  observe(processes, exec(key(1000), key(1), "/bin/many", 2, "/", "a".repeat(32_000)));
  for (let pid = 2000; pid < 7000; pid++) observe(processes, fork(key(pid), key(1000), "many", 2));
  const exeOf = (pid: number) => String(observe(processes, open(key(pid), key(1), String(pid), 1)).exePath);
  expect(idle.map(exeOf)).toEqual(idle.map((pid) => `/bin/${pid}`));
});

test("what comes back from the cold is what went there", () => {
  const container = "0123456789abcdef".repeat(4);
  const live = (hotMax: number) => {
    const processes = new Processes("boot", { ...LIMITS, hotMax });
    observe(processes, exec(key(10), key(1), "/bin/shell", 1));
    observe(processes, fork(key(11), key(10), "shell", 1));
    observe(processes, exec(key(11), key(10), "/bin/inner", 2, `/docker/${container}`, "inner\0--all"));
    observe(processes, fork(key(12), key(11), "inner", 2));
    for (let pid = 100; pid < 200; pid++) observe(processes, fork(key(pid), key(1), "x", 1));
    const seen = [
      fork(key(13), key(11), "inner", 2),
      exit(key(12), key(11), "renamed", 2),
      exit(key(11), key(10), "inner", 2),
    ];
    return seen.map((record) => {
      const view = viewOf(record);
      const process = processes.observe(view);
      const [lineage, image] = [processes.lineageOf(view, process), processes.imageOf(view, process, 9999)];
      return { lineage, image };
    });
  };
  const [child, grandchild, parent] = live(4);
  expect([child, grandchild, parent]).toEqual(live(1000));
  expect(names(grandchild?.lineage.ancestors ?? [])).toEqual(["inner(11)", "shell(10)"]);
  expect(grandchild?.lineage).toMatchObject({
    exePath: "/bin/inner",
    parentExePath: "/bin/inner",
    containerId: container,
  });
  expect(child?.image).toMatchObject({ args: ["inner", "--all"], cwd: "/cwd" });
});

test("those that live are known however many end, and the oldest of them go when all live", () => {
  const processes = new Processes("boot", { ...LIMITS, hotMax: 50 });
  const idle = Array.from({ length: 600 }, (_, i) => 10 + i);
  for (const pid of idle) observe(processes, exec(key(pid), key(1), `/bin/${pid}`, 1));
  for (let pid = 10_000; pid < 20_000; pid++) {
    observe(processes, fork(key(pid), key(10), "x", 1));
    observe(processes, exec(key(pid), key(10), pid % 2 ? "/bin/true" : `/${"deep/".repeat(300)}true`, 2));
    observe(processes, exit(key(pid), key(10), "true", 2));
  }
  // Of those that wait, 237 have ended.
  expect(processes.size).toBe(50 + 600 - 1 + 237);
  const exeOf = (pid: number) => String(observe(processes, open(key(pid), key(1), String(pid), 1)).exePath);
  expect(idle.map(exeOf)).toEqual(idle.map((pid) => `/bin/${pid}`));
  expect(processes.unattributed).toBe(0);
  for (let pid = 30_000; pid < 32_000; pid++) observe(processes, fork(key(pid), key(31), "31", 1));
  expect(processes.size).toBe(1000);
  expect([exeOf(11), exeOf(31)]).toEqual(["null", "/bin/31"]);
});

test("the creator of one that a snapshot had is known when that one acts, however long ago it ended", () => {
  const processes = new Processes("boot", { ...LIMITS, hotMax: 50 });
  for (const pid of [12, 11, 10]) {
    const record = exec(key(pid), key(pid - 1), `/bin/${pid}`, 1);
    processes.remember(viewOf({ ...record, kind: RecordKind.snapshot }));
  }
  observe(processes, exit(key(11), key(10), "11", 1));
  const short = (from: number) => {
    for (let pid = from; pid < from + 5000; pid++) {
      observe(processes, fork(key(pid), key(20), "x", 1));
      observe(processes, exit(key(pid), key(20), "x", 1));
    }
  };
  short(10_000);
  const { ancestors } = observe(processes, open(key(12), key(1), "12", 1));
  expect(names(ancestors)).toEqual(["11(11)", "10(10)"]);
  // In another boot, that list says nothing.
  processes.restart("another");
  observe(processes, exec(key(11), key(10), "/bin/11", 1));
  observe(processes, exit(key(11), key(10), "11", 1));
  short(20_000);
  expect(String(observe(processes, open(key(11), key(1), "11", 1)).exePath)).toBe("null");
});

test("where more act than there is room for, those that were forgotten push out nobody", () => {
  const processes = new Processes("boot", { ...LIMITS, hotMax: 50 });
  for (let pid = 1; pid <= 1500; pid++) observe(processes, exec(key(pid), key(1), "/bin/x", 1));
  const unknown = () => {
    const before = processes.unattributed;
    for (let pid = 1; pid <= 1500; pid++) observe(processes, open(key(pid), key(1), "x", 1));
    return processes.unattributed - before;
  };
  const first = unknown();
  expect(first).toBeLessThan(750);
  for (let turn = 0; turn < 10; turn++) expect(unknown()).toBeLessThanOrEqual(first + 50);
});

test.each([600, 30_000])("long arguments come back from the cold all the same (%p)", (size) => {
  const processes = new Processes("boot", { ...LIMITS, hotMax: 20 });
  const argsOf = (pid: number) => `${pid}`.repeat(size);
  const pids = Array.from({ length: 12 }, (_, i) => 10 + i);
  for (const pid of pids) observe(processes, exec(key(pid), key(1), "/x", 1, "/", argsOf(pid)));
  for (let pid = 100; pid < 200; pid++) observe(processes, fork(key(pid), key(1), "x", 1));
  // They are all objects again, and half of them would be more than half of the memory.
  const views = pids.map((pid) => viewOf(exec(key(200), key(pid), "/y", 2)));
  for (const view of views) processes.observe(view);
  const seen = pids.map((pid) => {
    const view = viewOf(fork(key(300 + pid), key(pid), "x", 1));
    return processes.imageOf(view, processes.observe(view), Infinity).args?.[0];
  });
  expect(seen).toEqual(pids.map(argsOf) as Bytes[]);
  expect([processes.evicted, processes.size]).toEqual([0, 12 + 100 + 1 + 12]);
});

test("another boot knows nothing of the processes before, wherever they waited", () => {
  const processes = new Processes("boot", { ...LIMITS, hotMax: 20 });
  const pids = Array.from({ length: 300 }, (_, i) => 10 + i);
  for (const pid of pids) {
    observe(processes, exec(key(pid), key(1), "/x", 1, "/", pid % 3 ? "x" : "x".repeat(2000)));
    if (pid % 3 === 1) observe(processes, exit(key(pid), key(1), "x", 1));
  }
  expect(processes.size).toBe(300);
  processes.restart("another");
  expect(processes.size).toBe(0);
  for (const pid of pids) expect(observe(processes, open(key(pid), key(1), "x", 1)).exePath).toBeNull();
});

test("the container is that of the cgroup's name", () => {
  const processes = new Processes("boot", LIMITS);
  const id = "0123456789abcdef".repeat(4);
  const containers = [
    `/docker/${id}`,
    `/system.slice/docker-${id}.scope`,
    `/kubepods/pod1/cri-containerd-${id}.scope/init`,
    "/system.slice/x.service",
  ].map((cgroup, i) => observe(processes, exec(key(i + 2), key(1), "/x", 1, cgroup)).containerId);
  expect(containers).toEqual([id, id, id, undefined]);
});

/** What the table must know, as plainly as it can be said: objects by their keys as text, and no bounds. */
class Plain {
  private readonly table = new Map<string, PlainProcess>();
  unattributed = 0;

  get size(): number {
    return this.table.size;
  }

  observe(record: DecodedRecord): Omit<Lineage, "processId" | "parentProcessId"> {
    const { header } = record;
    const process = this.update(record);
    const parent = this.table.get(textOf(header.parent));
    const image = process.image?.execId === header.execId ? process.image : null;
    const own = "exePath" in record && record.exePath.fullSize > 0 ? record.exePath.bytes : null;
    const exePath = own ?? image?.exePath ?? null;
    if (exePath === null && !(header.flags & RecordFlag.kernelThread)) this.unattributed += 1;
    const comm = "parentComm" in record ? record.parentComm || null : (parent?.comm ?? null);
    const isExec = record.kind === RecordKind.exec || record.kind === RecordKind.snapshot;
    return {
      exePath,
      parentComm: comm,
      parentExePath: isExec ? bytesOf(record.parentExePath) : (parent?.image?.exePath ?? null),
      ancestors: this.ancestorsOf(process),
      containerId: image?.containerId,
    };
  }

  update(record: DecodedRecord): PlainProcess {
    const { header } = record;
    const process = this.table.get(textOf(header.process)) ?? {
      ...{ tgid: header.process.tgid, comm: header.comm, image: null, ancestors: null },
      creator: header.parent,
    };
    if (header.tid === header.process.tgid) process.comm = header.comm;
    if (record.kind === RecordKind.fork) {
      const creator = this.table.get(textOf(record.creator));
      process.creator = record.creator;
      process.ancestors = [`${record.creatorComm}(${record.creator.tgid})` as Bytes]
        .concat(creator ? this.ancestorsOf(creator) : [])
        .slice(0, LIMITS.ancestorsMax);
      if (creator?.image?.execId === header.execId) process.image = creator.image;
    } else if (record.kind === RecordKind.exec || record.kind === RecordKind.snapshot) {
      const isKnown = process.image?.execId === header.execId;
      const isBare = record.kind === RecordKind.snapshot && (header.flags & RecordFlag.argsUnreadable) !== 0;
      const part = record.cgroup.bytes.split("/").findLast((one) => /^[0-9a-f]{64}$/.test(one));
      if (!(isBare && isKnown))
        process.image = { execId: header.execId, exePath: bytesOf(record.exePath), containerId: part };
    } else if (record.kind === RecordKind.exit) this.ancestorsOf(process);
    this.table.set(textOf(header.process), process);
    return process;
  }

  private ancestorsOf(process: PlainProcess): Bytes[] {
    if (process.ancestors) return process.ancestors;
    const ancestors: Bytes[] = [];
    for (let at: PlainProcess | undefined = process; ancestors.length < LIMITS.ancestorsMax; ) {
      at = this.table.get(textOf(at.creator));
      if (!at) break;
      ancestors.push(`${at.comm}(${at.tgid})` as Bytes);
      if (!at.ancestors) continue;
      ancestors.push(...at.ancestors);
      break;
    }
    process.ancestors = ancestors.slice(0, LIMITS.ancestorsMax);
    return process.ancestors;
  }
}
type PlainProcess = {
  tgid: number;
  comm: Bytes;
  image: { execId: number; exePath: Bytes | null; containerId: string | undefined } | null;
  ancestors: Bytes[] | null;
  creator: ProcessKey;
};
const textOf = ({ tgid, startTime }: ProcessKey) => `${tgid}/${startTime}`;
const bytesOf = ({ bytes, fullSize }: Text) => (fullSize > 0 ? bytes : null);

/** Few of them, so that a process waits again and again while the record about it is still looked at; or enough for all. */
const anyHotMax = fc.oneof(fc.integer({ min: 3, max: 12 }), fc.constant(LIMITS.entriesMax));

test("what is known of a process is what a table without numbers, kept strings and bounds knows", () => {
  let known = 0;
  fc.assert(
    fc.property(
      anyHotMax,
      fc.array(fc.tuple(anyRecord, fc.boolean()), { minLength: 20, maxLength: 60 }),
      (hotMax, records) => {
        const processes = new Processes("boot", { ...LIMITS, hotMax });
        const plain = new Plain();
        for (const [record, isAsked] of records) {
          const view = viewOf(record);
          if (record.kind === RecordKind.snapshot) {
            processes.remember(view);
            plain.update(record);
            continue;
          }
          const observed = processes.observe(view);
          const expected = plain.observe(record);
          // What nobody asks for now is known later all the same.
          if (!isAsked) continue;
          const { processId, parentProcessId, ...lineage } = processes.lineageOf(view, observed);
          expect(processId).toMatch(/^[0-9a-f]{32}$/);
          const { process, parent } = record.header;
          expect(parentProcessId === null).toBe(parent.tgid === 0);
          if (parentProcessId !== null)
            expect(parentProcessId === processId).toBe(textOf(process) === textOf(parent));
          expect(lineage).toEqual(expected);
          known += Number(
            lineage.exePath !== null && lineage.parentComm !== null && lineage.ancestors.length > 1,
          );
        }
        expect(processes.unattributed).toBe(plain.unattributed);
        expect(processes.size).toBe(plain.size);
      },
    ),
    { numRuns: 1500 },
  );
  expect(known).toBeGreaterThan(300);
}, 120_000);
