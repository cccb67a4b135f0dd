import { expect, test } from "bun:test";
import { compileMatch } from "./conditions.ts";
import { type Key, keysOf, rarestKeys, textOf } from "./keys.ts";
import type { Rule } from "./schema.ts";

const COUNT = 1000;
/** So many rules may share what they are looked up by: numbers that end or begin alike. */
const SHARERS_MAX = 10;

const file = (paths: string[], patterns: string[]): Rule["match"] => ({
  type: "file",
  paths,
  patterns,
  operations: ["file_open"],
});

/** What a rule has of its own, and what it shares with all others. */
const FAMILIES: Record<string, (i: number) => Rule["match"]> = {
  "a folder before the star": (i) => file([], [`/home/*/tool-${i}/*`]),
  "an ending": (i) => file([], [`*/secret-${i}/*status`]),
  "the end of a part": (i) => file([], [`*/evil-${i}/deeper-still/*`]),
  "the beginning of a part": (i) => file([], [`*/deeper-still/evil-${i}/*`]),
  "an ending behind what is before the star": (i) => file([], [`/tmp/evil-${i}*.sh`]),
  "a deep folder before what is before the star": (i) => file([], [`/etc/systemd/system/evil-${i}*`]),
  "a short part": (i) => file([], [`*/x/*/a${i}*`]),
  "a list of patterns": (i) => file([`/opt/app-${i}`], ["*.conf", "*.key"]),
  "a list of paths": (i) => file(["/etc", "/usr"], [`*/unit-${i}.service`]),
  "paths beside a pattern that fits nearly all": (i) => file([`/opt/a-${i}`, `/opt/b-${i}`], ["*a*"]),
  "a port": (i) => ({ type: "network", directions: [], ports: [443], processNames: [`tool-${i}`] }),
  "names, but for the port": (i) => ({
    type: "network",
    directions: [],
    ports: [i],
    processNames: ["nc", "sh"],
  }),
  "names, but for the parent": (i) => ({
    type: "process",
    processNames: ["sh", "bash"],
    parentNames: [`/opt/daemon-${i}`],
  }),
  "a parent, but for the name": (i) => ({
    type: "process",
    processNames: [`tool-${i}`],
    parentNames: ["sh"],
  }),
};

test.each(Object.entries(FAMILIES))(
  "rules that share %s are looked up by what is their own",
  (_what, family) => {
    const rules = Array.from({ length: COUNT }, (_, i) => keysOf(compileMatch(family(i))));
    const keys = rarestKeys(rules);
    expect(keys.map((own) => own.length > 0)).toEqual(rules.map(() => true));
    const sharers = Map.groupBy(keys.flat(), (key: Key) => `${key.of} ${textOf(key)}`);
    expect(Math.max(...sharers.values().map((those) => those.length))).toBeLessThanOrEqual(SHARERS_MAX);
  },
);

test("a key is an ending, a deep folder or a part; what stands near the root only where there is no other", () => {
  const keyOf = (pattern: string) => rarestKeys([keysOf(compileMatch(file([], [pattern])))])[0]?.[0];
  expect(keyOf("*/.ssh/authorized_keys")).toMatchObject({ of: "ending", bytes: "/.ssh/authorized_keys" });
  expect(keyOf("/usr/lib*/security/pam_*.so")).toMatchObject({ of: "part", bytes: "curity/p" });
  expect(keyOf("/proc/*/mem")).toMatchObject({ of: "ending", bytes: "/mem" });
  expect(keyOf("/etc/ssl/private/*")).toMatchObject({ of: "path", bytes: "/etc/ssl/private" });
  expect(keyOf("/home/*/.ssh/*")).toMatchObject({ of: "part", bytes: ".ssh" });
  expect(keyOf("/dev/sd*")).toMatchObject({ of: "path", bytes: "/dev" });
  expect(keyOf("*a*")).toEqual({ of: "anyPath" });
});
