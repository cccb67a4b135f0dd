import { expect, test } from "bun:test";
import { RecordKind } from "../../bpf/event.gen.ts";
import { Ledger } from "./ledger.ts";
import type { Notice } from "./notice.ts";
import { isWhole, tellsOfMissing } from "./summary.ts";
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

test("all is there when nothing is gone", () => {
  expect(isWhole(whole, [{ path: "a", failed: 0 }], false)).toBe(true);
});

test.each([
  ...(["lost", "discarded", "missed", "abandoned", "malformed"] as const),
  ...(["write_failed", "alert_write_failed"] as const),
])("what is %s is gone", (key) => {
  expect(isWhole({ ...booksWith({ [key]: 1 }), balanced: true }, [], false)).toBe(false);
});

test("so is what an output lacks, what does not balance, and what was said to be missing", () => {
  expect(isWhole(whole, [{ path: "a", failed: 1 }], false)).toBe(false);
  expect(isWhole({ ...whole, balanced: false }, [], false)).toBe(false);
  expect(isWhole(whole, [], true)).toBe(false);
});

test.each([
  ["gap", {}, true],
  ["ledger_mismatch", {}, true],
  ["sensor_silent", { rules_blind: [] }, true],
  ["sensor_silent", { rules_blind: undefined }, false],
  ["coverage", {}, false],
  ["loss", {}, false], // it is in the books
])("%s with %p tells of what the books do not show: %p", (type, facts, tells) => {
  expect(tellsOfMissing({ event_type: type, ...facts } as unknown as Notice)).toBe(tells);
});
