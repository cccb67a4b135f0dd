// Rows about what a call costs in instructions: counted in a virtual machine whose clock advances by one nanosecond with each
// instruction. That is no time, but it is exact, and it can be had for the hooks that the kernel of this machine refuses.

import { noMachine, runInMachine } from "../live/machine.ts";
import { doneOf, healthOf, holdTo } from "./health.ts";
import { CALLS, type Call, commandsOf, QUIET } from "./hooks.ts";
import type { Tools } from "./live.ts";
import { programsOf } from "./programs.ts";
import { type Facts, type Goal, percentMore, type Row, rowOf, type Skipped } from "./row.ts";

const ROW = "hook-fentry";
/** One whose programs may load from kernel objects (since 6.2) as on most hosts. */
const KERNEL = "6.12";
/** Part of the calls that are timed elsewhere: one count is as good as many. */
const SCALE = 0.1;
const LIMIT_S = 180;
const NEEDED = ["qemu-system-x86_64", "busybox", "cpio"];
const OPENED = "/tmp/opened";
const PROFILES = ["tracepoint", "fentry"] as const;
type Profile = (typeof PROFILES)[number];

const COUNT = CALLS.map(
  (call) => `echo "$1 ${call} $(timed ${commandsOf(OPENED, SCALE)[call].words.join(" ")})" >> /tmp/counts`,
).join("\n");

const { open: OPENS, spawn: SPAWNS } = commandsOf(OPENED, SCALE);

/** Nobody reads meanwhile: there is one CPU, and the ring has room for all of it. What came is asked for afterwards. */
const SCRIPT = `
printf '${QUIET.replaceAll("\n", "\\n")}' > /tmp/config
: > ${OPENED}
count() {
${COUNT}
}
for profile in ${PROFILES.join(" ")}; do
  rm -f /run/warder/sensor.sock /tmp/lines
  count $profile-without
  bun sensor/main.ts run --no-pin --profile $profile --config /tmp/config --socket /run/warder/sensor.sock &
  sensor=$!
  while [ ! -S /run/warder/sensor.sock ]; do kill -0 $sensor || exit 5; sleep 0.1; done
  sleep 1
  count $profile
  programs timed ${OPENS.words.join(" ")} | sed "s/^/$profile programs /" >> /tmp/counts
  bun evaluator/main.ts run --once --alerts-only --config /tmp/config --socket /run/warder/sensor.sock -o json > /tmp/lines &
  reader=$!
  while kill -0 $reader && [ ! -s /tmp/lines ]; do sleep 0.1; done
  kill $sensor
  wait $sensor $reader
  echo "$profile health $(tail -n 1 /tmp/lines)" >> /tmp/counts
done
bring /tmp/counts
`;

/** Instructions of each call. */
type Counts = Record<Call, number>;

/** What the fentry profile adds to each call, beside what the tracepoint profile adds there. */
export async function instructionRows(tools: Tools): Promise<(Row | Skipped)[]> {
  const skip = (skipped: string) => [{ row: ROW, what: "instructions of calls, both profiles", skipped }];
  const missing = NEEDED.filter((program) => Bun.which(program) === null);
  const reason = noMachine() ?? (missing.length > 0 ? `not found: ${missing.join(", ")}` : null);
  if (reason !== null) return skip(reason);
  const { parts } = await runInMachine(SCRIPT, [tools.timed, tools.programs], {
    VM_COUNTED: "1",
    VM_KERNEL: KERNEL,
    VM_ATTEMPTS: "1",
    VM_TIMEOUT_S: String(LIMIT_S),
  });
  const text = parts[0]?.toString();
  if (text === undefined)
    return skip(`the machine with Linux ${KERNEL} did not come to its end in ${LIMIT_S} s`);
  return PROFILES.flatMap((profile) => rowsOf(profile, text));
}

function countsOf(text: string, who: string): Counts {
  const count = (call: Call) => Number(new RegExp(`^${who} ${call} (.*)$`, "m").exec(text)?.[1]);
  return { call: count("call"), open: count("open"), spawn: count("spawn") };
}

/** What the kernel counts in each program of an open, taking the time twice included: instructions there. */
function partsOf(text: string, profile: Profile): Facts {
  const lines = text.replaceAll(new RegExp(`^${profile} programs `, "gm"), "");
  const all = programsOf(lines).filter(({ runs }) => runs >= OPENS.count / 2);
  return Object.fromEntries(all.map(({ name, runs, ns }) => [`each run of ${name}`, Math.round(ns / runs)]));
}

/** What the evaluator has seen of the calls. @throws Error when some are missing: hooks that are not there cost nothing */
function seenIn(text: string, profile: Profile): Facts {
  const line = new RegExp(`^${profile} health (.*)$`, "m").exec(text)?.[1] ?? "";
  const health = healthOf(`${ROW}, ${profile}`, line);
  const { lost } = health.ledger;
  if (lost > 0) throw new Error(`${ROW}, ${profile}: ${lost} lost`);
  holdTo(`${ROW}, ${profile}`, health, { opens: OPENS.count, starts: SPAWNS.count });
  return { "opens received": doneOf(health).opens ?? 0, lost };
}

function rowsOf(profile: Profile, text: string): Row[] {
  const [none, some] = [countsOf(text, `${profile}-without`), countsOf(text, profile)];
  const facts = seenIn(text, profile);
  const goals: Record<Call, Goal | null> = {
    call: profile === "fentry" ? { atMost: 0 } : null,
    open: profile === "fentry" ? { atMost: 10 } : null,
    spawn: null,
  };
  const names: Record<Call, string> = { call: "getppid", open: "open and close", spawn: "spawn" };
  return CALLS.map((call) =>
    rowOf(
      ROW,
      `${names[call]}, ${profile}: instructions, not time`,
      "% more",
      [percentMore(some[call], none[call])],
      goals[call],
      {
        without: Math.round(none[call]),
        with: Math.round(some[call]),
        kernel: `${KERNEL}, emulated`,
        ...facts,
        ...(call === "open" ? partsOf(text, profile) : {}),
      },
    ),
  );
}
