// Generated from bpf/event.h by "bun run abi". Do not edit: change the header, and run it again.

/** A string that holds one byte per character (U+0000 to U+00FF): the kernel's texts are bytes. */
export type Bytes = string & { readonly __bytes: unique symbol };

/** A text of the kernel. Fewer bytes than `fullSize` means that it was cut. */
export type Text = { bytes: Bytes; fullSize: number };

/** NUL-terminated strings: the beginning and, if it was cut, the end of `fullSize` bytes; `count` strings in all, 0 if unknown. */
export type TextList = { head: Bytes; tail: Bytes; fullSize: number; count: number };

/** Bytes that are not the record they should be. `kind` is what the record says it is, if it is long enough to say so. */
export class DecodeError extends Error {
  constructor(
    readonly kind: number | undefined,
    readonly reason: "too short" | "text too long" | "trailing bytes" | "unknown kind",
  ) {
    super(`record of kind ${kind ?? "unknown"}: ${reason}`);
  }
}

/** Identifies the layout of everything below: the first half of a SHA-256 over it. */
export const EVENT_ABI = "be3323f6aaf8a6210b77a62bbb3c1388";

/** The first bytes of every stream. */
export const STREAM_MAGIC = "WARDER\r\n";

export const CPUS_MAX = 1024;
export const RINGS_MAX = 4;
export const KINDS_MAX = 128;
export const PATH_SIZE_MAX = 4096;
export const ARGS_HEAD_SIZE_MAX = 24576;
export const ARGS_TAIL_SIZE_MAX = 8192;
export const ENV_SIZE_MAX = 4096;
export const ENV_NAMES_MAX = 16;
export const ENV_NAME_SIZE_MAX = 32;
export const FILTER_SIZE_MAX = 248;
export const CGROUP_SIZE_MAX = 512;
export const RECORD_SIZE_MAX = 65536;
export const FRAME_SIZE_MAX = 1048576;

