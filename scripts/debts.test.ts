import { expect, test } from "bun:test";
import { KINDS_MAX, RecordKind, Ring } from "../bpf/event.gen.ts";
import { missedByRing } from "../sensor/debts.ts";

test("hooks that did not run count where their records would have been, those that serve several kinds in the second ring", () => {
  const missed = Array.from({ length: KINDS_MAX }, () => 0n);
  missed[0] = 1n;
  missed[RecordKind.exec] = 2n;
  missed[RecordKind.exit] = 4n;
  missed[RecordKind.fileOpen] = 8n;
  missed[RecordKind.connect] = 16n;
  const byRing = missedByRing(missed);
  expect([byRing[Ring.process], byRing[Ring.activity]]).toEqual([6n, 25n]);
});
