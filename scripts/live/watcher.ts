// What somebody with root's rights may do to a sensor at work, and how soon the evaluator says so.

import { chmodSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { Bench, type Line, type Program, ROOT } from "./pair.ts";

/** What was done, what was said of it, and after how many seconds. `said` is null when nothing was. */
export type Sign = { deed: string; said: string | null; seconds: number; limit: number };

const LIMIT_S = 5;
const GONE_LIMIT_S = 2;
/** Until another sensor has started, and the evaluator has found it. */
const RESTART_LIMIT_S = 10;
/** Pairs at the same time: each is idle, but for its start. */
const DEEDS_AT_ONCE = 4;
const MAPS = join(ROOT, "bpf/maps.bpf.h");
/** Any user that the sensor does not know. */
const STRANGER = 4242;

type Scene = { bench: Bench; sensor: Program; evaluator: Program; harm: string };
type Deed = {
  deed: string;
  pinned?: boolean;
  limit?: number;
  act: (scene: Scene) => void | Promise<void>;
  /** The words of a line, if it is the one that was waited for. */
  sign: (line: Line) => string | null;
};

const tampered =
  (part: string) =>
  (line: Line): string | null =>
    line.event_type === "tampered" && String(line["what"]).includes(part) ? String(line["what"]) : null;

/** A silence for this reason, and of these types only: one that names others is of something else. */
const silent =
  (reason: string, types: RegExp) =>
  (line: Line): string | null => {
    const named = (line["types"] ?? []) as string[];
    const isMeant = line.event_type === "sensor_silent" && line["reason"] === reason && named.length > 0;
    return isMeant && named.every((type) => types.test(type)) ? `${reason}: ${named.join(" ")}` : null;
  };
const DETACHED = "its hook is not attached any more";

function harmed({ sensor, harm }: Scene, ...words: string[]): string {
  const [deed = "", ...rest] = words;
  return Bun.spawnSync([harm, deed, String(sensor.pid), ...rest])
    .stdout.toString()
    .trim();
}

/** Closes the descriptors of the links inside of the sensor, the one of the `place`th hook only. */
function detach(scene: Scene, place: number): void {
  const links = harmed(scene, "list")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, what]) => what === "link")
    .toSorted(([, , one], [, , other]) => Number(one) - Number(other));
  const fd = links[place]?.[0];
  if (fd === undefined || harmed(scene, "close", fd) !== "close 0")
    throw new Error(`link ${place} was not closed`);
}

async function refusal(bench: Bench, ...enter: string[]): Promise<void> {
  const program = Bun.spawn(
    [
      ...enter,
      process.execPath,
      "-e",
      `require("net").connect(${JSON.stringify(bench.socket)}).on("close", () => process.exit()).on("error", () => process.exit())`,
    ],
    { stdout: "ignore", stderr: "ignore" },
  );
  await program.exited;
}

const refused = (line: Line): string | null =>
  line.event_type === "health" && Number(line["connections_refused"]) > 0
    ? `health: connections_refused ${String(line["connections_refused"])}`
    : null;

