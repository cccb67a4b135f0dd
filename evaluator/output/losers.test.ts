import { expect, test } from "bun:test";
import { RecordKind, Ring } from "../../bpf/event.gen.ts";
import { fromUtf8 } from "../event/text.ts";
import type { Loss } from "./checkpoint.ts";
import { Losers } from "./losers.ts";

const loser = (kind: number, comm: string, lost: bigint) => ({
  kind,
  comm: fromUtf8(comm),
  reserved: 0,
  lost,
});
const lossOf = (kind: number): Loss => ({
  ...{ stage: "kernel", kind, ring: Ring.activity, cpu: 0, reason: "ring full", count: 1, from: 0n, to: 1n },
});
const named = (losers: Losers, kind: number) =>
  losers.worst(kind).map(({ comm, lost }) => `${String(comm)} ${lost}`);

test("each loss names whose records of its kind were lost since the last one of that kind", () => {
  const losers = new Losers();
  losers.set([loser(RecordKind.fileOpen, "one", 5n), loser(RecordKind.exit, "two", 1n)]);
  expect(named(losers, RecordKind.exit)).toEqual(["two 1"]);
  // Opens were lost as well, but after the counters were read: nothing is told of them yet.
  losers.told([lossOf(RecordKind.exit)]);
  losers.set([loser(RecordKind.fileOpen, "one", 9n), loser(RecordKind.exit, "two", 1n)]);
  expect(named(losers, RecordKind.exit)).toEqual([]);
  expect(named(losers, RecordKind.fileOpen)).toEqual(["one 9"]);
  losers.told([lossOf(RecordKind.fileOpen)]);
  losers.set([loser(RecordKind.fileOpen, "one", 10n), loser(RecordKind.fileOpen, "three", 7n)]);
  expect(named(losers, RecordKind.fileOpen)).toEqual(["three 7", "one 1"]);
});

test("what another evaluator has told is not named again, and no more than three are", () => {
  const losers = new Losers();
  losers.set([loser(RecordKind.fileOpen, "one", 5n)]);
  losers.inherit();
  losers.set(
    ["one", "two", "three", "four"].map((comm, i) => loser(RecordKind.fileOpen, comm, BigInt(6 + i))),
  );
  expect(named(losers, RecordKind.fileOpen)).toEqual(["four 9", "three 8", "two 7"]);
});
