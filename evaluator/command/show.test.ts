import { expect, test } from "bun:test";
import { join } from "node:path";
import { warder } from "../../scripts/live/pair.ts";

const ROOT = join(import.meta.dir, "../..");
const SAMPLE = join(ROOT, "scripts/sample.capture.zst");

test("lines of an earlier run look as they would have on a terminal, whatever bytes they hold", async () => {
  const replay = (format: string) => warder(["replay", "--rules", join(ROOT, "rules"), "-o", format, SAMPLE]);
  const json = await replay("json");
  for (const color of ["never", "always"]) {
    const compact = await warder([
      "replay",
      "--rules",
      join(ROOT, "rules"),
      "-o",
      "compact",
      "--color",
      color,
      SAMPLE,
    ]);
    const shown = await warder(["show", "--color", color], json.stdout);
    expect(shown.code).toBe(0);
    expect(shown.stdout).toBe(compact.stdout);
    expect(shown.stdout.includes("\u001b[31m")).toBe(color === "always");
  }
});

test("an alert shows what was done to which file or port, and a Unix socket its name", async () => {
  const common = { time: "2026-01-02T03:04:05.678Z", pid: 7, comm: "sh" };
  const alert = { ...common, event_type: "alert", severity: "high", rule_id: "R-1", rule_name: "a rule" };
  const unix = { ...common, event_type: "network_bind", family: "unix", protocol: "stream" };
  const lines: [line: object, subject: string][] = [
    [{ ...alert, source_event_type: "file_write", path: "/a b", args: ["sh"] }, "write '/a b'"],
    [
      { ...alert, source_event_type: "network_connect", addr: "192.0.2.1", port: 4444, args: ["sh"] },
      "connect 192.0.2.1:4444",
    ],
    [{ ...alert, source_event_type: "process_start", args: ["sh", "-c", "id; ls"] }, "sh -c 'id; ls'"],
    [{ ...alert, source_event_type: "process_start", exe_path: "/usr/bin/dash" }, "/usr/bin/dash"],
    [{ ...alert, path: "/a" }, "? /a"],
    [{ ...unix, path: "/run/a.sock" }, "stream /run/a.sock"],
    [{ ...unix, path: "\0name" }, "stream @name"],
    [{ ...unix, path: "" }, "stream (unnamed)"],
  ];
  for (const [line, subject] of lines) {
    const { code, stdout } = await warder(["show"], `${JSON.stringify(line)}\n`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^03:04:05\.678 /) });
    expect(stdout).toEndWith(` ${subject}\n`);
  }
});

test("what is no output is an error with its line, and what came before is shown", async () => {
  const line =
    '{"event_type":"process_exit","time":"2026-01-02T03:04:05.678Z","pid":7,"comm":"sh","exit_code":3}';
  for (const [text, message] of [
    [`${line}\nnonsense\n`, "standard input:2: not a JSON object"],
    [`${line}\n\n[]\n`, "standard input:3: not a JSON object"],
    [`${line}\n{"event_type":"constructor"}\n`, 'standard input:2: event_type: "constructor" is not known'],
    [`${line}\n{"event_type":"nonsense"}\n`, 'standard input:2: event_type: "nonsense" is not known'],
    [`${line}\n{}\n`, "standard input:2: event_type: missing"],
  ] as const) {
    const { code, stdout, stderr } = await warder(["show"], text);
    expect(stderr).toStartWith(`warder: ${message}`);
    expect(code).toBe(3);
    expect(stdout).toBe("03:04:05.678 exit     sh(7)                    code 3\n");
  }
  expect(await warder(["show", "/nonexistent.ndjson"])).toMatchObject({
    code: 3,
    stderr: "warder: /nonexistent.ndjson: no such file\n",
  });
});

test("a notice is shown in the words that a person at the terminal gets", async () => {
  const loss = {
    event_type: "loss",
    time: "2026-01-02T03:04:05.678Z",
    kind: "file_open",
    reason: "ring full",
    count: 1234,
  };
  const { stdout } = await warder(["show"], `${JSON.stringify(loss)}\n{"event_type":"health"}\n`);
  expect(stdout).toBe("03:04:05.678 -- lost 1,234 file_open (ring full)\n");
});

test("what the stream says about itself is shown in words, even where keys are missing or unknown", async () => {
  const lines: Record<string, unknown>[] = [
    {
      event_type: "loss",
      kind: "file_open",
      reason: "ring full",
      count: 3,
      producers: [{ comm: "größe", lost: 2 }],
    },
    { event_type: "sensor_gone", constructor: 1, constructor_b64: 2 },
    { event_type: "tampered", what: "pins were removed" },
    { event_type: "health" },
  ];
  const text = lines
    .map((line) => `${JSON.stringify({ ...line, time: "2026-01-02T03:04:05.678Z" })}\n`)
    .join("");
  const { stdout } = await warder(["show"], text);
  expect(stdout.split("\n")).toEqual([
    "03:04:05.678 -- lost 3 file_open (ring full), most of größe",
    "03:04:05.678 -- the sensor is gone",
    "03:04:05.678 -- tampered: pins were removed",
    "",
  ]);
});
