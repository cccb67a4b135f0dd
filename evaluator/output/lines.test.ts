import { expect, test } from "bun:test";
import type { Bytes } from "../event/text.ts";
import { Lines } from "./lines.ts";

test("lines of any size wait for as long as they have to, and leave no more memory than usual behind", () => {
  const lines = new Lines();
  const usual = lines.buffer.bytes.length;
  const long = `${"x".repeat(3_000_000)}\n` as Bytes;
  for (let i = 0; i < 10; i++) lines.add(long, 1);
  lines.add("short\n" as Bytes, 2);
  expect(lines.size).toBe(10 * long.length + 6);
  expect(lines.buffer.bytes.toString("latin1", lines.startOf(10), lines.endOf(10))).toBe("short\n");
  lines.clear();
  expect([lines.count, lines.size]).toEqual([0, 0]);
  expect(lines.buffer.bytes.length).toBe(usual);
  lines.add("again\n" as Bytes, 3);
  expect(lines.buffer.bytes.toString("latin1", lines.startOf(0), lines.endOf(0))).toBe("again\n");
});