export const RecordKind = {
  exec: 1,
  fork: 2,
  exit: 3,
  snapshot: 4,
  fileOpen: 32,
  fileWrite: 33,
  fileRename: 34,
  fileUnlink: 35,
  connect: 64,
  bind: 65,
  listen: 66,
  accept: 67,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

export const Ring = {
  process: 0,
  activity: 1,
} as const;
export type Ring = (typeof Ring)[keyof typeof Ring];

export const RecordFlag = {
  kernelThread: 1,
  argsUnreadable: 2,
  envUnreadable: 4,
  canary: 8,
  lineage: 16,
} as const;
export type RecordFlag = (typeof RecordFlag)[keyof typeof RecordFlag];

export const ExecSource = {
  unknown: 0,
  execve: 1,
  execveat: 2,
  kernel: 3,
} as const;
export type ExecSource = (typeof ExecSource)[keyof typeof ExecSource];

export const Call = {
  unknown: 0,
  open: 1,
  creat: 2,
  openat: 3,
  openat2: 4,
  openByHandleAt: 5,
  write: 16,
  pwrite64: 17,
  writev: 18,
  pwritev: 19,
  pwritev2: 20,
  sendfile: 21,
  splice: 22,
  copyFileRange: 23,
  mmap: 24,
  ioUring: 25,
  ioSubmit: 26,
  mprotect: 27,
  rename: 32,
  renameat: 33,
  renameat2: 34,
  unlink: 40,
  unlinkat: 41,
  rmdir: 42,
  connect: 48,
  bind: 49,
  listen: 50,
  accept: 51,
  accept4: 52,
  socketcall: 53,
} as const;
export type Call = (typeof Call)[keyof typeof Call];

export const FrameType = {
  records: 1,
  snapshot: 2,
  coverage: 3,
  clock: 4,
  counters: 5,
  end: 6,
  losers: 7,
  taken: 8,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

export const Tamper = {
  pins: 1,
  own: 2,
  position: 4,
  canary: 8,
  args: 16,
} as const;
export type Tamper = (typeof Tamper)[keyof typeof Tamper];

export const MessageTo = {
  own: 1,
  memory: 2,
} as const;
export type MessageTo = (typeof MessageTo)[keyof typeof MessageTo];

export const EXEC_RECORD = {
  size: 280,
  at: {
    header: 0,
    capEffective: 96,
    cgroupId: 104,
    inode: 112,
    device: 120,
    nlink: 128,
    mode: 132,
    ownerUid: 136,
    ownerGid: 140,
    fileless: 144,
    source: 148,
    auid: 152,
    sessionId: 156,
    pidNamespace: 160,
    mntNamespace: 164,
    netNamespace: 168,
    userNamespace: 172,
    parentComm: 176,
    exePath: 192,
    parentExePath: 200,
    cwd: 208,
    root: 216,
    filename: 224,
    interpreter: 232,
    cgroup: 240,
    args: 248,
    env: 264,
  },
  variable: {
    exePath: 0,
    parentExePath: 1,
    cwd: 2,
    root: 3,
    filename: 4,
    interpreter: 5,
    cgroup: 6,
    args: 7,
    env: 8,
  },
  lists: ["args", "env"],
} as const;

export const RECORD_HEADER = {
  size: 96,
  at: {
    sequence: 0,
    time: 8,
    kind: 16,
    cpu: 18,
    flags: 20,
    process: 24,
    parent: 40,
    tid: 56,
    execId: 60,
    uid: 64,
    gid: 68,
    euid: 72,
    egid: 76,
    comm: 80,
  },
} as const;

export const PROCESS_KEY = {
  size: 16,
  at: {
    startTime: 0,
    tgid: 8,
    reserved: 12,
  },
} as const;

export const TEXT = {
  size: 8,
  at: {
    size: 0,
    fullSize: 4,
  },
} as const;

export const TEXT_LIST = {
  size: 16,
  at: {
    size: 0,
    tailSize: 4,
    fullSize: 8,
    count: 12,
  },
} as const;

export const FORK_RECORD = {
  size: 160,
  at: {
    header: 0,
    creator: 96,
    creatorTid: 112,
    reserved: 116,
    creatorComm: 120,
    parentComm: 136,
    exePath: 152,
  },
  variable: {
    exePath: 0,
  },
  lists: [],
} as const;

export const EXIT_RECORD = {
  size: 112,
  at: {
    header: 0,
    status: 96,
    reserved: 100,
    exePath: 104,
  },
  variable: {
    exePath: 0,
  },
  lists: [],
} as const;

export const FILE_RECORD = {
  size: 168,
  at: {
    header: 0,
    inode: 96,
    device: 104,
    count: 112,
    mode: 120,
    nlink: 124,
    flags: 128,
    created: 132,
    call: 136,
    error: 140,
    path: 144,
    newPath: 152,
    filename: 160,
  },
  variable: {
    path: 0,
    newPath: 1,
    filename: 2,
  },
  lists: [],
} as const;

export const NETWORK_RECORD = {
  size: 168,
  at: {
    header: 0,
    family: 96,
    type: 98,
    protocol: 100,
    localPort: 102,
    remotePort: 104,
    reserved: 106,
    backlog: 108,
    fd: 112,
    error: 116,
    call: 120,
    requested: 124,
    localAddr: 128,
    remoteAddr: 144,
    path: 160,
  },
  variable: {
    path: 0,
  },
  lists: [],
} as const;

export const STREAM_PREAMBLE = {
  size: 96,
  at: {
    magic: 0,
    abi: 8,
    bootId: 40,
    hostId: 56,
    instance: 72,
    attached: 80,
    cpus: 88,
    checksums: 92,
  },
} as const;

export const FRAME_HEADER = {
  size: 24,
  at: {
    type: 0,
    ring: 2,
    size: 4,
    position: 8,
    checksum: 16,
    more: 20,
  },
} as const;

export const RING_ENTRY = {
  size: 8,
  at: {
    size: 0,
    pageOffset: 4,
  },
} as const;

export const CLOCK_FRAME = {
  size: 16,
  at: {
    time: 0,
    wallOffset: 8,
  },
} as const;

export const COUNTERS_FRAME = {
  size: 2216,
  at: {
    time: 0,
    producerPosition: 8,
    sentPosition: 40,
    redeliverUntil: 72,
    waiting: 104,
    refused: 136,
    tampered: 144,
    detached: 148,
    abandoned: 164,
    missed: 168,
    canaries: 1192,
  },
} as const;

export const TAKEN_FRAME = {
  size: 1080,
  at: {
    time: 0,
    missed: 8,
    unread: 1032,
    unwrittenEvents: 1064,
    unwrittenAlerts: 1072,
  },
} as const;

export const CPU_COUNTERS = {
  size: 6176,
  at: {
    sequence: 0,
    kinds: 32,
  },
} as const;

export const KIND_COUNTERS = {
  size: 48,
  at: {
    attempts: 0,
    submitted: 8,
    lost: 16,
    discarded: 24,
    filtered: 32,
    unheard: 40,
  },
} as const;

export const ACKNOWLEDGEMENT = {
  size: 56,
  at: {
    position: 0,
    counters: 32,
    unwrittenEvents: 40,
    unwrittenAlerts: 48,
  },
} as const;

export const LOSER = {
  size: 32,
  at: {
    comm: 0,
    kind: 16,
    reserved: 20,
    lost: 24,
  },
} as const;

export const KERNEL_SETTINGS = {
  size: 72,
  at: {
    collectArgs: 0,
    collectCwd: 4,
    collectEnv: 8,
    callKinds: 12,
    lineageKinds: 28,
    watchedPaths: 32,
    watchedSuffixes: 36,
    excludedPaths: 40,
    excludedComms: 44,
    everyWrite: 48,
    failedNetwork: 52,
    failedFiles: 56,
    reserved: 60,
    writeWindow: 64,
  },
} as const;

export const OWN_PROCESSES = {
  size: 48,
  at: {
    sensor: 0,
    evaluator: 4,
    sensorStart: 8,
    evaluatorStart: 16,
    canary: 24,
    bare: 28,
    strangers: 32,
    reading: 40,
    reserved: 44,
  },
} as const;

export const MESSAGE = {
  size: 520,
  at: {
    to: 0,
    block: 4,
    words: 8,
  },
} as const;

/** The layout of each kind of record. */
export const RECORD_LAYOUTS = {
  [RecordKind.exec]: EXEC_RECORD,
  [RecordKind.fork]: FORK_RECORD,
  [RecordKind.exit]: EXIT_RECORD,
  [RecordKind.snapshot]: EXEC_RECORD,
  [RecordKind.fileOpen]: FILE_RECORD,
  [RecordKind.fileWrite]: FILE_RECORD,
  [RecordKind.fileRename]: FILE_RECORD,
  [RecordKind.fileUnlink]: FILE_RECORD,
  [RecordKind.connect]: NETWORK_RECORD,
  [RecordKind.bind]: NETWORK_RECORD,
  [RecordKind.listen]: NETWORK_RECORD,
  [RecordKind.accept]: NETWORK_RECORD,
} as const;

export type ExecRecord = {
  kind: (typeof RecordKind)["exec" | "snapshot"];
  header: RecordHeader;
  capEffective: bigint;
  cgroupId: bigint;
  inode: bigint;
  device: bigint;
  nlink: number;
  mode: number;
  ownerUid: number;
  ownerGid: number;
  fileless: number;
  source: number;
  auid: number;
  sessionId: number;
  pidNamespace: number;
  mntNamespace: number;
  netNamespace: number;
  userNamespace: number;
  parentComm: Bytes;
  exePath: Text;
  parentExePath: Text;
  cwd: Text;
  root: Text;
  filename: Text;
  interpreter: Text;
  cgroup: Text;
  args: TextList;
  env: TextList;
};

export type RecordHeader = {
  sequence: bigint;
  time: bigint;
  kind: number;
  cpu: number;
  flags: number;
  process: ProcessKey;
  parent: ProcessKey;
  tid: number;
  execId: number;
  uid: number;
  gid: number;
  euid: number;
  egid: number;
  comm: Bytes;
};

export type ProcessKey = {
  startTime: bigint;
  tgid: number;
  reserved: number;
};

export type ForkRecord = {
  kind: (typeof RecordKind)["fork"];
  header: RecordHeader;
  creator: ProcessKey;
  creatorTid: number;
  reserved: number;
  creatorComm: Bytes;
  parentComm: Bytes;
  exePath: Text;
};

export type ExitRecord = {
  kind: (typeof RecordKind)["exit"];
  header: RecordHeader;
  status: number;
  reserved: number;
  exePath: Text;
};

export type FileRecord = {
  kind: (typeof RecordKind)["fileOpen" | "fileWrite" | "fileRename" | "fileUnlink"];
  header: RecordHeader;
  inode: bigint;
  device: bigint;
  count: bigint;
  mode: number;
  nlink: number;
  flags: number;
  created: number;
  call: number;
  error: number;
  path: Text;
  newPath: Text;
  filename: Text;
};

export type NetworkRecord = {
  kind: (typeof RecordKind)["connect" | "bind" | "listen" | "accept"];
  header: RecordHeader;
  family: number;
  type: number;
  protocol: number;
  localPort: number;
  remotePort: number;
  reserved: number;
  backlog: number;
  fd: number;
  error: number;
  call: number;
  requested: number;
  localAddr: Uint8Array;
  remoteAddr: Uint8Array;
  path: Text;
};

export type StreamPreamble = {
  magic: Bytes;
  abi: Bytes;
  bootId: Uint8Array;
  hostId: Uint8Array;
  instance: bigint;
  attached: bigint;
  cpus: number;
  checksums: number;
};

export type FrameHeader = {
  type: number;
  ring: number;
  size: number;
  position: bigint;
  checksum: number;
  more: number;
};

export type RingEntry = {
  size: number;
  pageOffset: number;
};

export type ClockFrame = {
  time: bigint;
  wallOffset: bigint;
};

export type CountersFrame = {
  time: bigint;
  producerPosition: bigint[];
  sentPosition: bigint[];
  redeliverUntil: bigint[];
  waiting: bigint[];
  refused: bigint;
  tampered: number;
  detached: number[];
  abandoned: number;
  missed: bigint[];
  canaries: bigint[];
};

export type TakenFrame = {
  time: bigint;
  missed: bigint[];
  unread: bigint[];
  unwrittenEvents: bigint;
  unwrittenAlerts: bigint;
};

export type CpuCounters = {
  sequence: bigint[];
  kinds: KindCounters[];
};

export type KindCounters = {
  attempts: bigint;
  submitted: bigint;
  lost: bigint;
  discarded: bigint;
  filtered: bigint;
  unheard: bigint;
};

export type Acknowledgement = {
  position: bigint[];
  counters: bigint;
  unwrittenEvents: bigint;
  unwrittenAlerts: bigint;
};

export type Loser = {
  comm: Bytes;
  kind: number;
  reserved: number;
  lost: bigint;
};

export type KernelSettings = {
  collectArgs: number;
  collectCwd: number;
  collectEnv: number;
  callKinds: number[];
  lineageKinds: number;
  watchedPaths: number;
  watchedSuffixes: number;
  excludedPaths: number;
  excludedComms: number;
  everyWrite: number;
  failedNetwork: number;
  failedFiles: number;
  reserved: number;
  writeWindow: bigint;
};

export type OwnProcesses = {
  sensor: number;
  evaluator: number;
  sensorStart: bigint;
  evaluatorStart: bigint;
  canary: number;
  bare: number;
  strangers: bigint;
  reading: number;
  reserved: number;
};

export type Message = {
  to: number;
  block: number;
  words: bigint[];
};

/** Reads a record's variable part from front to back, and sees to it that all of it is read. */
class Variable {
  constructor(
    private readonly bytes: Buffer,
    private at: number,
    private readonly end: number,
    private readonly kind: number,
  ) {
    if (at > end) throw new DecodeError(kind, "too short");
  }

  private take(size: number): Bytes {
    if (size > this.end - this.at) throw new DecodeError(this.kind, "text too long");
    const start = this.at;
    this.at += size;
    return this.bytes.toString("latin1", start, this.at) as Bytes;
  }

  text(view: DataView, at: number): Text {
    const size = view.getUint32(at + 0, true);
    const fullSize = view.getUint32(at + 4, true);
    if (size > fullSize) throw new DecodeError(this.kind, "text too long");
    return { bytes: this.take(size), fullSize };
  }

  list(view: DataView, at: number): TextList {
    const size = view.getUint32(at + 0, true);
    const tailSize = view.getUint32(at + 4, true);
    const fullSize = view.getUint32(at + 8, true);
    if (size + tailSize > fullSize) throw new DecodeError(this.kind, "text too long");
    return { head: this.take(size), tail: this.take(tailSize), fullSize, count: view.getUint32(at + 12, true) };
  }

  finish<Record>(record: Record): Record {
    if (this.at !== this.end) throw new DecodeError(this.kind, "trailing bytes");
    return record;
  }
}

function chars(view: DataView, at: number, size: number): Bytes {
  let end = 0;
  while (end < size && view.getUint8(at + end) !== 0) end++;
  return Buffer.from(view.buffer, view.byteOffset + at, end).toString("latin1") as Bytes;
}

function writeChars(view: DataView, at: number, size: number, text: string): void {
  for (let i = 0; i < size; i++) view.setUint8(at + i, i < text.length ? text.charCodeAt(i) : 0);
}

function writeBytes(view: DataView, at: number, size: number, bytes: Uint8Array): void {
  for (let i = 0; i < size; i++) view.setUint8(at + i, bytes[i] ?? 0);
}

/** Reads a struct record_header; the caller knows that all of it is there. */
export function readRecordHeader(view: DataView, at: number): RecordHeader {
  return {
    sequence: view.getBigUint64(at + 0, true),
    time: view.getBigUint64(at + 8, true),
    kind: view.getUint16(at + 16, true),
    cpu: view.getUint16(at + 18, true),
    flags: view.getUint32(at + 20, true),
    process: readProcessKey(view, at + 24),
    parent: readProcessKey(view, at + 40),
    tid: view.getUint32(at + 56, true),
    execId: view.getUint32(at + 60, true),
    uid: view.getUint32(at + 64, true),
    gid: view.getUint32(at + 68, true),
    euid: view.getUint32(at + 72, true),
    egid: view.getUint32(at + 76, true),
    comm: chars(view, at + 80, 16),
  };
}

/** Reads a struct process_key; the caller knows that all of it is there. */
export function readProcessKey(view: DataView, at: number): ProcessKey {
  return {
    startTime: view.getBigUint64(at + 0, true),
    tgid: view.getUint32(at + 8, true),
    reserved: view.getUint32(at + 12, true),
  };
}

/** Reads a struct stream_preamble; the caller knows that all of it is there. */
export function readStreamPreamble(view: DataView, at: number): StreamPreamble {
  return {
    magic: chars(view, at + 0, 8),
    abi: chars(view, at + 8, 32),
    bootId: new Uint8Array(view.buffer.slice(view.byteOffset + at + 40, view.byteOffset + at + 40 + 16)),
    hostId: new Uint8Array(view.buffer.slice(view.byteOffset + at + 56, view.byteOffset + at + 56 + 16)),
    instance: view.getBigUint64(at + 72, true),
    attached: view.getBigUint64(at + 80, true),
    cpus: view.getUint32(at + 88, true),
    checksums: view.getUint32(at + 92, true),
  };
}

/** Reads a struct frame_header; the caller knows that all of it is there. */
export function readFrameHeader(view: DataView, at: number): FrameHeader {
  return {
    type: view.getUint16(at + 0, true),
    ring: view.getUint16(at + 2, true),
    size: view.getUint32(at + 4, true),
    position: view.getBigUint64(at + 8, true),
    checksum: view.getUint32(at + 16, true),
    more: view.getUint32(at + 20, true),
  };
}

/** Reads a struct ring_entry; the caller knows that all of it is there. */
export function readRingEntry(view: DataView, at: number): RingEntry {
  return {
    size: view.getUint32(at + 0, true),
    pageOffset: view.getUint32(at + 4, true),
  };
}

/** Reads a struct clock_frame; the caller knows that all of it is there. */
export function readClockFrame(view: DataView, at: number): ClockFrame {
  return {
    time: view.getBigUint64(at + 0, true),
    wallOffset: view.getBigInt64(at + 8, true),
  };
}

/** Reads a struct counters_frame; the caller knows that all of it is there. */
export function readCountersFrame(view: DataView, at: number): CountersFrame {
  return {
    time: view.getBigUint64(at + 0, true),
    producerPosition: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 8 + i * 8, true)),
    sentPosition: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 40 + i * 8, true)),
    redeliverUntil: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 72 + i * 8, true)),
    waiting: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 104 + i * 8, true)),
    refused: view.getBigUint64(at + 136, true),
    tampered: view.getUint32(at + 144, true),
    detached: Array.from({ length: 4 }, (_, i) => view.getUint32(at + 148 + i * 4, true)),
    abandoned: view.getUint32(at + 164, true),
    missed: Array.from({ length: 128 }, (_, i) => view.getBigUint64(at + 168 + i * 8, true)),
    canaries: Array.from({ length: 128 }, (_, i) => view.getBigUint64(at + 1192 + i * 8, true)),
  };
}

