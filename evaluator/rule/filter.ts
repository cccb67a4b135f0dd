// Could any rule or detection match? Asked of the bytes of a record, before anything is made of them: "no" is certain, "perhaps"
// means that the rules have to be asked.
//
// Nearly all files and connections are of no interest to any rule, and to find that out is what most records cost. So the
// keys of all rules are put into tables of hashes, whose size makes no difference to a look-up. One pass over a path takes
// its hash at each "/" and stops where no rule looks further; one pass from the end finds endings, by the few sizes that those
// with this last byte have; and if rules look for parts of paths, one more pass finds these. What shares a hash with another
// by chance costs a question to the rules, and nothing else.

import { FILE_RECORD, KINDS_MAX, NETWORK_RECORD, RECORD_HEADER, RecordKind } from "../../bpf/event.gen.ts";
import { ALL_EVENT_KINDS } from "../../bpf/kinds.ts";
import type { Bytes } from "../event/text.ts";
import type { RecordView } from "../input/view.ts";
import { type Compiled, compileMatch } from "./conditions.ts";
import { keysOf, rarestKeys } from "./keys.ts";
import type { Detection, Rule } from "./schema.ts";

/** What a rule looks at, as bits. */
const FILE_BITS: Record<string, number> = { file_open: 1, file_write: 2, file_rename: 4, file_unlink: 8 };
const OUTBOUND = 16;
const INBOUND = 32;
/** Longer keys begin with this one. */
const FURTHER = 64;

const PATH = FILE_RECORD.variable.path;
const NEW_PATH = FILE_RECORD.variable.newPath;
const SLASH = 0x2f;
const PORTS = 65536;
/** What rules that match an event of a kind look at. */
const BITS_BY_KIND = new Uint8Array(KINDS_MAX);
for (const { kind, type } of ALL_EVENT_KINDS)
  BITS_BY_KIND[kind] =
    kind < RecordKind.connect ? (FILE_BITS[type] ?? 0) : kind === RecordKind.connect ? OUTBOUND : INBOUND;

/** The filter for what enabled rules and detections look for. */
export function compileFilter(rules: readonly Rule[], detections: readonly Detection[]): Filter {
  const looking = [...rules.filter(({ enabled }) => enabled), ...detections];
  return new Filter(looking.map(({ match }) => compileMatch(match)));
}

/** The keys of rules and detections, to be looked for in records. */
export class Filter {
  private readonly paths: Marks;
  private readonly endings: Marks;
  private readonly parts: Marks;
  private readonly ports = new Uint8Array(PORTS);
  /** The same of rules that ask for processes of these names. */
  private readonly portsOfNamed = new Uint8Array(PORTS);
  private readonly names: Marks;
  /** Sizes of endings, by their last byte. */
  private readonly endingSizes: (number[] | undefined)[] = [];
  /** A bit for each two bytes that a part ends with, and the sizes of those that do, as bits. */
  private readonly partEnds = new Uint32Array((U16 + 1) / 32);
  private readonly partSizes = new Uint8Array(U16 + 1);
  private hasProcessRules = false;
  /** What rules look at whose keys are in any path. */
  private anyPath = 0;

  constructor(matches: readonly Compiled[]) {
    const paths = new Map<number, number>();
    const endings = new Map<number, number>();
    const parts = new Map<number, number>();
    const names = new Map<number, number>();
    // Executables are in no record of a connection, and names are in each: of the lists of such a rule, the ports are looked up.
    const keys = rarestKeys(matches.map((match) => keysOf(match).slice(0, match.type === "network" ? 1 : 2)));
    for (const [i, match] of matches.entries()) {
      this.hasProcessRules ||= match.type === "process";
      const bits = bitsOf(match);
      const own = match.type === "network" ? match.processNames : [];
      const isNamed = own.length > 0 && own.every(({ is }) => is === "comm");
      const ports = isNamed ? this.portsOfNamed : this.ports;
      if (isNamed) for (const name of own) mark(names, hashOf(name.bytes), bits);
      for (const key of keys[i] ?? []) {
        if (key.of === "port") ports[key.port] = (ports[key.port] ?? 0) | bits;
        else if (key.of === "anyPath") this.anyPath |= bits;
        else if (key.of === "path") addPath(paths, key.bytes, bits);
        else if (key.of === "ending") this.addEnding(endings, key.bytes, bits);
        else if (key.of === "part") this.addPart(parts, key.bytes, bits);
      }
    }
    this.paths = new Marks(paths);
    this.endings = new Marks(endings);
    this.parts = new Marks(parts);
    this.names = new Marks(names);
  }

