import { expect, test } from "bun:test";
import { RecordKind } from "../../bpf/event.gen.ts";
import { CPUS, Kernel, type Outcome } from "../../scripts/kernel.ts";
import { Canaries, type Hearing } from "./canaries.ts";

const KIND = RecordKind.fileOpen;
const NOTHING: Hearing = { silent: [], heard: [], forged: [] };
const SILENCE = { types: ["file_open"], reason: "the sensor acted, and no record of it came" };

/** A sensor that acts on files, and whoever reads what it reports. */
class Pair {
  readonly kernel = new Kernel();
  readonly canaries = new Canaries();
  private acts = 0n;

  constructor() {
    this.report();
  }

  /** An act, and what becomes of its record. Null: the hook does not fire. */
  act(outcome: Outcome | null, cpu = 0): void {
    this.acts += 1n;
    if (outcome === null) return;
    this.kernel.hook(cpu, KIND, outcome);
    const cell = this.kernel.cells[cpu]?.[KIND];
    if (cell && outcome !== "submitted") cell.unheard += 1n;
  }

  /** Every record so far arrives. */
  take(): void {
    for (const [ring, records] of this.kernel.rings.entries()) {
      for (const { kind, until } of records.splice(0)) {
        this.kernel.taken[ring] = until;
        this.canaries.arrive(kind, ring, until);
      }
    }
  }

  report(isDetached = false): Hearing {
    const counters = this.kernel.counters();
    const canaries = counters.canaries.with(KIND, this.acts);
    const detached = counters.detached.with(KIND >>> 5, isDetached ? 1 << (KIND & 31) : 0);
    return this.canaries.report({ ...counters, canaries, detached }, this.kernel.taken);
  }
}

/** What comes out when this report and all records before it have been compared. */
function compared(pair: Pair, isDetached = false): Hearing {
  pair.report(isDetached);
  pair.take();
  return pair.report(isDetached);
}

test("an act is heard by its record, and is no silence when that was lost with others, on whatever CPU", () => {
  const pair = new Pair();
  for (let cpu = 0; cpu < CPUS; cpu++)
    for (const outcome of ["submitted", "lost", "discarded"] as const) pair.act(outcome, cpu);
  expect(compared(pair)).toEqual(NOTHING);
  pair.act(null);
  expect(compared(pair)).toMatchObject({ silent: [SILENCE] }); // those that were lost before do not make up for it
});

test("acts without records are a silence, told once, until a record comes again", () => {
  const pair = new Pair();
  pair.act("submitted");
  pair.act(null);
  expect(compared(pair)).toMatchObject({ silent: [SILENCE], heard: [] });
  pair.act(null);
  expect(compared(pair)).toEqual(NOTHING);
  expect(pair.canaries.silences).toEqual([{ type: "file_open", reason: SILENCE.reason }]);
  pair.act("submitted");
  expect(compared(pair)).toEqual({ ...NOTHING, heard: ["file_open"] });
  expect(pair.canaries.silences).toEqual([]);
});

test("a hook that is detached is a silence without any act, and until an act is heard without that", () => {
  const pair = new Pair();
  pair.act("submitted");
  const reason = "its hook is not attached any more";
  expect(compared(pair, true)).toMatchObject({ silent: [{ types: ["file_open"], reason }], heard: [] });
  pair.act("submitted");
  expect(compared(pair, true)).toEqual(NOTHING);
  expect(pair.canaries.silences).toEqual([{ type: "file_open", reason }]);
  expect(compared(pair)).toEqual(NOTHING); // without an act, nobody knows
  pair.act("submitted");
  expect(compared(pair)).toEqual({ ...NOTHING, heard: ["file_open"] });
});

test("records without acts are forged", () => {
  const pair = new Pair();
  pair.act("submitted");
  for (let i = 0; i < 2; i++) pair.kernel.hook(0, KIND, "submitted");
  expect(compared(pair)).toEqual({ ...NOTHING, forged: [{ type: "file_open", count: 2 }] });
});

test("a record belongs to the report that counts its act, however late both are read", () => {
  const pair = new Pair();
  pair.act("submitted");
  pair.report();
  pair.act("submitted"); // counted by the next report, and read before it
  pair.take();
  expect(pair.report()).toEqual(NOTHING);
  pair.take();
  expect(pair.report()).toEqual(NOTHING);
  expect(pair.canaries.silences).toEqual([]);
});

test("what waited before a stream's first report belongs to none", () => {
  const pair = new Pair();
  pair.canaries.begin();
  pair.act("submitted");
  pair.report();
  pair.take();
  expect(compared(pair)).toEqual(NOTHING);
});