/** Reads a struct taken_frame; the caller knows that all of it is there. */
export function readTakenFrame(view: DataView, at: number): TakenFrame {
  return {
    time: view.getBigUint64(at + 0, true),
    missed: Array.from({ length: 128 }, (_, i) => view.getBigUint64(at + 8 + i * 8, true)),
    unread: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 1032 + i * 8, true)),
    unwrittenEvents: view.getBigUint64(at + 1064, true),
    unwrittenAlerts: view.getBigUint64(at + 1072, true),
  };
}

/** Reads a struct kind_counters; the caller knows that all of it is there. */
export function readKindCounters(view: DataView, at: number): KindCounters {
  return {
    attempts: view.getBigUint64(at + 0, true),
    submitted: view.getBigUint64(at + 8, true),
    lost: view.getBigUint64(at + 16, true),
    discarded: view.getBigUint64(at + 24, true),
    filtered: view.getBigUint64(at + 32, true),
    unheard: view.getBigUint64(at + 40, true),
  };
}

/** Reads a struct acknowledgement; the caller knows that all of it is there. */
export function readAcknowledgement(view: DataView, at: number): Acknowledgement {
  return {
    position: Array.from({ length: 4 }, (_, i) => view.getBigUint64(at + 0 + i * 8, true)),
    counters: view.getBigUint64(at + 32, true),
    unwrittenEvents: view.getBigUint64(at + 40, true),
    unwrittenAlerts: view.getBigUint64(at + 48, true),
  };
}

