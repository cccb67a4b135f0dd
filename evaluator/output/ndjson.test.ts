import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Bytes, fromUtf8, isControl } from "../event/text.ts";
import { ndjson } from "./ndjson.ts";

const RUNS = { numRuns: 2000 };
const anyBytes = fc
  .uint8Array({ maxLength: 40 })
  .map((bytes) => Buffer.from(bytes).toString("latin1") as Bytes);
/** Bytes that meet the difficult cases often: backslashes, "x5c", cut and overlong UTF-8, controls. */
const hardBytes = fc
  .array(
    fc.constantFrom(
      "\\",
      "x5c",
      "\\x5c",
      "xff",
      '"',
      "\n",
      "\x1b[31m",
      "\xe2\x80\xae",
      "\xc3\xa9",
      "\xc3",
      "\xa9",
      "\xed\xa0\x80",
      "\xf0\x9f\x92\xa9",
      "\xf4\x90\x80\x80",
      "\xc0\xaf",
      "\xff",
      "a",
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join("") as Bytes);
const text = fc.oneof(anyBytes, hardBytes);

/** The line as a reader gets it: decoded as UTF-8, which must not fail. */
function read(line: Bytes): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(line, "latin1"));
}

/** The bytes that a value stands for. */
function bytesOf(value: string, exact: string | undefined): Bytes {
  return exact === undefined ? fromUtf8(value) : (Buffer.from(exact, "base64").toString("latin1") as Bytes);
}

describe("text that is not text", () => {
  test("any bytes give one line of valid JSON, from which exactly these bytes come back", () => {
    fc.assert(
      fc.property(text, (bytes) => {
        const line = read(ndjson({ path: bytes, next: 1 }));
        expect(line.indexOf("\n")).toBe(line.length - 1);
        const record = JSON.parse(line);
        expect(Object.keys(record).slice(0, 1)).toEqual(["path"]);
        expect(bytesOf(record.path, record.path_b64)).toBe(bytes);
        expect(record.next).toBe(1);
      }),
      RUNS,
    );
  });

  test("lists keep their exact bytes too, with null for entries that need none", () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 5 }), (list) => {
        const record = JSON.parse(read(ndjson({ args: list })));
        const exact: (string | null)[] = record.args_b64 ?? list.map(() => null);
        expect(record.args.length).toBe(list.length);
        expect(list.map((_, i) => bytesOf(record.args[i], exact[i] ?? undefined))).toEqual(list);
      }),
      RUNS,
    );
  });

  const shown: [string, string][] = [
    ...([
      ["\x01", "\\u0001"],
      ["\xff", "\\\\xff"],
      ['"', '\\"'],
      ["\\", "\\\\"],
    ] as [string, string][]),
    ...([
      ["\xe2\x80\xae", "\\u202e"],
      ["\xc3\xa9", "\xc3\xa9"],
    ] as [string, string][]),
  ];
  test.each(shown)("a text as long as any, of nothing but %j, is rendered as a short one is", (one, body) => {
    const bytes = one.repeat(32_768) as Bytes;
    const line = ndjson({ p: bytes });
    expect(line.startsWith(`{"p":"${body.repeat(32_768)}"`)).toBe(true);
    const record = JSON.parse(read(line));
    expect(bytesOf(record.p, record.p_b64) === bytes).toBe(true);
  });

  test("no character that steers a terminal or ends a line is written raw", () => {
    fc.assert(
      fc.property(text, (bytes) => {
        const line = read(ndjson({ path: bytes })).slice(0, -1);
        for (const character of line) expect(isControl(character.codePointAt(0) ?? 0)).toBe(false);
      }),
      RUNS,
    );
  });

  test("two different byte strings never give the same line", () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(ndjson({ path: a }) === ndjson({ path: b })).toBe(a === b);
      }),
      RUNS,
    );
  });

  test("two different byte strings never give the same shown value either, if both are UTF-8 or neither is", () => {
    fc.assert(
      fc.property(hardBytes, hardBytes, (a, b) => {
        const [one, other] = [a, b].map((bytes) => JSON.parse(read(ndjson({ path: bytes }))));
        // The text \\xff looks like the byte 0xff: only the second has its exact bytes beside it.
        if (a !== b && "path_b64" in one === "path_b64" in other) expect(one.path).not.toBe(other.path);
      }),
      RUNS,
    );
  });

  const written: [string, Bytes, string][] = [
    ["a newline and an escape sequence", "a\nb\x1b[31m" as Bytes, '{"p":"a\\nb\\u001b[31m"}\n'],
    ["DEL and a C1 control", "\x7f\xc2\x9b" as Bytes, '{"p":"\\u007f\\u009b"}\n'],
    ["a line separator and a bidirectional override", fromUtf8("\u2028\u202e"), '{"p":"\\u2028\\u202e"}\n'],
    ["an invalid byte and a backslash", "\\\xff" as Bytes, '{"p":"\\\\x5c\\\\xff","p_b64":"XP8="}\n'],
    ["a backslash in valid text", "a\\b" as Bytes, '{"p":"a\\\\b"}\n'],
    ["an overlong slash", "\xc0\xaf" as Bytes, '{"p":"\\\\xc0\\\\xaf","p_b64":"wK8="}\n'],
    ["a surrogate", "\xed\xa0\x80" as Bytes, '{"p":"\\\\xed\\\\xa0\\\\x80","p_b64":"7aCA"}\n'],
  ];
  test.each(written)("%s", (_name, bytes, line) => {
    expect(read(ndjson({ p: bytes }))).toBe(line);
  });

  test("valid UTF-8 is written as it is", () => {
    expect(read(ndjson({ p: fromUtf8("Grüße/日本語/💩") }))).toBe('{"p":"Grüße/日本語/💩"}\n');
  });

  test("all 255 one-byte names are 255 different records", () => {
    const names = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1) as Bytes);
    const records = names.map((path) => JSON.parse(read(ndjson({ path }))));
    expect(new Set(records.map((record) => record.path)).size).toBe(255);
    expect(records.map((record) => bytesOf(record.path, record.path_b64))).toEqual(names);
  });
});

describe("numbers", () => {
  test("integers of any size are written as their digits", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        expect(ndjson({ timestamp_ns: value }) as string).toBe(`{"timestamp_ns":${value}}\n`);
      }),
      RUNS,
    );
  });

  test("nanoseconds beyond 2^53 keep every digit", () => {
    expect(ndjson({ inode: 18446744073709551615n }) as string).toBe('{"inode":18446744073709551615}\n');
  });
});

test("keys keep their order, undefined is left out, null is written", () => {
  const record = { b: 1, a: null, gone: undefined, nested: { y: true, x: ["v" as Bytes] } };
  expect(ndjson(record) as string).toBe('{"b":1,"a":null,"nested":{"y":true,"x":["v"]}}\n');
  expect(ndjson({ none: [], mixed: ["v", 1], two: ["", " "] }) as string).toBe(
    '{"none":[],"mixed":["v",1],"two":[""," "]}\n',
  );
});
