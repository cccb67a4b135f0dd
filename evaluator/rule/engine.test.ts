import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ALL_EVENT_KINDS, type EventType } from "../../bpf/kinds.ts";
import type { Event, FileEvent, NetworkEvent, ProcessEvent } from "../event/event.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import { ndjson } from "../output/ndjson.ts";
import { compileMatch, factsOf, pathFits, patternFits, plainly } from "./conditions.ts";
import { annotate, compileDetections } from "./detections.ts";
import { compileRules } from "./engine.ts";
import { explain } from "./explain.ts";
import { parseJson, readEvent } from "./given.ts";
import { type Direction, type FileOperation, makeRule, type Rule } from "./schema.ts";

const COMMON = {
  timestamp_ns: 1n,
  time: "2026-01-01T00:00:00.000000001Z",
  schema_version: 1 as const,
  host_id: null,
  boot_id: "b",
  event_id: "e",
  pid: 2,
  tid: 2,
  ppid: 1,
  uid: 0,
  gid: 0,
  euid: 0,
  egid: 0,
  process_id: "p",
  parent_process_id: null,
  ancestors: [],
  container_id: undefined,
  truncated: undefined,
  redelivered: undefined,
};
const FILE_FACTS = {
  inode: 1n,
  device: 1n,
  nlink: 1,
  mode: 0,
  syscall: "s",
  alert: false,
  detection_type: null,
  detections: undefined,
};

const NAMES = ["sh", "bash", "nginx", "php-fpm", "a-very-long-nam", "a-very-long-name-indeed", "é\\\u001b"];
const EXES = ["/usr/bin/sh", "/usr/sbin/nginx", "/bin/bash"];
const PATHS = [
  "/etc/passwd",
  "/etc/cron.d/x",
  "/etc",
  "/etc/",
  "/etcetera",
  "/",
  "/a/b.service",
  "/etc/systemd/system/x.service",
  "/x/y/z",
];
/** Paths and patterns are made of these, too. */
const WORDS = ["/", "etc", "cron.d", "system", "x.service", "a", "b"];
const ENTRIES = ["/etc", "/etc/", "/", "/etc/passwd", "/a", "/x/y/", "/a/b.service"];
const PATTERNS = [
  ...["*.service", "*", "/etc/*", "/a/b.service", "*cron*", "/etc/*.service", "*a*b*"],
  ...["/e*", "*.d*", "*/cr*/*", "/etc/cron.d/*x*"],
];
const PORTS = [1, 80, 4444, 65535];

const bytes = (words: string[]) =>
  fc.constantFrom(...words).map((word) => fromUtf8(word).slice(0, 4096) as Bytes);
/** Not UTF-8, or not what a line may hold as it is. */
const odd = fc.constantFrom("\xff\xfe", "\xe9", "a\nb", "\\xe9").map((name) => name as Bytes);
const comm = fc.oneof({ arbitrary: bytes(NAMES), weight: 4 }, odd).map((name) => name.slice(0, 15) as Bytes);
const exe = fc.option(bytes(EXES));
const who = fc.record({ comm, exe_path: exe, parent_comm: fc.option(comm), parent_exe_path: exe });

const joined = (...words: string[]) =>
  fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
const anyPath = fc.oneof(bytes(PATHS), joined(...WORDS) as fc.Arbitrary<Bytes>);

const processEvent = fc
  .tuple(who, fc.constantFrom("process_start", "process_relationship", "process_exit"))
  .map(([facts, event_type]) => ({ event_type, ...COMMON, ...facts }) as unknown as ProcessEvent);
const fileEvent = fc
  .tuple(who, fc.constantFrom("file_open", "file_write", "file_rename", "file_unlink"), anyPath, anyPath)
  .map(([facts, event_type, one, other]) => {
    const names = event_type === "file_rename" ? { old_filename: one, new_filename: other } : { path: one };
    return { event_type, ...COMMON, ...facts, ...names, ...FILE_FACTS } as unknown as FileEvent;
  });