/** Reads a struct loser; the caller knows that all of it is there. */
export function readLoser(view: DataView, at: number): Loser {
  return {
    comm: chars(view, at + 0, 16),
    kind: view.getUint32(at + 16, true),
    reserved: view.getUint32(at + 20, true),
    lost: view.getBigUint64(at + 24, true),
  };
}

/** Reads a struct kernel_settings; the caller knows that all of it is there. */
export function readKernelSettings(view: DataView, at: number): KernelSettings {
  return {
    collectArgs: view.getUint32(at + 0, true),
    collectCwd: view.getUint32(at + 4, true),
    collectEnv: view.getUint32(at + 8, true),
    callKinds: Array.from({ length: 4 }, (_, i) => view.getUint32(at + 12 + i * 4, true)),
    lineageKinds: view.getUint32(at + 28, true),
    watchedPaths: view.getUint32(at + 32, true),
    watchedSuffixes: view.getUint32(at + 36, true),
    excludedPaths: view.getUint32(at + 40, true),
    excludedComms: view.getUint32(at + 44, true),
    everyWrite: view.getUint32(at + 48, true),
    failedNetwork: view.getUint32(at + 52, true),
    failedFiles: view.getUint32(at + 56, true),
    reserved: view.getUint32(at + 60, true),
    writeWindow: view.getBigUint64(at + 64, true),
  };
}

