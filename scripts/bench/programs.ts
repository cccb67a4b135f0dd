// Rows about the time that the kernel's own statistics give for each program: where the cost of a call goes. The kernel takes the
// time twice for each run while it does that, so these numbers are larger than what is paid otherwise.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CALLS, commandsOf, QUIET } from "./hooks.ts";
import { factsOf, LivePair, outputOf, type Tools } from "./live.ts";
import { type Extent, type Row, rowOf } from "./row.ts";

/** What one program has done while something was measured; `misses`: it did not run, for it ran already. */
export type Program = { id: string; name: string; runs: number; ns: number; misses: number };

/** Reads what programs.c prints. */
export function programsOf(words: string): Program[] {
  return [...words.matchAll(/^(\d+) (\S+) (\d+) (\d+) (\d+)$/gm)].map(
    ([, id = "", name = "", runs, ns, misses]) => ({
      ...{ id, name, runs: Number(runs), ns: Number(ns), misses: Number(misses) },
    }),
  );
}

/** How long each program runs for each call, and how often. */
export async function programRows(tools: Tools, { runs, scale }: Extent): Promise<Row[]> {
  const file = join(tools.folder, "opened");
  writeFileSync(file, "");
  const during = async (...words: string[]) => programsOf(await outputOf([tools.programs, ...words]));
  const others = new Set((await during("true")).map(({ id }) => id));
  const pair = await LivePair.start(tools, { settings: QUIET });
  pair.leaveFirstCpu();
  const all = new Map<string, { ns: number[]; perCall: number; misses: number }>();
  for (let run = 0; run < runs; run++) {
    for (const call of CALLS) {
      const { count, words } = commandsOf(file, scale)[call];
      for (const { id, name, runs: ran, ns, misses } of await during(tools.timed, ...words)) {
        if (others.has(id) || ran < count / 2) continue;
        const entry = all.get(`${name}, ${call}`) ?? { ns: [], perCall: 0, misses: 0 };
        entry.ns.push(ns / ran);
        entry.perCall = ran / count;
        entry.misses += misses;
        all.set(`${name}, ${call}`, entry);
      }
    }
  }
  const { open, spawn } = commandsOf(file, scale);
  const { use } = await pair.stop("programs", { opens: runs * open.count, starts: runs * spawn.count });
  return [...all].map(([what, { ns, perCall, misses }]) =>
    rowOf("programs", what, "ns each run", ns, null, {
      ...{ "runs for each call": perCall.toFixed(1), "runs missed": misses, ...factsOf([use]) },
    }),
  );
}
