import { expect, test } from "bun:test";
import { type Bytes, fromUtf8, isControl } from "../event/text.ts";
import { type Notice, warnings } from "./notice.ts";

const loss = (comm: Bytes, rule = "R-1", kind: string | null = "file_open"): Notice => ({
  ...{ event_type: "loss", timestamp_ns: 0n, time: "", schema_version: 1, host_id: null, boot_id: "" },
  ...{ stage: "kernel", kind, ring: "activity", cpu: 0, from: "", to: "", from_ns: 0n, to_ns: 0n },
  reason: "ring full",
  count: 3,
  producers: [{ comm, lost: 3 }],
  rules_blind: [fromUtf8(rule)],
});

test("a loss names who lost most and which rules were blind, in characters, and steers no terminal", () => {
  expect(warnings([loss(fromUtf8("caf\u00e9"), "R\u00e8gle-\u65e5")])).toEqual([
    "lost 3 file_open (ring full), most of caf\u00e9; blind meanwhile: R\u00e8gle-\u65e5",
  ]);
  expect(warnings([loss(fromUtf8("sh"), "R-1", null)])[0]).toStartWith(
    "lost 3 records of the activity ring (ring full)",
  );
  // As characters, the second byte of this letter is CSI, which begins a command to a terminal.
  const hostile = ["\xc3\x9b", "\x1b[2J", "\x9b2J", "\xc2\x9b2J", "a\nb", "\xe2\x80\xae"] as Bytes[];
  for (const comm of hostile) {
    const [line = ""] = warnings([loss(comm)]);
    const codes = Array.from(line, (character) => character.codePointAt(0) ?? 0);
    expect(codes.filter(isControl)).toEqual([]);
  }
  expect(warnings([loss("\xc3\x9b" as Bytes)])[0]).toContain("most of \u00db;");
});