  /** Could something match this record? It must be whole. */
  couldMatch(record: RecordView): boolean {
    const kind = record.u16(RECORD_HEADER.at.kind);
    const bit = BITS_BY_KIND[kind] ?? 0;
    if (kind >= RecordKind.connect) return this.couldMatchPort(record, kind, bit);
    if (kind < RecordKind.fileOpen) {
      // Their names are strings already, and there are few of them.
      return this.hasProcessRules && kind !== RecordKind.exit;
    }
    if (this.couldMatchPath(record, PATH, bit)) return true;
    return kind === RecordKind.fileRename && this.couldMatchPath(record, NEW_PATH, bit);
  }

  private couldMatchPort(record: RecordView, kind: number, bit: number): boolean {
    const { localPort, remotePort } = NETWORK_RECORD.at;
    const port = record.u16(kind === RecordKind.connect ? remotePort : localPort);
    if ((this.ports[port] ?? 0) & bit) return true;
    return ((this.portsOfNamed[port] ?? 0) & bit) !== 0 && this.hasName(record, bit);
  }

  private hasName(record: RecordView, bit: number): boolean {
    const end = record.charsEnd(RECORD_HEADER.at.comm);
    let hash = SEED;
    for (let at = record.start + RECORD_HEADER.at.comm; at < end; at++)
      hash = Math.imul(hash ^ (record.bytes[at] ?? 0), PRIME);
    return (this.names.get(hash) & bit) !== 0;
  }

  private couldMatchPath(record: RecordView, text: number, bit: number): boolean {
    if (this.anyPath & bit) return true;
    const { bytes } = record;
    const start = record.textStart(text);
    const end = record.textEnd(text);
    return (
      ((this.paths.all & bit) !== 0 && this.hasPath(bytes, start, end, bit)) ||
      ((this.endings.all & bit) !== 0 && this.hasEnding(bytes, start, end, bit)) ||
      ((this.parts.all & bit) !== 0 && this.hasPart(bytes, start, end, bit))
    );
  }

  private hasPath(bytes: Uint8Array, start: number, end: number, bit: number): boolean {
    let hash = SEED;
    for (let at = start; at < end; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === SLASH) {
        const bits = this.paths.get(hash);
        if (bits & bit) return true;
        if ((bits & FURTHER) === 0) return false;
      }
      hash = Math.imul(hash ^ byte, PRIME);
    }
    return (this.paths.get(hash) & bit) !== 0;
  }

  private hasEnding(bytes: Uint8Array, start: number, end: number, bit: number): boolean {
    const sizes = end > start ? this.endingSizes[bytes[end - 1] ?? 0] : undefined;
    if (!sizes) return false;
    let hash = SEED;
    let at = end;
    for (let i = 0; i < sizes.length; i++) {
      const first = end - (sizes[i] ?? 0);
      if (first < start) return false;
      while (at > first) hash = Math.imul(hash ^ (bytes[--at] ?? 0), PRIME);
      if (this.endings.get(hash) & bit) return true;
    }
    return false;
  }

  private hasPart(bytes: Uint8Array, start: number, end: number, bit: number): boolean {
    const { partEnds } = this;
    let high = 0;
    let low = 0;
    for (let at = start; at < end; at++) {
      high = (high << 8) | (low >>> 24);
      low = (low << 8) | (bytes[at] ?? 0);
      const isEnd = (partEnds[(low & U16) >>> 5] ?? 0) & (1 << (low & 31));
      if (isEnd !== 0 && this.hasPartThatEnds(high, low, bit)) return true;
    }
    return false;
  }

  private hasPartThatEnds(high: number, low: number, bit: number): boolean {
    const sizes = this.partSizes[low & U16] ?? 0;
    return (
      ((sizes & 8) !== 0 && (this.parts.get(eightOf(high, low)) & bit) !== 0) ||
      ((sizes & 4) !== 0 && (this.parts.get(low) & bit) !== 0) ||
      ((sizes & 3) !== 0 && (this.parts.get(low & THREE_BYTES) & bit) !== 0)
    );
  }

  private addEnding(endings: Map<number, number>, ending: Bytes, bits: number): void {
    const last = ending.charCodeAt(ending.length - 1);
    const sizes = new Set(this.endingSizes[last]).add(ending.length);
    this.endingSizes[last] = [...sizes].toSorted((a, b) => a - b);
    mark(endings, hashOf(reversed(ending)), bits);
  }

  private addPart(parts: Map<number, number>, part: Bytes, bits: number): void {
    const [last, end] = [part.charCodeAt(part.length - 2), part.charCodeAt(part.length - 1)];
    const place = (last << 8) | end;
    this.partEnds[place >>> 5] = (this.partEnds[place >>> 5] ?? 0) | (1 << (place & 31));
    this.partSizes[place] = (this.partSizes[place] ?? 0) | part.length;
    mark(parts, partOf(part), bits);
  }
}

