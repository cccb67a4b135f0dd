// What an alert says of the process behind it, and of what it does not know.

import { expect, test } from "bun:test";
import { type DecodedRecord, encodeRecord, RecordFlag, RecordKind, Ring } from "../bpf/event.gen.ts";
import { decoded, firstOf, recordsOf, sampleCapture } from "../scripts/fuzz/stream.ts";
import { framed } from "../scripts/records.ts";
import { Core } from "./core.ts";
import type { Bytes } from "./event/text.ts";
import type { Alert } from "./output/alert.ts";
import { compileDetections } from "./rule/detections.ts";
import { compileRules } from "./rule/engine.ts";
import { compileFilter } from "./rule/filter.ts";
import { makeRule, type Rule } from "./rule/schema.ts";

const RAW = new Uint8Array(0);
const PREAMBLE = {
  ...{ magic: "", abi: "", instance: 1n, attached: 0n, cpus: 4, checksums: 0 },
  ...{ bootId: new Uint8Array(16).fill(1), hostId: new Uint8Array(16) },
};
const TEXTS = { name: "n", description: null, references: [], falsePositives: [], tests: [], attack: [] };
const match: Rule["match"] = {
  type: "file",
  paths: ["/etc"],
  patterns: [],
  operations: ["file_open", "file_rename"],
};
const rule = makeRule(
  { id: "F-1", enabled: true, severity: "low", action: "alert", ...TEXTS, type: "file", match },
  "test",
);

const records = recordsOf(sampleCapture());
const sample = (kind: RecordKind) => decoded(firstOf(records, kind));
const header = {
  ...{ sequence: 1n, time: 10n, cpu: 0, flags: 0, execId: 2, comm: "cat" as Bytes },
  ...{ process: { startTime: 5n, tgid: 100, reserved: 0 }, parent: { startTime: 1n, tgid: 1, reserved: 0 } },
  ...{ tid: 100, uid: 0, gid: 0, euid: 0, egid: 0 },
};
const text = (value: string, fullSize = value.length) => ({ bytes: value as Bytes, fullSize });
const list = (head: string, tail = "", fullSize = head.length + tail.length) => ({
  ...{ head: head as Bytes, tail: tail as Bytes },
  ...{ fullSize, count: 1 },
});
const program = {
  ...sample(RecordKind.exec),
  exePath: text("/bin/cat"),
  cwd: text("/root"),
  args: list("cat\0/x\0"),
};

type Case = {
  /** What differs in the record of the program, and in that of the file; of these, in the header. */
  exec?: object;
  open?: object;
  flags?: number;
  execId?: number;
  isRename?: boolean;
  hasEnded?: boolean;
  hasWaited?: boolean;
  args: string[] | null;
  cwd: string | null;
  truncated?: string[];
};

test.each<[string, Case]>([
  ["nothing is missing", { args: ["cat", "/x"], cwd: "/root" }],
  [
    "the end of the arguments could not be read",
    {
      exec: { args: list("cat\0a\0", "", 9000) },
      flags: RecordFlag.argsUnreadable,
      args: ["cat", "a"],
      cwd: "/root",
      truncated: ["args"],
    },
  ],
  [
    "the same, of a process that has made room for others since",
    {
      ...{ exec: { args: list("cat\0a\0", "", 9000) }, flags: RecordFlag.argsUnreadable, hasWaited: true },
      ...{ args: ["cat", "a"], cwd: "/root", truncated: ["args"] },
    },
  ],
  [
    "the middle of the arguments was left out, between two of them",
    { exec: { args: list("a\0b", "\0c\0", 9000) }, args: ["a", "b", "c"], cwd: "/root", truncated: ["args"] },
  ],
  [
    "no argument could be read",
    { exec: { args: list("", "", 9000) }, flags: RecordFlag.argsUnreadable, args: null, cwd: "/root" },
  ],
  ["arguments are not collected, or there are none", { exec: { args: list("") }, args: [], cwd: "/root" }],
  [
    "the program's path was cut",
    { exec: { exePath: text("cat", 9000) }, args: ["cat", "/x"], cwd: "/root", truncated: ["exe_path"] },
  ],
  [
    "the folder was cut",
    { exec: { cwd: text("root", 9000) }, args: ["cat", "/x"], cwd: "root", truncated: ["cwd"] },
  ],
  [
    "the path was cut",
    { open: { path: text("/etc/x", 9000) }, args: ["cat", "/x"], cwd: "/root", truncated: ["path"] },
  ],
  [
    "the new name was cut, and matched",
    {
      isRename: true,
      open: { path: text("/x"), newPath: text("/etc/x", 9000) },
      ...{ args: ["cat", "/x"], cwd: "/root", truncated: ["path"] },
    },
  ],
  [
    "the old name was cut, and the new one matched",
    {
      isRename: true,
      open: { path: text("/x", 9000), newPath: text("/etc/x") },
      ...{ args: ["cat", "/x"], cwd: "/root" },
    },
  ],
  ["it runs another program by now, of which nothing came", { execId: 3, args: null, cwd: null }],
  ["it has ended", { hasEnded: true, args: null, cwd: null }],
])(
  "%s",
  (_what, {
    exec,
    open,
    flags = 0,
    execId = 2,
    isRename = false,
    hasEnded = false,
    hasWaited = false,
    ...expected
  }) => {
    const alerts: Alert[] = [];
    const core = new Core(
      {
        decision: {
          ...{ engine: compileRules([rule]), detections: compileDetections([]) },
          ...{ filter: compileFilter([rule], []), alertsOnly: true, eventsPerSecond: 0 },
        },
        limits: { entriesMax: 100, ancestorsMax: 3, hotMax: 4 },
        ...{ healthInterval: 10n ** 30n, memory: () => null, shortfalls: () => [], hasNotices: true },
      },
      { direct: null, isFull: false, event() {}, alert: (_kind, alert) => alerts.push(alert) },
    );
    const recordOf = (kind: RecordKind, record: object, more: object) =>
      encodeRecord({ ...record, kind, header: { ...header, ...more, kind } } as DecodedRecord);
    const start = recordOf(RecordKind.exec, { ...program, ...exec }, { flags });
    const others = Array.from({ length: 50 }, (_, i) =>
      recordOf(RecordKind.exec, program, { process: { ...header.process, tgid: 200 + i }, tid: 200 + i }),
    );
    const end = recordOf(RecordKind.exit, sample(RecordKind.exit), {});
    const file = { ...sample(RecordKind.fileOpen), path: text("/etc/x"), newPath: text(""), ...open };
    const act = recordOf(isRename ? RecordKind.fileRename : RecordKind.fileOpen, file, { execId });
    core.handle({ type: "preamble", preamble: PREAMBLE as never, raw: RAW });
    for (const [ring, those] of [
      [Ring.process, [start, ...(hasEnded ? [end] : []), ...(hasWaited ? others : [])]],
      [Ring.activity, [act]],
    ] as const)
      core.handle({ type: "records", ring, position: 0n, more: false, bytes: framed(those), raw: RAW });
    expect(alerts.map(({ args, cwd, truncated }) => ({ args, cwd, truncated }))).toEqual([
      { truncated: undefined, ...expected } as never,
    ]);
  },
);
