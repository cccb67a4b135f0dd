// Rows about the time that the kernel's own statistics give for each program: where the cost of a call goes. The kernel takes the
// time twice for each run while it does that, so these numbers are larger than what is paid otherwise.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CALLS, commandsOf, QUIET } from "./hooks.ts";
import { LivePair, outputOf, type Tools } from "./live.ts";
import { type Extent, type Row, rowOf, type Skipped } from "./row.ts";

const SWITCH = "/proc/sys/kernel/bpf_stats_enabled";

/** One program, as bpftool shows it. */
type Program = { id: number; name?: string; run_time_ns?: number; run_cnt?: number };

async function programs(): Promise<Map<number, Program>> {
  const all = JSON.parse(await outputOf(["bpftool", "--json", "prog", "show"])) as Program[];
  return new Map(all.map((program) => [program.id, program]));
}

/** How long each program runs for each call, and how often. */
export async function programRows(tools: Tools, { runs, scale }: Extent): Promise<(Row | Skipped)[]> {
  if (Bun.which("bpftool") === null)
    return [{ row: "programs", what: "time in each program", skipped: "not found: bpftool" }];
  const file = join(tools.folder, "opened");
  writeFileSync(file, "");
  const before = readFileSync(SWITCH, "utf8");
  const others = await programs();
  const times = new Map<string, { ns: number[]; perCall: number }>();
  writeFileSync(SWITCH, "1");
  try {
    const pair = await LivePair.start(tools, { settings: QUIET });
    pair.leaveFirstCpu();
    for (let run = 0; run < runs; run++) {
      for (const call of CALLS) {
        const { count, words } = commandsOf(file, scale)[call];
        const then = await programs();
        await outputOf([tools.timed, ...words]);
        for (const { id, name, run_time_ns: time = 0, run_cnt: ran = 0 } of (await programs()).values()) {
          if (others.has(id) || name === undefined) continue;
          const ranNow = ran - (then.get(id)?.run_cnt ?? 0);
          if (ranNow < count / 2) continue;
          const key = `${name}, ${call}`;
          const entry = times.get(key) ?? { ns: [], perCall: 0 };
          entry.ns.push((time - (then.get(id)?.run_time_ns ?? 0)) / ranNow);
          entry.perCall = ranNow / count;
          times.set(key, entry);
        }
      }
    }
    await pair.stop();
  } finally {
    writeFileSync(SWITCH, before);
  }
  return [...times].map(([what, { ns, perCall }]) =>
    rowOf("programs", what, "ns each run", ns, null, { "runs for each call": perCall.toFixed(1) }),
  );
}