const DEEDS: Deed[] = [
  ...(
    [
      ["exec", /^process_start$/],
      ["fork", /^process_relationship$/],
      ["exit", /^process_exit$/],
      ["files and network", /^(file|network)_/],
    ] as const
  ).map(
    ([name, types], place): Deed => ({
      deed: `E63 the hook of ${name} is detached`,
      act: (scene) => detach(scene, place),
      sign: silent(DETACHED, types),
    }),
  ),
  {
    deed: "E63 pins are removed",
    pinned: true,
    act: ({ bench }) => void bench.inside("sh", "-c", "rm /sys/fs/bpf/warder/*/on_exec"),
    sign: tampered("pins"),
  },
  {
    deed: "E63 a pin is removed, and the time put back",
    pinned: true,
    act: ({ bench }) =>
      void bench.inside(
        ...["sh", "-c"],
        'cd /sys/fs/bpf/warder/* && touch -r . "$0" && rm on_exec && touch -r "$0" .',
        bench.path("time"),
      ),
    sign: tampered("pins"),
  },
  {
    deed: "E63 all pins are removed, with their folder",
    pinned: true,
    act: ({ bench }) => void bench.inside("rm", "-r", "/sys/fs/bpf/warder"),
    sign: tampered("pins"),
  },
  {
    deed: "E63 bpffs is unmounted",
    pinned: true,
    act: ({ bench }) => void bench.inside("umount", "-l", "/sys/fs/bpf"),
    sign: tampered("pins"),
  },
  {
    deed: "E64 root poses as the evaluator, for one write",
    act: (scene) => {
      const posed = harmed(scene, "pose", scene.bench.path("written"));
      if (posed !== "posed") throw new Error(`it did not pose: ${posed}`);
    },
    sign: tampered("the sensor's own"),
  },
  {
    deed: "E64 root poses between two sensors",
    pinned: true,
    act: async (scene) => {
      const posed = harmed(scene, "pose", scene.bench.path("written"), "kill");
      if (posed !== "posed") throw new Error(`it did not pose: ${posed}`);
      await scene.bench.sensor();
    },
    sign: tampered("the sensor's own"),
  },
  {
    deed: "E64 a ring's position is moved",
    act: (scene) => void harmed(scene, "move", "process_ring"),
    sign: tampered("position"),
  },
  {
    deed: "the canary's folder is removed",
    act: ({ bench }) => rmSync(join(dirname(bench.socket), "canary"), { recursive: true }),
    sign: tampered("canary"),
  },
  {
    deed: "E61 the sensor is stopped (SIGSTOP)",
    act: ({ sensor }) => sensor.signal("SIGSTOP"),
    sign: silent("no word for 4 s", /^(process|file|network)_/),
  },
  {
    deed: "E60 the sensor is killed",
    limit: GONE_LIMIT_S,
    act: ({ sensor }) => sensor.signal("SIGKILL"),
    sign: (line) =>
      line.event_type === "sensor_gone" ? `gone: ${(line["types"] as string[]).join(" ")}` : null,
  },
  {
    deed: "E60 killed without pins, another one comes",
    limit: RESTART_LIMIT_S,
    act: async ({ bench, sensor }) => {
      await sensor.end("SIGKILL");
      await bench.sensor("--no-pin");
    },
    sign: (line) =>
      line.event_type === "gap" ? `gap: of ${(Number(line["duration_ns"]) / 1e9).toFixed(1)} s` : null,
  },
  {
    deed: "E67 a stranger connects",
    act: ({ bench }) => {
      // Folder and socket keep strangers out by their modes; this one is let past them.
      chmodSync(dirname(bench.socket), 0o755);
      chmodSync(bench.socket, 0o666);
      return refusal(bench, "setpriv", "--reuid", String(STRANGER), "--clear-groups", "--");
    },
    sign: refused,
  },
  { deed: "a second evaluator connects", act: ({ bench }) => refusal(bench), sign: refused },
];

/**
 * What the kernel side holds, and nobody but its programs may write: the kernel refuses it to root. All maps, and the settings,
 * but for the rings: into these, only programs put anything, and how far they were read is the sensor's to write (a position
 * that is moved is a deed of its own).
 */
const FROZEN = [...readFileSync(MAPS, "utf8").matchAll(/^\} (\w+) SEC\("\.maps"\);$/gm)]
  .map(([, name = ""]) => name)
  .filter((name) => !name.endsWith("_ring"))
  .concat(".rodata.settings");
/** Only programs of the fentry profile use it: beside those of the other, there is no such map. */
const OF_FENTRY = "pending";

/** Does each deed to a pair of its own, and waits for the sign. */
export async function tryDeeds(harm: string): Promise<Sign[]> {
  const signs: Sign[] = [];
  for (let i = 0; i < DEEDS.length; i += DEEDS_AT_ONCE) {
    const some = DEEDS.slice(i, i + DEEDS_AT_ONCE);
    signs.push(...(await Promise.all(some.map((deed) => tryDeed(deed, harm)))));
  }
  return [...signs, ...(await tryFrozen(harm))];
}

async function tryDeed({ deed, pinned, limit = LIMIT_S, act, sign }: Deed, harm: string): Promise<Sign> {
  const bench = new Bench();
  try {
    const sensor = await bench.sensor(...(pinned ? [] : ["--no-pin"]));
    const config = bench.path("config.toml");
    await Bun.write(config, "[health]\ninterval_s = 1\n");
    const evaluator = await bench.evaluatorTo(null, "--alerts-only", "--config", config);
    await Bun.sleep(2500); // two counters, so that there is something to compare with
    const before = evaluator.lines().length;
    const begun = performance.now();
    await act({ bench, sensor, evaluator, harm });
    for (;;) {
      const seconds = (performance.now() - begun) / 1000;
      const said = evaluator
        .lines()
        .slice(before)
        .map(sign)
        .find((words) => words !== null);
      if (said !== undefined || seconds > 2 * limit) return { deed, said: said ?? null, seconds, limit };
      await Bun.sleep(50);
    }
  } finally {
    await bench.close();
  }
}

async function tryFrozen(harm: string): Promise<Sign[]> {
  const bench = new Bench();
  try {
    const sensor = await bench.sensor("--no-pin");
    const evaluator = await bench.evaluator();
    const profile = evaluator.lines().find((line) => line.event_type === "coverage")?.["profile"];
    return FROZEN.filter((map) => map !== OF_FENTRY || profile === "fentry").map((map): Sign => {
      const output = Bun.spawnSync([harm, "write", String(sensor.pid), map])
        .stdout.toString()
        .trim();
      const said = output === "refused EPERM" ? "refused by the kernel: EPERM" : null;
      return { deed: `E64 the map ${map} is overwritten`, said, seconds: 0, limit: LIMIT_S };
    });
  } finally {
    await bench.close();
  }
}
