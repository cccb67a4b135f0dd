// What measurements are made with is right: a stream that is made up is one that a sensor could have sent.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FRAME_HEADER, FrameType, RECORD_HEADER, RecordKind } from "../../bpf/event.gen.ts";
import { FrameReader } from "../../evaluator/input/records.ts";
import { Rounds } from "../../evaluator/input/rounds.ts";
import { RecordView } from "../../evaluator/input/view.ts";
import { compileFilter } from "../../evaluator/rule/filter.ts";
import { collectRules, readDocument } from "../../evaluator/rule/load.ts";
import { actors, numbers, roundOf } from "./round.ts";
import { KINDS_ALONE, makeRules } from "./rules.ts";
import { makeStream } from "./stream.ts";

const EVALUATOR = join(import.meta.dir, "../../evaluator/main.ts");

test.each([true, false])(
  "every record is whole, the ledger balances, and rules match (checksums: %p)",
  (checksums) => {
    const folder = mkdtempSync(join(tmpdir(), "warder-bench-"));
    const [capture, rules] = [join(folder, "capture"), join(folder, "rules.toml")];
    const stream = makeStream({ events: 12_000, processes: 300, acting: 300, pathSize: 45, checksums });
    writeFileSync(capture, Buffer.concat(Array.from(stream, (piece) => Buffer.from(piece))));
    writeFileSync(rules, makeRules(100));
    const args = ["replay", capture, "-o", "json", "--alerts-only", "--strict", "--rules", rules];
    const { exitCode, stdout } = Bun.spawnSync([process.execPath, EVALUATOR, ...args]);
    rmSync(folder, { recursive: true });
    const lines = stdout.toString().trim().split("\n");
    const health = JSON.parse(lines.at(-1) ?? "");
    expect({ exitCode, unattributed: health.unattributed }).toEqual({ exitCode: 0, unattributed: 0 });
    expect(health.ledger).toMatchObject({ malformed: 0, unaccounted: 0, balanced: true });
    expect(health.ledger.decoded).toBeGreaterThan(12_000);
    const alerts = lines.map((line) => JSON.parse(line)).filter((line) => line.event_type === "alert");
    expect(new Set(alerts.map((alert) => alert.rule_id))).toEqual(
      new Set([...["BENCH-3", "BENCH-5", "BENCH-6", "BUILTIN-FILE-SYSTEMD-001", "BUILTIN-NET-OUTBOUND-001"]]),
    );
    expect(Math.round(health.ledger.decoded / alerts.length)).toBe(1001);
    // The same process of another round is another process.
    const starts = Object.values(health.ledger.by_kind.process_start as Record<string, number>)[0] ?? 0;
    expect(health.process_table_size).toBe(1 + 300 + starts);
  },
);

test("comes in rounds, as a sensor's does: put in order, each record is later than the one before, and has the next number of its CPU and ring", () => {
  const [reader, rounds, view] = [new FrameReader(), new Rounds(), new RecordView()];
  const times: number[] = [];
  const next = new Map<string, number>();
  const strays: string[] = [];
  const shape = { events: 20_000, processes: 300, acting: 300, pathSize: 45, checksums: false };
  for (const piece of makeStream(shape))
    for (const frame of reader.push(Buffer.from(piece)))
      for (const portion of rounds.portions(frame)) {
        if (portion.type !== "records") continue;
        view.open(portion.bytes);
        while (view.advance()) {
          times.push(view.u64(RECORD_HEADER.at.time));
          const place = `CPU ${view.u16(RECORD_HEADER.at.cpu)}, ring ${portion.ring}`;
          const number = view.u64(RECORD_HEADER.at.sequence);
          if (number !== (next.get(place) ?? 0)) strays.push(`${place}: ${number}`);
          next.set(place, number + 1);
        }
      }
  expect(times.length).toBe(20_020);
  expect(strays).toEqual([]);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});

test("what many rules have in common, many records have", () => {
  const records = roundOf(numbers(1), actors(300), 45);
  const paths = records.flatMap((record) =>
    "path" in record && "inode" in record ? [record.path.bytes] : [],
  );
  const ports = records.flatMap((record) => (record.kind === RecordKind.connect ? [record.remotePort] : []));
  const names = records.flatMap((record) => (record.kind === RecordKind.fork ? [record.header.comm] : []));
  const isCommon = (some: number, all: number) => some > all / 20;
  const rules = makeRules(15);
  for (const [pattern, word] of [
    [/^\/home\//, "/home/*"],
    [/status$/, "*status"],
    [/\/deeper-still\//, "/deeper-still/*"],
  ] as const) {
    const some = paths.filter((path) => pattern.test(path)).length;
    expect([word, rules.includes(word), isCommon(some, paths.length)]).toEqual([word, true, true]);
  }
  expect(rules).toContain("[443]");
  expect(isCommon(ports.filter((port) => port === 443).length, ports.length)).toBe(true);
  expect(rules).toContain('["bash","python3",');
  expect(isCommon(names.filter((name) => name === "bash").length, names.length)).toBe(true);
});

test("one record in a hundred of files or network is none of a rule's, but only the rules can tell, though none shares its words with another", () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-bench-"));
  const file = join(folder, "rules.toml");
  writeFileSync(file, makeRules(1000, KINDS_ALONE));
  const document = readDocument(file, [], null);
  rmSync(folder, { recursive: true });
  if (document === null) throw new Error("the rules cannot be read");
  const filter = compileFilter(collectRules([document]).rules, []);
  const view = new RecordView();
  const seen = { all: 0, asked: 0 };
  for (const frame of makeStream({
    events: 5000,
    processes: 300,
    acting: 300,
    pathSize: 45,
    checksums: false,
  })) {
    const bytes = Uint8Array.from(frame);
    if (new DataView(bytes.buffer).getUint16(FRAME_HEADER.at.type, true) !== FrameType.records) continue;
    view.open(bytes.subarray(FRAME_HEADER.size));
    while (view.advance()) {
      seen.all += 1;
      const isProcess = view.u16(RECORD_HEADER.at.kind) < RecordKind.fileOpen;
      if (!isProcess && view.isWhole() && filter.couldMatch(view)) seen.asked += 1;
    }
  }
  // Fifty, and five that rules match.
  expect(seen).toEqual({ all: 5005, asked: 55 });
});
