// The system calls of the serving half, as a filter in the kernel's classic BPF. What is not listed does not exist (ENOSYS,
// as in an older kernel: runtime and C library then fall back); what is listed with conditions may be refused (EPERM).
// A list of what is allowed, because a list of what is forbidden grows old with every kernel.

/** Calls that are allowed whatever their arguments, by their numbers in <asm/unistd_64.h>. */
const ALLOWED: Record<string, number> = {
  // memory; writable memory never becomes executable, see below
  ...{ brk: 12, munmap: 11, mremap: 25, madvise: 28, mincore: 27, msync: 26, membarrier: 324 },
  ...{ mbind: 237, get_mempolicy: 239, getcpu: 309 },
  // threads and their time
  ...{ futex: 202, set_robust_list: 273, rseq: 334, set_tid_address: 218, arch_prctl: 158, gettid: 186 },
  ...{ sched_yield: 24, sched_getaffinity: 204, sched_getparam: 143, sched_getscheduler: 145, exit: 60 },
  ...{
    clock_gettime: 228,
    clock_getres: 229,
    clock_nanosleep: 230,
    nanosleep: 35,
    gettimeofday: 96,
    time: 201,
  },
  ...{ timerfd_create: 283, timerfd_settime: 286, timerfd_gettime: 287, getrusage: 98, times: 100 },
  // signals: the collector stops threads with them
  ...{ rt_sigaction: 13, rt_sigprocmask: 14, rt_sigreturn: 15, rt_sigsuspend: 130, rt_sigpending: 127 },
  ...{ rt_sigtimedwait: 128, sigaltstack: 131, restart_syscall: 219, signalfd4: 289 },
  // the process itself
  ...{ getpid: 39, getppid: 110, getuid: 102, geteuid: 107, getgid: 104, getegid: 108, getresuid: 118 },
  ...{ getresgid: 120, getgroups: 115, getpgrp: 111, uname: 63, sysinfo: 99, getrandom: 318, umask: 95 },
  ...{ exit_group: 231, getrlimit: 97 },
  // descriptors
  ...{ read: 0, write: 1, readv: 19, writev: 20, pread64: 17, pwrite64: 18, lseek: 8, close: 3 },
  ...{ close_range: 436, dup: 32, dup2: 33, dup3: 292, fcntl: 72, pipe: 22, pipe2: 293, eventfd2: 290 },
  ...{ poll: 7, ppoll: 271, select: 23, pselect6: 270, epoll_create1: 291, epoll_ctl: 233, epoll_wait: 232 },
  ...{ epoll_pwait: 281, epoll_pwait2: 441 },
  // files: Landlock says which
  ...{ open: 2, openat: 257, stat: 4, fstat: 5, lstat: 6, newfstatat: 262, statx: 332, statfs: 137 },
  ...{
    fstatfs: 138,
    access: 21,
    faccessat: 269,
    faccessat2: 439,
    readlink: 89,
    readlinkat: 267,
    getdents64: 217,
  },
  ...{ getcwd: 79, ftruncate: 77, fsync: 74, fdatasync: 75, rename: 82, renameat: 264, renameat2: 316 },
  ...{ unlink: 87, unlinkat: 263 },
  // sockets, of one family; none that hands descriptors on (sendmsg, recvmsg)
  ...{ bind: 49, connect: 42, listen: 50, accept: 43, accept4: 288, getsockname: 51, getpeername: 52 },
  ...{ getsockopt: 55, setsockopt: 54, sendto: 44, recvfrom: 45, shutdown: 48 },
  // a harmless program, once a second
  ...{ fork: 57, vfork: 58, execve: 59, wait4: 61, waitid: 247, pidfd_open: 434 },
};

/** CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET: each makes a namespace. */
const CLONE_NEW = 0x7e02_0000;
const PROT_WRITE = 2;
const PROT_EXEC = 4;
const AF_UNIX = 1;

/** A call that is allowed when the low half of an argument is one of `values`, or, masked, none or not all of `bits`. */
type Condition = { number: number; argument: number } & (
  | { values: readonly number[] }
  | { bits: number; refused: "any" | "all" }
);

