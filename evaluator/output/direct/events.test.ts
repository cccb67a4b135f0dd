import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecordKind } from "../../../bpf/event.gen.ts";
import { anyRecord, viewOf } from "../../../scripts/records.ts";
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

test("a line straight from the record is the line of its event, byte for byte, whatever came before", () => {
  const seen = new Map<number, number>();
  let redeliveries = 0;
  fc.assert(
    fc.property(
      origin,
      fc.array(fc.tuple(anyRecord, fc.boolean(), fc.integer({ min: 1, max: 3 })), {
        minLength: 1,
        maxLength: 30,
      }),
      (from, records) => {
        const lines = new Lines();
        const writer = new EventWriter(lines);
        writer.setOrigin(from);
        const quick = new Processes(from.bootId, LIMITS);
        const plain = new Processes(from.bootId, LIMITS);
        for (const [record, redelivered, times] of records) {
          const view = viewOf(record);
          // Again, so that what is kept of the process is used.
          for (let i = 0; i < times; i++) {
            const process = quick.observe(view);
            const lineage = plain.lineageOf(view, plain.observe(view));
            if (record.kind === RecordKind.snapshot) continue;
            lines.clear();
            writer.add(view, process, quick, redelivered);
            const line = lines.buffer.bytes.toString("latin1", lines.startOf(0), lines.endOf(0));
            expect([lines.count, lines.ownerOf(0)]).toEqual([1, record.kind]);
            expect(line).toBe(ndjson(normalise(record, lineage, from, redelivered)));
            seen.set(record.kind, (seen.get(record.kind) ?? 0) + 1);
            redeliveries += Number(redelivered);
          }
        }
      },
    ),
    { numRuns: 1000 },
  );
  for (const kind of Object.values(RecordKind).filter((one) => one !== RecordKind.snapshot))
    expect(seen.get(kind) ?? 0).toBeGreaterThan(500);
  expect(redeliveries).toBeGreaterThan(1000);
}, 120_000);
