// What the core says when events are missing: which rules could not see them, and which hooks do not report any more.

import { expect, test } from "bun:test";
import { RecordKind } from "../bpf/event.gen.ts";
import { Kernel } from "../scripts/kernel.ts";
import { Core } from "./core.ts";
import type { Counters } from "./input/counters.ts";
import type { Notice } from "./output/notice.ts";
import { compileDetections } from "./rule/detections.ts";
import { compileRules } from "./rule/engine.ts";
import { compileFilter } from "./rule/filter.ts";
import { type Direction, type FileOperation, makeRule, type Rule } from "./rule/schema.ts";

const RAW = new Uint8Array(0);
const PREAMBLE = {
  ...{ magic: "" as never, abi: "" as never, instance: 1n, attached: 0n, cpus: 2, checksums: 0 },
  ...{ bootId: new Uint8Array(16).fill(1), hostId: new Uint8Array(16).fill(2) },
};

function ruleOf(id: string, match: Rule["match"], enabled = true): Rule {
  const texts = { name: id, description: null, references: [], falsePositives: [], tests: [], attack: [] };
  return makeRule({ id, enabled, type: match.type, severity: "low", action: "alert", match, ...texts }, "t");
}

function fileRule(id: string, operations: FileOperation[], enabled = true): Rule {
  return ruleOf(id, { type: "file", paths: ["/etc/"], patterns: [], operations }, enabled);
}

function networkRule(id: string, directions: Direction[]): Rule {
  return ruleOf(id, { type: "network", ports: [80], processNames: [], directions });
}

const PROCESS = { type: "process", processNames: ["sh"], parentNames: [] } satisfies Rule["match"];
const RULES = [
  ruleOf("PROC", PROCESS),
  fileRule("OPEN", ["file_open", "file_write"]),
  fileRule("OFF", ["file_open"], false),
  fileRule("UNLINK", ["file_unlink"]),
  networkRule("OUT", ["outbound"]),
  networkRule("IN", ["inbound"]),
];

/** A kernel side that counts, and a core that is told of it. */
class Pair {
  readonly kernel = new Kernel();
  private readonly core: Core;

  constructor(rules: readonly Rule[] = RULES) {
    const engine = compileRules(rules);
    const decision = { alertsOnly: false, eventsPerSecond: 0, engine };
    this.core = new Core(
      {
        decision: { ...decision, detections: compileDetections([]), filter: compileFilter(rules, []) },
        limits: { entriesMax: 8, ancestorsMax: 3 },
        ...{ healthInterval: 10n ** 30n, memory: () => null, shortfalls: () => [], hasNotices: true },
      },
      { direct: null, isFull: false, event() {}, alert() {} },
    );
    this.begin(1n);
  }

  /** A stream of these programs begins. Returns what is said of those before. */
  begin(instance: bigint): Notice[] {
    return this.core.handle({ type: "preamble", preamble: { ...PREAMBLE, instance }, raw: RAW });
  }

  /** Hands over what is counted now. Returns what is said of it. */
  count(change: Partial<Counters> = {}): Notice[] {
    const counters = { ...this.kernel.counters(), ...change };
    return this.core.handle({ type: "counters", counters, raw: RAW });
  }
}

test.each([
  ["process_start", RecordKind.exec, ["PROC"]],
  ["file_open", RecordKind.fileOpen, ["OPEN"]],
  ["network_connect", RecordKind.connect, ["OUT"]],
] as const)("a loss of %s names the rules that watch it, and no other", (type, kind, ids) => {
  for (const outcome of ["lost", "discarded"] as const) {
    const pair = new Pair();
    pair.count();
    for (let cpu = 0; cpu < 2; cpu++) pair.kernel.hook(cpu, kind, outcome);
    const facts = { event_type: "loss", kind: type, count: 1, rules_blind: [...ids] };
    expect(pair.count()).toMatchObject([facts, facts]);
  }
});

test("a loss names a hundred rules, and how many more there are", () => {
  const pair = new Pair(Array.from({ length: 103 }, (_, i) => ruleOf(`R-${i}`, PROCESS)));
  pair.count();
  pair.kernel.hook(0, RecordKind.exec, "lost");
  const named = Array.from({ length: 100 }, (_, i) => `R-${i}`);
  expect(pair.count()).toMatchObject([{ rules_blind: [...named, "and 3 more"] }]);
});

test("of what waited in a ring that is gone, nobody knows the type: all rules are named that watch one of them", () => {
  const pair = new Pair();
  pair.kernel.hook(0, RecordKind.fileOpen, "submitted");
  pair.count();
  expect(pair.begin(2n)).toMatchObject([
    { event_type: "loss", kind: null, ring: "activity", rules_blind: ["OPEN", "UNLINK", "OUT", "IN"] },
  ]);
});

test("a hook that is not attached any more is said by its type, with the rules that are blind, and once", () => {
  const pair = new Pair();
  const detached = [1 << RecordKind.exec, 1 << (RecordKind.fileOpen & 31), 0, 0];
  for (const change of [{}, { detached }]) expect(pair.count(change)).toEqual([]);
  // What belongs to the counters has come when the next ones do.
  expect(pair.count({ detached })).toMatchObject([
    {
      event_type: "sensor_silent",
      types: ["process_start", "file_open"],
      reason: "its hook is not attached any more",
      rules_blind: ["PROC", "OPEN"],
    },
  ]);
  for (let i = 0; i < 3; i++) expect(pair.count({ detached })).toEqual([]);
});
