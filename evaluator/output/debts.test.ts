import { expect, test } from "bun:test";
import { RecordKind } from "../../bpf/event.gen.ts";
import { Debts } from "./debts.ts";
import { ALERT, HEALTH, NOTICE } from "./lines.ts";

test("what is lost is owed until a health line that was made after it gets out", () => {
  const debts = new Debts();
  debts.say();
  debts.lost(RecordKind.exec);
  debts.lost(RecordKind.exec | ALERT);
  debts.wrote(HEALTH); // made before
  expect(debts.owed).toEqual({ events: 1, alerts: 1 });
  debts.say();
  debts.lost(HEALTH);
  expect(debts.owed).toEqual({ events: 1, alerts: 1 });
  debts.say();
  debts.lost(RecordKind.fileOpen);
  debts.wrote(HEALTH);
  expect(debts.owed).toEqual({ events: 1, alerts: 0 });
});

test("what another evaluator owed is owed until it is said", () => {
  const debts = new Debts();
  debts.take({ events: 5, alerts: 2 });
  debts.lost(RecordKind.exec);
  expect(debts.owed).toEqual({ events: 6, alerts: 2 });
  debts.say();
  debts.wrote(HEALTH);
  expect(debts.owed).toEqual({ events: 0, alerts: 0 });
});

test("a line about the stream that is lost is made up for by the next health line, which is due once lines get out again", () => {
  const debts = new Debts();
  expect(debts.isDue).toBe(false);
  debts.lost(NOTICE);
  expect([debts.lacksNotice, debts.isDue]).toEqual([true, false]);
  debts.wrote(RecordKind.exec);
  expect([debts.lacksNotice, debts.isDue]).toEqual([true, true]);
  debts.say();
  debts.wrote(HEALTH);
  expect([debts.lacksNotice, debts.isDue]).toEqual([false, false]);
});
