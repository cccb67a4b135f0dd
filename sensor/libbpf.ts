// libbpf, as far as the sensor needs it. Every result is checked at once: libbpf 1.x returns NULL or a negative errno.

import koffi from "koffi";
import { closeFd, lastErrno, SystemError } from "./libc.ts";

/** Where libbpf is looked for; the environment may name another file. */
export const LIBBPF_PATH = process.env["WARDER_LIBBPF"] ?? "libbpf.so.1";

type Handle = { readonly __handle: unique symbol };
export type BpfObject = Handle;
export type BpfMap = Handle;
export type BpfProgram = Handle;
export type BpfLink = Handle;

/** Loads the library. Throws koffi's error when it is missing or too old. */
function load() {
  const libbpf = koffi.load(LIBBPF_PATH);
  return {
    set_print: libbpf.func("void *libbpf_set_print(void *)"),
    object_open: libbpf.func("void *bpf_object__open_file(const char *, const void *)"),
    object_close: libbpf.func("void bpf_object__close(void *)"),
    object_load: libbpf.func("int bpf_object__load(void *)"),
    object_map: libbpf.func("void *bpf_object__find_map_by_name(void *, const char *)"),
    object_program: libbpf.func("void *bpf_object__find_program_by_name(void *, const char *)"),
    map_fd: libbpf.func("int bpf_map__fd(void *)"),
    map_set_max_entries: libbpf.func("int bpf_map__set_max_entries(void *, uint32_t)"),
    map_initial_value: libbpf.func("void *bpf_map__initial_value(void *, _Out_ size_t *)"),
    map_update: libbpf.func("int bpf_map_update_elem(int, const void *, const void *, uint64_t)"),
    map_lookup: libbpf.func("int bpf_map_lookup_elem(int, const void *, void *)"),
    map_next_key: libbpf.func("int bpf_map_get_next_key(int, const void *, void *)"),
    map_freeze: libbpf.func("int bpf_map_freeze(int)"),
    program_run: libbpf.func("int bpf_prog_test_run_opts(int, void *)"),
    program_set_autoload: libbpf.func("int bpf_program__set_autoload(void *, bool)"),
    program_attach: libbpf.func("void *bpf_program__attach(void *)"),
    link_fd: libbpf.func("int bpf_link__fd(void *)"),
    pin: libbpf.func("int bpf_obj_pin(int, const char *)"),
    get: libbpf.func("int bpf_obj_get(const char *)"),
    program_fd: libbpf.func("int bpf_program__fd(void *)"),
    info: libbpf.func("int bpf_obj_get_info_by_fd(int, void *, _Inout_ uint32_t *)"),
    iterator_create: libbpf.func("int bpf_iter_create(int)"),
    types_load: libbpf.func("void *btf__load_vmlinux_btf()"),
    types_find: libbpf.func("int btf__find_by_name_kind(void *, const char *, uint32_t)"),
    possible_cpus: libbpf.func("int libbpf_num_possible_cpus()"),
  };
}

let library: ReturnType<typeof load> | undefined;

/** The library, loaded on first use. Silent, unless WARDER_LIBBPF_LOG asks for its warnings and the verifier's log. */
function bpf(): ReturnType<typeof load> {
  if (!library) {
    library = load();
    if (!process.env["WARDER_LIBBPF_LOG"]) library.set_print(null);
  }
  return library;
}

function checked(call: string, result: number): number {
  if (result < 0) throw new SystemError(call, -result);
  return result;
}

function found<T>(call: string, pointer: T | null): T {
  if (!pointer) throw new SystemError(call, lastErrno());
  return pointer;
}

/** Throws when libbpf cannot be loaded. */
export function requireLibbpf(): void {
  bpf();
}

/** Opens a compiled object; nothing is in the kernel yet. */
export function openObject(path: string): BpfObject {
  return found(`open ${path}`, bpf().object_open(path, null));
}

/** Brings maps and programs into the kernel. */
export function loadObject(object: BpfObject): void {
  checked("load", bpf().object_load(object));
}

/** Loads and attaches one program of an object, and throws all of it away. Throws what the kernel says. */
export function tryObject(path: string, program: string): void {
  const object = openObject(path);
  try {
    loadObject(object);
    closeFd(attach(findProgram(object, program)));
  } finally {
    bpf().object_close(object);
  }
}

/** A map of the object, by name. */
export function findMap(object: BpfObject, name: string): BpfMap {
  return found(`map ${name}`, bpf().object_map(object, name));
}

/** A program of the object, by name. */
export function findProgram(object: BpfObject, name: string): BpfProgram {
  return found(`program ${name}`, bpf().object_program(object, name));
}

/** The file descriptor of a loaded map. */
export function mapFd(map: BpfMap): number {
  return checked("map fd", bpf().map_fd(map));
}

/** Sets the number of entries (bytes, for a ring) before loading. */
export function setMaxEntries(map: BpfMap, entries: number): void {
  checked("set max_entries", bpf().map_set_max_entries(map, entries));
}

/** The memory that a map of constants starts with; to be written before loading. */
export function initialValue(map: BpfMap): ArrayBuffer {
  const size = [0];
  const pointer = found("initial value", bpf().map_initial_value(map, size));
  return koffi.view(pointer, Number(size[0]));
}

/** Writes one entry of a map. */
export function setElement(fd: number, key: Uint8Array, value: Uint8Array): void {
  checked("map update", bpf().map_update(fd, key, value, 0));
}