/** Reads a struct own_processes; the caller knows that all of it is there. */
export function readOwnProcesses(view: DataView, at: number): OwnProcesses {
  return {
    sensor: view.getUint32(at + 0, true),
    evaluator: view.getUint32(at + 4, true),
    sensorStart: view.getBigUint64(at + 8, true),
    evaluatorStart: view.getBigUint64(at + 16, true),
    canary: view.getUint32(at + 24, true),
    bare: view.getUint32(at + 28, true),
    strangers: view.getBigUint64(at + 32, true),
    reading: view.getUint32(at + 40, true),
    reserved: view.getUint32(at + 44, true),
  };
}

/** Reads a struct message; the caller knows that all of it is there. */
export function readMessage(view: DataView, at: number): Message {
  return {
    to: view.getUint32(at + 0, true),
    block: view.getUint32(at + 4, true),
    words: Array.from({ length: 64 }, (_, i) => view.getBigUint64(at + 8 + i * 8, true)),
  };
}

function decodeExecRecord(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: ExecRecord["kind"],
): ExecRecord {
  const variable = new Variable(bytes, at + 280, end, kind);
  return variable.finish({
    kind,
    header: readRecordHeader(view, at + 0),
    capEffective: view.getBigUint64(at + 96, true),
    cgroupId: view.getBigUint64(at + 104, true),
    inode: view.getBigUint64(at + 112, true),
    device: view.getBigUint64(at + 120, true),
    nlink: view.getUint32(at + 128, true),
    mode: view.getUint32(at + 132, true),
    ownerUid: view.getUint32(at + 136, true),
    ownerGid: view.getUint32(at + 140, true),
    fileless: view.getUint32(at + 144, true),
    source: view.getUint32(at + 148, true),
    auid: view.getUint32(at + 152, true),
    sessionId: view.getUint32(at + 156, true),
    pidNamespace: view.getUint32(at + 160, true),
    mntNamespace: view.getUint32(at + 164, true),
    netNamespace: view.getUint32(at + 168, true),
    userNamespace: view.getUint32(at + 172, true),
    parentComm: chars(view, at + 176, 16),
    exePath: variable.text(view, at + 192),
    parentExePath: variable.text(view, at + 200),
    cwd: variable.text(view, at + 208),
    root: variable.text(view, at + 216),
    filename: variable.text(view, at + 224),
    interpreter: variable.text(view, at + 232),
    cgroup: variable.text(view, at + 240),
    args: variable.list(view, at + 248),
    env: variable.list(view, at + 264),
  });
}

function decodeForkRecord(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: ForkRecord["kind"],
): ForkRecord {
  const variable = new Variable(bytes, at + 160, end, kind);
  return variable.finish({
    kind,
    header: readRecordHeader(view, at + 0),
    creator: readProcessKey(view, at + 96),
    creatorTid: view.getUint32(at + 112, true),
    reserved: view.getUint32(at + 116, true),
    creatorComm: chars(view, at + 120, 16),
    parentComm: chars(view, at + 136, 16),
    exePath: variable.text(view, at + 152),
  });
}

function decodeExitRecord(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: ExitRecord["kind"],
): ExitRecord {
  const variable = new Variable(bytes, at + 112, end, kind);
  return variable.finish({
    kind,
    header: readRecordHeader(view, at + 0),
    status: view.getUint32(at + 96, true),
    reserved: view.getUint32(at + 100, true),
    exePath: variable.text(view, at + 104),
  });
}