const networkEvent = fc
  .tuple(
    who,
    fc.constantFrom("network_connect", "network_bind", "network_listen", "network_accept"),
    fc.option(fc.constantFrom(...PORTS)),
    fc.option(fc.constantFrom(...PORTS)),
  )
  .map(([facts, event_type, local_port, remote_port]) => {
    const ends = {
      family: "ipv4",
      local_addr: "127.0.0.1",
      remote_addr: "192.0.2.1",
      local_port,
      remote_port,
    };
    return {
      event_type,
      ...COMMON,
      ...facts,
      ...ends,
      alert: false,
      detection_type: null,
    } as unknown as NetworkEvent;
  });
const event: fc.Arbitrary<Event> = fc.oneof(processEvent, fileEvent, networkEvent);

const some = (words: string[]) => fc.uniqueArray(fc.constantFrom(...words), { maxLength: 4 });
const anyPattern = fc.oneof(fc.constantFrom(...PATTERNS), joined("*", ...WORDS));
const match: fc.Arbitrary<Rule["match"]> = fc.oneof(
  fc
    .record({
      type: fc.constant("process" as const),
      processNames: some([...NAMES, ...EXES]),
      parentNames: some([...NAMES, ...EXES]),
    })
    .filter(({ processNames, parentNames }) => processNames.length + parentNames.length > 0),
  fc
    .record({
      type: fc.constant("file" as const),
      paths: some(ENTRIES),
      patterns: fc.uniqueArray(anyPattern, { maxLength: 4 }),
      operations: fc.uniqueArray(
        fc.constantFrom(
          "file_open" as const,
          "file_write" as const,
          "file_rename" as const,
          "file_unlink" as const,
        ),
        { minLength: 1 },
      ),
    })
    .filter(({ paths, patterns }) => paths.length + patterns.length > 0),
  fc.record({
    type: fc.constant("network" as const),
    directions: fc.subarray(["inbound" as const, "outbound" as const]),
    ports: fc.uniqueArray(fc.constantFrom(...PORTS), { minLength: 1 }),
    processNames: some([...NAMES, ...EXES]),
  }),
);

function ruleOf(part: Rule["match"], id: string, enabled = true): Rule {
  const texts = { name: id, description: null, references: [], falsePositives: [], tests: [], attack: [] };
  return makeRule(
    { id, enabled, type: part.type, severity: "low", action: "alert", match: part, ...texts },
    "test",
  );
}

/** The event as someone has it who reads the output. */
function asRead(one: Event): Event {
  const read = readEvent(
    parseJson(Buffer.from(ndjson(one), "latin1").toString()) as Record<string, unknown>,
    (_key, message) => {
      throw new Error(message);
    },
  );
  if (!read) throw new Error("not an event");
  return read;
}

test("the indexed engine, a loop over all rules, and the explainer, also of the event as written, agree on every rule and event", () => {
  let matched = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(match, fc.boolean()), { maxLength: 12 }),
      fc.array(event, { maxLength: 8 }),
      (parts, events) => {
        const rules = parts.map(([part, enabled], i) => ruleOf(part, `R-${i}`, enabled));
        const engine = compileRules(rules);
        for (const one of events) {
          const looped = rules.filter(
            (rule) => rule.enabled && factsOf(plainly(compileMatch(rule.match)), one),
          );
          const explained = rules.filter((rule) => explain(rule, one).every(({ holds }) => holds));
          const found = engine.evaluate(one).map(({ rule }) => rule.id);
          matched += found.length;
          expect(found).toEqual(looped.map(({ id }) => id));
          // Whatever can match an event is blind when it is lost.
          expect(engine.watching(one.event_type)).toEqual(expect.arrayContaining(found));
          expect(found).toEqual(explained.map(({ id }) => id));
          const read = asRead(one);
          const again = rules.filter((rule) => explain(rule, read).every(({ holds }) => holds));
          expect(found).toEqual(again.map(({ id }) => id));
        }
      },
    ),
    { numRuns: 2000 },
  );
  expect(matched).toBeGreaterThan(1000);
});

