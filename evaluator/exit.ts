// How the evaluator ends.

/** Exit codes, as documented in README. */
export const Exit = { ok: 0, findings: 1, usage: 2, io: 3, lost: 4 } as const;

/** An end with a reason for the person at the terminal. */
export class Failure extends Error {
  constructor(
    readonly exitCode: number,
    message: string,
  ) {
    super(message);
  }
}
