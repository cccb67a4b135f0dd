import { afterAll, beforeAll, expect, test } from "bun:test";
import { notLive } from "../live/pair.ts";
import { ONLY_PRODUCED } from "./carry.ts";
import { buildTools, LivePair, removeTools, type Tools } from "./live.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: what the bench produces (${reason})`);

let tools: Tools;
beforeAll(() => {
  if (reason === null) tools = buildTools();
});
afterAll(() => {
  if (reason === null) removeTools(tools);
});

test.skipIf(reason !== null)("what is produced goes through the rings of a live pair", async () => {
  const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 10 });
  const execs = await pair.produce("exec", 500);
  const opens = await pair.produce("open", 20_000);
  expect([execs.made, opens.made]).toEqual([500, 20_000]);
  expect([execs.lost, opens.lost]).toEqual([0, 0]);
  await pair.stop();
});
