import { expect, test } from "bun:test";
import fc from "fast-check";
import { fromUtf8 } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { compareAlerts, readExpected, renderDifference } from "./expectation.ts";

const alert = fc.record({
  rule_id: fc.constantFrom("A", "B").map(fromUtf8),
  comm: fc.constantFrom("sh", "nc").map(fromUtf8),
  port: fc.constantFrom(1, 2, null),
}) as unknown as fc.Arbitrary<Alert>;
const facts = fc.record(
  {
    rule_id: fc.constantFrom("A", "B"),
    comm: fc.constantFrom("sh", "nc"),
    port: fc.constantFrom(1, 2, null),
  },
  { requiredKeys: [] },
);

const linesOf = (values: object[]) => values.map((value) => JSON.stringify(value)).join("\n");
const fits = (wanted: object, found: Alert) =>
  Object.entries(wanted).every(([key, value]) => (found as Record<string, unknown>)[key] === value);

/** The most pairs that can be made, by trying all. */
function mostPairs(wanted: object[], alerts: Alert[]): number {
  const [first, ...others] = wanted;
  if (!first) return 0;
  const withFirst = alerts.flatMap((one, i) =>
    fits(first, one) ? [1 + mostPairs(others, alerts.toSpliced(i, 1))] : [],
  );
  return Math.max(mostPairs(others, alerts), ...withFirst);
}

test("as many expected alerts as possible get one that was raised, each its own, and the rest is the difference", () => {
  fc.assert(
    fc.property(fc.array(facts, { maxLength: 5 }), fc.array(alert, { maxLength: 5 }), (wanted, alerts) => {
      const { expected, problems } = readExpected("f", linesOf(wanted));
      expect(problems).toEqual([]);
      const { missing, unexpected } = compareAlerts(expected, alerts);
      const most = mostPairs(wanted, alerts);
      expect(missing.length).toBe(wanted.length - most);
      expect(unexpected.length).toBe(alerts.length - most);
    }),
    { numRuns: 2000 },
  );
});

test("a general expectation before a particular one leaves it its alert", () => {
  const alerts = [
    { rule_id: "A", port: 2 },
    { rule_id: "A", port: 1 },
  ] as unknown as Alert[];
  const { expected } = readExpected("f", linesOf([{ rule_id: "A" }, { rule_id: "A", port: 2 }]));
  expect(compareAlerts(expected, alerts)).toEqual({ missing: [], unexpected: [] });
});

test("thousands of equal alerts are compared, and what is left over is counted", () => {
  const alerts = Array.from({ length: 5000 }, () => ({ rule_id: "A", comm: "sh" }) as unknown as Alert);
  const { expected } = readExpected("f", linesOf(Array.from({ length: 5001 }, () => ({ rule_id: "A" }))));
  const difference = compareAlerts(expected, alerts);
  expect(difference.missing.map(({ line }) => line)).toEqual([5001]);
  expect(difference.unexpected).toEqual([]);
});

test("bytes that are not UTF-8 and numbers beyond 2^53 are compared exactly", () => {
  const alerts = [{ comm: "\xff", timestamp_ns: 9007199254740993n }] as unknown as Alert[];
  const line = (comm: string, time: string) =>
    `{"comm":"\\\\xff","comm_b64":"${comm}","timestamp_ns":${time}}`;
  const left = (text: string) => compareAlerts(readExpected("f", text).expected, alerts).missing.length;
  expect(left(line("/w==", "9007199254740993"))).toBe(0);
  expect(left(line("/w==", "9007199254740992"))).toBe(1);
  expect(left(line("/g==", "9007199254740993"))).toBe(1);
});

test("the difference names the line, what comes closest, and lines that can be taken over; nothing reaches a terminal raw", () => {
  const alerts = [
    {
      rule_id: "A",
      severity: "high",
      source_event_type: "file_open",
      comm: "a\x1b[31m",
      path: "/x",
      port: null,
    },
  ] as unknown as Alert[];
  const { expected } = readExpected("f", `\n{"rule_id":"A","path":"/y"}\n{"rule_id":"B"}\n`);
  expect(renderDifference("f", compareAlerts(expected, alerts))).toBe(
    `- f:2: {"rule_id":"A","path":"/y"}
    nearest: an alert with {"path":"/x"}
- f:3: {"rule_id":"B"}
+ {"rule_id":"A","severity":"high","source_event_type":"file_open","comm":"a\\u001b[31m","path":"/x"}
` as never,
  );
});

test("what is wrong in a file of expected alerts is shown by line and column", () => {
  const text = `{"rule_id":"A","pth":"/x"}\n{"pid":"7"}\n[]\n{"event_type":"health","x":1}\nno\n`;
  const { problems } = readExpected("f", text);
  expect(problems.map(({ line, column, message }) => `${line}:${column}: ${message}`)).toEqual([
    '1:16: pth: unknown key (did you mean "path"?)',
    '2:2: pid: expected a whole number, found the text "7"',
    "3:1: expected an alert as a JSON object, found a list",
    expect.stringMatching(/^5:1: not JSON: /),
  ]);
});
