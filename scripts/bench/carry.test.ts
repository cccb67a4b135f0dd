// A row is held to what it promises: numbers of a replay that did less are none.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileTools } from "../live/pair.ts";
import { captureOf, replay } from "./carry.ts";

const folder = mkdtempSync(join(tmpdir(), "warder-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));
const tools = { folder, ...compileTools(folder, ["reader"], import.meta.dir) };

const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: Error) => error.message,
  );

test("a replay that does less than its row says fails, whatever it was less of", async () => {
  const capture = await captureOf(tools, 12_000, 300);
  const written = await replay(tools, capture, 10, { events: true });
  expect(written).toMatchObject({ events: 15_015, alerts: 15, unattributed: 0 });
  const limited = "[performance]\nmax_events_per_second = 10\n";
  expect(await errorOf(replay(tools, capture, 10, { events: true, settings: limited }))).toMatch(
    /^replay: \d+ lines, where 12000 were promised$/,
  );
  expect(await errorOf(replay(tools, { ...capture, events: 20_000 }, 10))).toBe(
    "replay: 15015 received, where 20000 were promised",
  );
  const forgetful = "[performance]\nmax_process_cache_entries = 100\n";
  expect(await errorOf(replay(tools, capture, 10, { settings: forgetful }))).toBe(
    "replay: 100 processes, where 300 were promised",
  );
}, 60_000);
