// Reads the sections of a compiled BPF object. Format: elf(5).

/** `info`: of relocations, the section that they are of. */
export type Section = { name: string; kind: number; info: number; bytes: DataView };

/** The sections of an object file, in order. */
export function sectionsOf(object: Uint8Array): Section[] {
  const view = new DataView(object.buffer, object.byteOffset, object.byteLength);
  const headers = Number(view.getBigUint64(0x28, true));
  const [size, count, names] = [0x3a, 0x3c, 0x3e].map((at) => view.getUint16(at, true)) as [
    number,
    number,
    number,
  ];
  const number = (index: number, at: number) => view.getUint32(headers + index * size + at, true);
  const place = (index: number, at: number) => Number(view.getBigUint64(headers + index * size + at, true));
  return Array.from({ length: count }, (_, i) => ({
    name: textAt(view, place(names, 0x18) + number(i, 0)),
    kind: number(i, 4),
    info: number(i, 0x2c),
    // What is only reserved has no bytes in the file.
    bytes: new DataView(
      view.buffer,
      view.byteOffset + place(i, 0x18),
      number(i, 4) === 8 ? 0 : place(i, 0x20),
    ),
  }));
}

/** A text that ends with a zero byte. */
export function textAt(view: DataView, start: number): string {
  let end = start;
  while (view.getUint8(end) !== 0) end++;
  return Buffer.from(view.buffer, view.byteOffset + start, end - start).toString("latin1");
}
