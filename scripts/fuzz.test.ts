// The fuzzer's short form: every target gets some inputs that nobody has seen before, and the tool itself does what it says.

import { describe, expect, test } from "bun:test";
import type { Target } from "./fuzz/law.ts";
import { Random } from "./fuzz/random.ts";
import { fuzz, targets } from "./fuzz.ts";

const INPUTS: Record<string, number> = {
  decoder: 60_000,
  reader: 4000,
  core: 1500,
  capture: 100,
  settings: 1000,
};
const all = targets();
const target = (name: string): Target => {
  const found = all.find((one) => one.name === name);
  if (!found) throw new Error(`no target ${name}`);
  return found;
};

test("every target has its share", () => {
  expect(all.map(({ name }) => name)).toEqual(Object.keys(INPUTS));
});

test.each(Object.entries(INPUTS))(
  "%s: hostile bytes are taken or refused, and nothing else happens",
  async (name, count) => {
    const seed = Math.floor(Math.random() * 1_000_000);
    const { inputs, accepted, findings } = await fuzz(target(name), seed, 0, count);
    expect(findings).toEqual([]);
    expect(inputs).toBe(count);
    // The mutations neither spare everything nor, but for compressed bytes, break nearly everything.
    expect(accepted).toBeLessThan(count);
    if (name !== "capture") expect(accepted).toBeGreaterThan(count / 10);
  },
  120_000,
);

describe("an input", () => {
  const bytesOf = async (name: string, seed: number, iteration: number) => {
    const one = target(name);
    await one.run(new Random(seed, name.charCodeAt(0), iteration));
    return Buffer.from(one.last()).toString("base64");
  };

  test.each(Object.keys(INPUTS))(
    "of %s is the same for the same seed, whatever came before",
    async (name) => {
      const first = await bytesOf(name, 7, 3);
      const others = new Set([first]);
      for (let iteration = 4; iteration < 24; iteration++) others.add(await bytesOf(name, 7, iteration));
      expect(others.size).toBeGreaterThan(15);
      expect(await bytesOf(name, 7, 3)).toBe(first);
      expect(await bytesOf(name, 8, 3)).not.toBe(first);
    },
  );

  test("that breaks a law is a finding that says how to make it again", async () => {
    const broken: Target = {
      name: "reader",
      input: "nothing",
      last: () => Buffer.from("bytes"),
      run: (random) => {
        if (random.below(100) === 0) throw new TypeError("not what was expected");
        return { accepted: true, records: 0, lines: 0, held: 0 };
      },
    };
    const { findings, inputs } = await fuzz(broken, 5, 0, 1000);
    expect(inputs).toBe(1000);
    expect(findings.length).toBeGreaterThan(2);
    const iteration = Number(/--seed 5 --target reader --from (\d+) --count 1/.exec(findings[0] ?? "")?.[1]);
    expect(findings[0]).toContain("TypeError: not what was expected");
    expect(findings[0]).toContain(Buffer.from("bytes").toString("base64"));
    expect((await fuzz(broken, 5, iteration, 1)).findings.length).toBe(1);
    expect((await fuzz(broken, 5, iteration + 1, 1)).findings.length).toBe(0);
  });
});
