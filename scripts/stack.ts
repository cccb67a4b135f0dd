// How much stack the compiled programs take, as the verifier reckons it: kernels before 6.13 refuse a chain of functions that
// takes more than 512 bytes. Later ones take it, so that to load it there shows nothing. The sizes that a verifier's log ends with
// are larger by 24 where it has inlined a bpf_loop: that happens after the check.
//
//   bun scripts/stack.ts OBJECT...      prints the deepest chain of each; exit code 1 when a kernel would refuse it

import { readFileSync } from "node:fs";
import { type Section, sectionsOf, textAt } from "./elf.ts";

/** MAX_BPF_STACK and MAX_CALL_FRAMES of the kernel, and what it rounds a frame up to. */
const STACK_SIZE_MAX = 512;
const FRAMES_MAX = 8;
const FRAME_UNIT = 32;

const SECTION = { symbols: 2, relocations: 9 };
const SYMBOL = { size: 24, function: 2 };
const UNDEFINED = 0;
const RELOCATION_SIZE = 16;
const INSTRUCTION_SIZE = 8;
const CODE = { call: 0x85, loadImmediate: 0x18, move: 0xbf, addImmediate: 0x07 };
/** Classes of instructions that write their first register: loads and arithmetic. */
const WRITES = [0, 1, 4, 7];
const PSEUDO_CALL = 1;
const FRAME_POINTER = 10;

/** A chain of functions, each with its bytes, from a program down. */
export type Chain = { names: string[]; size: number };

/** `at`: bytes from the beginning of its section. `calls`: whom it calls or hands to bpf_loop, by section and place. */
type Routine = { name: string; section: number; at: number; size: number; stack: number; calls: string[] };

/** The chain that takes most stack. @throws Error when a call leads to no function */
export function deepestChain(object: Uint8Array): Chain {
  const routines = new Map(routinesOf(object).map((routine) => [keyOf(routine), routine]));
  const from = (key: string): Chain => {
    const routine = routines.get(key);
    if (!routine) throw new Error(`${key}: there is a call, and no function`);
    const below = deepest(routine.calls.map(from));
    return { names: [`${routine.name} ${routine.stack}`, ...below.names], size: routine.stack + below.size };
  };
  return deepest([...routines.keys()].map(from));
}

function deepest(chains: Chain[]): Chain {
  return chains.reduce((one, other) => (other.size > one.size ? other : one), { names: [], size: 0 });
}

/** What a kernel would say against a chain; null when it takes it. */
export function objectionTo({ names, size }: Chain): string | null {
  if (size > STACK_SIZE_MAX) return `kernels before 6.13 refuse more than ${STACK_SIZE_MAX} bytes of stack`;
  return names.length > FRAMES_MAX ? `kernels refuse more than ${FRAMES_MAX} functions in a chain` : null;
}

function keyOf({ section, at }: { section: number; at: number }): string {
  return `section ${section}, byte ${at}`;
}

function routinesOf(object: Uint8Array): Routine[] {
  const sections = sectionsOf(object);
  const symbols = symbolsOf(sections);
  const relocated = relocationsOf(sections);
  return symbols
    .filter(({ isFunction }) => isFunction)
    .map(({ name, section, at, size }) => {
      const code = sections[section]?.bytes as DataView;
      const calls: string[] = [];
      for (let place = at; place < at + size; place += INSTRUCTION_SIZE) {
        const called = calledAt(code, section, place, symbols[relocated.get(`${section} ${place}`) ?? -1]);
        if (called !== null && !calls.includes(called)) calls.push(called);
      }
      return { name, section, at, size, stack: stackOf(code, at, size), calls };
    });
}