function conditions(pid: number): Record<string, Condition> {
  return {
    mmap: { number: 9, argument: 2, bits: PROT_WRITE | PROT_EXEC, refused: "all" },
    mprotect: { number: 10, argument: 2, bits: PROT_EXEC, refused: "any" },
    // clone3 has its flags in memory, where a filter cannot look: it does not exist, and clone is used.
    clone: { number: 56, argument: 0, bits: CLONE_NEW, refused: "any" },
    socket: { number: 41, argument: 0, values: [AF_UNIX] },
    socketpair: { number: 53, argument: 0, values: [AF_UNIX] },
    // to its own threads
    tgkill: { number: 234, argument: 0, values: [pid] },
    // its own limits
    prlimit64: { number: 302, argument: 0, values: [0] },
    // BPF_MAP_LOOKUP_ELEM, BPF_MAP_GET_NEXT_KEY, BPF_PROG_TEST_RUN, BPF_OBJ_GET_INFO_BY_FD, BPF_ITER_CREATE
    bpf: { number: 321, argument: 0, values: [1, 4, 10, 15, 33] },
    // PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
    prctl: { number: 157, argument: 0, values: [1, 3, 4, 15, 16, 0x53564d41] },
    // TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    ioctl: { number: 16, argument: 1, values: [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451] },
  };
}

/** Every call that the filter of process `pid` knows, by name, for a comparison with the kernel's header. */
export function knownCalls(): Record<string, number> {
  const checked = Object.entries(conditions(0)).map(([name, { number }]) => [name, number]);
  return { ...ALLOWED, ...Object.fromEntries(checked) };
}

/** struct sock_filter, and of struct seccomp_data the offsets. */
const INSTRUCTION_SIZE = 8;
const NUMBER_OFFSET = 0;
const ARCH_OFFSET = 4;
const ARGUMENTS_OFFSET = 16;
const AUDIT_ARCH_X86_64 = 0xc000_003e;
const LOAD = 0x20;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const ALLOW = 0x7fff_0000;
const ERRNO = 0x0005_0000;
const EPERM = 1;
const ENOSYS = 38;

type Instruction = [code: number, k: number, ifTrue?: number, ifFalse?: number];

/** The filter for process `pid`: an array of struct sock_filter. Calls of 32-bit programs and of the x32 ABI do not exist. */
export function seccompFilter(pid: number): Uint8Array {
  const program: Instruction[] = [
    [LOAD, ARCH_OFFSET],
    [JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0],
    [RETURN, ERRNO | ENOSYS],
    [LOAD, NUMBER_OFFSET],
  ];
  for (const number of Object.values(ALLOWED)) program.push([JUMP_EQUAL, number, 0, 1], [RETURN, ALLOW]);
  for (const condition of Object.values(conditions(pid))) {
    const check = decision(condition);
    program.push([JUMP_EQUAL, condition.number, 0, check.length], ...check);
  }
  program.push([RETURN, ERRNO | ENOSYS]);

  const bytes = new DataView(new ArrayBuffer(program.length * INSTRUCTION_SIZE));
  for (const [i, [code, k, ifTrue = 0, ifFalse = 0]] of program.entries()) {
    bytes.setUint16(i * INSTRUCTION_SIZE, code, true);
    bytes.setUint8(i * INSTRUCTION_SIZE + 2, ifTrue);
    bytes.setUint8(i * INSTRUCTION_SIZE + 3, ifFalse);
    bytes.setUint32(i * INSTRUCTION_SIZE + 4, k, true);
  }
  return new Uint8Array(bytes.buffer);
}

/** What follows when the call's number fits. Always returns. */
function decision(condition: Condition): Instruction[] {
  const load: Instruction = [LOAD, ARGUMENTS_OFFSET + condition.argument * 8];
  if ("values" in condition) {
    const checks = condition.values.flatMap((value): Instruction[] => [
      [JUMP_EQUAL, value, 0, 1],
      [RETURN, ALLOW],
    ]);
    return [load, ...checks, [RETURN, ERRNO | EPERM]];
  }
  const { bits, refused } = condition;
  const masked: Instruction[] = [load, [AND, bits]];
  return refused === "all"
    ? [...masked, [JUMP_EQUAL, bits, 0, 1], [RETURN, ERRNO | EPERM], [RETURN, ALLOW]]
    : [...masked, [JUMP_EQUAL, 0, 0, 1], [RETURN, ALLOW], [RETURN, ERRNO | EPERM]];
}
