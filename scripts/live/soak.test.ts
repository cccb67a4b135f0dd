// What a soak says of its samples, and whom it kills.

import { describe, expect, test } from "bun:test";
import { grownIn, killsIn, type Sample } from "./soak.ts";

const GIB_KIB = 1024 * 1024;
const MEMORY_KIB = { sensor: 50_000, evaluator: 90_000 };

/** The samples that a soak of so many minutes takes, of a pair that uses what `change` makes of its share of the time. */
function samplesOf(minutes: number, change: (share: number, sample: Sample) => void): Sample[] {
  const seconds = Array.from({ length: minutes }, (_, i) => [
    ...killsIn(i + 1, minutes).map(({ at }) => i * 60 + at),
    (i + 1) * 60,
  ]).flat();
  return seconds.map((second) => {
    const use = (memory: number) => ({ memory, descriptors: 20 });
    const sample = { second, sensor: use(MEMORY_KIB.sensor), evaluator: use(MEMORY_KIB.evaluator) };
    change(second / (minutes * 60), sample);
    return sample;
  });
}

describe.each([1, 2, 3, 60])("in %d minutes", (minutes) => {
  const grown = (change: (share: number, sample: Sample) => void) =>
    grownIn(samplesOf(minutes, change), minutes * 60);

  test("what stays as it is, or is done growing when all is warm, has not grown", () => {
    expect(grown(() => {})).toEqual([]);
    expect(grown((share, { evaluator }) => (evaluator.memory += Math.min(share, 0.1) * GIB_KIB))).toEqual([]);
  });

  test.each(["sensor", "evaluator"] as const)(
    "a gibibyte more, or three descriptors, is said of the %s",
    (who) => {
      const memory = grown((share, sample) => (sample[who].memory += Math.round(share * GIB_KIB)));
      expect(memory.at(-1)).toMatch(new RegExp(`^second ${minutes * 60}: the ${who} grew by \\d{6} KiB$`));
      const late = grown((share, sample) => (sample[who].memory += share === 1 ? GIB_KIB : 0));
      expect(late).toEqual([`second ${minutes * 60}: the ${who} grew by ${GIB_KIB} KiB`]);
      const descriptors = grown((share, sample) => (sample[who].descriptors += share === 1 ? 3 : 2 * share));
      expect(descriptors).toEqual([`second ${minutes * 60}: the ${who} has 23 descriptors`]);
    },
  );

  test("somebody is killed in each of them, and within one minute both", () => {
    const kills = Array.from({ length: minutes }, (_, i) => killsIn(i + 1, minutes));
    expect(new Set(kills.flat().map(({ who }) => who))).toEqual(new Set(["sensor", "evaluator"]));
    for (const inMinute of kills) expect(inMinute.length).toBeGreaterThan(0);
  });
});

test("samples that there is nothing to compare with are a problem, and so is a soak without any", () => {
  const [, , last] = samplesOf(1, () => {}) as [Sample, Sample, Sample];
  const problem = ["memory and descriptors were compared with nothing"];
  expect(grownIn([last], 60)).toEqual(problem);
  expect(grownIn([{ ...last, second: 10 }], 60)).toEqual(problem);
  expect(grownIn([], 60)).toEqual(problem);
});