/** The function that the instruction calls or takes the address of. Both kinds of numbers are as libbpf reads them. */
function calledAt(code: DataView, section: number, at: number, symbol: Symbol | undefined): string | null {
  const kind = code.getUint8(at);
  const immediate = code.getInt32(at + 4, true);
  if (kind === CODE.call && code.getUint8(at + 1) >> 4 === PSEUDO_CALL) {
    if (symbol?.section === UNDEFINED) return null; // a function of the kernel
    const offset = (immediate + 1) * INSTRUCTION_SIZE;
    return keyOf(symbol ? { section: symbol.section, at: symbol.at + offset } : { section, at: at + offset });
  }
  if (kind === CODE.loadImmediate && symbol?.isCode)
    return keyOf({ section: symbol.section, at: symbol.at + immediate });
  return null;
}

/** The furthest place below the frame pointer that a function names, rounded up. */
function stackOf(code: DataView, start: number, size: number): number {
  let furthest = 1;
  /** What each register is below the frame pointer, as far as the instructions before say so. */
  const offsets = new Map([[FRAME_POINTER, 0]]);
  for (let at = start; at < start + size; at += INSTRUCTION_SIZE) {
    const kind = code.getUint8(at);
    const [to, from] = [code.getUint8(at + 1) & 15, code.getUint8(at + 1) >> 4];
    const offset = code.getInt16(at + 2, true);
    const isLoad = (kind & 7) === 1;
    const isStore = (kind & 7) === 2 || (kind & 7) === 3;
    const base = isLoad ? offsets.get(from) : isStore ? offsets.get(to) : undefined;
    if (base !== undefined) furthest = Math.max(furthest, -(base + offset));
    if (kind === CODE.move && offsets.has(from)) offsets.set(to, offsets.get(from) ?? 0);
    else if (kind === CODE.addImmediate && offsets.has(to)) {
      const sum = (offsets.get(to) ?? 0) + code.getInt32(at + 4, true);
      offsets.set(to, sum);
      furthest = Math.max(furthest, -sum);
    } else if (WRITES.includes(kind & 7)) offsets.delete(to);
    if (kind === CODE.loadImmediate) at += INSTRUCTION_SIZE; // it is two long
  }
  return Math.ceil(furthest / FRAME_UNIT) * FRAME_UNIT;
}

/** `isCode`: a function, or a section that holds some. */
type Symbol = {
  name: string;
  section: number;
  at: number;
  size: number;
  isFunction: boolean;
  isCode: boolean;
};

function symbolsOf(sections: Section[]): Symbol[] {
  const table = sections.find(({ kind }) => kind === SECTION.symbols);
  const names = sections.find(({ name }) => name === ".strtab");
  if (!table || !names) throw new Error("the object has no symbols");
  const { bytes } = table;
  return Array.from({ length: bytes.byteLength / SYMBOL.size }, (_, i) => {
    const entry = i * SYMBOL.size;
    const section = bytes.getUint16(entry + 6, true);
    const isFunction = (bytes.getUint8(entry + 4) & 15) === SYMBOL.function;
    return {
      name: textAt(names.bytes, bytes.getUint32(entry, true)),
      section,
      at: Number(bytes.getBigUint64(entry + 8, true)),
      size: Number(bytes.getBigUint64(entry + 16, true)),
      isFunction,
      isCode: isFunction || sections[section]?.name === ".text",
    };
  });
}

/** The symbol's number by "SECTION BYTE". */
function relocationsOf(sections: Section[]): Map<string, number> {
  return new Map(
    sections
      .filter(({ kind }) => kind === SECTION.relocations)
      .flatMap(({ info, bytes }) =>
        Array.from({ length: bytes.byteLength / RELOCATION_SIZE }, (_, i): [string, number] => [
          `${info} ${bytes.getBigUint64(i * RELOCATION_SIZE, true)}`,
          bytes.getUint32(i * RELOCATION_SIZE + 12, true),
        ]),
      ),
  );
}

if (import.meta.main) {
  for (const path of process.argv.slice(2)) {
    const chain = deepestChain(readFileSync(path));
    const objection = objectionTo(chain);
    const words = `${path}: ${chain.size} bytes of stack: ${chain.names.join(" > ")}`;
    if (objection === null) console.log(words);
    else {
      console.error(`${words}\n${path}: ${objection}`);
      process.exitCode = 1;
    }
  }
}