function decodeFileRecord(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: FileRecord["kind"],
): FileRecord {
  const variable = new Variable(bytes, at + 168, end, kind);
  return variable.finish({
    kind,
    header: readRecordHeader(view, at + 0),
    inode: view.getBigUint64(at + 96, true),
    device: view.getBigUint64(at + 104, true),
    count: view.getBigUint64(at + 112, true),
    mode: view.getUint32(at + 120, true),
    nlink: view.getUint32(at + 124, true),
    flags: view.getUint32(at + 128, true),
    created: view.getUint32(at + 132, true),
    call: view.getUint32(at + 136, true),
    error: view.getInt32(at + 140, true),
    path: variable.text(view, at + 144),
    newPath: variable.text(view, at + 152),
    filename: variable.text(view, at + 160),
  });
}

function decodeNetworkRecord(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: NetworkRecord["kind"],
): NetworkRecord {
  const variable = new Variable(bytes, at + 168, end, kind);
  return variable.finish({
    kind,
    header: readRecordHeader(view, at + 0),
    family: view.getUint16(at + 96, true),
    type: view.getUint16(at + 98, true),
    protocol: view.getUint16(at + 100, true),
    localPort: view.getUint16(at + 102, true),
    remotePort: view.getUint16(at + 104, true),
    reserved: view.getUint16(at + 106, true),
    backlog: view.getUint32(at + 108, true),
    fd: view.getInt32(at + 112, true),
    error: view.getInt32(at + 116, true),
    call: view.getUint32(at + 120, true),
    requested: view.getUint32(at + 124, true),
    localAddr: new Uint8Array(view.buffer.slice(view.byteOffset + at + 128, view.byteOffset + at + 128 + 16)),
    remoteAddr: new Uint8Array(view.buffer.slice(view.byteOffset + at + 144, view.byteOffset + at + 144 + 16)),
    path: variable.text(view, at + 160),
  });
}

/** A record, told apart by `kind`. */
export type DecodedRecord = ExecRecord | ForkRecord | ExitRecord | FileRecord | NetworkRecord;

/**
 * Decodes the record of `size` bytes at `at` of `bytes`; `view` covers the same memory. All of it must be used up.
 * @throws DecodeError
 */
export function decodeRecord(view: DataView, bytes: Buffer, at: number, size: number): DecodedRecord {
  if (size < RECORD_HEADER.size) throw new DecodeError(undefined, "too short");
  const kind = view.getUint16(at + RECORD_HEADER.at.kind, true) as RecordKind;
  const end = at + size;
  switch (kind) {
    case RecordKind.exec:
    case RecordKind.snapshot:
      return decodeExecRecord(view, bytes, at, end, kind);
    case RecordKind.fork:
      return decodeForkRecord(view, bytes, at, end, kind);
    case RecordKind.exit:
      return decodeExitRecord(view, bytes, at, end, kind);
    case RecordKind.fileOpen:
    case RecordKind.fileWrite:
    case RecordKind.fileRename:
    case RecordKind.fileUnlink:
      return decodeFileRecord(view, bytes, at, end, kind);
    case RecordKind.connect:
    case RecordKind.bind:
    case RecordKind.listen:
    case RecordKind.accept:
      return decodeNetworkRecord(view, bytes, at, end, kind);
    default:
      throw new DecodeError(kind, "unknown kind");
  }
}

/** Writes a struct stream_preamble. */
export function writeStreamPreamble(view: DataView, at: number, value: Omit<StreamPreamble, "magic" | "abi"> & Record<"magic" | "abi", string>): void {
  writeChars(view, at + 0, 8, value.magic);
  writeChars(view, at + 8, 32, value.abi);
  writeBytes(view, at + 40, 16, value.bootId);
  writeBytes(view, at + 56, 16, value.hostId);
  view.setBigUint64(at + 72, value.instance, true);
  view.setBigUint64(at + 80, value.attached, true);
  view.setUint32(at + 88, value.cpus, true);
  view.setUint32(at + 92, value.checksums, true);
}

/** Writes a struct frame_header. */
export function writeFrameHeader(view: DataView, at: number, value: FrameHeader): void {
  view.setUint16(at + 0, value.type, true);
  view.setUint16(at + 2, value.ring, true);
  view.setUint32(at + 4, value.size, true);
  view.setBigUint64(at + 8, value.position, true);
  view.setUint32(at + 16, value.checksum, true);
  view.setUint32(at + 20, value.more, true);
}

/** Writes a struct ring_entry. */
export function writeRingEntry(view: DataView, at: number, value: RingEntry): void {
  view.setUint32(at + 0, value.size, true);
  view.setUint32(at + 4, value.pageOffset, true);
}

/** Writes a struct clock_frame. */
export function writeClockFrame(view: DataView, at: number, value: ClockFrame): void {
  view.setBigUint64(at + 0, value.time, true);
  view.setBigInt64(at + 8, value.wallOffset, true);
}

/** Writes a struct counters_frame. */
export function writeCountersFrame(view: DataView, at: number, value: CountersFrame): void {
  view.setBigUint64(at + 0, value.time, true);
  value.producerPosition.forEach((item, i) => view.setBigUint64(at + 8 + i * 8, item, true));
  value.sentPosition.forEach((item, i) => view.setBigUint64(at + 40 + i * 8, item, true));
  value.redeliverUntil.forEach((item, i) => view.setBigUint64(at + 72 + i * 8, item, true));
  value.waiting.forEach((item, i) => view.setBigUint64(at + 104 + i * 8, item, true));
  view.setBigUint64(at + 136, value.refused, true);
  view.setUint32(at + 144, value.tampered, true);
  value.detached.forEach((item, i) => view.setUint32(at + 148 + i * 4, item, true));
  view.setUint32(at + 164, value.abandoned, true);
  value.missed.forEach((item, i) => view.setBigUint64(at + 168 + i * 8, item, true));
  value.canaries.forEach((item, i) => view.setBigUint64(at + 1192 + i * 8, item, true));
}

