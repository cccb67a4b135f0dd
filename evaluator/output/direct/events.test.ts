import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Bytes,
  type DecodedRecord,
  type ExecRecord,
  type RecordHeader,
  RecordKind,
} from "../../../bpf/event.gen.ts";
import { activity, anyRecord, execRecord, viewOf } from "../../../scripts/records.ts";
import { Processes } from "../../context/processes.ts";
import { normalise, type Origin } from "../../event/normalise.ts";
import { Lines } from "../lines.ts";
import { ndjson } from "../ndjson.ts";
import { EventWriter } from "./events.ts";

const LIMITS = { entriesMax: 6, ancestorsMax: 3 };
const origin: fc.Arbitrary<Origin> = fc.record({
  bootId: fc.constantFrom("0badc0de-0000-1111-2222-333344445555", "12345678-9abc-def0-1234-56789abcdef0"),
  hostId: fc.constantFrom(null, "00112233445566778899aabbccddeeff"),
  wallOffset: fc.oneof(
    fc.constantFrom(0n, 1n, -1n, 1_790_000_000_123_456_789n, -999_999_999n),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ),
});

/** What comes next: any record, or one that is like the last one but for one thing, or that changes what it depends on. */
type Step =
  | { is: "any"; record: DecodedRecord }
  | { is: "same" }
  | { is: "other number"; member: "tid" | "uid" | "gid" | "euid" | "egid" | "execId"; value: number }
  | { is: "other letter"; at: number }
  | { is: "exec"; of: "process" | "parent"; record: DecodedRecord }
  | { is: "rename"; of: "process" | "parent"; comm: string };
const of = fc.constantFrom("process" as const, "parent" as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ is: fc.constant("any" as const), record: anyRecord }) },
  { weight: 2, arbitrary: fc.constant({ is: "same" as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      is: fc.constant("other number" as const),
      member: fc.constantFrom("tid", "uid", "gid", "euid", "egid", "execId"),
      value: fc.nat(3),
    }),
  },
  { weight: 3, arbitrary: fc.record({ is: fc.constant("other letter" as const), at: fc.nat(14) }) },
  { weight: 2, arbitrary: fc.record({ is: fc.constant("exec" as const), of, record: execRecord }) },
  {
    weight: 1,
    arbitrary: fc.record({ is: fc.constant("rename" as const), of, comm: fc.constantFrom("x", "y") }),
  },
);

function next(last: DecodedRecord, change: Step): DecodedRecord {
  const { header } = last;
  const withHeader = (part: Partial<RecordHeader>) => ({ ...last, header: { ...header, ...part } });
  switch (change.is) {
    case "any":
      return change.record;
    case "same":
      return last;
    case "other number":
      return withHeader({ [change.member]: change.value });
    case "other letter": {
      const comm = header.comm.padEnd(15, "-");
      return withHeader({ comm: `${comm.slice(0, change.at)}!${comm.slice(change.at + 1)}` as Bytes });
    }
    case "exec": {
      const key = header[change.of];
      const exec = change.record as ExecRecord;
      return { ...exec, header: { ...exec.header, process: key, tid: key.tgid, execId: header.execId } };
    }
    case "rename": {
      const key = header[change.of];
      return withHeader({ process: key, tid: key.tgid, comm: change.comm as Bytes });
    }
  }
}

test("a line straight from the record is the line of its event, byte for byte, whatever came before", () => {
  const seen = new Map<number, number>();
  let redeliveries = 0;
  fc.assert(
    fc.property(
      origin,
      fc.constantFrom(0, 700, 3000, 100_000),
      anyRecord,
      fc.array(fc.tuple(step, fc.boolean()), { minLength: 1, maxLength: 40 }),
      (from, keptSize, first, steps) => {
        const lines = new Lines(keptSize);
        const writer = new EventWriter(lines);
        writer.setOrigin(from);
        const quick = new Processes(from.bootId, LIMITS);
        const plain = new Processes(from.bootId, LIMITS);
        let record = first;
        let base = first;
        for (const [change, redelivered] of steps) {
          record = next(base, change);
          // What changes a process is not what comes after it: that is the same record as before.
          if (change.is !== "exec" && change.is !== "rename") base = record;
          const view = viewOf(record);
          const process = quick.observe(view);
          const lineage = plain.lineageOf(view, plain.observe(view));
          if (record.kind === RecordKind.snapshot) continue;
          lines.clear();
          writer.add(view, process, quick, redelivered);
          expect([lines.count, lines.ownerOf(0)]).toEqual([1, record.kind]);
          const line = lines.buffer.bytes.toString("latin1", lines.startOf(0), lines.endOf(0));
          expect(line).toBe(ndjson(normalise(record, lineage, from, redelivered)));
          seen.set(record.kind, (seen.get(record.kind) ?? 0) + 1);
          redeliveries += Number(redelivered);
        }
      },
    ),
    { numRuns: 1500 },
  );
  for (const kind of Object.values(RecordKind).filter((one) => one !== RecordKind.snapshot))
    expect(seen.get(kind) ?? 0).toBeGreaterThan(300);
  expect(redeliveries).toBeGreaterThan(1000);
}, 120_000);

test("a line is whole wherever the room for lines ends, also where what is kept of a process is longer than the rest", () => {
  const [exec] = fc.sample(execRecord, { numRuns: 1, seed: 1 }) as [ExecRecord];
  const [open] = fc.sample(activity, { numRuns: 1, seed: 1 }) as [DecodedRecord];
  const exeBytes = (byte: string) => ({ bytes: `/tmp/${byte.repeat(4000)}` as Bytes, fullSize: 4005 });
  for (const byte of ["x", "\xff"]) {
    const lines = new Lines(100_000);
    const writer = new EventWriter(lines);
    const from: Origin = { bootId: "0badc0de-0000-1111-2222-333344445555", hostId: null, wallOffset: 0n };
    writer.setOrigin(from);
    const processes = new Processes(from.bootId, LIMITS);
    const { process: key, execId } = exec.header;
    processes.observe(viewOf({ ...exec, exePath: exeBytes(byte) }));
    const record = { ...open, header: { ...open.header, process: key, tid: key.tgid, parent: key, execId } };
    const view = viewOf(record);
    const lineOf = (i: number) => lines.buffer.bytes.toString("latin1", lines.startOf(i), lines.endOf(i));
    const lineage = processes.lineageOf(view, processes.observe(view));
    const expected = ndjson(normalise(record, lineage, from, false));
    expect(expected.length).toBeGreaterThan(8000);
    // Room is made by doubling.
    while (lines.size < 9_000_000) writer.add(view, processes.observe(view), processes, false);
    for (let i = 0; i < lines.count; i++) expect(lineOf(i) === expected).toBe(true);
  }
});
