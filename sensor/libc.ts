// The C library calls that Node's modules do not offer: memory maps, Unix sockets with peer credentials, poll.
// A call that fails throws a SystemError; the exceptions say so.

import { openSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

const { EAGAIN, EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM } = koffi.os.errno;

/** A system call that failed: which, and the errno. */
export class SystemError extends Error {
  constructor(
    readonly call: string,
    readonly errno: number,
  ) {
    super(`${call}: ${errorName(errno)}`);
  }
}

/** The name of an errno, such as `EPERM`. */
function errorName(errno: number): string {
  for (const [name, value] of Object.entries(koffi.os.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

/** The errno of the last call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

function checked(call: string, result: number): number {
  if (result < 0) throw new SystemError(call, koffi.errno());
  return result;
}

const c = {
  mmap: libc.func("intptr_t mmap(uintptr_t, size_t, int, int, int, int64_t)"),
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, const void *, uint32_t)"),
  listen: libc.func("int listen(int, int)"),
  accept4: libc.func("int accept4(int, void *, void *, int)"),
  connect: libc.func("int connect(int, const void *, uint32_t)"),
  getsockname: libc.func("int getsockname(int, void *, _Inout_ uint32_t *)"),
  openat: libc.func("int openat(int, const char *, int, unsigned int)"),
  renameat: libc.func("int renameat(int, const char *, int, const char *)"),
  unlinkat: libc.func("int unlinkat(int, const char *, int)"),
  posixSpawn: libc.func(
    "int posix_spawn(_Out_ int *, const char *, const void *, const void *, const char **, const char **)",
  ),
  waitpid: libc.func("int waitpid(int, _Out_ int *, int)"),
  getsockopt: libc.func("int getsockopt(int, int, int, void *, uint32_t *)"),
  setsockopt: libc.func("int setsockopt(int, int, int, const void *, uint32_t)"),
  shutdown: libc.func("int shutdown(int, int)"),
  send: libc.func("intptr_t send(int, const void *, size_t, int)"),
  sendAddress: libc.func("send", "intptr_t", ["int", "uintptr_t", "size_t", "int"]),
  recv: libc.func("intptr_t recv(int, void *, size_t, int)"),
  read: libc.func("intptr_t read(int, void *, size_t)"),
  write: libc.func("intptr_t write(int, const void *, size_t)"),
  close: libc.func("int close(int)"),
  fcntl: libc.func("int fcntl(int, int, int)"),
  memfdCreate: libc.func("int memfd_create(const char *, unsigned int)"),
  dup2: libc.func("int dup2(int, int)"),
  flock: libc.func("int flock(int, int)"),
  poll: libc.func("int poll(void *, unsigned long, int)"),
  sigprocmask: libc.func("int sigprocmask(int, const void *, void *)"),
  signalfd: libc.func("int signalfd(int, const void *, int)"),
  prctl: libc.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)"),
  prctlBytes: libc.func("prctl", "int", [
    "int",
    "const void *",
    "unsigned long",
    "unsigned long",
    "unsigned long",
  ]),
  schedGetaffinity: libc.func("int sched_getaffinity(int, size_t, void *)"),
  schedSetaffinity: libc.func("int sched_setaffinity(int, size_t, const void *)"),
  execve: libc.func("int execve(const char *, const char **, const char **)"),
  // System calls that the C library has no function for.
  closeRange: libc.func("syscall", "long", ["long", "unsigned int", "unsigned int", "unsigned int"]),
  seccomp: libc.func("syscall", "long", ["long", "unsigned int", "unsigned int", "const void *"]),
  landlockCreate: libc.func("syscall", "long", ["long", "const void *", "size_t", "uint32_t"]),
  landlockAdd: libc.func("syscall", "long", ["long", "int", "int", "const void *", "uint32_t"]),
  landlockRestrict: libc.func("syscall", "long", ["long", "int", "uint32_t"]),
  clockGettime: libc.func("int clock_gettime(int, void *)"),
};

/** Memory mapped from a file descriptor. */
export type Mapping = { address: number; bytes: ArrayBuffer };

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;

/** Maps `length` bytes of `fd` from `offset`, shared with the kernel. */
export function mapShared(fd: number, offset: number, length: number, writable: boolean): Mapping {
  const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  const address = checked("mmap", Number(c.mmap(0, length, protection, MAP_SHARED, fd, offset)));
  return { address, bytes: koffi.view(BigInt(address), length) };
}

/** Maps another part of `fd`, for reading, in the place of a mapping of the same length. */
export function mapReadOnlyAt(address: number, fd: number, offset: number, length: number): void {
  checked("mmap", Number(c.mmap(address, length, PROT_READ, MAP_SHARED | MAP_FIXED, fd, offset)));
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_PEERCRED = 17;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of a Unix socket's path, with its NUL. */
export const SOCKET_PATH_SIZE_MAX = 108;

/** Connections that wait to be accepted. */
export const BACKLOG = 16;

/** A listening Unix socket at `path`, which must not exist. */
export function listenUnix(path: string): number {
  const address = Buffer.alloc(2 + SOCKET_PATH_SIZE_MAX);
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  const fd = checked("socket", c.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  checked(`bind ${path}`, c.bind(fd, address, address.length));
  checked(`listen ${path}`, c.listen(fd, BACKLOG));
  return fd;
}

/** Who is at the other end of a Unix socket. */
export type Peer = { pid: number; uid: number; gid: number };

/** No connection now. Not even when the host runs out of something: that passes. */
const NO_CONNECTION = [EAGAIN, EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM];

/** The next connection with its peer's credentials, or null when none can be had. */
export function acceptUnix(listener: number): { fd: number; peer: Peer } | null {
  const fd = c.accept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    if (NO_CONNECTION.includes(koffi.errno())) return null;
    throw new SystemError("accept4", koffi.errno());
  }
  const credentials = new Uint32Array(3);
  checked(
    "getsockopt SO_PEERCRED",
    c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, [credentials.byteLength]),
  );
  const [pid = 0, uid = 0, gid = 0] = credentials;
  return { fd, peer: { pid, uid, gid } };
}

/** A Unix socket whose abstract name the kernel has chosen. */
export function bindUnnamed(): number {
  const fd = checked("socket", c.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  checked("bind", c.bind(fd, new Uint16Array([AF_UNIX]), 2));
  return fd;
}

/** Lets a bound socket accept connections. */
export function listenFd(fd: number): void {
  checked("listen", c.listen(fd, 1));
}

/** A connection to a listening Unix socket of this process. */
export function connectTo(listener: number): number {
  const address = Buffer.alloc(2 + SOCKET_PATH_SIZE_MAX);
  const length = [address.length];
  checked("getsockname", c.getsockname(listener, address, length));
  const fd = checked("socket", c.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (c.connect(fd, address, length[0] ?? 0) === 0) return fd;
  c.close(fd);
  throw new SystemError("connect", koffi.errno());
}

/** Asks for a send buffer of `bytes`; the kernel may give less. */
export function setSendBuffer(fd: number, bytes: number): void {
  c.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, new Uint32Array([bytes]), 4);
}

const SHUT_WR = 1;

/** Says that nothing more is sent; what was sent can still be read. */
export function shutDownSending(fd: number): void {
  c.shutdown(fd, SHUT_WR);
}

/** Sends what fits now of memory at `address`. Returns the bytes taken: 0 when the socket is full, -1 when the peer is gone. */
export function sendAddress(fd: number, address: number, length: number): number {
  return sent(c.sendAddress(fd, address, length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/** The same for a buffer. */
export function sendBytes(fd: number, bytes: Uint8Array): number {
  return sent(c.send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

function sent(result: number): number {
  if (result >= 0) return result;
  return koffi.errno() === EAGAIN || koffi.errno() === EINTR ? 0 : -1;
}

/** Reads what is there into `bytes`. Returns its size; 0 at the end of the stream or after an error; -1 when nothing is there now. */
export function receive(fd: number, bytes: Uint8Array): number {
  const result = c.recv(fd, bytes, bytes.length, MSG_DONTWAIT);
  if (result >= 0) return result;
  return koffi.errno() === EAGAIN || koffi.errno() === EINTR ? -1 : 0;
}

/** read(2): the bytes read, 0 at the end. */
export function readFd(fd: number, bytes: Uint8Array): number {
  return checked("read", c.read(fd, bytes, bytes.length));
}

/** write(2): the bytes written. */
export function writeFd(fd: number, bytes: Uint8Array): number {
  return checked("write", c.write(fd, bytes, bytes.length));
}

const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_NOFOLLOW = 0o400000;
const O_CLOEXEC = 0o2000000;

/** Creates or empties a file in an open folder, for writing. */
export function createAt(folder: number, name: string): number {
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  return checked("openat", c.openat(folder, name, flags, 0o600));
}

/** Gives a file in an open folder another name. */
export function renameAt(folder: number, from: string, to: string): void {
  checked("renameat", c.renameat(folder, from, folder, to));
}

/** Removes a file from an open folder. */
export function unlinkAt(folder: number, name: string): void {
  checked("unlinkat", c.unlinkat(folder, name, 0));
}

/** Runs a program without arguments and environment, and waits for its end. */
export function runProgram(path: string): void {
  const pid = [0];
  const errno = c.posixSpawn(pid, path, null, null, [path, null], [null]);
  if (errno !== 0) throw new SystemError("posix_spawn", errno);
  while (c.waitpid(pid[0] ?? -1, [0], 0) < 0) {
    if (koffi.errno() !== EINTR) throw new SystemError("waitpid", koffi.errno());
  }
}

/** close(2). */
export function closeFd(fd: number): void {
  c.close(fd);
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks an open file or folder for this process. Returns false when another one holds it. */
export function lock(fd: number): boolean {
  if (c.flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  if (koffi.errno() === EAGAIN) return false;
  throw new SystemError("flock", koffi.errno());
}

export const POLLIN = 1;
export const POLLOUT = 4;

/** What to wait for on a file descriptor; `fd` -1 is skipped. */
export type Interest = { fd: number; events: number };

/** Waits until something is there, at most `timeoutMs`. It is this thread that waits: no other has to be woken for it. */
export function poll(interests: Interest[], timeoutMs: number): void {
  const fds = new Int32Array(interests.length * 2);
  interests.forEach(({ fd, events }, i) => fds.set([fd, events], i * 2));
  c.poll(fds, interests.length, timeoutMs);
}

const SIG_BLOCK = 0;
/** Bytes of a sigset_t. */
const SIGNAL_SET_SIZE = 128;
/** Bytes of a struct signalfd_siginfo. */
const SIGNAL_SIZE = 128;

function signalSet(signals: readonly NodeJS.Signals[]): BigUint64Array {
  const set = new BigUint64Array(SIGNAL_SET_SIZE / 8);
  set[0] = signals.reduce((bits, signal) => bits | (1n << BigInt(constants.signals[signal] - 1)), 0n);
  return set;
}

/** These signals wait to be taken, from here on, in this thread and in all that it creates and executes. */
export function holdSignals(signals: readonly NodeJS.Signals[]): void {
  checked("sigprocmask", c.sigprocmask(SIG_BLOCK, signalSet(signals), null));
}

/** A descriptor that is readable while one of these signals waits; `take` tells whether one did. */
export function signalFd(signals: readonly NodeJS.Signals[]): { fd: number; take: () => boolean } {
  const fd = checked("signalfd", c.signalfd(-1, signalSet(signals), SOCK_NONBLOCK | SOCK_CLOEXEC));
  return { fd, take: () => c.read(fd, new Uint8Array(SIGNAL_SIZE), SIGNAL_SIZE) > 0 };
}

/** For open(2): a place, not its content. */
export const O_PATH = 0o10000000;
const F_SETFD = 2;
const SYS_CLOSE_RANGE = 436;
const CLOSE_RANGE_CLOEXEC = 4;
const STDERR = 2;
const FD_MAX = 0xffff_ffff;

/** Every descriptor above standard error ends with this program, whoever opened it. */
export function keepNoneOpen(): void {
  checked("close_range", c.closeRange(SYS_CLOSE_RANGE, STDERR + 1, FD_MAX, CLOSE_RANGE_CLOEXEC));
}

/** Closes every descriptor above standard error: a thread that cannot be ended would keep them all open. */
export function closeAllFds(): void {
  checked("close_range", c.closeRange(SYS_CLOSE_RANGE, STDERR + 1, FD_MAX, 0));
}

/** Lets a descriptor live on in the next program of this process. */
export function keepOpen(fd: number): void {
  checked("fcntl F_SETFD", c.fcntl(fd, F_SETFD, 0));
}

/** Makes `text` what this process, and the next program in it, reads from standard input. */
export function replaceStdin(text: string): void {
  const written = checked("memfd_create", c.memfdCreate("warder-server", 0));
  writeFileSync(written, text);
  becomeStdin(openSync(`/proc/self/fd/${written}`, "r"));
  closeFd(written);
}

/** Nothing is read from standard input any more. */
export function dropStdin(): void {
  becomeStdin(openSync("/dev/null", "r"));
}

function becomeStdin(fd: number): void {
  checked("dup2", c.dup2(fd, 0));
  closeFd(fd);
}

const PR_CAPBSET_DROP = 24;
const CAPABILITIES_MAX = 64;

/** No program that this thread executes from here on can have a capability. */
export function dropBoundingSet(): void {
  // Numbers that this kernel does not know are refused, and need not be dropped.
  for (let capability = 0; capability < CAPABILITIES_MAX; capability++)
    c.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_DUMPABLE = 4;
const PR_SET_NAME = 15;

/** No execve from here on gives this thread more rights; inherited by what it executes. */
export function setNoNewPrivileges(): void {
  checked("prctl PR_SET_NO_NEW_PRIVS", c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/** No core dump, no ptrace by the same user, no reading of this process's memory through /proc. */
export function setNotDumpable(): void {
  checked("prctl PR_SET_DUMPABLE", c.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/** What this thread is called in /proc/PID/comm: at most 15 bytes. */
export function setName(name: string): void {
  const bytes = Buffer.from(`${name}\0`);
  checked("prctl PR_SET_NAME", c.prctlBytes(PR_SET_NAME, bytes, 0, 0, 0));
}

/** Becomes another program, in this process, with this environment. Returns only by throwing. */
export function execute(program: string, args: string[], environment: Record<string, string>): never {
  const entries = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  c.execve(program, [...args, null], [...entries, null]);
  throw new SystemError(`execve ${program}`, koffi.errno());
}

const SYS_SECCOMP = 317;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_GET_ACTION_AVAIL = 2;
const SECCOMP_RET_ERRNO = 0x0005_0000;
const SOCK_FILTER_SIZE = 8;
const SockFprog = koffi.struct({ len: "uint16_t", filter: "const void *" });

/** Can this kernel filter system calls? */
export function hasSeccomp(): boolean {
  return c.seccomp(SYS_SECCOMP, SECCOMP_GET_ACTION_AVAIL, 0, new Uint32Array([SECCOMP_RET_ERRNO])) === 0;
}

/** From here on, this thread's system calls, and those of all it creates and executes, pass through an array of struct sock_filter. */
export function installSeccompFilter(filter: Uint8Array): void {
  const program = koffi.as({ len: filter.length / SOCK_FILTER_SIZE, filter }, koffi.pointer(SockFprog));
  checked("seccomp", c.seccomp(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, program));
}

const SYS_LANDLOCK_CREATE_RULESET = 444;
const SYS_LANDLOCK_ADD_RULE = 445;
const SYS_LANDLOCK_RESTRICT_SELF = 446;
const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_RULE_PATH_BENEATH = 1;

/** The Landlock ABI of this kernel; 0 without Landlock. */
export function landlockAbi(): number {
  const abi = c.landlockCreate(SYS_LANDLOCK_CREATE_RULESET, null, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return Math.max(0, Number(abi));
}

/** A new Landlock ruleset that refuses these rights, but for the rules that follow. Returns its descriptor. */
export function createLandlockRuleset(handled: { files: bigint; network: bigint; scoped: bigint }): number {
  const attributes = new BigUint64Array([handled.files, handled.network, handled.scoped]);
  return checked(
    "landlock_create_ruleset",
    c.landlockCreate(SYS_LANDLOCK_CREATE_RULESET, attributes, attributes.byteLength, 0),
  );
}

/** Allows `rights` on the open file or folder `fd`, and on all below it. */
export function addLandlockRule(ruleset: number, fd: number, rights: bigint): void {
  const rule = new DataView(new ArrayBuffer(12)); // struct landlock_path_beneath_attr is packed
  rule.setBigUint64(0, rights, true);
  rule.setInt32(8, fd, true);
  const bytes = new Uint8Array(rule.buffer);
  checked(
    "landlock_add_rule",
    c.landlockAdd(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, bytes, 0),
  );
}

/** From here on, the ruleset holds for this thread, and for all it creates and executes. */
export function restrictToLandlock(ruleset: number): void {
  checked("landlock_restrict_self", c.landlockRestrict(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0));
}

/** Bytes of a cpu_set_t: 1024 CPUs. */
const CPU_SET_SIZE = 128;

/** The CPUs that this thread may run on. */
export function allowedCpus(): number[] {
  const set = new Uint8Array(CPU_SET_SIZE);
  checked("sched_getaffinity", c.schedGetaffinity(0, set.length, set));
  return [...set].flatMap((byte, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => i * 8 + bit),
  );
}

/** Lets this thread, and what it starts, run on these CPUs only. False when none of them can be used. */
export function runOnCpus(cpus: readonly number[]): boolean {
  const set = new Uint8Array(CPU_SET_SIZE);
  for (const cpu of cpus) set[cpu >>> 3] = (set[cpu >>> 3] ?? 0) | (1 << (cpu & 7));
  return c.schedSetaffinity(0, set.length, set) === 0;
}

const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;

function clock(id: number): bigint {
  const time = new BigInt64Array(2);
  checked("clock_gettime", c.clockGettime(id, time));
  return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
}

/** Nanoseconds since boot, time asleep included: the clock of every record. */
export function bootTime(): bigint {
  return clock(CLOCK_BOOTTIME);
}

/** What must be added to boot time to get wall time, ns. Precise to about a microsecond. */
export function wallOffset(): bigint {
  const before = bootTime();
  const wall = clock(CLOCK_REALTIME);
  return wall - (before + bootTime()) / 2n;
}
