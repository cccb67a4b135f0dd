import { expect, test } from "bun:test";
import { join } from "node:path";
import { sampleLines } from "../../../scripts/lines.ts";
import { warder } from "../../../scripts/live/pair.ts";
import { ndjson } from "../ndjson.ts";

const ROOT = join(import.meta.dir, "../../..");
/** Of the stream, a replay writes lines at its own times. */
const isOfStream = (line: string) => /^\{"event_type":"(?:health|coverage)"/.test(line);

test("the sample's events and alerts are written from its records as from objects, byte for byte", async () => {
  const rules = join(ROOT, "rules");
  const capture = join(ROOT, "scripts/sample.capture.zst");
  const { stdout } = await warder(["replay", "--rules", rules, "-o", "json", capture]);
  const direct = stdout.split("\n").filter((line) => line !== "" && !isOfStream(line));
  const lines = (await sampleLines()).map((line) => Buffer.from(ndjson(line), "latin1").toString().trimEnd());
  expect(direct.length).toBeGreaterThan(500);
  expect(direct).toEqual(lines.filter((line) => !isOfStream(line)));
}, 30_000);
