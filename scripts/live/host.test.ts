// What happens to a host while a pair is at work under load, in a virtual machine: CPUs come and go, its clock is set, it sleeps,
// bpffs is unmounted, its kernel stops calling programs that are attached, or preempts calls.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FENTRY_HOOKS, MACHINE_MS_MAX, noMachine, PREPARE, runInMachine } from "./machine.ts";
import { compileTools, type Line, parseLines } from "./pair.ts";

const reason = noMachine();
if (reason !== null) console.error(`skipped: what happens to a host, in a virtual machine (${reason})`);

/** How long the load goes on; the host sleeps for a part of it. */
const HOST_LOAD_S = 16;
/** Longer than a sensor may say nothing. */
const SLEEP_S = 8;
const PREEMPTED_S = 4;

/**
 * CPUs come and go, the clock is set, the host sleeps (S3, until its clock wakes it), and bpffs is unmounted. Between them
 * files are made that mark the time.
 */
const HOST = `
cpu=/sys/devices/system/cpu/cpu1/online rtc=/sys/class/rtc/rtc0
echo 0 > $cpu
sensor /tmp/usual ""
evaluator /tmp/usual /tmp/kept/host
/usr/bin/load mix /tmp/watched ${HOST_LOAD_S} 40 > /tmp/kept/host-load &
load=$!
mark() { sleep 1; cat /sys/devices/system/cpu/online >> /tmp/kept/cpus; : > /tmp/watched/host-$1; }
mark 0
echo 1 > $cpu
mark 1
echo 0 > $cpu
mark 2
echo 1 > $cpu
mark 3
date -s @$(($(date +%s) + 3600))
mark 4
date -s @$(($(date +%s) - 3600))
mark 5
echo $(($(cat $rtc/since_epoch) + ${SLEEP_S})) > $rtc/wakealarm
echo mem > /sys/power/state
mark 6
umount -l /sys/fs/bpf
mark 7
wait $load
sleep 2
end
cat /sys/power/suspend_stats/success > /tmp/kept/slept
mount -t bpf bpf /sys/fs/bpf
`;

/**
 * The kernel stops calling fentry programs that are attached. First beside a sensor at work, then before one starts. Last: after
 * that, it attaches no fentry program to the same functions any more.
 */
const SILENCED = `
sensor /tmp/usual
evaluator /tmp/usual /tmp/kept/silenced
sleep 3
echo 0 > /proc/sys/kernel/ftrace_enabled
sleep 5
echo 1 > /proc/sys/kernel/ftrace_enabled
sleep 4
end
echo 0 > /proc/sys/kernel/ftrace_enabled
sensor /tmp/usual
evaluator /tmp/usual /tmp/kept/fallen-back
: > /tmp/watched/without-ftrace
end
echo 1 > /proc/sys/kernel/ftrace_enabled
`;

/**
 * With fentry programs, which can be preempted, and with those that the sensor chooses by itself. Then with pinned fentry programs
 * that nobody serves, and that others replace.
 */
const PREEMPTED = `
mount -t debugfs debugfs /sys/kernel/debug
echo full > /sys/kernel/debug/sched/preempt
: > /tmp/watched/preempted
preempted() {
  sensor /tmp/usual "--no-pin --profile $1"
  evaluator /tmp/usual /tmp/kept/preempted-$1
  load preempted /tmp/watched/preempted ${PREEMPTED_S} > /tmp/kept/preempted-$1-load
  end
}
preempted fentry
preempted auto
sensor /tmp/usual "--profile fentry"
kill $sensor
wait $sensor
load preempted /tmp/watched/preempted 2 > /tmp/kept/unserved-load
printf '[process]\\ncollect_cwd = false\\n' >> /tmp/usual
sensor /tmp/usual ""
evaluator /tmp/usual /tmp/kept/unserved
end
echo voluntary > /sys/kernel/debug/sched/preempt
`;

