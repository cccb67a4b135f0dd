import { expect, test } from "bun:test";
import { RecordKind } from "../../bpf/event.gen.ts";
import { Ledger } from "./ledger.ts";
import { isWhole } from "./summary.ts";
import type { Totals } from "./totals.ts";

/** The books when `change` is added to those of one event. */
function booksWith(change: Partial<Totals>) {
  const ledger = new Ledger();
  const totals = ledger.of(RecordKind.exec);
  Object.assign(totals, { received: 1, decoded: 1, written: 1, lines: 1 });
  for (const [key, count] of Object.entries(change)) totals[key as keyof Totals] += count;
  return ledger.statement();
}

const whole = { ...booksWith({}), balanced: true };

const nothing = new Map();

test("all is there when nothing is gone", () => {
  expect(isWhole(whole, [{ path: "a", failed: 0 }], new Map([["coverage", 1]]))).toBe(true);
});

test.each([
  ...(["lost", "discarded", "missed", "abandoned", "malformed"] as const),
  ...(["write_failed", "alert_write_failed"] as const),
])("what is %s is gone", (key) => {
  expect(isWhole({ ...booksWith({ [key]: 1 }), balanced: true }, [], nothing)).toBe(false);
});

test("so is what an output lacks, what does not balance, what did not add up, and what was in a gap", () => {
  expect(isWhole(whole, [{ path: "a", failed: 1 }], nothing)).toBe(false);
  expect(isWhole({ ...whole, balanced: false }, [], nothing)).toBe(false);
  expect(isWhole(whole, [], new Map([["ledger_mismatch", 1]]))).toBe(false);
  expect(isWhole(whole, [], new Map([["gap", 1]]))).toBe(false);
});
