// What happens to outputs while a real sensor goes on: nothing is lost that is not counted.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { Bench, type Line, notLive, parseLines, until, warder } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: outputs beside a live sensor (${reason})`);

const NOBODY = 65534;
const TAKEN = 300;

type Health = { ledger: Record<string, number | boolean>; outputs: { path: string; failed: number }[] };

function lastHealth(lines: Line[]): Health {
  return lines.findLast((line) => line.event_type === "health") as unknown as Health;
}

/** Executes programs whose first arguments are told apart. */
async function burst(name: string, runs: number): Promise<void> {
  await Bun.spawn(["bash", "-c", `for i in $(seq ${runs}); do /bin/true ${name}-$i; done`]).exited;
}

/** What `burst` did, as far as it is in these lines. */
function startsOf(lines: Line[], name: string): Set<string> {
  const first = (line: Line) => String((line["args"] as string[])[1]);
  return new Set(
    lines
      .filter((line) => line.event_type === "process_start" && first(line).startsWith(`${name}-`))
      .map(first),
  );
}

describe.skipIf(reason !== null)("beside a live sensor", () => {
  let bench: Bench;
  let reader: Bun.Subprocess | null;
  beforeEach(() => {
    bench = new Bench();
    reader = null;
  });
  afterEach(async () => {
    reader?.kill();
    await bench.close();
  });

  test("a reader that never reads does not hold up the end, and the next evaluator gets what it did not take", async () => {
    await bench.sensor();
    const fifo = bench.path("fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    reader = Bun.spawn(["sh", "-c", `exec sleep 60 < ${fifo}`]);
    const stdout = openSync(fifo, "w");
    const first = await bench.evaluatorTo(stdout);
    closeSync(stdout);
    await burst("unread", 500);
    await Bun.sleep(500);
    const code = await Promise.race([first.end("SIGTERM"), Bun.sleep(5000).then(() => "still there")]);
    expect(code).toBe(3);
    expect(first.stderr).toContain("an output takes no more lines");
    const second = await bench.evaluator();
    await until("the end of the burst", () => second.stdout.includes("unread-500"));
    await second.end("SIGTERM");
    // The first of them may lie in the pipe that nobody read.
    const starts = startsOf(second.lines(), "unread");
    expect(starts.size).toBeGreaterThan(400);
    for (let run = 501 - starts.size; run <= 500; run++) expect(starts.has(`unread-${run}`)).toBe(true);
  }, 60_000);

  test("a full disk costs lines that are counted, one by one; there is room again, and none is torn", async () => {
    const disk = bench.path("disk");
    mkdirSync(disk);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk]).exitCode).toBe(0);
    try {
      chownSync(disk, NOBODY, NOBODY);
      const [path, config, capture] = [
        `${disk}/events.ndjson`,
        bench.path("config.toml"),
        bench.path("all.capture"),
      ];
      const health =
        '[health]\ninterval_s = 1\n[process]\nhooks = ["execve"]\n[events]\nfile = false\nnetwork = false\n';
      const rule =
        '[[rules]]\nid = "P-1"\nname = "true"\nenabled = true\ntype = "process"\nseverity = "low"\naction = "alert"\nprocess_names = ["true"]\n';
      writeFileSync(config, `${health}${rule}[output]\ntype = "file"\npath = "${path}"\n`);
      writeFileSync(`${disk}/ballast`, Buffer.alloc(1_500_000));
      const sensor = await bench.sensor("--no-pin", "--config", config);
      const evaluator = await bench.evaluatorTo(null, "--once", "--config", config, "--record", capture);
      await burst("filling", 600);
      await until("the full disk", () => evaluator.stderr.includes(`${path}: output fails (ENOSPC`));
      await Bun.sleep(2500);
      rmSync(`${disk}/ballast`);
      // What others do on this host must not fill it again.
      expect(Bun.spawnSync(["mount", "-o", "remount,size=64m", disk]).exitCode).toBe(0);
      await until("room", () => evaluator.stderr.includes("output works again (ENOSPC is over)"));
      await burst("room", 20);
      await Bun.sleep(1500);
      await sensor.end("SIGTERM");
      expect(await evaluator.exited).toBe(0);

      const text = readFileSync(path, "utf8");
      expect(text).toEndWith("\n");
      const lines = parseLines(text);
      writeFileSync(config, `${health}${rule}`);
      const replayed = await warder(["replay", "-o", "json", "--config", config, capture]);
      const all = parseLines(replayed.stdout);
      const count = (list: Line[], kind: (line: Line) => boolean) => list.filter(kind).length;
      const missing = (kind: (line: Line) => boolean) => count(all, kind) - count(lines, kind);
      const alert = (line: Line) => line.event_type === "alert";
      const event = (line: Line) => line["event_id"] !== undefined && !alert(line);
      const { ledger, outputs } = lastHealth(lines);
      expect(missing(event)).toBeGreaterThan(0);
      expect(missing(alert)).toBeGreaterThan(0);
      expect(ledger).toMatchObject({
        write_failed: missing(event),
        alert_write_failed: missing(alert),
        unaccounted: 0,
        balanced: true,
      });
      // The lines about the stream itself count, too: at least one health line had no room. One more may have come for that.
      const failed = outputs[0]?.failed ?? 0;
      expect([0, 1]).toContain(failed - missing(() => true));
      expect(missing(() => true)).toBeGreaterThan(missing(event) + missing(alert));
      expect(evaluator.stderr).toContain(`${failed.toLocaleString("en-US")} lines not written to ${path}`);
      // Every line that is there is one of the replay's.
      const known = new Set(replayed.stdout.split("\n"));
      const foreign = text
        .split("\n")
        .filter((line) => !line.includes('"event_type":"health"') && !known.has(line));
      expect(foreign).toEqual([]);
      expect(startsOf(lines, "room").size).toBe(20);
    } finally {
      Bun.spawnSync(["umount", disk]);
    }
  }, 120_000);

  test("files are set aside by age while hardly anything happens", async () => {
    const output = bench.path("output");
    mkdirSync(output);
    chownSync(output, NOBODY, NOBODY);
    const config = bench.path("config.toml");
    const rotation = `[output]\ntype = "file"\npath = "${output}/events.ndjson"\nrotate_age_s = 1\ncompress = false\n`;
    writeFileSync(config, `[health]\ninterval_s = 1\n${rotation}`);
    await bench.sensor("--no-pin", "--config", config);
    const evaluator = await bench.evaluatorTo(null, "--config", config);
    const written = () => {
      const names = readdirSync(output).toSorted();
      return { names, lines: names.flatMap((name) => parseLines(readFileSync(`${output}/${name}`, "utf8"))) };
    };
    const health = ({ lines }: { lines: Line[] }) => lines.filter((line) => line.event_type === "health");
    await until("four files", () => {
      try {
        const now = written();
        return now.names.length > 3 && health(now).length > 2;
      } catch {
        return false; // it was set aside after its name had been read
      }
    });
    expect(await evaluator.end("SIGTERM")).toBe(0);
    const { names, lines } = written();
    expect(names.at(-1)).toBe("events.ndjson");
    expect(lines[0]?.event_type).toBe("coverage");
    const read = health({ lines }).map((line) => Number(line["raw_events_read"]));
    expect(read).toEqual(read.toSorted((a, b) => a - b));
  }, 60_000);

  test("recorders that are killed have in their files what they took from the ring, compressed or not", async () => {
    await bench.sensor();
    const shell = Bun.spawn(["bash", "-c", `for i in $(seq ${TAKEN}); do /bin/true taken-$i; done`]);
    const captures: string[] = [];
    const next = () => {
      const capture = bench.path(`${captures.length}.capture${captures.length % 2 === 0 ? "" : ".zst"}`);
      captures.push(capture);
      return capture;
    };
    while (shell.exitCode === null || captures.length < 4) {
      const capture = next();
      const command = [process.execPath, "evaluator/main.ts", "record", capture, "--socket", bench.socket];
      const recorder = Bun.spawn(command, { stdout: "ignore", stderr: "ignore" });
      await until("the recording", () => existsSync(capture) && statSync(capture).size > 0);
      await Bun.sleep(400 * Math.random());
      recorder.kill("SIGKILL");
      await recorder.exited;
    }
    await warder(["record", next(), "--socket", bench.socket, "--duration", "2"]);
    const seen = new Set<string>();
    for (const capture of captures) {
      const { stdout } = await warder(["replay", "-o", "json", capture]);
      for (const start of startsOf(parseLines(stdout), "taken")) seen.add(start);
    }
    expect(seen.size).toBe(TAKEN);
  }, 120_000);

  test("a reader that goes ends the evaluator with code 0", async () => {
    await bench.sensor("--no-pin");
    const script = `"$@" 2> ${bench.path("err")} | head -n 1; exit \${PIPESTATUS[0]}`;
    const command = [process.execPath, "evaluator/main.ts", "run", "-o", "json", "--socket", bench.socket];
    const shell = Bun.spawn(["bash", "-c", script, "bash", ...command], { stdout: "pipe" });
    await until("the end", async () => {
      await burst("goes", 5);
      return shell.exitCode !== null;
    });
    expect(shell.exitCode).toBe(0);
    expect((await new Response(shell.stdout).text()).trim().split("\n").length).toBe(1);
  }, 60_000);
});
