// What the sample's replay writes is what it wrote when scripts/sample.sha256 was written, on whatever host.

import { expect, test } from "bun:test";
import { digestsOfSample, frozenDigests } from "./digests.ts";

/** As on another host: whoever writes by the clock, language or terminal of this one is noticed in any of them. */
const ELSEWHERE = {
  ...{ TZ: "Asia/Kathmandu", LANG: "de_DE.UTF-8", LC_ALL: "de_DE.UTF-8", COLUMNS: "40", HOME: "/nowhere" },
  ...{ TERM: "xterm-256color", FORCE_COLOR: "1", USER: "somebody", HOSTNAME: "elsewhere" },
};

test.each([
  ["here", {}],
  ["elsewhere", ELSEWHERE],
])(
  "a replay of the sample writes the same bytes as ever, in each format (%s)",
  async (_where, environment) => {
    const [now, before] = [await digestsOfSample(environment), frozenDigests()];
    const changed = Object.keys({ ...before, ...now }).filter((options) => now[options] !== before[options]);
    const said =
      changed.length === 0
        ? "the same"
        : `${changed.map((options) => `"replay ${options}"`).join(", ")}: other bytes than when scripts/sample.sha256 was written; where that is meant (a rule, a key, a version, a new sample), \`bun scripts/digests.ts\` renews it`;
    expect(said).toBe("the same");
  },
);
