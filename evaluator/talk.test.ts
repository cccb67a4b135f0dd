// Progress of a long replay, on a real terminal.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

setDefaultTimeout(60_000);

const ROOT = join(import.meta.dir, "..");
const SAMPLE = join(ROOT, "scripts/sample.capture.zst");
/** So many that it takes a while; what is read again says nothing new. */
const MANY = Array.from({ length: 400 }, () => SAMPLE);
const ERASE = "\r\u001b[K";
const replay = (words: readonly string[]) =>
  [process.execPath, join(ROOT, "evaluator/main.ts"), "replay", ...words].join(" ");

const reason = Bun.which("script") ? null : "no script(1)";
if (reason !== null) console.error(`skipped: progress on a terminal (${reason})`);

/** What a terminal shows of a command line of a shell. */
function onTerminal(line: string): string {
  const { exitCode, stdout } = Bun.spawnSync(["script", "-qec", line, "/dev/null"], { stdin: "ignore" });
  expect(exitCode).toBe(0);
  return stdout.toString();
}

test.skipIf(reason !== null)("shows position, rate and time left, and is gone before the next line", () => {
  const text = onTerminal(`${replay(["-o", "json", ...MANY])} > /dev/null`);
  const [before, ...steps] = text.split(ERASE);
  expect(before).toBe("");
  expect(steps.length).toBeGreaterThan(1);
  for (const step of steps.slice(0, -1))
    expect(step).toMatch(/^warder: \d+% of \d+\.\d MiB, [\d,]+ events\/s, [\dms.]+ left$/);
  // Behind the last one comes the summary.
  expect(steps.at(-1)).toMatch(/^warder: \S+Z to \S+Z [^\r]+\r\n/);
  expect(steps.at(-1)).not.toContain("left");
});

test.skipIf(reason !== null)("of standard input shows what was read", () => {
  const text = onTerminal(
    `{ cat ${SAMPLE}; sleep 3; cat ${SAMPLE}; } | ${replay(["-o", "json", "-"])} > /dev/null`,
  );
  const [, first] = text.split(ERASE);
  expect(first).toMatch(/^warder: \d+\.\d MiB read, [\d,]+ events\/s$/);
});

test.skipIf(reason !== null)("is not among the lines of the output, and not in a file", async () => {
  expect(onTerminal(replay(["--color", "never", ...MANY.slice(0, 200)]))).not.toContain(ERASE);
  const program = Bun.spawn(["sh", "-c", replay(["-o", "json", ...MANY])], {
    stdout: "ignore",
    stderr: "pipe",
  });
  expect(await new Response(program.stderr).text()).not.toContain("\r");
});
