#!/usr/bin/env bun
// Writes bpf/event.gen.ts from the type data of bpf/event.h, or with --check compares them. --bpf DIR reads other headers.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { machine, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  type BtfType,
  type Enum,
  HeaderError,
  type Member,
  readBtf,
  type Shape,
  type Struct,
  shapeOfType,
  sizeOf,
} from "./btf.ts";
import {
  checkAnchors,
  checkEnum,
  checkKinds,
  checkLayout,
  isText,
  prefixOf,
  type ShapeOf,
  TEXT,
  TEXT_LIST,
} from "./header.ts";

const ROOT = join(import.meta.dir, "..");

/** The generated file's text for the headers in `folder`. */
export function generate(folder: string): string {
  const types = readBtf(compile(folder));
  const structs = types.filter((type): type is Struct => type.is === "struct");
  const enums = types.filter((type): type is Enum => type.is === "enum" && type.name !== "");
  const byName = (name: string): Struct => {
    const found = structs.find((struct) => struct.name === name);
    if (!found) throw new HeaderError(`anchor.c has no struct ${name}`);
    return found;
  };
  const shapeOf = (struct: Struct, member: Member): Shape =>
    shapeOfType(types, member.type, `${struct.name}.${member.name}`);
  const records = byName("records").members;
  const contract = structs.filter(({ name }) => name !== "records" && name !== "stream");
  const header = readFileSync(join(folder, "event.h"), "utf8");
  const recordStructs = new Set(records.map((member) => (types[member.type] as Struct).name));
  checkAnchors(header, contract, enums);
  for (const one of enums) checkEnum(one);
  checkKinds(enums, records);
  for (const struct of contract) checkLayout(struct, shapeOf, recordStructs.has(struct.name));

  const magic = /^#define STREAM_MAGIC (".*")$/m.exec(header)?.[1];
  if (!magic) throw new HeaderError("event.h has no STREAM_MAGIC");
  const abi = createHash("sha256")
    .update(canonical(contract, enums, records, shapeOf, types))
    .digest("hex")
    .slice(0, 32);

  const parts = [
    PREFACE,
    `/** Identifies the layout of everything below: the first half of a SHA-256 over it. */\nexport const EVENT_ABI = "${abi}";`,
    `/** The first bytes of every stream. */\nexport const STREAM_MAGIC = ${magic};`,
    ...enums.map(enumText),
    ...contract.map((struct) => layoutText(struct, shapeOf)),
    layoutsText(records, types),
    ...contract
      .filter(({ name }) => !isText(name))
      .map((struct) => typeText(struct, shapeOf, kindsOf(struct, records, types))),
    readingText(byName(TEXT), byName(TEXT_LIST)),
    ...contract
      .filter(
        ({ name, members }) =>
          !recordStructs.has(name) && !isText(name) && members.every((m) => isFlat(shapeOf(byName(name), m))),
      )
      .map((struct) => readerText(struct, shapeOf)),
    ...contract.filter(({ name }) => recordStructs.has(name)).map((struct) => decoderText(struct, shapeOf)),
    decodeText(records, types),
    ...byName("stream")
      .members.map((member) => types[member.type] as Struct)
      .filter((struct) => struct.members.every((m) => isFlat(shapeOf(struct, m))))
      .map((struct) => writerText(struct, shapeOf)),
    ENCODING,
    ...contract
      .filter(({ name }) => name === "process_key" || name === "record_header")
      .map((struct) => writerText(struct, shapeOf)),
    ...contract.filter(({ name }) => recordStructs.has(name)).map((struct) => encoderText(struct, shapeOf)),
    encodeText(records, types),
  ];
  return `${parts.join("\n\n")}\n`;
}

function compile(folder: string): Uint8Array {
  const output = mkdtempSync(join(tmpdir(), "warder-abi-"));
  try {
    const object = join(output, "anchor.o");
    const include = `/usr/include/${machine()}-linux-gnu`;
    const source = join(folder, "anchor.c");
    const options = ["--target=bpf", "-g", "-O2", "-I", include, "-c", source, "-o", object];
    const { exitCode, stderr } = Bun.spawnSync(["clang-19", ...options]);
    if (exitCode !== 0) throw new HeaderError(stderr.toString());
    return readFileSync(object);
  } finally {
    rmSync(output, { recursive: true });
  }
}

