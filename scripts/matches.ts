// Match parts of rules and detections for tests: what they look for is found in the records of records.ts often enough.

import fc from "fast-check";
import type { Detection, FileMatch, NetworkMatch, ProcessMatch, Rule } from "../evaluator/rule/schema.ts";
import { makeRule } from "../evaluator/rule/schema.ts";
import { PATHS } from "./records.ts";

const NAMES = ["sh", "bash", "nginx", "kworker/0:1", "/usr/bin/sh", "/usr/sbin/nginx", "café"];
const words = ["etc", "a", "cron", ".so", ".d", "b", "passwd", "x.service"];
const pattern = fc
  .array(fc.constantFrom("*", "/", ...words), { minLength: 1, maxLength: 5 })
  .map((parts) => parts.join(""));

/** What a rule about files looks for. */
export const fileMatch: fc.Arbitrary<FileMatch> = fc
  .record({
    type: fc.constant("file" as const),
    paths: fc.array(fc.constantFrom(...PATHS.filter((path) => path.startsWith("/")), "/etc/cron.d/"), {
      maxLength: 2,
    }),
    patterns: fc.array(pattern, { maxLength: 2 }),
    operations: fc.subarray<FileMatch["operations"][number]>(
      ["file_open", "file_write", "file_rename", "file_unlink"],
      {
        minLength: 1,
      },
    ),
  })
  .filter(({ paths, patterns }) => paths.length + patterns.length > 0);

/** What a rule about the network looks for. */
export const networkMatch: fc.Arbitrary<NetworkMatch> = fc.record({
  type: fc.constant("network" as const),
  directions: fc.subarray(["inbound" as const, "outbound" as const]),
  ports: fc.array(fc.constantFrom(1, 80, 4444, 65535), { minLength: 1 }),
  processNames: fc.array(fc.constantFrom(...NAMES), { maxLength: 1 }),
});

const processMatch: fc.Arbitrary<ProcessMatch> = fc
  .record({
    type: fc.constant("process" as const),
    processNames: fc.array(fc.constantFrom(...NAMES), { maxLength: 3 }),
    parentNames: fc.array(fc.constantFrom(...NAMES), { maxLength: 3 }),
  })
  .filter(({ processNames, parentNames }) => processNames.length + parentNames.length > 0);

/** A rule of any type; some are switched off. */
export const anyRule: fc.Arbitrary<Rule> = fc
  .tuple(fc.oneof(fileMatch, networkMatch, processMatch), fc.nat(99), fc.nat(4))
  .map(([match, number, off]) => {
    const texts = { name: "é", description: null, references: [], falsePositives: [], tests: [] };
    const head = { id: `R-${number}`, enabled: off > 0, severity: "low", action: "alert" } as const;
    return makeRule({ ...head, ...texts, type: match.type, attack: [], match }, "test");
  });

/** A detection of any type. */
export const anyDetection: fc.Arbitrary<Detection> = fc
  .tuple(fc.oneof(fileMatch, networkMatch), fc.nat(9))
  .map(([match, number]) => ({ name: `d${number}`, match }));