/** Writes a struct taken_frame. */
export function writeTakenFrame(view: DataView, at: number, value: TakenFrame): void {
  view.setBigUint64(at + 0, value.time, true);
  value.missed.forEach((item, i) => view.setBigUint64(at + 8 + i * 8, item, true));
  value.unread.forEach((item, i) => view.setBigUint64(at + 1032 + i * 8, item, true));
  view.setBigUint64(at + 1064, value.unwrittenEvents, true);
  view.setBigUint64(at + 1072, value.unwrittenAlerts, true);
}

/** Writes a struct acknowledgement. */
export function writeAcknowledgement(view: DataView, at: number, value: Acknowledgement): void {
  value.position.forEach((item, i) => view.setBigUint64(at + 0 + i * 8, item, true));
  view.setBigUint64(at + 32, value.counters, true);
  view.setBigUint64(at + 40, value.unwrittenEvents, true);
  view.setBigUint64(at + 48, value.unwrittenAlerts, true);
}

/** Writes a struct loser. */
export function writeLoser(view: DataView, at: number, value: Omit<Loser, "comm"> & Record<"comm", string>): void {
  writeChars(view, at + 0, 16, value.comm);
  view.setUint32(at + 16, value.kind, true);
  view.setUint32(at + 20, value.reserved, true);
  view.setBigUint64(at + 24, value.lost, true);
}

/** Writes a struct kernel_settings. */
export function writeKernelSettings(view: DataView, at: number, value: KernelSettings): void {
  view.setUint32(at + 0, value.collectArgs, true);
  view.setUint32(at + 4, value.collectCwd, true);
  view.setUint32(at + 8, value.collectEnv, true);
  value.callKinds.forEach((item, i) => view.setUint32(at + 12 + i * 4, item, true));
  view.setUint32(at + 28, value.lineageKinds, true);
  view.setUint32(at + 32, value.watchedPaths, true);
  view.setUint32(at + 36, value.watchedSuffixes, true);
  view.setUint32(at + 40, value.excludedPaths, true);
  view.setUint32(at + 44, value.excludedComms, true);
  view.setUint32(at + 48, value.everyWrite, true);
  view.setUint32(at + 52, value.failedNetwork, true);
  view.setUint32(at + 56, value.failedFiles, true);
  view.setUint32(at + 60, value.reserved, true);
  view.setBigUint64(at + 64, value.writeWindow, true);
}

/** Writes a struct own_processes. */
export function writeOwnProcesses(view: DataView, at: number, value: OwnProcesses): void {
  view.setUint32(at + 0, value.sensor, true);
  view.setUint32(at + 4, value.evaluator, true);
  view.setBigUint64(at + 8, value.sensorStart, true);
  view.setBigUint64(at + 16, value.evaluatorStart, true);
  view.setUint32(at + 24, value.canary, true);
  view.setUint32(at + 28, value.bare, true);
  view.setBigUint64(at + 32, value.strangers, true);
  view.setUint32(at + 40, value.reading, true);
  view.setUint32(at + 44, value.reserved, true);
}

/** Writes a struct message. */
export function writeMessage(view: DataView, at: number, value: Message): void {
  view.setUint32(at + 0, value.to, true);
  view.setUint32(at + 4, value.block, true);
  value.words.forEach((item, i) => view.setBigUint64(at + 8 + i * 8, item, true));
}

/** Appends a text to a record and announces it. Returns where the next one begins. */
function appendText(view: DataView, at: number, { bytes, fullSize }: Text, end: number): number {
  view.setUint32(at + TEXT.at.size, bytes.length, true);
  view.setUint32(at + TEXT.at.fullSize, fullSize, true);
  writeChars(view, end, bytes.length, bytes);
  return end + bytes.length;
}

function appendList(view: DataView, at: number, { head, tail, fullSize, count }: TextList, end: number): number {
  view.setUint32(at + TEXT_LIST.at.size, head.length, true);
  view.setUint32(at + TEXT_LIST.at.tailSize, tail.length, true);
  view.setUint32(at + TEXT_LIST.at.fullSize, fullSize, true);
  view.setUint32(at + TEXT_LIST.at.count, count, true);
  writeChars(view, end, head.length, head);
  writeChars(view, end + head.length, tail.length, tail);
  return end + head.length + tail.length;
}

/** Writes a struct record_header. */
export function writeRecordHeader(view: DataView, at: number, value: Omit<RecordHeader, "comm"> & Record<"comm", string>): void {
  view.setBigUint64(at + 0, value.sequence, true);
  view.setBigUint64(at + 8, value.time, true);
  view.setUint16(at + 16, value.kind, true);
  view.setUint16(at + 18, value.cpu, true);
  view.setUint32(at + 20, value.flags, true);
  writeProcessKey(view, at + 24, value.process);
  writeProcessKey(view, at + 40, value.parent);
  view.setUint32(at + 56, value.tid, true);
  view.setUint32(at + 60, value.execId, true);
  view.setUint32(at + 64, value.uid, true);
  view.setUint32(at + 68, value.gid, true);
  view.setUint32(at + 72, value.euid, true);
  view.setUint32(at + 76, value.egid, true);
  writeChars(view, at + 80, 16, value.comm);
}

/** Writes a struct process_key. */
export function writeProcessKey(view: DataView, at: number, value: ProcessKey): void {
  view.setBigUint64(at + 0, value.startTime, true);
  view.setUint32(at + 8, value.tgid, true);
  view.setUint32(at + 12, value.reserved, true);
}

