// What measurements are made with is right: a stream that is made up is one that a sensor could have sent.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeRules } from "./rules.ts";
import { makeStream } from "./stream.ts";

const EVALUATOR = join(import.meta.dir, "../../evaluator/main.ts");

test.each([true, false])(
  "every record is whole, the ledger balances, and rules match (checksums: %p)",
  (checksums) => {
    const folder = mkdtempSync(join(tmpdir(), "warder-bench-"));
    const [capture, rules] = [join(folder, "capture"), join(folder, "rules.toml")];
    const stream = makeStream({ events: 12_000, processes: 300, pathSize: 45, checksums });
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
      new Set(["BUILTIN-FILE-SYSTEMD-001", "BUILTIN-NET-OUTBOUND-001"]),
    );
    // The same process of another round is another process.
    const starts = Object.values(health.ledger.by_kind.process_start as Record<string, number>)[0] ?? 0;
    expect(health.process_table_size).toBe(1 + 300 + starts);
  },
);
