// What a sensor's serving half that was taken over would try. Runs in that half's place, in its confinement (confined.ts), or
// as nobody without one, and prints as JSON how each attempt ended: "ok", or the errno.

import { closeSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { MESSAGE, OWN_PROCESSES } from "../../bpf/event.gen.ts";
import type { Handover } from "../../sensor/serve.ts";

type Word = number | bigint | string | Uint8Array | null;

/** Absent without a confinement: then the folder is the argument. */
const handover = (globalThis as { handover?: Handover }).handover;
const folder = handover ? join(handover.socket, "..") : (process.argv[2] ?? "/nonexistent");
const NOBODY = 65534;
/** See confine.test.ts. */
const LEFT_OPEN = 200;
const F_GETFD = 1;

const libc = koffi.load("libc.so.6");
const words = (kinds: string) => libc.func("syscall", "long", ["long", ...kinds.split(" ")]);
const calls = {
  plain: words("long long long long long long"),
  pointer: words("long void* long long long long"),
  second: words("long void* long long"),
};
const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
const outcomes: Record<string, string> = {};

function outcomeOf(result: number | bigint): string {
  return Number(result) >= 0 ? "ok" : (errnoNames.get(koffi.errno()) ?? `errno ${koffi.errno()}`);
}

/** Tries a system call, and gives back the descriptor that it may have made. */
function attempt(name: string, number: number, ...given: Word[]): number {
  const [first, second] = given;
  const call =
    first instanceof Uint8Array ? calls.pointer : second instanceof Uint8Array ? calls.second : calls.plain;
  const arity = call === calls.second ? 4 : 6;
  const result = Number(call(number, ...given, ...Array<number>(arity - given.length).fill(0)));
  outcomes[name] = outcomeOf(result);
  return result;
}

function attemptStep(name: string, step: () => void): void {
  try {
    step();
    outcomes[name] = "ok";
  } catch (error) {
    outcomes[name] = (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** Executes a program as the C library does for everybody. */
function attemptSpawn(program: string): void {
  const spawn = libc.func(
    "int posix_spawn(_Out_ int *, const char *, void *, void *, const char **, const char **)",
  );
  const wait = libc.func("int waitpid(int, _Out_ int *, int)");
  const pid = [0];
  const status = [0];
  const failed = spawn(pid, program, null, null, [program, null], [null]);
  if (!failed) wait(pid[0], status, 0);
  outcomes[`spawn ${program}`] = failed ? (errnoNames.get(failed) ?? String(failed)) : `status ${status[0]}`;
}

/** struct sockaddr_un for an abstract name or a path. */
function unixAddress(name: string): Uint8Array {
  const address = Buffer.alloc(2 + Buffer.byteLength(name));
  address.writeUInt16LE(1);
  address.write(name, 2);
  return address;
}

const AF = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17, vsock: 40 } as const;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;

function sockets(): void {
  for (const [name, family] of Object.entries(AF)) {
    const type = name === "netlink" || name === "packet" ? SOCK_DGRAM : SOCK_STREAM;
    const fd = attempt(`socket ${name}`, 41, family, type, 0);
    if (fd >= 0) closeSync(fd);
  }
  attempt("socketpair inet", 53, AF.inet, SOCK_STREAM, 0, 0);
  const stranger = attempt("socket", 41, AF.unix, SOCK_STREAM, 0);
  const address = unixAddress(`\0${folder}`);
  attempt("connect to a stranger's abstract socket", 42, stranger, address, address.length);
  const own = unixAddress(`\0${folder}/own`);
  const listener = attempt("socket", 41, AF.unix, SOCK_STREAM, 0);
  attempt("bind own abstract", 49, listener, own, own.length);
  attempt("listen", 50, listener, 1);
  attempt("connect to own abstract", 42, attempt("socket", 41, AF.unix, SOCK_STREAM, 0), own, own.length);
  attempt("accept", 288, listener, 0, 0, 0);
  const path = unixAddress(join(folder, "canary/own.sock"));
  attempt("bind own path", 49, attempt("socket", 41, AF.unix, SOCK_STREAM, 0), path, path.length);
}

function files(): void {
  attemptStep("read /etc/passwd", () => readFileSync("/etc/passwd"));
  attemptStep("read /etc/shadow", () => readFileSync("/etc/shadow"));
  attemptStep("list /", () => readdirSync("/"));
  attemptStep("write /tmp", () => {
    writeFileSync(`/tmp/warder-attempt-${process.pid}`, "");
    unlinkSync(`/tmp/warder-attempt-${process.pid}`);
  });
  attemptStep("write beside the socket", () => writeFileSync(join(folder, "beside"), ""));
  const canary = join(folder, "canary/file");
  attemptStep("write canary", () => writeFileSync(canary, "canary"));
  attemptStep("truncate canary", () => writeFileSync(canary, "again"));
  attemptStep("rename canary", () => renameSync(canary, `${canary}.new`));
  attemptStep("unlink canary", () => unlinkSync(`${canary}.new`));
  attempt("use what was left open", 72, LEFT_OPEN, F_GETFD);
  for (const program of ["/bin/true", "/bin/ls"]) attemptSpawn(program);
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

function memory(): void {
  const all = PROT_READ | PROT_WRITE | PROT_EXEC;
  attempt("mmap writable and executable", 9, 0, PAGE, all, MAP_PRIVATE_ANONYMOUS, -1, 0);
  const page = attempt("mmap", 9, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  attempt("mprotect executable", 10, page, PAGE, PROT_READ | PROT_EXEC);
  attempt("mprotect read-only", 10, page, PAGE, PROT_READ);
}

/** What maps, links and the program that is made to be run allow, and what not. */
function bpf({ ownProcesses, messages, snapshot, hooks }: Handover): void {
  const key = new Uint32Array([0]);
  const value = new Uint8Array(OWN_PROCESSES.size);
  // union bpf_attr begins with a descriptor; of elements, key and value follow.
  const element = new BigUint64Array(16);
  element.set([BigInt(ownProcesses), koffi.address(key), koffi.address(value)]);
  const map = new Uint8Array(element.buffer);
  attempt("bpf map lookup", 321, 1, map, map.length);
  attempt("bpf map update", 321, 2, map, map.length);
  const link = new Uint8Array(128);
  new DataView(link.buffer).setUint32(0, snapshot, true);
  const iterator = attempt("bpf iterator", 321, 33, link, link.length);
  if (iterator >= 0) closeSync(iterator);
  // To nobody: it is counted, and nothing else.
  const message = new Uint8Array(MESSAGE.size);
  const test = new DataView(new ArrayBuffer(128));
  test.setUint32(0, messages, true);
  test.setUint32(40, message.length, true);
  test.setBigUint64(48, koffi.address(message), true);
  attempt("bpf program run", 321, 10, new Uint8Array(test.buffer), test.byteLength);
  new DataView(link.buffer).setUint32(0, hooks[0]?.link ?? -1, true);
  for (const [name, command] of Object.entries({
    "map create": 0,
    "map delete": 3,
    "program load": 5,
    pin: 6,
    "open pin": 7,
    "program attach": 8,
    "program by id": 13,
    "map by id": 14,
    "types load": 18,
    "map freeze": 22,
    "link create": 28,
    "link update": 29,
    "link detach": 34,
    "map bind": 35,
  })) {
    attempt(`bpf ${name}`, 321, command, link, link.length);
  }
}

const CLONE_NEWUSER = 0x1000_0000;
const SIGCHLD = 17;

/** Calls with arguments that do nothing where they are allowed: by their numbers in <asm/unistd_64.h>. */
function dangerous(): void {
  const self = process.pid;
  for (const [name, [number, ...given]] of Object.entries<[number, ...number[]]>({
    ptrace: [101, 16, 1], // PTRACE_ATTACH to init
    process_vm_readv: [310, self],
    process_vm_writev: [311, self],
    process_madvise: [440, -1],
    pidfd_getfd: [438, -1],
    kcmp: [312, self, self, 1],
    kill: [62, self, 0],
    pidfd_send_signal: [424, -1],
    rt_sigqueueinfo: [129, self, 0],
    io_uring_setup: [425, 1],
    io_uring_enter: [426, -1],
    perf_event_open: [298],
    userfaultfd: [323, 1],
    mount: [165],
    umount2: [166],
    pivot_root: [155],
    chroot: [161],
    open_tree: [428, -1],
    move_mount: [429, -1],
    fsopen: [430],
    fsmount: [432, -1],
    fspick: [433, -1],
    mount_setattr: [442, -1],
    init_module: [175],
    finit_module: [313, -1],
    delete_module: [176],
    kexec_load: [246],
    kexec_file_load: [320, -1],
    add_key: [248],
    request_key: [249],
    keyctl: [250],
    unshare: [272, 0],
    setns: [308, -1],
    clone3: [435],
    execveat: [322, -1],
    memfd_create: [319],
    sendmsg: [46, -1],
    sendmmsg: [307, -1],
    recvmsg: [47, -1],
    recvmmsg: [299, -1],
    personality: [135, 0xffff_ffff],
    open_by_handle_at: [304, -1],
    setuid: [105, NOBODY],
    seccomp: [317, 9],
    shmget: [29],
    msgget: [68],
    symlink: [88],
    link: [86],
    mknod: [133],
    chmod: [90],
    a_call_of_the_future: [1000],
  })) {
    attempt(name, number, ...given);
  }
  if (handover) attempt("clone into a new user namespace", 56, CLONE_NEWUSER | SIGCHLD);
  attempt("signal to init", 234, 1, 1, 0);
  attempt("signal to itself", 234, self, self, 0);
  attempt("limits of init", 302, 1, 7, 0, 0);
  attempt("prctl PR_SET_MM", 157, 35);
  attempt("input into a terminal", 16, 0, 0x5412);
}

if (process.getuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
}
sockets();
files();
memory();
if (handover) bpf(handover);
dangerous();
// The runtime itself: its collector, timers, and threads other than this one.
const kept = Array.from({ length: 200_000 }, (_, i) => ({ text: `object ${i}` }));
Bun.gc(true);
await Bun.sleep(10);
outcomes["collect garbage"] = kept.at(-1)?.text === "object 199999" ? "ok" : "lost";
outcomes["socket inet on another thread"] = await new Promise((resolve) =>
  libc
    .func("int socket(int, int, int)")
    .async(AF.inet, SOCK_STREAM, 0, (_error: unknown, fd: number) => resolve(fd >= 0 ? "ok" : "refused")),
);
console.log(JSON.stringify(outcomes));
process.exit(0);
