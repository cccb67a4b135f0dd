import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type FileRecord, type NetworkRecord, RecordKind } from "../../bpf/event.gen.ts";
import { fileMatch, networkMatch } from "../../scripts/matches.ts";
import { activity, viewOf } from "../../scripts/records.ts";
import { normalise } from "../event/normalise.ts";
import { fromUtf8 } from "../event/text.ts";
import { compileMatch, factsOf, plainly } from "./conditions.ts";
import { Filter } from "./filter.ts";
import type { FileMatch, NetworkMatch } from "./schema.ts";

const ORIGIN = { bootId: "b", hostId: null, wallOffset: 0n };
const LINEAGE = {
  ...{ processId: "p", parentProcessId: null, exePath: null, parentComm: null, parentExePath: null },
  ...{ ancestors: [], containerId: undefined },
};
const OPERATIONS = ["file_open", "file_write", "file_rename", "file_unlink"] as const;
const KINDS = [RecordKind.fileOpen, RecordKind.fileWrite, RecordKind.fileRename, RecordKind.fileUnlink];

test("a record that a rule matches is never passed over, and most others are", () => {
  const seen = { matched: 0, passedOver: 0, asked: 0 };
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fileMatch, networkMatch), { maxLength: 5 }),
      fc.array(activity, { minLength: 1, maxLength: 10 }),
      (parts, records) => {
        const matches = parts.map(compileMatch);
        const filter = new Filter(matches);
        for (const record of records) {
          const event = normalise(record, LINEAGE, ORIGIN, false);
          const matched = matches.some((match) => factsOf(plainly(match), event) !== null);
          const could = filter.couldMatch(viewOf(record));
          seen[matched ? "matched" : could ? "asked" : "passedOver"] += 1;
          if (matched) expect({ record, could }).toEqual({ record, could: true });
        }
      },
    ),
    { numRuns: 3000 },
  );
  expect(seen.matched).toBeGreaterThan(500);
  expect(seen.passedOver).toBeGreaterThan(3 * seen.asked);
}, 60_000);

describe("the filter", () => {
  const facts = {
    inode: 1n,
    device: 1n,
    count: 0n,
    mode: 0,
    nlink: 1,
    flags: 0,
    created: 0,
    call: 1,
    error: 0,
  };
  const text = (value: string) => ({ bytes: fromUtf8(value), fullSize: value.length });
  const key = { startTime: 1n, tgid: 2, reserved: 0 };
  const header = (kind: RecordKind) => ({
    ...{ sequence: 0n, time: 1n, kind, cpu: 0, flags: 0, process: key, parent: key, tid: 2, execId: 1 },
    ...{ uid: 0, gid: 0, euid: 0, egid: 0, comm: fromUtf8("x") },
  });
  const file = (kind: FileRecord["kind"], path: string, newPath = "") =>
    viewOf({
      kind,
      header: header(kind),
      ...facts,
      path: text(path),
      newPath: text(newPath),
      filename: text(""),
    });
  const asked = (filter: Filter, paths: string[]) =>
    paths.filter((path) => filter.couldMatch(file(RecordKind.fileOpen, path)));
  const filterOf = (...parts: (FileMatch | NetworkMatch)[]) => new Filter(parts.map(compileMatch));
  const fileRule = (
    paths: string[],
    patterns: string[],
    operations: FileMatch["operations"] = [...OPERATIONS],
  ) => filterOf({ type: "file", paths, patterns, operations });

  test("asks for what is at a path or below it, and nothing beside it", () => {
    const paths = ["/", "/etc", "/etc/", "/etc/x", "/etc/x/y", "/etcetera", "/usr/etc", "/et"];
    expect(asked(fileRule(["/etc"], []), paths)).toEqual(["/etc", "/etc/", "/etc/x", "/etc/x/y"]);
    expect(asked(fileRule(["/etc/x/"], []), paths)).toEqual(["/etc/x", "/etc/x/y"]);
    expect(asked(fileRule(["/"], []), paths)).toEqual(paths);
  });

  test("asks for endings and for parts", () => {
    const paths = ["/a.service", "/a.services", "/service", "/x/cron/y", "/x/cro/n", "/c.so", "/c.s"];
    expect(asked(fileRule([], ["*.service"]), paths)).toEqual(["/a.service"]);
    expect(asked(fileRule([], ["*.so", "*abc.so"]), paths)).toEqual(["/c.so"]);
    expect(asked(fileRule([], ["*/service"]), paths)).toEqual(["/service"]);
    expect(asked(fileRule([], ["*cron*"]), paths)).toEqual(["/x/cron/y"]);
    expect(asked(fileRule([], ["*.so*"]), paths)).toEqual(["/c.so"]);
    expect(asked(fileRule([], ["*/x/cron/*"]), paths)).toEqual(["/x/cron/y"]);
    expect(asked(fileRule([], ["/x/*"]), paths)).toEqual(["/x/cron/y", "/x/cro/n"]);
    expect(asked(fileRule([], ["*"]), paths)).toEqual(paths);
  });

  test("asks only for operations that a rule names", () => {
    for (const [i, operation] of OPERATIONS.entries()) {
      const filter = fileRule(["/etc"], [], [operation]);
      const could = KINDS.map((kind) => filter.couldMatch(file(kind, "/etc/x")));
      expect(could).toEqual(KINDS.map((_, j) => i === j));
    }
  });

  test("asks for either name of a rename", () => {
    const filter = fileRule(["/etc"], []);
    const rename = (from: string, to: string) => filter.couldMatch(file(RecordKind.fileRename, from, to));
    expect([rename("/etc/x", "/y"), rename("/y", "/etc/x"), rename("/y", "/x")]).toEqual([true, true, false]);
  });

  const network = (kind: NetworkRecord["kind"], localPort: number, remotePort: number, comm = "x") =>
    viewOf({
      ...{ kind, header: { ...header(kind), comm: fromUtf8(comm) }, family: 2, type: 1, protocol: 6 },
      ...{
        localPort,
        remotePort,
        reserved: 0,
        localAddr: new Uint8Array(16),
        remoteAddr: new Uint8Array(16),
      },
      ...{ backlog: 0, fd: 3, error: 0, call: 48, requested: 0, path: text("") },
    });

  test("asks for ports of a direction", () => {
    const filter = filterOf({ type: "network", directions: ["outbound"], ports: [4444], processNames: [] });
    expect(filter.couldMatch(network(RecordKind.connect, 1, 4444))).toBe(true);
    expect(filter.couldMatch(network(RecordKind.connect, 4444, 1))).toBe(false);
    expect(filter.couldMatch(network(RecordKind.accept, 4444, 4444))).toBe(false);
  });

  test("asks for ports of processes of a name, or of any where a rule names executables", () => {
    const rule = (...processNames: string[]): NetworkMatch => ({
      ...{ type: "network", directions: ["outbound"], ports: [443], processNames },
    });
    const long = "a-very-long-name";
    const named = filterOf(rule("nc", long));
    const could = (filter: Filter, comm: string, port = 443) =>
      filter.couldMatch(network(RecordKind.connect, 1, port, comm));
    expect(["nc", long.slice(0, 15), "n", "ncat", ""].map((comm) => could(named, comm))).toEqual([
      ...[true, true, false, false, false],
    ]);
    expect(could(named, "nc", 80)).toBe(false);
    const byPath = filterOf(rule("nc", "/usr/bin/ncat"));
    expect(could(byPath, "anything")).toBe(true);
  });
});
