// What the evaluator says at its end, and what a row is held to: a number that was measured while nothing, or only a part, was done
// is worse than none.

/** What is used of the last line. The C program that only counts (count.c) knows no more than the ledger's first numbers. */
export type Health = {
  process_table_size?: number;
  unattributed?: number;
  ledger: {
    balanced: boolean;
    received: number;
    lost: number;
    discarded: number;
    lines?: number;
    matched?: number;
    by_kind?: Partial<Record<"file_open" | "process_start", { received: number; lost: number }>>;
  };
};

/** How much has to have been done, at least. */
export type Promised = Partial<{
  /** Records that came. */
  received: number;
  /** Events that were written. */
  lines: number;
  /** Opens and starts of programs that were seen, of which some may have been lost. */
  opens: number;
  starts: number;
  /** Processes that were known in the end. */
  processes: number;
}>;

/** Reads the last line. @throws Error when it is none, or the ledger does not balance */
export function healthOf(row: string, words: string): Health {
  const line = words.trimEnd().split("\n").at(-1) ?? "";
  if (!line.includes('"ledger":')) throw new Error(`${row}: no ledger in the last line: ${line}`);
  const health = JSON.parse(line) as Health;
  if (!health.ledger.balanced)
    throw new Error(`${row}: the ledger does not balance: ${JSON.stringify(health.ledger)}`);
  return health;
}

/** @throws Error when less was done than was promised */
export function holdTo(row: string, health: Health, promised: Promised): void {
  const done = doneOf(health);
  for (const [what, least] of Object.entries(promised) as [keyof Promised, number][])
    if (!((done[what] ?? 0) >= least))
      throw new Error(`${row}: ${done[what] ?? 0} ${what}, where ${least} were promised`);
}

/** What was done, in the same words. */
export function doneOf({ ledger, process_table_size: processes }: Health): Promised {
  const { received, lines, by_kind: kinds } = ledger;
  const seen = (kind: "file_open" | "process_start") =>
    (kinds?.[kind]?.received ?? 0) + (kinds?.[kind]?.lost ?? 0);
  return { received, lines, opens: seen("file_open"), starts: seen("process_start"), processes };
}
