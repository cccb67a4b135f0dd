// What event.h must not contain, beyond what has no shape at all: things that would be left out or misread without a word.

import { type Enum, HeaderError, type Member, type Shape, type Struct, sizeOf } from "./btf.ts";

/** Structs that announce bytes in the variable part. */
export const TEXT = "text";
export const TEXT_LIST = "text_list";

/** How a member of a struct is read and written. */
export type ShapeOf = (struct: Struct, member: Member) => Shape;

/** A type that anchor.c does not reach has no type data: it would be left out without a word. */
export function checkAnchors(header: string, structs: Struct[], enums: Enum[]): void {
  for (const [, sort, name] of header.matchAll(/^(struct|enum) (\w+) \{/gm)) {
    const known: { name: string }[] = sort === "struct" ? structs : enums;
    if (!known.some((type) => type.name === name))
      throw new HeaderError(`${sort} ${name}: not reached from anchor.c, or an enum of more than 32 bits`);
  }
}

/** Names share a prefix, which the constants leave out, and no number has two of them; limits are only numbers. */
export function checkEnum({ name, values }: Enum): void {
  if (name === "limit") return;
  for (const [i, value] of values.entries()) {
    if (!value.name.startsWith(prefixOf(values)))
      throw new HeaderError(`${name}.${value.name}: does not begin with ${prefixOf(values)}`);
    const same = values.slice(0, i).find((other) => other.value === value.value);
    if (same) throw new HeaderError(`${name}.${value.name}: has the number of ${same.name}`);
  }
}

/** Every kind has a struct and a counter. */
export function checkKinds(enums: Enum[], records: Member[]): void {
  const valuesOf = (name: string) => enums.find((one) => one.name === name)?.values ?? [];
  const max = valuesOf("limit").find(({ name }) => name === "KINDS_MAX")?.value ?? 0;
  const structs = new Set(records.map(({ name }) => `RECORD_${name.toUpperCase()}`));
  for (const { name, value } of valuesOf("record_kind")) {
    if (value < 1 || value >= max)
      throw new HeaderError(`record_kind.${name}: ${value} is not from 1 to below KINDS_MAX (${max})`);
    if (!structs.delete(name)) throw new HeaderError(`record_kind.${name}: anchor.c gives it no struct`);
  }
  for (const name of structs) throw new HeaderError(`anchor.c: enum record_kind has no ${name}`);
}

/** No hole between members or behind them: padding has a name, or it would carry the kernel's memory. */
export function checkLayout(struct: Struct, shapeOf: ShapeOf, isRecord: boolean): void {
  const [first] = struct.members;
  const opening = isRecord && first ? shapeOf(struct, first) : null;
  if (isRecord && !(opening?.is === "struct" && opening.of.name === "record_header"))
    throw new HeaderError(`${struct.name}: a record begins with a struct record_header`);
  let end = 0;
  for (const member of struct.members) {
    const where = `${struct.name}.${member.name}`;
    if (member.bitField) throw new HeaderError(`${where}: a bit-field`);
    if (isRecord && member.name === "kind") throw new HeaderError(`${where}: the kind is in the header`);
    const shape = shapeOf(struct, member);
    const inner = shape.is === "array" ? shape.of : shape;
    if (inner.is === "struct" && isText(inner.of.name) && (!isRecord || inner !== shape))
      throw new HeaderError(`${where}: only a record's own member can announce bytes of the variable part`);
    if (member.offset !== end)
      throw new HeaderError(`${where}: ${member.offset - end} bytes of unnamed padding before it`);
    end = member.offset + sizeOf(shape);
  }
  if (end !== struct.size)
    throw new HeaderError(`${struct.name}: ${struct.size - end} bytes of unnamed padding at its end`);
}

/** Does a member of this struct announce bytes in the variable part? */
export function isText(name: string): boolean {
  return name === TEXT || name === TEXT_LIST;
}

/** What the names of an enum have in common. */
export function prefixOf(values: Enum["values"]): string {
  return `${values[0]?.name.split("_")[0]}_`;
}