test("a rule watches the types of events that it can match, and none when it is switched off", () => {
  const file = (...operations: FileOperation[]): Rule["match"] => ({
    ...{ type: "file", paths: ["/etc/"], patterns: [] },
    operations,
  });
  const network = (...directions: Direction[]): Rule["match"] => ({
    ...{ type: "network", ports: [80], processNames: [] },
    directions,
  });
  const processes: Rule["match"] = { type: "process", processNames: ["sh"], parentNames: [] };
  const cases: [Rule["match"], EventType[]][] = [
    [processes, ["process_start", "process_relationship"]],
    [file("file_open"), ["file_open"]],
    [file("file_unlink", "file_write"), ["file_write", "file_unlink"]],
    [file("file_rename"), ["file_rename"]],
    [network(), ["network_connect", "network_bind", "network_listen", "network_accept"]],
    [network("outbound"), ["network_connect"]],
    [network("inbound"), ["network_bind", "network_listen", "network_accept"]],
    [network("inbound", "outbound"), ["network_connect", "network_bind", "network_listen", "network_accept"]],
  ];
  const watchedBy = (enabled: boolean, part: Rule["match"]) => {
    const engine = compileRules([ruleOf(part, "R-1", enabled)]);
    return ALL_EVENT_KINDS.map(({ type }) => type).filter((type) => engine.watching(type).includes("R-1"));
  };
  for (const [part, types] of cases) {
    expect(watchedBy(true, part)).toEqual(types);
    expect(watchedBy(false, part)).toEqual([]);
  }
});

describe("a process rule", () => {
  const rule = ruleOf({ type: "process", processNames: ["sh", "bash"], parentNames: ["nginx"] }, "PROC-001");
  const engine = compileRules([rule]);
  const start = (name: string, parent: string, type = "process_start") =>
    ({
      event_type: type,
      ...COMMON,
      comm: name,
      parent_comm: parent,
      exe_path: `/bin/${name}`,
      parent_exe_path: "/p",
    }) as unknown as Event;

  test("matches the program that is executed under the parent of that name, once", () => {
    expect(engine.evaluate(start("sh", "nginx"))).toMatchObject([{ processName: "sh", parentName: "nginx" }]);
    expect(engine.evaluate(start("sh", "cron"))).toEqual([]);
    expect(engine.evaluate(start("nginx", "nginx", "process_relationship"))).toEqual([]);
    expect(engine.evaluate(start("sh", "nginx", "process_exit"))).toEqual([]);
  });

  test("compares a name with a slash with the executable", () => {
    const byPath = compileRules([
      ruleOf({ type: "process", processNames: ["/bin/sh"], parentNames: [] }, "P"),
    ]);
    expect(byPath.evaluate(start("sh", "x"))).toHaveLength(1);
    expect(byPath.evaluate({ ...start("sh", "x"), exe_path: "/tmp/sh" } as Event)).toEqual([]);
  });
});

