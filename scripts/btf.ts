// Reads the type data (BTF) of a compiled BPF object, as far as event.h may use it.
// Format: the kernel's Documentation/bpf/btf.rst.

import { sectionsOf, textAt } from "./elf.ts";

/** A member of a struct; `offset` in bytes from its beginning. */
export type Member = { name: string; type: number; offset: number; bitField: boolean };

/** A type, by what it is made of. Types that event.h must not use are `other`, with their BTF kind. */
export type BtfType =
  | { is: "int"; name: string; size: number; signed: boolean; char: boolean }
  | { is: "array"; element: number; length: number }
  | { is: "struct"; name: string; size: number; members: Member[] }
  | { is: "enum"; name: string; values: { name: string; value: number }[] }
  | { is: "typedef"; name: string; type: number }
  | { is: "other"; kind: number };

export type Struct = Extract<BtfType, { is: "struct" }>;
export type Enum = Extract<BtfType, { is: "enum" }>;

/** How a member is read and written. */
export type Shape =
  | { is: "number"; size: 1 | 2 | 4; signed: boolean }
  | { is: "bigint"; signed: boolean }
  | { is: "chars"; size: number }
  | { is: "bytes"; size: number }
  | { is: "struct"; of: Struct }
  | { is: "array"; of: Shape; length: number };

/** A construct that event.h must not contain. */
export class HeaderError extends Error {}

const KIND = {
  int: 1,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  datasec: 15,
  var: 14,
  func_proto: 13,
  decl_tag: 17,
  enum64: 19,
};

/** The types of an object file, by BTF id; id 0 is void. */
export function readBtf(object: Uint8Array): BtfType[] {
  const view = sectionOf(object, ".BTF");
  if (view.getUint16(0, true) !== 0xeb9f) throw new Error("no BTF in the object: was it compiled with -g?");
  const headerSize = view.getUint32(4, true);
  const [typesAt, typesSize, stringsAt] = [8, 12, 16].map((at) => view.getUint32(at, true)) as [
    number,
    number,
    number,
  ];
  const nameAt = (offset: number) => textAt(view, headerSize + stringsAt + offset);
  const types: BtfType[] = [{ is: "other", kind: 0 }];
  for (let at = headerSize + typesAt; at < headerSize + typesAt + typesSize; ) {
    const name = nameAt(view.getUint32(at, true));
    const info = view.getUint32(at + 4, true);
    const size = view.getUint32(at + 8, true);
    const kind = (info >>> 24) & 0x1f;
    const count = info & 0xffff;
    const body = at + 12;
    at = body + bodySize(kind, count);
    if (kind === KIND.int) {
      const encoding = view.getUint32(body, true) >>> 24;
      types.push({ is: "int", name, size, signed: (encoding & 1) !== 0, char: name === "char" });
    } else if (kind === KIND.array) {
      types.push({
        is: "array",
        element: view.getUint32(body, true),
        length: view.getUint32(body + 8, true),
      });
    } else if (kind === KIND.struct) {
      const members = Array.from({ length: count }, (_, i): Member => {
        const offset = view.getUint32(body + i * 12 + 8, true);
        const bits = info >>> 31 ? { at: offset & 0xffffff, size: offset >>> 24 } : { at: offset, size: 0 };
        return {
          name: nameAt(view.getUint32(body + i * 12, true)),
          type: view.getUint32(body + i * 12 + 4, true),
          offset: bits.at >>> 3,
          bitField: bits.size > 0,
        };
      });
      types.push({ is: "struct", name, size, members });
    } else if (kind === KIND.enum) {
      const values = Array.from({ length: count }, (_, i) => ({
        name: nameAt(view.getUint32(body + i * 8, true)),
        value: info >>> 31 ? view.getInt32(body + i * 8 + 4, true) : view.getUint32(body + i * 8 + 4, true),
      }));
      types.push({ is: "enum", name, values });
    } else if (kind === KIND.typedef) types.push({ is: "typedef", name, type: size });
    else types.push({ is: "other", kind });
  }
  return types;
}

/** The shape of a member's type, or an error that names the member. `named`: the type has one of the names that the header may use. */
export function shapeOfType(types: BtfType[], id: number, where: string, named = false): Shape {
  const type = types[id];
  switch (type?.is) {
    case "typedef": {
      if (/^__(u8|u16|u32|u64|s32|s64)$/.test(type.name)) return shapeOfType(types, type.type, where, true);
      throw new HeaderError(
        `${where}: the type ${type.name} is not one of __u8 to __u64, __s32, __s64, char[N]`,
      );
    }
    case "int":
      if (type.char) throw new HeaderError(`${where}: a single char; use __u8`);
      if (!named) break;
      if (type.size === 8) return { is: "bigint", signed: type.signed };
      if (type.size === 1 || type.size === 2 || type.size === 4)
        return { is: "number", size: type.size, signed: type.signed };
      break;
    case "array": {
      const element = types[type.element];
      if (type.length === 0) throw new HeaderError(`${where}: an array without a length`);
      if (element?.is === "array") throw new HeaderError(`${where}: an array of arrays`);
      if (element?.is === "int" && element.char) return { is: "chars", size: type.length };
      const of = shapeOfType(types, type.element, where);
      return of.is === "number" && of.size === 1
        ? { is: "bytes", size: type.length }
        : { is: "array", of, length: type.length };
    }
    case "struct":
      if (type.name === "") throw new HeaderError(`${where}: a struct without a name`);
      return { is: "struct", of: type };
    default:
  }
  throw new HeaderError(
    `${where}: only __u8 to __u64, __s32, __s64, char[N] and structs of these may cross a border`,
  );
}

/** The bytes that a member takes. */
export function sizeOf(shape: Shape): number {
  switch (shape.is) {
    case "number":
    case "chars":
    case "bytes":
      return shape.size;
    case "bigint":
      return 8;
    case "struct":
      return shape.of.size;
    case "array":
      return shape.length * sizeOf(shape.of);
  }
}

/** Bytes that follow a type's three words. */
function bodySize(kind: number, count: number): number {
  switch (kind) {
    case KIND.int:
    case KIND.var:
    case KIND.decl_tag:
      return 4;
    case KIND.array:
      return 12;
    case KIND.struct:
    case KIND.union:
    case KIND.datasec:
    case KIND.enum64:
      return count * 12;
    case KIND.enum:
    case KIND.func_proto:
      return count * 8;
    default:
      return 0;
  }
}

function sectionOf(object: Uint8Array, wanted: string): DataView {
  const section = sectionsOf(object).find(({ name }) => name === wanted);
  if (!section) throw new Error(`the object has no section ${wanted}: was it compiled with -g?`);
  return section.bytes;
}
