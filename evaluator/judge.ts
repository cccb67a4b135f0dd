// What makes a replay end with code 1: alerts that are too severe, or not those that are expected.

import { readFileSync } from "node:fs";
import { whyNotRead } from "../bpf/words.ts";
import { Exit, Failure } from "./exit.ts";
import type { Alert } from "./output/alert.ts";
import { compareAlerts, type Expected, readExpected, renderDifference } from "./output/expectation.ts";
import { count } from "./output/summary.ts";
import { renderProblem } from "./rule/problem.ts";
import { SEVERITIES, type Severity } from "./rule/schema.ts";

/** What is asked of the alerts: none of this severity or a higher one; those of a file, and no others. */
export type Demands = { failOn?: Severity; expect?: string };

/** More alerts than this are not compared. */
const ALERTS_MAX = 100_000;

/** Sees the alerts of a replay, and decides at its end. */
export class Judge {
  private readonly expected: Expected[];
  private readonly alerts: Alert[] = [];
  private severe = 0;

  /** @throws Failure when the file of expected alerts cannot be read */
  constructor(private readonly demands: Demands) {
    this.expected = demands.expect === undefined ? [] : readOrFail(demands.expect);
  }

  see(alert: Alert): void {
    const { failOn, expect } = this.demands;
    if (failOn && SEVERITIES.indexOf(alert.severity) >= SEVERITIES.indexOf(failOn)) this.severe += 1;
    if (expect !== undefined && this.alerts.length <= ALERTS_MAX) this.alerts.push(alert);
  }

  /** @throws Failure when something was found, or when not all alerts were seen */
  decide({ complete }: { complete: boolean }): void {
    const { failOn, expect } = this.demands;
    if (!complete && (failOn || expect !== undefined))
      throw new Failure(Exit.io, "standard output was closed before the end: the alerts are not judged");
    const findings: string[] = [];
    if (expect !== undefined) {
      if (this.alerts.length > ALERTS_MAX)
        throw new Failure(Exit.io, `--expect ${expect}: more than ${ALERTS_MAX} alerts are not compared`);
      const difference = compareAlerts(this.expected, this.alerts);
      const { missing, unexpected } = difference;
      process.stderr.write(Buffer.from(renderDifference(expect, difference), "latin1"));
      if (missing.length + unexpected.length > 0)
        findings.push(
          `--expect ${expect}: ${count(missing.length, "alert")} missing, ${unexpected.length} not expected`,
        );
    }
    if (this.severe > 0)
      findings.push(`--fail-on ${failOn}: ${this.severe} of that severity or a higher one`);
    if (findings.length > 0) throw new Failure(Exit.findings, findings.join("; "));
  }
}

function readOrFail(path: string): Expected[] {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const reason = error instanceof TypeError ? "not UTF-8" : whyNotRead(error as NodeJS.ErrnoException);
    throw new Failure(Exit.usage, `--expect ${path}: ${reason}: expected alerts, one JSON object a line`);
  }
  const { expected, problems } = readExpected(path, text);
  for (const problem of problems) console.error(renderProblem(problem));
  if (problems.length > 0) throw new Failure(Exit.usage, `--expect ${path}: not a list of alerts`);
  return expected;
}