/** From here on nobody but the programs can write into the map, whatever rights they have. */
export function freeze(fd: number): void {
  checked("map freeze", bpf().map_freeze(fd));
}

/** All keys and values of a map, as one entry is put behind the other by `keySize` and `valueSize`; at most `entriesMax`. */
export function readEntries(
  fd: number,
  keySize: number,
  valueSize: number,
  entriesMax: number,
): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let key: Uint8Array | null = null;
  while (entries.length < entriesMax) {
    const entry: Uint8Array = new Uint8Array(keySize + valueSize);
    const next: Uint8Array = entry.subarray(0, keySize);
    // Entries come and go meanwhile: one that is gone ends or restarts the walk, hence the bound.
    if (bpf().map_next_key(fd, key, next) < 0) break;
    if (bpf().map_lookup(fd, next, entry.subarray(keySize)) === 0) entries.push(entry);
    key = next;
  }
  return entries;
}

/** Whether a program is loaded with its object. */
export function setAutoload(program: BpfProgram, wanted: boolean): void {
  checked("set autoload", bpf().program_set_autoload(program, wanted));
}

/** Attaches a program to the hook that its section names. Returns the link's file descriptor, which keeps it attached. */
export function attach(program: BpfProgram): number {
  const link: BpfLink = found("attach", bpf().program_attach(program));
  return checked("link fd", bpf().link_fd(link));
}

/** Pins a map or link under bpffs, so that it outlives this process. */
export function pin(fd: number, path: string): void {
  checked(`pin ${path}`, bpf().pin(fd, path));
}

/** The file descriptor of a pinned map or link. */
export function openPin(path: string): number {
  return checked(`open ${path}`, bpf().get(path));
}

/** The kernel's number of a map: no other map of this boot has it. The second member of its struct bpf_map_info. */
export function mapId(fd: number): number {
  return mapInfo(fd)[1] ?? 0;
}

/** How many entries a map may have; of a ring, the bytes of its data. */
export function maxEntries(fd: number): number {
  return mapInfo(fd)[4] ?? 0;
}

/** struct bpf_map_info of <linux/bpf.h>, as far as it is made of __u32. */
function mapInfo(fd: number): Uint32Array {
  const info = new Uint32Array(32);
  checked("map info", bpf().info(fd, info, [info.byteLength]));
  return info;
}

/** The kernel's number of the program that a link holds to its hook; null when the descriptor is no link (any more). */
export function linkedProgram(link: number): number | null {
  const info = new Uint32Array(32);
  return bpf().info(link, info, [info.byteLength]) < 0 ? null : (info[LINK_PROGRAM] ?? null);
}

/** The file descriptor of a loaded program. */
export function programFd(program: BpfProgram): number {
  return checked("program fd", bpf().program_fd(program));
}

/** Places in struct bpf_link_info (as __u32) and struct bpf_prog_info (as __u64) of <linux/bpf.h>. */
const LINK_PROGRAM = 2;
const PROGRAM_LOAD_TIME = 5;
const PROGRAM_RECURSION_MISSES = 26;

/** When a program was loaded (boot clock, ns), and how often its hook fired while it was running on that CPU already. */
export function programInfo(fd: number): { loadTime: bigint; misses: bigint } {
  const info = new BigUint64Array(32);
  checked("program info", bpf().info(fd, info, [info.byteLength]));
  return { loadTime: info[PROGRAM_LOAD_TIME] ?? 0n, misses: info[PROGRAM_RECURSION_MISSES] ?? 0n };
}

/** Words of struct bpf_test_run_opts in <bpf/bpf.h>, and where its context and that one's size are. */
const RUN_WORDS = 10;
const RUN_CONTEXT = 4;
const RUN_CONTEXT_SIZE = 6;
const RUN_RESULT = 7;

/** Runs a program of the type "syscall" once, with `context`. Takes no right but its descriptor. */
export function runProgram(fd: number, context: Uint8Array): void {
  const options = new BigUint64Array(RUN_WORDS);
  options[0] = BigInt(options.byteLength);
  options[RUN_CONTEXT] = koffi.address(context);
  options[RUN_CONTEXT_SIZE] = BigInt(context.length);
  checked("run program", bpf().program_run(fd, options));
  const result = Number(BigInt.asUintN(32, options[RUN_RESULT] ?? 0n));
  if (result !== 0) throw new Error(`a program of the kernel side gave back ${result}`);
}

/** A new run of an iterator program: reading it writes the records. */
export function createIterator(link: number): number {
  return checked("iterator", bpf().iterator_create(link));
}

/** CPUs that this host may ever have. */
export function possibleCpus(): number {
  return checked("possible CPUs", bpf().possible_cpus());
}

/** BTF_KIND_TYPEDEF and BTF_KIND_FUNC in <linux/btf.h>. */
const TypeKind = { typedef: 8, function: 12 } as const;

/** The running kernel's types: they name the functions and tracepoints that programs can be attached to. */
export function openKernelTypes(): {
  hasFunction: (name: string) => boolean;
  hasTracepoint: (name: string) => boolean;
} {
  const types = found("kernel types", bpf().types_load());
  const has = (name: string, kind: number) => bpf().types_find(types, name, kind) > 0;
  return {
    hasFunction: (name) => has(name, TypeKind.function),
    hasTracepoint: (name) => has(`btf_trace_${name}`, TypeKind.typedef),
  };
}
