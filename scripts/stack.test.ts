// What is reckoned of a program's stack, against programs whose stack is known.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deepestChain, objectionTo } from "./stack.ts";

const folder = mkdtempSync(join(tmpdir(), "warder-stack-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program whose functions each fill so many bytes. */
const source = (outer: number, inner: number, called: number) => `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static long each(__u32 i, void *context)
{
	char bytes[${called}];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return bytes[0];
}

__noinline int below(int seed)
{
	char bytes[${inner}];

	bpf_get_current_comm(bytes, sizeof(bytes));
	bpf_loop(seed, each, 0, 0);
	return bytes[1];
}

static __noinline int beside(int seed)
{
	char bytes[8];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return bytes[seed & 7];
}

SEC("raw_tp/sys_enter")
int program(void *context)
{
	char bytes[${outer}];

	bpf_get_current_comm(bytes, sizeof(bytes));
	return below(bytes[2]) + beside(bytes[3]);
}
`;

function compiled(...sizes: [number, number, number]): Uint8Array {
  const [from, to] = [join(folder, "program.c"), join(folder, "program.o")];
  writeFileSync(from, source(...sizes));
  const include = `/usr/include/${process.arch === "x64" ? "x86_64" : "aarch64"}-linux-gnu`;
  const command = ["clang-19", "--target=bpf", "-mcpu=v3", "-O2", "-g", "-I", include, "-c", from, "-o", to];
  expect(Bun.spawnSync(command, { stderr: "inherit" }).exitCode).toBe(0);
  return readFileSync(to);
}

describe("the deepest chain", () => {
  test("goes through functions and what they hand to bpf_loop, each rounded up to 32 bytes", () => {
    const chain = deepestChain(compiled(256, 128, 96));
    expect(chain).toEqual({ names: ["program 256", "below 128", "each 96"], size: 480 });
    expect(objectionTo(chain)).toBeNull();
    expect(deepestChain(compiled(264, 120, 8))).toMatchObject({
      names: ["program 288", "below 128", "each 32"],
    });
  });

  test("is refused where it takes more than 512 bytes", () => {
    expect(objectionTo(deepestChain(compiled(256, 128, 128)))).toBeNull();
    const chain = deepestChain(compiled(256, 128, 136));
    expect(chain.size).toBe(544);
    expect(objectionTo(chain)).toBe("kernels before 6.13 refuse more than 512 bytes of stack");
  });

  test.each(["warder", "warder-calls"])("of build/%s.bpf.o is one that every kernel takes", (name) => {
    const chain = deepestChain(readFileSync(join(import.meta.dir, `../build/${name}.bpf.o`)));
    expect(chain.names.length).toBeGreaterThan(3);
    expect(objectionTo(chain)).toBeNull();
  });
});