/** What a rule looks at. */
function bitsOf(match: Compiled): number {
  switch (match.type) {
    case "process":
      return 0;
    case "file":
      return match.operations.reduce((bits, operation) => bits | (FILE_BITS[operation] ?? 0), 0);
    case "network": {
      const bits = match.directions.map((direction) => (direction === "outbound" ? OUTBOUND : INBOUND));
      return bits.length === 0 ? OUTBOUND | INBOUND : bits.reduce<number>((all, one) => all | one, 0);
    }
  }
}

/** Marks a path, and that something goes on behind each folder above it. */
function addPath(paths: Map<number, number>, path: Bytes, bits: number): void {
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
    mark(paths, hashOf(path.slice(0, at) as Bytes), FURTHER);
  mark(paths, hashOf(path), bits);
}

function mark(marks: Map<number, number>, hash: number, bits: number): void {
  marks.set(hash, (marks.get(hash) ?? 0) | bits);
}

/** FNV-1a, of 32 bits. */
const SEED = 0x811c9dc5 | 0;
const PRIME = 0x01000193;

function hashOf(bytes: Bytes): number {
  let hash = SEED;
  for (let at = 0; at < bytes.length; at++) hash = Math.imul(hash ^ bytes.charCodeAt(at), PRIME);
  return hash;
}

function reversed(bytes: Bytes): Bytes {
  return Array.from({ length: bytes.length }, (_, i) => bytes[bytes.length - 1 - i]).join("") as Bytes;
}

const U16 = 0xffff;
const THREE_BYTES = 0xffffff;

/** The number of a part: its bytes, if there are no more than four. */
function partOf(bytes: Bytes): number {
  let high = 0;
  let low = 0;
  for (let at = 0; at < bytes.length; at++) {
    high = (high << 8) | (low >>> 24);
    low = (low << 8) | bytes.charCodeAt(at);
  }
  return bytes.length > 4 ? eightOf(high, low) : low;
}

function eightOf(high: number, low: number): number {
  return Math.imul(high ^ Math.imul(low, PRIME), 0x85ebca6b);
}

/** So many places for each mark: most look-ups end at the first one, which is empty. */
const SPARSE = 4;

/** Bits by a hash, 0 for all others. */
class Marks {
  /** What any of them has. */
  readonly all: number;
  private readonly hashes: Int32Array;
  private readonly bits: Uint8Array;

  constructor(marks: ReadonlyMap<number, number>) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(marks.size, 1) * SPARSE));
    this.hashes = new Int32Array(size);
    this.bits = new Uint8Array(size);
    this.all = [...marks.values()].reduce((all, bits) => all | bits, 0);
    for (const [hash, bits] of marks) {
      let place = this.placeOf(hash);
      while (this.bits[place] !== 0) place = (place + 1) & (size - 1);
      this.hashes[place] = hash;
      this.bits[place] = bits;
    }
  }

  get(hash: number): number {
    for (let place = this.placeOf(hash); ; place = (place + 1) & (this.bits.length - 1)) {
      const bits = this.bits[place] ?? 0;
      if (bits === 0 || this.hashes[place] === hash) return bits;
    }
  }

  private placeOf(hash: number): number {
    const mixed = Math.imul(hash, 0x9e3779b1);
    return (mixed ^ (mixed >>> 15)) & (this.bits.length - 1);
  }
}