function encodeExecRecord(record: ExecRecord): Uint8Array {
  const bytes = new Uint8Array(280 + record.exePath.bytes.length + record.parentExePath.bytes.length + record.cwd.bytes.length + record.root.bytes.length + record.filename.bytes.length + record.interpreter.bytes.length + record.cgroup.bytes.length + record.args.head.length + record.args.tail.length + record.env.head.length + record.env.tail.length);
  const view = new DataView(bytes.buffer);
  let end = 280;
  writeRecordHeader(view, 0, record.header);
  view.setBigUint64(96, record.capEffective, true);
  view.setBigUint64(104, record.cgroupId, true);
  view.setBigUint64(112, record.inode, true);
  view.setBigUint64(120, record.device, true);
  view.setUint32(128, record.nlink, true);
  view.setUint32(132, record.mode, true);
  view.setUint32(136, record.ownerUid, true);
  view.setUint32(140, record.ownerGid, true);
  view.setUint32(144, record.fileless, true);
  view.setUint32(148, record.source, true);
  view.setUint32(152, record.auid, true);
  view.setUint32(156, record.sessionId, true);
  view.setUint32(160, record.pidNamespace, true);
  view.setUint32(164, record.mntNamespace, true);
  view.setUint32(168, record.netNamespace, true);
  view.setUint32(172, record.userNamespace, true);
  writeChars(view, 176, 16, record.parentComm);
  end = appendText(view, 192, record.exePath, end);
  end = appendText(view, 200, record.parentExePath, end);
  end = appendText(view, 208, record.cwd, end);
  end = appendText(view, 216, record.root, end);
  end = appendText(view, 224, record.filename, end);
  end = appendText(view, 232, record.interpreter, end);
  end = appendText(view, 240, record.cgroup, end);
  end = appendList(view, 248, record.args, end);
  end = appendList(view, 264, record.env, end);
  return bytes.subarray(0, end);
}

function encodeForkRecord(record: ForkRecord): Uint8Array {
  const bytes = new Uint8Array(160 + record.exePath.bytes.length);
  const view = new DataView(bytes.buffer);
  let end = 160;
  writeRecordHeader(view, 0, record.header);
  writeProcessKey(view, 96, record.creator);
  view.setUint32(112, record.creatorTid, true);
  view.setUint32(116, record.reserved, true);
  writeChars(view, 120, 16, record.creatorComm);
  writeChars(view, 136, 16, record.parentComm);
  end = appendText(view, 152, record.exePath, end);
  return bytes.subarray(0, end);
}

function encodeExitRecord(record: ExitRecord): Uint8Array {
  const bytes = new Uint8Array(112 + record.exePath.bytes.length);
  const view = new DataView(bytes.buffer);
  let end = 112;
  writeRecordHeader(view, 0, record.header);
  view.setUint32(96, record.status, true);
  view.setUint32(100, record.reserved, true);
  end = appendText(view, 104, record.exePath, end);
  return bytes.subarray(0, end);
}

function encodeFileRecord(record: FileRecord): Uint8Array {
  const bytes = new Uint8Array(168 + record.path.bytes.length + record.newPath.bytes.length + record.filename.bytes.length);
  const view = new DataView(bytes.buffer);
  let end = 168;
  writeRecordHeader(view, 0, record.header);
  view.setBigUint64(96, record.inode, true);
  view.setBigUint64(104, record.device, true);
  view.setBigUint64(112, record.count, true);
  view.setUint32(120, record.mode, true);
  view.setUint32(124, record.nlink, true);
  view.setUint32(128, record.flags, true);
  view.setUint32(132, record.created, true);
  view.setUint32(136, record.call, true);
  view.setInt32(140, record.error, true);
  end = appendText(view, 144, record.path, end);
  end = appendText(view, 152, record.newPath, end);
  end = appendText(view, 160, record.filename, end);
  return bytes.subarray(0, end);
}

function encodeNetworkRecord(record: NetworkRecord): Uint8Array {
  const bytes = new Uint8Array(168 + record.path.bytes.length);
  const view = new DataView(bytes.buffer);
  let end = 168;
  writeRecordHeader(view, 0, record.header);
  view.setUint16(96, record.family, true);
  view.setUint16(98, record.type, true);
  view.setUint16(100, record.protocol, true);
  view.setUint16(102, record.localPort, true);
  view.setUint16(104, record.remotePort, true);
  view.setUint16(106, record.reserved, true);
  view.setUint32(108, record.backlog, true);
  view.setInt32(112, record.fd, true);
  view.setInt32(116, record.error, true);
  view.setUint32(120, record.call, true);
  view.setUint32(124, record.requested, true);
  writeBytes(view, 128, 16, record.localAddr);
  writeBytes(view, 144, 16, record.remoteAddr);
  end = appendText(view, 160, record.path, end);
  return bytes.subarray(0, end);
}

/** The bytes of a record, as the kernel would write them. */
export function encodeRecord(record: DecodedRecord): Uint8Array {
  switch (record.kind) {
    case RecordKind.exec:
      return encodeExecRecord(record);
    case RecordKind.fork:
      return encodeForkRecord(record);
    case RecordKind.exit:
      return encodeExitRecord(record);
    case RecordKind.snapshot:
      return encodeExecRecord(record);
    case RecordKind.fileOpen:
      return encodeFileRecord(record);
    case RecordKind.fileWrite:
      return encodeFileRecord(record);
    case RecordKind.fileRename:
      return encodeFileRecord(record);
    case RecordKind.fileUnlink:
      return encodeFileRecord(record);
    case RecordKind.connect:
      return encodeNetworkRecord(record);
    case RecordKind.bind:
      return encodeNetworkRecord(record);
    case RecordKind.listen:
      return encodeNetworkRecord(record);
    case RecordKind.accept:
      return encodeNetworkRecord(record);
  }
}