/** What the load says it has done, by type of event. */
const countsOf = (text: string): Record<string, number> =>
  Object.fromEntries(
    text
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([type = "", count]) => [type, Number(count)]),
  );

describe.skipIf(reason !== null)("a host under load", () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-vm-"));
  const text = (name: string) => readFileSync(join(folder, name), "utf8");
  const said = (name: string) => text(name).trim().split("\n");

  beforeAll(async () => {
    const tools = Object.values(compileTools(folder, ["load"]));
    const script = `${PREPARE}${HOST}${PREEMPTED}${SILENCED}\ncd /tmp/kept && tar cz * > /tmp/all\nbring /tmp/all\n`;
    const { parts } = await runInMachine(script, tools);
    writeFileSync(join(folder, "all"), parts[0] ?? "");
    expect(Bun.spawnSync(["tar", "xzf", "all"], { cwd: folder }).exitCode).toBe(0);
  }, MACHINE_MS_MAX);
  afterAll(() => rmSync(folder, { recursive: true }));

  const events = () =>
    parseLines(text("host")).filter((line) => /^(process|file|network)_/.test(line.event_type));
  const marks = () =>
    events().filter((line) => line.event_type === "file_open" && /\/host-\d$/.test(String(line["path"])));

  test("is seen in every event that it makes, whatever happens to it: CPUs, its clock, sleep, bpffs", () => {
    const lines = events();
    const generated = countsOf(text("host-load"));
    const ofLoad = (type: string) =>
      lines.filter((line) => line.event_type === type && line["exe_path"] === "/usr/bin/load");
    expect(generated["file_open"]).toBeGreaterThan(10);
    for (const [type, count] of Object.entries(generated)) {
      const isLeaf = (line: Line) => type !== "process_start" || (line["args"] as string[])[1] === "leaf";
      expect([type, ofLoad(type).filter(isLeaf).length]).toEqual([type, count]);
    }
    expect(marks().map((line) => String(line["path"]).slice(-1))).toEqual("01234567".split(""));
    const notices = parseLines(text("host")).filter(
      (line) => !/^(process|file|network)_/.test(line.event_type),
    );
    expect(notices.filter(({ event_type: type }) => type !== "coverage" && type !== "health")).toMatchObject([
      { event_type: "tampered", what: "pins were removed, or their file system was unmounted" },
    ]);
    expect(notices.at(-1)).toMatchObject({
      event_type: "health",
      ledger: { lost: 0, discarded: 0, malformed: 0, unaccounted: 0, balanced: true },
    });
  });

  test("has CPUs that come and go: one that was off when the sensor started is counted, too", () => {
    expect(said("cpus")).toEqual(["0", "0-1", "0", "0-1", "0-1", "0-1", "0-1", "0-1"]);
    expect(parseLines(text("host"))[0]).toMatchObject({ event_type: "coverage", tested_cpus: 1 });
  });

  /** Seconds from each mark to the next: by the boot clock, and as the wall clock showed it. */
  const between = (times: number[]) => times.slice(1).map((time, i) => time - (times[i] ?? 0));
  const boot = () => between(marks().map((line) => Number(line["timestamp_ns"]) / 1e9));
  const wall = () => between(marks().map((line) => Date.parse(String(line["time"])) / 1000));

  test("has a clock that is set, which moves no event and no duration; the time that is shown follows it", () => {
    for (const seconds of boot()) expect(seconds).toBeGreaterThan(1);
    const shifts = wall().map((seconds, i) => Math.round((seconds - (boot()[i] ?? 0)) / 60) || 0);
    expect(shifts).toEqual([0, 0, 0, 60, -60, 0, 0]);
    const starts = events().filter((line) => line.event_type === "process_exit" && line["comm"] === "load");
    for (const { duration_ns: duration } of starts) expect(Number(duration)).toBeLessThan(60e9);
  });

  test("sleeps, and is not said to be silent; the time that has passed is counted", () => {
    expect(text("slept").trim()).toBe("1");
    const [, , , , , asleep = 0, awake = 0] = boot();
    expect(asleep).toBeGreaterThan(SLEEP_S - 2);
    expect(awake).toBeLessThan(asleep);
  });

  test("has hooks that are attached and report no more: they are said by kind, and not relied on at the next start", () => {
    const silenced = parseLines(text("silenced"));
    const silent = silenced.filter(
      (line) => line.event_type === "sensor_silent" && !String(line["reason"]).startsWith("no word"),
    );
    const types = new Set(silent.flatMap((line) => line["types"] as string[]));
    expect([...types].toSorted()).toEqual(Object.keys(FENTRY_HOOKS).toSorted());
    const heard = new Set(
      silenced.flatMap((line) => (line.event_type === "sensor_heard" ? (line["types"] as string[]) : [])),
    );
    for (const type of types) expect(heard).toContain(type);

    const [coverage, ...lines] = parseLines(text("fallen-back"));
    const served = coverage?.["events"] as Record<string, { hooks: string[]; reason: string | null }>;
    for (const type of Object.keys(FENTRY_HOOKS)) {
      expect(served[type]?.hooks).toContain("tp_btf/sys_exit");
      expect(served[type]?.reason).toContain("is attached but does not report on CPU 0, 1");
    }
    expect(lines.some((line) => line["path"] === "/tmp/watched/without-ftrace")).toBe(true);
  });

  /** What the ledger says of opens, how many the load has made, and how the sensor served them. */
  function opens(profile: string) {
    const lines = parseLines(text(`preempted-${profile}`));
    const { ledger } = lines.at(-1) as unknown as {
      ledger: { balanced: boolean; unaccounted: number; by_kind: Record<string, Record<string, number>> };
    };
    const { written = 0, missed = 0, discarded = 0 } = ledger.by_kind["file_open"] ?? {};
    expect(ledger).toMatchObject({ balanced: true, unaccounted: 0 });
    return {
      lines,
      written,
      missed,
      discarded,
      made: countsOf(text(`preempted-${profile}-load`))["file_open"] ?? 0,
    };
  }

  test("has a kernel that preempts calls: what fentry programs miss meanwhile is counted, each time", () => {
    const { lines, written, missed, discarded, made } = opens("fentry");
    const coverage = lines.find((line) => line.event_type === "coverage");
    expect(coverage).toMatchObject({ profile: "fentry" });
    expect(String(coverage?.["blind_spots"])).toContain("is missed, and counted");
    expect(missed).toBeGreaterThan(0);
    // Some that were missed are of others.
    expect(written + missed + discarded).toBeWithin(made, made * 1.05);
    const told = lines.filter((line) => line.event_type === "loss" && line["stage"] === "hook");
    expect(told.reduce((sum, line) => sum + Number(line["count"]), 0)).toBeGreaterThanOrEqual(missed);
  });

  test("has a kernel that preempts calls: programs at tracepoints are chosen, and miss nothing", () => {
    const { lines, written, missed, discarded, made } = opens("auto");
    expect(lines[0]).toMatchObject({ event_type: "coverage", profile: "tracepoint" });
    expect(JSON.stringify(lines[0]?.["events"])).toContain("this kernel can preempt fentry programs");
    expect({ written, missed, discarded }).toEqual({ written: made, missed: 0, discarded: 0 });
  });

  test("has a kernel that preempts calls: what replaced programs have missed is told", () => {
    const lines = parseLines(text("unserved"));
    const made = countsOf(text("unserved-load"))["file_open"] ?? 0;
    const told = lines.filter((line) => line.event_type === "loss" && line["stage"] === "ring");
    // Beside the load: what the sensor did to test its hooks, and what others have missed.
    expect(told.reduce((sum, line) => sum + Number(line["count"]), 0)).toBeWithin(made, made * 1.05 + 200);
    expect(lines.at(-1)).toMatchObject({ ledger: { balanced: true, unaccounted: 0 } });
  });
});