/** All that makes two sides agree or not. Settings of the sensor's own programs do not. */
function canonical(
  structs: Struct[],
  enums: Enum[],
  records: Member[],
  shapeOf: ShapeOf,
  types: BtfType[],
): string {
  const describe = (shape: Shape): string => {
    if (shape.is === "struct") return `struct ${shape.of.name}`;
    if (shape.is === "array") return `${describe(shape.of)}[${shape.length}]`;
    if (shape.is === "bigint") return shape.signed ? "s64" : "u64";
    if (shape.is === "number") return `${shape.signed ? "s" : "u"}${shape.size * 8}`;
    return `${shape.is}[${shape.size}]`;
  };
  const lines = [
    ...structs
      .filter(({ name }) => name !== "kernel_settings")
      .flatMap((struct) => [
        `struct ${struct.name} ${struct.size}`,
        ...struct.members.map(
          (member) => `  ${member.offset} ${member.name} ${describe(shapeOf(struct, member))}`,
        ),
      ]),
    ...enums.flatMap(({ name, values }) =>
      values.map((value) => `enum ${name} ${value.name} ${value.value}`),
    ),
    ...records.map((member) => `record ${member.name} ${(types[member.type] as Struct).name}`),
  ];
  return lines.toSorted().join("\n");
}

const PREFACE = `// Generated from bpf/event.h by "bun run abi". Do not edit: change the header, and run it again.

/** A string that holds one byte per character (U+0000 to U+00FF): the kernel's texts are bytes. */
export type Bytes = string & { readonly __bytes: unique symbol };

/** A text of the kernel. Fewer bytes than \`fullSize\` means that it was cut. */
export type Text = { bytes: Bytes; fullSize: number };

/** NUL-terminated strings: the beginning and, if it was cut, the end of \`fullSize\` bytes; \`count\` strings in all, 0 if unknown. */
export type TextList = { head: Bytes; tail: Bytes; fullSize: number; count: number };

/** Bytes that are not the record they should be. \`kind\` is what the record says it is, if it is long enough to say so. */
export class DecodeError extends Error {
  constructor(
    readonly kind: number | undefined,
    readonly reason: "too short" | "text too long" | "trailing bytes" | "unknown kind",
  ) {
    super(\`record of kind \${kind ?? "unknown"}: \${reason}\`);
  }
}`;

/** The readers of the two texts know their members by name, as everything else does. */
function readingText(text: Struct, list: Struct): string {
  const at = (struct: Struct, name: string): string => {
    const member = struct.members.find((one) => one.name === name);
    if (!member) throw new HeaderError(`${struct.name}: no member ${name}`);
    return `view.getUint32(at + ${member.offset}, true)`;
  };
  return `/** Reads a record's variable part from front to back, and sees to it that all of it is read. */
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
    const size = ${at(text, "size")};
    const fullSize = ${at(text, "full_size")};
    if (size > fullSize) throw new DecodeError(this.kind, "text too long");
    return { bytes: this.take(size), fullSize };
  }

  list(view: DataView, at: number): TextList {
    const size = ${at(list, "size")};
    const tailSize = ${at(list, "tail_size")};
    const fullSize = ${at(list, "full_size")};
    if (size + tailSize > fullSize) throw new DecodeError(this.kind, "text too long");
    return { head: this.take(size), tail: this.take(tailSize), fullSize, count: ${at(list, "count")} };
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
}`;
}

/** Arrays of structs are laid out, but not read as a whole: they are large. */
function isFlat(shape: Shape): boolean {
  return shape.is !== "array" || shape.of.is !== "struct";
}