describe("paths and patterns", () => {
  const b = fromUtf8;
  test("a path means itself and what is below it, with a slash at its end only what is below it", () => {
    expect(["/etc", "/etc/x", "/etcetera"].map((path) => pathFits(b("/etc"), b(path)))).toEqual([
      true,
      true,
      false,
    ]);
    expect(["/etc", "/etc/", "/etc/x"].map((path) => pathFits(b("/etc/"), b(path)))).toEqual([
      false,
      false,
      true,
    ]);
  });

  test("a star crosses slashes, and everything else is literal", () => {
    const fits = (pattern: string, path: string) => patternFits(b(pattern), b(path));
    expect(fits("*.service", "/etc/systemd/system/x.service")).toBe(true);
    expect(fits("/etc/*/x", "/etc/a/b/x")).toBe(true);
    expect(fits("/etc/x", "/etc/x/y")).toBe(false);
    expect(fits("a*a", "a")).toBe(false);
    expect(fits("*a*b*", "/b/a")).toBe(false);
    expect(fits("/x.y", "/xzy")).toBe(false);
  });

  test("a pattern of many stars costs what its path is long", () => {
    const path = b(`/${"a".repeat(4000)}`);
    expect(patternFits(b("*a*a*a*a*a*a*b"), path)).toBe(false);
    expect(patternFits(b(`${"*a".repeat(500)}*`), path)).toBe(true);
  });

  const searching = compileRules([
    ruleOf(
      {
        type: "file",
        paths: ["/etc", "/tmp/a/b"],
        patterns: ["*a*a*a*a*a*a*b", "*.so"],
        operations: ["file_open"],
      },
      "P",
    ),
  ]);
  const opened = (path: string) =>
    ({
      event_type: "file_open",
      ...COMMON,
      comm: "x",
      parent_comm: "y",
      path,
      ...FILE_FACTS,
    }) as unknown as Event;
  /** Were the cost to grow with the square of this, or faster, none of these would ever end. */
  const MANY = 2 ** 20;

  test.each([
    ["a path that nearly fits", "*a*a*a*a*a*a*c*b", `/${"a".repeat(MANY)}b`, false],
    ["as many stars as the path has letters", "*a".repeat(MANY), "a".repeat(MANY), true],
    ["one star more than that", "*a".repeat(MANY + 1), "a".repeat(MANY), false],
    ["nothing but stars", "*".repeat(MANY), "a".repeat(MANY), true],
    ["parts that begin alike everywhere", `*${"ab".repeat(20)}c*b`, "ab".repeat(MANY), false],
  ])("E70: %s is decided", (_name, pattern, path, fits) => {
    expect(patternFits(b(pattern), b(path))).toBe(fits);
  });

  test("a part is found at either end of a path, and beside another one that ends alike", () => {
    const patterns = ["*/et*", "*d/x*", "*cron.d/x*"];
    const rules = patterns.map((pattern) =>
      ruleOf({ type: "file", paths: [], patterns: [pattern], operations: ["file_open"] }, pattern),
    );
    const found = (path: string) =>
      compileRules(rules)
        .evaluate(opened(path))
        .map(({ rule }) => rule.id);
    expect(found("/etc/cron.d/x")).toEqual(patterns);
    expect(found("/et")).toEqual(["*/et*"]);
    expect(found("d/x")).toEqual(["*d/x*"]);
    expect(found("/e")).toEqual([]);
  });

  test("E70: a path of very many folders is decided", () => {
    expect(searching.evaluate(opened("/a".repeat(MANY))).length).toBe(0);
    expect(searching.evaluate(opened(`${"/a".repeat(MANY)}/b.so`)).length).toBe(0);
    expect(searching.evaluate(opened(`/etc${"/a".repeat(MANY)}.so`)).length).toBe(1);
  });

  test("a rename matches by either name, and both lists must match the same one", () => {
    const rename = (from: string, to: string) =>
      ({
        event_type: "file_rename",
        ...COMMON,
        comm: "mv",
        parent_comm: "sh",
        old_filename: from,
        new_filename: to,
        ...FILE_FACTS,
      }) as unknown as Event;
    const engine = compileRules([
      ruleOf({ type: "file", paths: ["/etc/"], patterns: ["*.service"], operations: ["file_rename"] }, "F"),
    ]);
    expect(engine.evaluate(rename("/tmp/x", "/etc/x.service"))).toMatchObject([
      { path: "/etc/x.service", operation: "file_rename" },
    ]);
    expect(engine.evaluate(rename("/etc/x.service", "/tmp/x"))).toMatchObject([{ path: "/etc/x.service" }]);
    expect(engine.evaluate(rename("/tmp/x.service", "/etc/x"))).toEqual([]);
  });
});

test("the first detection that matches names the type, all that match are listed, and others leave no mark", () => {
  const detections = compileDetections([
    { name: "none", match: { type: "file", paths: ["/nowhere"], patterns: [], operations: ["file_open"] } },
    { name: "first", match: { type: "file", paths: ["/etc/"], patterns: [], operations: ["file_open"] } },
    { name: "second", match: { type: "file", paths: [], patterns: ["*.conf"], operations: ["file_open"] } },
  ]);
  const open = (path: string) =>
    ({
      event_type: "file_open",
      ...COMMON,
      comm: "x",
      parent_comm: "y",
      path,
      filename: path,
      ...FILE_FACTS,
    }) as unknown as FileEvent;
  const seen = open("/etc/x.conf");
  annotate(seen, detections.namesFor(seen));
  expect(seen).toMatchObject({ alert: true, detection_type: "first", detections: ["first", "second"] });
  const other = open("/x");
  annotate(other, detections.namesFor(other));
  expect(other).toMatchObject({ alert: false, detection_type: null, detections: undefined });
});
