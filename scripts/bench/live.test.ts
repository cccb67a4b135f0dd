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
  await pair.stop("test", { received: 20_500, opens: 20_000, starts: 500 });
});

test.skipIf(reason !== null)("a pair that did less than its row says ends with an error", async () => {
  const pair = await LivePair.start(tools, { settings: ONLY_PRODUCED, rules: 10 });
  await pair.produce("exec", 500);
  await pair.produce("open", 1000);
  const stopped = pair.stop("test", { opens: 1000, starts: 500, lines: 1000 });
  const error = await stopped.then(
    () => null,
    ({ message }: Error) => message,
  );
  expect(error).toBe("test: 0 lines, where 1000 were promised");
});