function camel(name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

function pascal(name: string): string {
  const text = camel(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Limits are constants of their own; of the others, the part of the names that all share is left out. */
function enumText({ name, values }: Enum): string {
  if (name === "limit")
    return values.map((value) => `export const ${value.name} = ${value.value};`).join("\n");
  const prefix = prefixOf(values);
  const lines = values.map((value) => `  ${camel(value.name.replace(prefix, ""))}: ${value.value},`);
  return [
    `export const ${pascal(name)} = {\n${lines.join("\n")}\n} as const;`,
    `export type ${pascal(name)} = (typeof ${pascal(name)})[keyof typeof ${pascal(name)}];`,
  ].join("\n");
}

/** `at` holds the offsets of the members; `variable` numbers those that announce bytes, `lists` names the lists among them. */
function layoutText(struct: Struct, shapeOf: ShapeOf): string {
  const lines = struct.members.map((member) => `    ${camel(member.name)}: ${member.offset},`);
  const texts = textMembers(struct, shapeOf);
  const variable = texts.map(({ key }, i) => `    ${key}: ${i},\n`).join("");
  const lists = texts.flatMap(({ key, list }) => (list ? `"${key}"` : [])).join(", ");
  const more = texts.length > 0 ? `  variable: {\n${variable}  },\n  lists: [${lists}],\n` : "";
  return `export const ${struct.name.toUpperCase()} = {\n  size: ${struct.size},\n  at: {\n${lines.join("\n")}\n  },\n${more}} as const;`;
}

function layoutsText(records: Member[], types: BtfType[]): string {
  const lines = records.map(
    (member) =>
      `  [RecordKind.${camel(member.name)}]: ${(types[member.type] as Struct).name.toUpperCase()},\n`,
  );
  return `/** The layout of each kind of record. */\nexport const RECORD_LAYOUTS = {\n${lines.join("")}} as const;`;
}

function kindsOf(struct: Struct, records: Member[], types: BtfType[]): string[] {
  return records.filter((member) => types[member.type] === struct).map(({ name }) => name);
}

function typeName(shape: Shape): string {
  switch (shape.is) {
    case "number":
      return "number";
    case "bigint":
      return "bigint";
    case "chars":
      return "Bytes";
    case "bytes":
      return "Uint8Array";
    case "struct":
      return pascal(shape.of.name);
    case "array":
      return `${typeName(shape.of)}[]`;
  }
}

function typeText(struct: Struct, shapeOf: ShapeOf, kinds: string[]): string {
  const lines = struct.members.map(
    (member) => `  ${camel(member.name)}: ${typeName(shapeOf(struct, member))};`,
  );
  if (kinds.length > 0)
    lines.unshift(`  kind: (typeof RecordKind)[${kinds.map((kind) => `"${camel(kind)}"`).join(" | ")}];`);
  return `export type ${pascal(struct.name)} = {\n${lines.join("\n")}\n};`;
}

function readText(shape: Shape, at: string): string {
  switch (shape.is) {
    case "number":
      return `view.get${shape.signed ? "Int" : "Uint"}${shape.size * 8}(${at}${shape.size > 1 ? ", true" : ""})`;
    case "bigint":
      return `view.getBig${shape.signed ? "Int" : "Uint"}64(${at}, true)`;
    case "chars":
      return `chars(view, ${at}, ${shape.size})`;
    case "bytes":
      return `new Uint8Array(view.buffer.slice(view.byteOffset + ${at}, view.byteOffset + ${at} + ${shape.size}))`;
    case "struct":
      if (shape.of.name === TEXT) return `variable.text(view, ${at})`;
      if (shape.of.name === TEXT_LIST) return `variable.list(view, ${at})`;
      return `read${pascal(shape.of.name)}(view, ${at})`;
    case "array":
      return `Array.from({ length: ${shape.length} }, (_, i) => ${readText(shape.of, `${at} + i * ${sizeOf(shape.of)}`)})`;
  }
}

function membersText(struct: Struct, shapeOf: ShapeOf, indent: string): string {
  return struct.members
    .map(
      (member) =>
        `${indent}${camel(member.name)}: ${readText(shapeOf(struct, member), `at + ${member.offset}`)},`,
    )
    .join("\n");
}

function readerText(struct: Struct, shapeOf: ShapeOf): string {
  const name = pascal(struct.name);
  return `/** Reads a struct ${struct.name}; the caller knows that all of it is there. */
export function read${name}(view: DataView, at: number): ${name} {
  return {\n${membersText(struct, shapeOf, "    ")}\n  };\n}`;
}

function decoderText(struct: Struct, shapeOf: ShapeOf): string {
  const name = pascal(struct.name);
  const first = `    kind,\n`;
  return `function decode${name}(
  view: DataView,
  bytes: Buffer,
  at: number,
  end: number,
  kind: ${name}["kind"],
): ${name} {
  const variable = new Variable(bytes, at + ${struct.size}, end, kind);
  return variable.finish({\n${first}${membersText(struct, shapeOf, "    ")}\n  });\n}`;
}

function decodeText(records: Member[], types: BtfType[]): string {
  const structs = [...new Set(records.map((member) => pascal((types[member.type] as Struct).name)))];
  const cases = structs.flatMap((name) => [
    ...records
      .filter((member) => pascal((types[member.type] as Struct).name) === name)
      .map((member) => `    case RecordKind.${camel(member.name)}:`),
    `      return decode${name}(view, bytes, at, end, kind);`,
  ]);
  return `/** A record, told apart by \`kind\`. */
export type DecodedRecord = ${structs.join(" | ")};

/**
 * Decodes the record of \`size\` bytes at \`at\` of \`bytes\`; \`view\` covers the same memory. All of it must be used up.
 * @throws DecodeError
 */
export function decodeRecord(view: DataView, bytes: Buffer, at: number, size: number): DecodedRecord {
  if (size < RECORD_HEADER.size) throw new DecodeError(undefined, "too short");
  const kind = view.getUint16(at + RECORD_HEADER.at.kind, true) as RecordKind;
  const end = at + size;
  switch (kind) {
${cases.join("\n")}
    default:
      throw new DecodeError(kind, "unknown kind");
  }
}`;
}

const ENCODING = `/** Appends a text to a record and announces it. Returns where the next one begins. */
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
}`;

/** The members that announce bytes of the variable part. */
function textMembers(struct: Struct, shapeOf: ShapeOf): { key: string; at: number; list: boolean }[] {
  return struct.members.flatMap((member) => {
    const shape = shapeOf(struct, member);
    if (shape.is !== "struct" || !isText(shape.of.name)) return [];
    return [{ key: camel(member.name), at: member.offset, list: shape.of.name === TEXT_LIST }];
  });
}

function encoderText(struct: Struct, shapeOf: ShapeOf): string {
  const texts = textMembers(struct, shapeOf);
  const sizes = texts.map(({ key, list }) =>
    list ? `record.${key}.head.length + record.${key}.tail.length` : `record.${key}.bytes.length`,
  );
  const fixed = struct.members
    .filter((member) => !texts.some(({ at }) => at === member.offset))
    .map((m) => `  ${writeText(shapeOf(struct, m), `${m.offset}`, `record.${camel(m.name)}`)};\n`);
  const variable = texts.map(
    ({ key, at, list }) => `  end = append${list ? "List" : "Text"}(view, ${at}, record.${key}, end);\n`,
  );
  return `function encode${pascal(struct.name)}(record: ${pascal(struct.name)}): Uint8Array {
  const bytes = new Uint8Array(${[struct.size, ...sizes].join(" + ")});
  const view = new DataView(bytes.buffer);
  let end = ${struct.size};\n${fixed.join("")}${variable.join("")}  return bytes.subarray(0, end);\n}`;
}

function encodeText(records: Member[], types: BtfType[]): string {
  const cases = records.flatMap((member) => [
    `    case RecordKind.${camel(member.name)}:`,
    `      return encode${pascal((types[member.type] as Struct).name)}(record);`,
  ]);
  return `/** The bytes of a record, as the kernel would write them. */
export function encodeRecord(record: DecodedRecord): Uint8Array {
  switch (record.kind) {
${cases.join("\n")}
  }
}`;
}

function writeText(shape: Shape, at: string, value: string): string {
  switch (shape.is) {
    case "number":
    case "bigint":
      return readText(shape, at).replace(".get", ".set").replace(at, `${at}, ${value}`);
    case "chars":
      return `writeChars(view, ${at}, ${shape.size}, ${value})`;
    case "bytes":
      return `writeBytes(view, ${at}, ${shape.size}, ${value})`;
    case "struct":
      return `write${pascal(shape.of.name)}(view, ${at}, ${value})`;
    case "array":
      return `${value}.forEach((item, i) => ${writeText(shape.of, `${at} + i * ${sizeOf(shape.of)}`, "item")})`;
  }
}

function writerText(struct: Struct, shapeOf: ShapeOf): string {
  const name = pascal(struct.name);
  const members = struct.members.map((m) => [camel(m.name), shapeOf(struct, m), `at + ${m.offset}`] as const);
  const lines = members.map(([key, shape, at]) => `  ${writeText(shape, at, `value.${key}`)};\n`).join("");
  const chars = members.flatMap(([key, { is }]) => (is === "chars" ? `"${key}"` : [])).join(" | ");
  const type = chars ? `Omit<${name}, ${chars}> & Record<${chars}, string>` : name;
  return `/** Writes a struct ${struct.name}. */
export function write${name}(view: DataView, at: number, value: ${type}): void {\n${lines}}`;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { check: { type: "boolean" }, bpf: { type: "string" } } });
  const folder = values.bpf ?? join(ROOT, "bpf");
  const target = join(folder, "event.gen.ts");
  try {
    const text = generate(folder);
    if (!values.check) writeFileSync(target, text);
    else if (readFileSync(target, "utf8") !== text) {
      throw new HeaderError(
        "bpf/event.gen.ts is not what bpf/event.h says: run bun run abi, and commit both",
      );
    }
  } catch (error) {
    if (!(error instanceof HeaderError)) throw error;
    console.error(`abi: ${error.message}`);
    process.exitCode = 1;
  }
}
